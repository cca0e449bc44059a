"""Like with like: which records share a section, and which a row."""

import random
from dataclasses import replace

from harness.recipe import Recipe
from reports.results.sections import sections
from reports.results.titles import section_titles
from reports.tables.provenance import doubts


def labels(section):
    return [row.label for row in section.rows]


def test_unlike_machines_precisions_and_executions_never_share_a_section(record, gpu):
    found = sections(
        [
            record(),
            record(environment=gpu),
            record(precision="bf16"),
            record(execution="reference"),
            record(suite="other"),
        ]
    )
    assert len(found) == 5
    assert all(len(section.records) == 1 for section in found)


def test_states_of_a_folder_that_changed_never_share_a_section(record):
    one, other, alone = (f"folder:{name}" for name in ("birds@0123456789ab", "birds@ba9876543210", "cats@0123456789ab"))
    found = sections([record(dataset=each, seed=seed) for each in (one, other, alone, "dtd") for seed in (1, 2)])
    assert [section.datasets for section in found] == [("dtd", alone), (one,), (other,)]
    assert [section.condition.contents for section in found] == ["", one, other]
    titles = section_titles(found)
    assert [one in title for title in titles] == [False, True, False]
    assert [len(doubts(section)) for section in found] == [0, 1, 1]
    assert "on the same folder, changed" in doubts(found[1])[0]
    assert len(sections([record(dataset=one), record(dataset="hf:birds@0123456789ab:label=a")])) == 1
    named = [record(dataset=f"{name}:names=0123456789ab") for name in (one, "hf:birds")]
    assert len(sections([record(dataset=one), record(dataset="hf:birds"), *named])) == 4


def test_states_of_a_methods_source_are_never_averaged(record):
    """Of a run, that of the newest source counts; what has only an older one stands in a row of its own."""

    def of(source, seed, minute, **how):
        found = record("mine:Mine", seed=seed, started_at=f"2026-01-02T03:{minute:02d}:00+00:00", **how)
        return replace(found, key=replace(found.key, source_sha256=source and source * 64))

    (section,) = sections([of("a", 1, 1), of("a", 2, 2), of("b", 1, 3, status="failed"), of(None, 3, 4)])
    assert {row.label: row.seeds for row in section.rows} == {
        "mine:Mine (source aaaaaaa)": (2,), "mine:Mine (source bbbbbbb)": (1,), "mine:Mine (source unknown)": (3,),
    }  # fmt: skip
    assert section.repeats == 1
    assert labels(sections([of("a", 1, 1), of("a", 2, 2)])[0]) == ["mine:Mine"]


def test_a_run_is_the_same_whether_or_not_its_version_told_the_device(record):
    old = record()
    new = replace(old, key=replace(old.key, device="cpu"), started_at="2026-01-02T04:00:00+00:00")
    (section,) = sections([old, new])
    assert (section.records, section.repeats) == ((new,), 1)


def test_two_devices_of_one_kind_are_alike(record, gpu):
    assert len(sections([record(environment=gpu), record(seed=2, environment=replace(gpu, device="cuda:1"))])) == 1


def test_settings_make_rows_and_name_them(record):
    (section,) = sections([record(settings={"depth": d, "same": 1}, seed=s) for d in (4, 6) for s in (1, 2)])
    assert labels(section) == ["coop (depth=4)", "coop (depth=6)"]


def test_recipes_that_differ_on_one_dataset_make_numbered_rows(record):
    (section,) = sections([record(), record(recipe=Recipe(epochs=50, learning_rate=1e-3))])
    assert labels(section) == ["coop #1", "coop #2"]


def test_a_recipe_of_its_own_for_each_dataset_is_one_row(record):
    own = Recipe(epochs=50, learning_rate=1e-3, settings={"depth": 3})
    (section,) = sections([record(), record(dataset="shapes", recipe=own, settings={"depth": 3})])
    assert labels(section) == ["coop"]


def test_the_newest_finished_record_of_a_run_counts(record):
    old, new = record(started_at="2026-01-01"), record(started_at="2026-01-02")
    failed = record(started_at="2026-01-03", status="failed")
    (section,) = sections([new, failed, old])
    assert section.records == (new,)
    assert section.repeats == 2


def test_exact_copies_are_one_record(record):
    (section,) = sections([record(), record()])
    assert (len(section.records), section.repeats) == (1, 0)


def test_order_of_records_changes_nothing(suite):
    shuffled = random.Random(0).sample(suite, len(suite))
    assert sections(shuffled) == sections(suite)


def test_names_that_are_cut_alike_stay_apart(record):
    (section,) = sections([record("x" * 100 + middle + "y" * 100) for middle in "ab"])
    assert len(set(labels(section))) == 2
    assert all(len(label) <= 64 for label in labels(section))


def test_a_run_that_failed_before_it_chose_a_device_stands_with_the_others(record):
    undecided = replace(record().environment, device="auto")
    (section,) = sections([record(), record(seed=2, status="failed", environment=undecided)])
    assert section.condition.device == "cpu"


def test_simulated_runs_never_share_a_row_with_measured_ones(record):
    simulated = record()
    found = sections([record(), replace(simulated, key=replace(simulated.key, simulated=True))])
    assert [section.condition.simulated for section in found] == [False, True]
