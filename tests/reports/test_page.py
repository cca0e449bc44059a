"""The page as text. What a browser makes of it is tested in test_browser.py."""

import base64
import html
import json
import random
import re
import subprocess
import sys
import zlib
from dataclasses import replace

import pytest

from harness.records import ProfileRecord, SimulationRecord, WindowRecord
from harness.visible import visible
from reports.format.text import Problem
from reports.pages.page import page
from reports.results.quantities import QUANTITIES
from reports.results.section_results import in_numbers, section_results
from reports.results.sections import sections
from reports.results.titles import row_styles
from reports.tables.by_dataset import unit_table


def plain(text):
    """What is left of a page for reading: no head, no pictures, no tags."""
    body = re.sub(r"(?s)<(svg|script|style|head)\b.*?</\1>", " ", text)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_parts_stand_in_the_order_people_ask(suite):
    text = plain(page(suite, [Problem("a.json", "not a record")]))
    heads = ["Does tuning on half", "has the best H", "Results", "Accuracy against cost", "By dataset", "Cost", "Failures",
             "Unreadable files", "Environment and provenance", "Recipes", "Commands", "30 runs, each in full"]  # fmt: skip
    places = [text.index(head) for head in heads]
    assert places == sorted(places)


def test_same_records_same_text_whatever_their_order(suite, suite_page):
    assert page(random.Random(1).sample(suite, len(suite))) == suite_page


def test_units_are_words(suite_page):
    text = plain(suite_page)
    for words in ("260 MiB", "6.4 M", "2 min 27 s", "live tensors", "mean over seeds"):
        assert words in text


def test_missing_is_a_dash_with_its_reason_and_never_zero(record):
    text = plain(page([record(peak_bytes=None, parameters=None, missing={"train.peak_tensor_bytes": "no meter here"})]))
    assert "no meter here" in text
    assert "Not recorded." in text
    assert not re.search(r"\b0 B\b", text)


def test_where_no_run_knows_its_energy_the_records_reason_is_told(record, gpu):
    missing = {"train.energy_joules": "no CUDA device"}
    runs = [record(m, missing=missing) for m in ("zero_shot", "coop", "clip_adapter")]
    text = plain(page(runs))
    assert text.count("Energy of training is not known: no CUDA device.") == 1
    assert text.index("Pareto front") < text.index("no CUDA device") < text.rindex("By dataset")
    metered = record(windows={"train": WindowRecord(seconds=9, energy_joules=5.0)}, environment=gpu)
    assert "Energy of training is not known" not in plain(page([metered, record("ours", environment=gpu)]))
    assert "Energy of training is not known" not in plain(page([record("zero_shot", missing=missing)]))


def test_energy_has_a_chart_and_a_column_where_it_was_metered(record, gpu):
    windows = {joules: {"train": WindowRecord(seconds=9, energy_joules=joules)} for joules in (1500.0, 90.0)}
    runs = [record(m, environment=gpu, windows=windows[joules]) for m, joules in (("coop", 1500.0), ("ours", 90.0))]
    text = plain(page(runs))
    assert "H against energy of training" in text
    assert text[: text.rindex("By dataset")].count("1.50 kJ") == 1
    assert "Energy training" in text


def test_nothing_empty_stands_in_the_navigation(record):
    runs = [record(suite="cost", execution=e) for e in ("reference", "fast")]
    shown = page([*runs, record()])
    assert "cost: Authors" in plain(shown)
    assert "<p></p>" not in shown


def run_titles_of(shown):
    return [plain(title) for title in re.findall(r'<details id="run\d+"><summary>(<bdi>.*?</bdi>)', shown)]


def test_titles_of_runs_say_what_tells_them_apart_and_no_more(record, gpu):
    few = record()
    alike = [record(), record(execution="reference"), record("ours"), record(suite="cost")]
    runs = [*alike, record("probe"), record("probe", environment=gpu), replace(few, key=replace(few.key, shots=4))]
    assert sorted(run_titles_of(page(runs))) == [
        "coop on digits, 16 shots, seed 1, base2new, fast execution",
        "coop on digits, 16 shots, seed 1, base2new, reference execution",
        "coop on digits, 16 shots, seed 1, cost, fast execution",
        "coop on digits, 4 shots, seed 1",
        "ours on digits, 16 shots, seed 1",
        "probe on digits, 16 shots, seed 1, Example CPU 2.0 GHz, 2 threads",
        "probe on digits, 16 shots, seed 1, Example GPU 80GB",
    ]


def test_failures_and_warnings_tell_apart_runs_of_one_method(record):
    runs = [record(execution=e, status="failed", accuracy={}, reason=f"{e} is broken", warnings=(f"{e} is slow",))
            for e in ("fast", "reference")]  # fmt: skip
    text = plain(page(runs))
    failures = text[text.index("Failures") :]
    for execution in ("fast", "reference"):
        assert f"coop base2new, {execution} execution digits 1 failed {execution} is broken" in failures
        assert f"{execution} is slow coop on digits, 16 shots, seed 1, {execution} execution" in failures


def test_failures_show_status_and_reason_and_mark_the_average(suite):
    suite[-1] = replace(suite[-1], status="out_of_memory", reason="16 GiB are not enough", accuracy={}, windows={})
    text = plain(page(suite))
    assert "16 GiB are not enough" in text
    assert "out of memory" in text
    assert "1 of 2 datasets" in text
    assert "Incomplete, so not ranked and not comparable: shapes: seed 3 out of memory." in text
    assert "29 of 30" in text


def test_unlike_machines_stand_in_sections_that_are_named(two_machines_page):
    text = plain(two_machines_page)
    assert "These records differ in machine and device, so they stand in 2 sections" in text
    assert "base2new, Example CPU 2.0 GHz, 2 threads, cpu" in text
    assert "base2new, Example GPU 80GB, cuda" in text
    assert "CUDA allocator" in text
    assert "live tensors" in text


def test_one_seed_shows_no_interval(record):
    assert "95 %" not in plain(page([record()]))


def test_a_suite_without_base_and_new(record):
    runs = [
        record(m, suite="transfer", dataset="src", seed=s, accuracy={"a": 40.0 + s, "b": 80.0})
        for m in "xy"
        for s in (1, 3)
    ]
    text = plain(page(runs))
    assert "Targets" in text
    assert "61.00" in text
    assert "Base against new" not in text


def test_provenance_names_commit_recipe_settings_seeds_and_command(record):
    runs = [record(seed=s, settings={"depth": 4}, command="adaptbench run base2new --set depth=4") for s in (1, 2)]
    dirty = replace(runs[0].environment, dirty=True)
    text = plain(page([replace(r, environment=dirty, warnings=("first epoch slow",)) for r in runs]))
    for words in ("0123456789ab + uncommitted changes", "depth=4", "1, 2", "20 epochs", "adaptbench run base2new --set depth=4",
                  "first epoch slow", "aaaaaaaaaaaa", "2 of 2 runs started from a working tree with"):  # fmt: skip
        assert words in text


def test_mixed_weights_and_versions_are_pointed_out(record):
    newer = replace(record().environment, versions={"torch": "2.16.0", "open_clip_torch": "3.3.0"})
    text = plain(page([record(), record(seed=2, weights_sha256="b" * 64, environment=newer)]))
    assert (
        "The runs are not all of one origin: Weights (aaaaaaaaaaaa / bbbbbbbbbbbb) and torch (2.15.0 / 2.16.0)" in text
    )


def test_hosts_that_share_a_gpu_alone_are_pointed_out(record, gpu):
    other = replace(gpu, cpu="Other CPU", driver="580.2", cuda=None, tf32=True, hostname_sha256="2" * 64)
    text = plain(page([record(environment=gpu), record(seed=2, environment=other)]))
    said = "Driver (570.1 / 580.2), CUDA (12.9 / unknown), TF32 (off / on) and CPU (Example CPU 3.0 GHz / Other CPU)."
    assert (
        f"The machines differ in {said.removesuffix('.')}. Accuracies are averaged over them; times and energy" in text
    )
    alike = replace(gpu, device="cuda:1", hostname_sha256="2" * 64, load_average=9.0)
    failed = record(seed=3, status="failed", accuracy={}, windows={}, environment=replace(gpu, driver=None))
    unmixed = plain(page([record(environment=gpu), record(seed=2, environment=alike), failed]))
    assert "machines differ" not in unmixed
    assert "one origin" not in unmixed


def test_times_are_of_one_kind_of_machine_and_accuracies_are_averaged_over_all(record, gpu):
    """Of three rows, one ran here, one there and one on both: only the first has times, energy and their means."""
    other = replace(gpu, cpu="Other CPU", hostname_sha256="2" * 64)
    where = {"here": (gpu, gpu), "there": (other, other), "both": (gpu, other), "again_here": (gpu, gpu)}
    runs = [record(m, seed=s, base=70.0 + s, environment=e) for m, es in where.items() for s, e in enumerate(es, 1)]
    (results,) = in_numbers(runs)
    means = results.summary
    assert list(means["base"]) == [71.5] * 4
    assert means["train_peak_bytes"].notna().all()
    timed = [q.name for q in QUANTITIES if q.timed and means.loc["here", q.name] == means.loc["here", q.name]]
    assert "train_seconds" in timed
    assert means.loc["again_here", timed].notna().all()
    assert means.loc[["there", "both"], timed].isna().all(axis=None)
    text = plain(page(runs))
    why = "Not all its runs were on a machine like that of this section's times: CPU (Other CPU instead of Example CPU 3.0 GHz)."
    assert why in text


def test_times_taken_beside_other_runs_are_marked(record):
    beside = replace(record().environment, concurrent_runs=4)
    text = plain(page([record(environment=beside), record(seed=2, environment=replace(beside, concurrent_runs=1))]))
    assert "1 of 2 runs were under way beside others of theirs (up to 4 at once on a machine)" in text
    assert "one origin" not in text
    assert "beside others of theirs" not in plain(page([record(), record(seed=2)]))


HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x>",
    "a\x00b\x1b[2J",
    "\u202egnp.exe",
    "{{ 7 * 7 }}",
    "x" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_are_text(record, text):
    runs = [
        record(text, text, seed=s, suite=text, settings={text: text}, command=text, warnings=(text,), recipe_row=text)
        for s in (1, 2)
    ]
    runs.append(record(text, "other", suite=text, settings={text: text}, status="failed", reason=text, accuracy={}))
    shown = page(runs, [Problem(text, text)])
    assert shown.count("<script>") == 1
    assert "<img" not in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", shown)
    assert visible(text) in html.unescape(shown)
    shown.encode("utf-8")


def test_a_lone_surrogate_in_a_file_name_does_not_stop_the_page(record):
    page([record()], [Problem("bad\udcff.json", "bad\udcff.json is no run record")]).encode("utf-8")


def test_eleven_datasets_by_six_methods_by_three_seeds_stay_small(large_page):
    assert len(large_page.encode()) < 600_000
    groups = re.findall(r'data-packed="([^"]+)"', large_page)[0].split(" ")
    runs = [run for words in groups for run in json.loads(zlib.decompress(base64.b64decode(words), wbits=-15))]
    assert [run.count("Accuracy by class") for run in runs] == [2] * 198


def test_what_reads_alike_is_best_alike(record):
    shown = page(
        [record("a", peak_bytes=60_000_000), record("b", peak_bytes=60_000_001), record("c", peak_bytes=90_000_000)]
    )
    headline = shown[shown.index('id="s1-headline"') : shown.index('id="s1-against"')]
    assert (
        re.findall(r'class="number best" data-value="[0-9.]+"><span class="whole"><bdi>([^<]*)', headline)
        == ["57.2 MiB"] * 2
    )


def test_answers_of_the_pretrained_backbone_are_marked_and_never_best(record):
    runs = [record("coop", new=60.0), record("probe", new=70.0)]
    tests = {key: replace(test, answers_zero_shot=key.endswith("new")) for key, test in runs[1].accuracy.items()}
    shown = page([runs[0], replace(runs[1], accuracy=tests)])
    assert "New: the method has nothing to say of these classes" in plain(shown)
    headline = shown[shown.index('id="s1-headline"') : shown.index('id="s1-against"')]
    assert 'best" data-value="70.0"' not in headline


def test_in_the_table_of_datasets_such_answers_are_marked_and_compete_for_nothing(record):
    runs = [record("coop", new=60.0, seed=s) for s in (1, 2)] + [record("other", new=50.0, seed=s) for s in (1, 2)]
    probe = [record("probe", base=90.0, new=70.0, seed=s) for s in (1, 2)]
    probe = [replace(r, accuracy={k: replace(t, answers_zero_shot=k.endswith("new")) for k, t in r.accuracy.items()})
             for r in probe]  # fmt: skip
    (section,) = sections([*runs, *probe])
    numbers = section_results(section)
    table = unit_table("t", numbers, row_styles([numbers]))
    cells = dict(zip([column.title for column in table.columns], table.rows[0], strict=True))
    average = dict(zip([column.title for column in table.columns], table.foot[0], strict=True))
    assert cells["probe"].note == 1
    assert table.notes[0].startswith("New: the method has nothing to say")
    for line in (cells, average):
        assert line["probe"].bold == (0,)  # its base accuracy is its own
        assert line["coop"].bold == (1,)
        assert line["other"].bold == ()


def test_a_row_that_answers_as_the_backbone_on_the_targets_is_never_best_there(record):
    accuracy = {"source": 90.0, "a": 70.0}
    runs = [record(m, suite="transfer", dataset="source", seed=s, accuracy={**accuracy, "a": v})
            for m, v in (("zero_shot", 70.0), ("coop", 60.0), ("adapter", 70.0)) for s in (1, 2)]  # fmt: skip
    shown = page(runs)
    assert "<strong>zero_shot</strong> has the best average accuracy on targets" in shown
    assert "Targets: the same accuracy as zero_shot in every run." in plain(shown)
    assert "nothing to say" not in plain(shown)


def test_the_page_answers_the_question_of_its_suite(suite_page):
    text = plain(suite_page)
    question = text.index("Does tuning on half of the classes cost accuracy on the other half?")
    assert question < text.index("Of 4 adapted methods, 4 score above zero_shot on") < text.index("has the best H")
    assert "On the other classes, 1 scores above it; 1 scores below it: coop (−6.71); 2 can't be told from it." in text


def test_simulated_records_stand_apart_and_show_no_time_and_no_accuracy(record):
    peaks = {"train": {"parameters": 3 * 2**20, "host": 2**30}, "evaluate": {"parameters": 2**20}}
    profile = ProfileRecord(
        simulated={"fast": SimulationRecord(peak_bytes=peaks, step_flops=7_000, test_batch_flops=1)}
    )
    real = record()
    simulated = replace(real, key=replace(real.key, simulated=True), windows={}, accuracy={}, profile=profile, step_seconds=(),
                        extract_seconds=None, train_images_seen=None, missing={"windows": "simulated"})  # fmt: skip
    text = plain(page([real, simulated]))
    assert "These records differ in figures" in text
    assert "simulated: no time, no accuracy" in text
    assert "3.00 MiB" in text
    assert "Only simulated: nothing was computed or timed." in text
    assert "No run finished" not in text
    alone = plain(page([simulated, replace(simulated, key=replace(simulated.key, method="maple"))]))
    assert "has the best" not in alone
    assert "H" not in alone.split("Trainable")[0].split("Method")[1]


def test_every_row_of_costs_names_execution_precision_epochs_batch_and_augmentation(suite_page):
    costs = plain(suite_page[suite_page.index('id="s1-costs"') :])
    assert "fast, fp32, 20 epochs, batch 4, random resized crop flip" in costs
    assert "fast, fp32, no training steps" in costs


def test_no_records_is_still_a_page():
    assert "No results" in page([])


def test_torch_is_not_needed(suite, tmp_path):
    from harness.records import to_json

    for i, record in enumerate(suite):
        (tmp_path / f"{i}.json").write_bytes(to_json(record))
    program = (
        "import sys; from pathlib import Path; from reports.__main__ import read; from reports.pages.page import page\n"
        "assert page(*read([Path(sys.argv[1])])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
