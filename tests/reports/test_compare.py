"""Two result sets side by side, and what may not be compared."""

from dataclasses import replace

import pytest

from harness.recipe import Recipe
from harness.records import to_json
from reports import __main__ as command
from reports import terminal
from reports.findings.comparison import compare, sides
from reports.pages.compare import compare_page
from reports.terminal import print_comparison


def runs(record, gain=0.0, wobble=0.0, **changes):
    found = []
    for dataset in ("digits", "shapes"):
        for seed in (1, 2, 3):
            score = 70 + seed + gain + wobble * (seed - 2)
            found.append(record("coop", dataset, seed, base=score, new=score, **changes))
    return found


def cells(comparison):
    names = [f"{column.title} {column.unit}".strip() for column in comparison.table.columns]
    return dict(zip(names, [cell.text for cell in comparison.table.rows[0]], strict=True))


def test_a_steady_gain_is_found_and_costs_are_divided(record):
    ((found,), alone) = compare(runs(record), runs(record, gain=1.0, wobble=0.1, train_seconds=5.0))
    shown = cells(found)
    assert (shown["H A, %"], shown["H B, %"], shown["B − A points"]) == ("72.00", "73.00", "+1.00")
    assert shown["Sure? paired test"] == "different, p < 0.001"
    assert (shown["Train time A"], shown["Train time B"], shown["Train time B / A"]) == ("20.0 s", "10.0 s", "0.50")
    assert alone == []


def test_changes_come_first_with_intervals_and_a_verdict_says_them(record):
    def side(gains, seconds):
        return [
            record(
                m,
                d,
                s,
                base=70 + s + g + 0.1 * (s - 2) * bool(g),
                new=60 + s + g,
                train_seconds=t + 0.01 * s * (t != 9),
            )
            for m, g, t in zip(("coop", "maple", "mma", "vpt"), gains, seconds, strict=True)
            for d in ("digits", "shapes")
            for s in (1, 2, 3)
        ]

    alone = record("zero_shot")
    ((found,), _) = compare([*side((0, 0, 0, 0), (9, 9, 9, 9)), alone], [*side((0, 1, -4, 0), (9, 9, 9, 3)), alone])
    assert [cells[0].text for cells in found.table.rows] == ["mma", "maple", "vpt", "zero_shot", "coop"]
    assert [cells[0].text for cells in found.rest.rows] == ["coop"]
    h, training, same = found.verdict.split(". ")
    assert h == (
        "H in B, of 5 methods: higher for 1 (maple +1.01 points, +0.96 to +1.05); "
        "lower for 1 (mma −4.02 points, −4.07 to −3.97); no difference found for 2; not comparable for 1"
    )
    assert training.startswith("Train time in B, of 5 methods: lower for 1 (vpt 0.34 times A's, 0.33 to 0.34); no diff")
    assert same == "No change of step and peak memory was found."
    assert found.table.rows[0][3].details == ("−4.07 to −3.97",)


def test_the_page_says_what_the_sides_are(record):
    newer = replace(record().environment, commit="f" * 40, dirty=True)
    table = sides(runs(record), runs(record, environment=newer), ("old/results", "new"))
    assert {row[0].text: [cell.text for cell in row[1:]] for row in table.rows} == {
        "Folder": ["old/results", "new"],
        "Runs": ["6 runs of base2new"] * 2,
        "Started": ["2026-01-02"] * 2,
        "Machine": ["Example CPU 2.0 GHz, 2 threads"] * 2,
        "Commit": ["0123456789ab", "ffffffffffff, with uncommitted changes"],
    }


def test_a_wavering_gain_is_not(record):
    ((found,), _) = compare(runs(record), runs(record, gain=0.3, wobble=3.0))
    assert cells(found)["Sure? paired test"].startswith("no difference found, p = ")


def test_the_difference_of_h_that_is_tested_is_the_one_shown(record):
    """Base and new average 77.5 and 62.5 on both sides; the mean of the runs' H is 64.8 and 69.2."""
    uneven, even = {"digits": (95, 45), "shapes": (60, 80)}, {"digits": (77.5, 62.5), "shapes": (77.5, 62.5)}
    sides = [[record("coop", d, s, base=b + (s - 2) * wobble, new=n) for d, (b, n) in levels.items() for s in (1, 2, 3)]
             for levels, wobble in ((uneven, 1.0), (even, 1.5))]  # fmt: skip
    ((found,), _) = compare(*sides)
    assert cells(found)["B − A points"] == "±0"
    assert cells(found)["Sure? paired test"] == "no difference found, p = 1.000"


def test_one_seed_can_not_say(record):
    ((found,), _) = compare([record()], [record(base=99)])
    assert cells(found)["Sure? paired test"] == "one seed only"


def test_unlike_machines_compare_accuracy_alone_and_say_so(record, gpu):
    ((found,), _) = compare(runs(record), runs(record, environment=gpu))
    assert "Train time A" not in cells(found)
    assert any(
        "machines differ, so times and memory are not compared" in c and "Example GPU" in c for c in found.cautions
    )


def test_other_conditions_are_not_compared(record):
    found, alone = compare(runs(record), runs(record, precision="bf16"))
    assert found == []
    assert alone == ["Only in A: base2new.", "Only in B: base2new."]


def test_runs_without_a_counterpart_are_left_out_of_both(record):
    ((found,), _) = compare(runs(record), [*runs(record, gain=1.0)[:3], record("zero_shot")])
    assert cells(found)["B − A points"] == "+1.00"
    assert found.cautions == [
        "Left out: 3 runs of A without a counterpart.",
        "Left out: 1 run of B without a counterpart, all of zero_shot among them.",
    ]


def test_nothing_in_common_is_said(record):
    assert compare([record("a")], [record("b")]) == ([], ["No run of base2new is in both with the same tests."])


def test_a_run_that_failed_on_one_side_shows_no_difference(record):
    after = runs(record)
    after[0] = replace(after[0], status="failed", accuracy={})
    ((found,), _) = compare(runs(record), after)
    shown = cells(found)
    assert (shown["B − A points"], shown["Train time B / A"]) == ("–", "–")


def notes(comparison, row=0):
    """What the footnotes of a row say, by column."""
    table = comparison.table
    return {f"{column.title} {column.unit}".strip(): table.notes[cell.note - 1]
            for column, cell in zip(table.columns, table.rows[row], strict=True) if cell.note}  # fmt: skip


def test_a_side_that_averages_fewer_datasets_is_marked(record):
    after = runs(record)
    after[0] = replace(after[0], status="failed", accuracy={})
    ((found,), _) = compare(runs(record), after)
    assert cells(found)["H B, %"] == "72.00"
    assert found.table.rows[0][0].tags == ("B: 1 of 2 datasets",)
    why = "Compared only where every dataset is complete in both."
    ratios = {name for name in cells(found) if name.endswith("B / A")}
    assert ratios >= {"Train time B / A", "Step B / A", "Peak B / A"}
    assert notes(found) == dict.fromkeys({"B − A points", "Sure? paired test", *ratios}, why)
    ((whole,), _) = compare(runs(record), runs(record))
    assert whole.table.rows[0][0].tags == ()


def test_a_side_without_a_complete_dataset_has_no_cost_and_says_so(record):
    after = [replace(r, status="failed", accuracy={}) if r.key.seed == 1 else r for r in runs(record)]
    ((found,), _) = compare(runs(record), after)
    assert notes(found)["Train time B"] == notes(found)["H B, %"] == "No dataset is complete."


def test_costs_that_there_can_not_be_are_told_from_those_not_recorded(record):
    both = [record("coop", windows={}), record("zero_shot")]
    ((found,), _) = compare(both, both)
    assert notes(found, row=0)["Train time A"] == "Not recorded."
    assert notes(found, row=1)["Train time A"] == "This method trains nothing."


def test_a_row_is_found_again_beside_a_variant(record):
    """With the variant, labels name the settings: of `coop` in A nothing is called so in B."""
    before = runs(record, settings={"depth": 4})
    after = [*runs(record, settings={"depth": 6}), *runs(record, gain=1.0, settings={"depth": 4})]
    ((found,), _) = compare(before, after)
    shown = cells(found)
    assert (shown["Method"], shown["B − A points"]) == ("coop", "+1.00")
    assert found.cautions == ["Left out: 6 runs of B without a counterpart, all of coop (depth=6) among them."]


def test_what_is_left_out_is_named_though_its_label_stands_for_another_row(record):
    """Rows that differ in their recipes alone are numbered: the second of A is the first of B."""
    one, two, three = ({"recipe": Recipe(epochs=e, batch_size=4, learning_rate=2e-3)} for e in (10, 20, 30))
    ((found,), _) = compare(
        [*runs(record, **one), *runs(record, **two)], [*runs(record, **two), *runs(record, **three)]
    )
    assert [cell.text for (cell, *_) in found.table.rows] == ["coop #2"]
    assert found.cautions == [
        "Left out: 6 runs of A without a counterpart, all of coop #1 among them.",
        "Left out: 6 runs of B without a counterpart, all of coop #2 among them.",
    ]


def test_commits_and_weights_are_named(record):
    after = [
        replace(r, environment=replace(r.environment, commit="f" * 40), weights_sha256="b" * 64) for r in runs(record)
    ]
    ((found,), _) = compare(runs(record), after)
    assert found.cautions == [
        "Not of one origin: Weights (aaaaaaaaaaaa in A, bbbbbbbbbbbb in B) and Commit (0123456789ab in A, ffffffffffff in B)."
    ]


def test_versions_are_named_and_do_not_hide_times(record):
    newer = replace(record().environment, versions={"torch": "2.16.0", "open_clip_torch": "3.3.0"})
    ((found,), _) = compare(runs(record), runs(record, environment=newer))
    assert found.cautions == ["Not of one origin: torch (2.15.0 in A, 2.16.0 in B)."]
    assert cells(found)["Train time B / A"] == "1.00"


@pytest.mark.parametrize(
    ("name", "value"), [("cpu", "Other CPU"), ("driver", "580.2"), ("cuda", "13.0"), ("threads", 8), ("tf32", True)]
)
def test_one_gpu_in_unlike_hosts_has_no_ratio_of_times(record, gpu, name, value):
    ((found,), _) = compare(
        runs(record, environment=gpu), runs(record, environment=replace(gpu, **{name: value}), train_seconds=5.0)
    )
    shown = cells(found)
    assert not any("time" in title or "Step" in title for title in shown)
    assert shown["Peak B / A"] == "1.00"
    (caution,) = found.cautions
    assert caution.startswith("The machines differ, so times are not compared: ")


def test_a_side_that_mixes_hosts_has_no_ratio_of_times_even_with_one_alike(record, gpu):
    mixed = runs(record, environment=gpu)[:5] + runs(record, environment=replace(gpu, driver="580.2"))[5:]
    ((found,), _) = compare(mixed, mixed)
    assert "Train time A" not in cells(found)
    assert found.cautions == [
        "The machines differ, so times are not compared: Driver (570.1 / 580.2 in A, 570.1 / 580.2 in B)."
    ]


def test_rows_that_were_not_run_alike_are_named_with_the_fields(record):
    short, long = (Recipe(epochs=epochs, batch_size=4, learning_rate=2e-3) for epochs in (20, 50))
    before = [*runs(record, settings={"depth": 4}, recipe=short), record("zero_shot")]
    after = [*runs(record, settings={"depth": 6}, recipe=long), record("zero_shot")]
    ((found,), _) = compare(before, after)
    assert found.cautions == ["coop was not run alike: depth 4 in A, 6 in B; epochs 20 in A, 50 in B."]


def test_a_recipe_that_differs_on_one_dataset_is_named(record):
    other = Recipe(epochs=5, batch_size=4, learning_rate=2e-3)
    ((found,), _) = compare(runs(record), runs(record, recipe=other)[:3] + runs(record)[3:])
    assert found.cautions == ["coop was not run alike: epochs 20 in A, 5 in B."]


def test_the_same_machine_is_matched_before_another(record, gpu):
    """The laptop sorts first, and would do for the server where there is nothing else."""
    ((found,), alone) = compare(
        runs(record) + runs(record, environment=gpu), runs(record, environment=gpu, train_seconds=5.0)
    )
    assert cells(found)["Train time B / A"] == "0.50"
    assert alone == ["Only in A: base2new, Example CPU 2.0 GHz, 2 threads, cpu."]


def test_runs_with_other_tests_are_no_counterparts(record):
    def transfer(*targets):
        return record(suite="transfer", dataset="a", accuracy=dict.fromkeys(["a", *targets], 50.0))

    assert compare([transfer("b", "c")], [transfer("b")]) == (
        [],
        ["No run of transfer is in both with the same tests."],
    )


def test_what_makes_a_side_less_sure_is_said_of_it(record):
    dirty = replace(record().environment, dirty=True)
    ((found,), _) = compare(runs(record), runs(record, environment=dirty))
    assert found.cautions == ["B: 6 of 6 runs started from a working tree with uncommitted changes."]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\u202egnp", "x" * 10_000])
def test_hostile_names_are_text(record, text):
    shown = compare_page([record(text, text, suite=text)], [record(text, text, suite=text)])
    assert shown.count("<script>") == 1
    assert "\u202e" not in shown


@pytest.fixture
def wide(monkeypatch):
    """No line of a terminal is folded, however many figures are compared."""
    monkeypatch.setattr(terminal, "WIDTH", 1000)


@pytest.mark.usefixtures("wide")
def test_the_command_prints_and_writes(record, tmp_path, capsys):
    for name, gain in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        for i, r in enumerate(runs(record, gain=gain)):
            (tmp_path / name / f"{i}.json").write_bytes(to_json(r))
    command.compare(tmp_path / "a", tmp_path / "b", tmp_path / "site")
    out = capsys.readouterr().out
    assert f"Folder: A {tmp_path.name}/a; B {tmp_path.name}/b\n" in out
    assert str(tmp_path) not in out.partition("Comparison: ")[0]
    assert "Commit: 0123456789ab\n" in out
    assert (
        "\n  H in B, of 1 method: higher for 1 (coop +1.00 points). No change of train time, step and peak memory was found.\n"
        in out
    )
    assert "¹" not in out
    command.compare(tmp_path / "a", tmp_path / "b", tmp_path / "compared.html")
    for page in (tmp_path / "site" / "index.html", tmp_path / "compared.html"):
        assert "<bdi>a (A) beside b (B)</bdi>" in page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("wide")
def test_the_terminal_says_what_a_side_averages_and_why_a_figure_is_absent(record, capsys):
    after = [*runs(record), record("zero_shot")]
    after[0] = replace(after[0], status="failed", accuracy={})
    print_comparison(*compare([*runs(record), record("zero_shot")], after))
    out = capsys.readouterr().out
    assert "coop (B: 1 of 2 datasets)" in out
    assert " –¹ " in out
    assert "  ¹ Compared only where every dataset is complete in both.\n" in out
    assert "  ² This method trains nothing.\n" in out
