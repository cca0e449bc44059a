"""Suites of every shape: shots, executions, transfer that shares its runs, ablations, steps without a meaning."""

import html
import re
from dataclasses import replace

import pytest

from harness.records import AnalysisRecord
from reports.findings.suite_findings import overviews
from reports.pages.page import page
from reports.results.section_results import section_results
from reports.results.sections import sections
from reports.results.titles import row_styles, section_titles


def found(records):
    return [section_results(section) for section in sections(records)]


def shown(records):
    """The overviews of the one suite that the records are of."""
    pairs = found(records)
    return list(overviews("u", pairs, section_titles([results.section for results in pairs]), row_styles(pairs)))


def plain(markup):
    return html.unescape(re.sub(r"<[^>]*>", "", str(markup)))


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def with_key(record, **changes):
    return replace(record, key=replace(record.key, **changes))


@pytest.fixture
def shots(record):
    return [
        with_key(record(m, "a", s, suite="few-shot", accuracy={"a": level + 4 * i + wobble * (s - 2)}), shots=k)
        for m, level, wobble in (("coop", 52, 1.0), ("adapter", 57, 1.1))
        for i, k in enumerate((1, 4, 16))
        for s in (1, 2, 3)
    ]


def test_shots_make_one_curve_a_method_and_one_table(shots):
    assert [results.section.condition.shots for results in found(shots)] == [1, 4, 16]
    (overview,) = shown(shots)
    (table,) = overview.tables
    assert [c.title for c in table.columns] == ["Method", "1-shot", "4-shot", "16-shot"]
    assert texts(table) == [["adapter", "57.00", "61.00", "65.00"], ["coop", "52.00", "56.00", "60.00"]]
    assert all(row[3].best == (row[0].text == "adapter") for row in table.rows)
    (chart,) = overview.charts
    assert chart.svg.count(">coop<") == 1
    assert plain(overview.answer) == (
        "From 1 shot to 16, adapter gains most: +8.00 points, from 57.00 to 65.00 %. With 1 image a class, adapter is best, "
        "57.00 %; with 16, adapter is best, 65.00 %."
    )


def test_a_number_of_shots_that_did_not_finish_is_absent_and_leaves_the_curve(shots):
    (overview,) = shown([r for r in shots if (r.key.method, r.key.shots, r.key.seed) != ("coop", 16, 3)] + [
        replace(shots[8], status="failed", accuracy={})])  # fmt: skip
    assert ["coop", "52.00", "56.00", "–"] in texts(overview.tables[0])


def test_the_two_executions_stand_side_by_side(record):
    runs = [record(execution=e, seed=s, train_seconds=t, base=80 + s, peak_bytes=b, step_seconds=(t / 100,) * 5)
            for e, t, b in (("reference", 30.0, 400), ("fast", 10.0, 100)) for s in (1, 2)]  # fmt: skip
    (overview,) = shown(runs)
    (table,) = overview.tables
    assert texts(table) == [
        ["coop", "±0", "30.0 s", "10.0 s", "3.00", "300 ms", "100 ms", "3.00", "400 B", "100 B", "4.00"]
    ]
    assert table.rows[0][0].details == ("fp32, 20 epochs, batch 4, random resized crop flip",)


@pytest.fixture
def both_executions(record):
    """Step seconds: full fine-tuning 8 and 2, skip_tuning 2 and 1, coop 4 and 0.25."""
    steps = {"full_finetuning": (8.0, 2.0), "skip_tuning": (2.0, 1.0), "coop": (4.0, 0.25)}
    return [record(m, execution=e, step_seconds=(s,) * 4, train_seconds=100 * s, peak_bytes=int(s * 2**30))
            for m, both in steps.items() for e, s in zip(("reference", "fast"), both, strict=True)]  # fmt: skip


def test_how_much_of_an_advantage_remains_when_rivals_are_implemented_well(both_executions):
    (overview,) = shown(both_executions)
    advantages = {row[0].text: [cell.text for cell in row[1:]] for row in overview.tables[0].rows}
    assert advantages == {"skip_tuning": ["4.00", "2.00"] * 3, "coop": ["2.00", "8.00"] * 3}
    assert overview.tables[0].rows[0][1].details in [("3 min 20 s",), ("6 min 40 s",)]
    assert plain(overview.answer).startswith(
        "In training time, skip_tuning takes 4.0 times less than full_finetuning under the authors' arithmetic, and 2.0 times "
        "less when both are implemented well; then coop is ahead, with 8.0 times less."
    )


def steps_of(runs, method, seconds):
    return [replace(r, windows={**r.windows, "train": replace(r.windows["train"], seconds=seconds[r.key.execution])})
            if r.key.method == method else r for r in runs]  # fmt: skip


def test_an_advantage_that_turns_round_is_told_as_taking_more(both_executions):
    turned = steps_of(both_executions, "skip_tuning", {"reference": 200.0, "fast": 400.0})
    (overview,) = shown([r for r in turned if r.key.method != "coop"])
    assert plain(overview.answer).startswith(
        "In training time, skip_tuning takes 4.0 times less than full_finetuning under the authors' arithmetic, and 2.0 times "
        "more when both are implemented well. "
    )


def test_where_every_method_takes_more_none_is_ahead(both_executions):
    turned = steps_of(both_executions, "skip_tuning", {"reference": 200.0, "fast": 400.0})
    (overview,) = shown(steps_of(turned, "coop", {"reference": 1600.0, "fast": 300.0}))
    assert plain(overview.answer).startswith(
        "In training time, skip_tuning takes 4.0 times less than full_finetuning under the authors' arithmetic, and 2.0 times "
        "more when both are implemented well; then coop comes closest, with 1.5 times more."
    )


def test_where_training_was_cut_off_an_advantage_counts_what_was_extracted(both_executions):
    """40 images at a batch of 4. Cached features make coop's step quickest; extracting them takes longer than they save."""
    extracted = {("coop", "fast"): 37.5}
    runs = [
        with_key(replace(r, accuracy={}, epoch_losses=(0.5,), load_seconds=0.0, train_image_count=40, train_images_seen=16,
                         extract_seconds=extracted.get((r.key.method, r.key.execution), 0.0)), steps=4)
        for r in both_executions
    ]  # fmt: skip
    (overview,) = shown(runs)
    rows = {row[0].text: [cell.text for cell in row[1:5]] for row in overview.tables[0].rows}
    assert rows == {"skip_tuning": ["4.00", "2.00", "4.00", "2.00"], "coop": ["2.00", "0.50", "2.00", "8.00"]}
    epoch = plain(overview.answer).partition("In peak memory")[0]
    assert epoch.startswith("In epoch time (extraction included), skip_tuning takes 4.0 times less")
    assert "ahead" not in epoch


def test_without_the_baseline_there_is_no_advantage_to_show(both_executions):
    (overview,) = shown([r for r in both_executions if r.key.method != "full_finetuning"])
    assert [table.caption for table in overview.tables] == ["What the fast execution gains on the reference execution"]
    assert overview.answer == ""


def test_sections_that_differ_in_more_than_one_condition_are_no_family(record, gpu):
    assert shown([record(execution="reference"), record(environment=gpu)]) == []


def test_shared_runs_answer_the_questions_of_both_suites(record):
    accuracy = {"imagenet": 70.0, "caltech101": 90.0, "dtd": 50.0, "imagenetv2": 60.0, "imagenet_a": 40.0}
    pairs = found([record(dataset="imagenet", suite="cross-dataset", seed=s, accuracy=accuracy) for s in (1, 2)])
    averages = {results.section.condition.suite: results.line("coop")["target"] for results in pairs}
    assert averages == {"cross-dataset": 70, "domain-generalization": 50}
    assert [results.section.again for results in pairs] == [False, True]
    assert set(pairs[1].units.index.unique("unit")) == {"imagenet", "imagenetv2", "imagenet_a"}


@pytest.fixture
def ablation(record):
    """H is 80 + depth, and 3 points lower without the skip; the usual depth is 6, the usual ratio 0.5. Seeds differ a little
    less as usual."""
    grid = [{"depth": d, "ratio": 0.5, "skip": True} for d in (2, 4, 6)]
    grid += [{"depth": 6, "ratio": r, "skip": True} for r in (0.1, 0.9)] + [{"depth": 6, "ratio": 0.5, "skip": False}]
    return [record(settings=s, seed=i, base=(v := 82 + s["depth"] - 3 * (not s["skip"]) + (i - 2) * (1 + (s != grid[2]) / 20)),
                   new=v, train_seconds=10.0 if s["skip"] else 25.0) for s in grid for i in (1, 2, 3)]  # fmt: skip


def test_an_ablation_says_what_each_setting_changes(ablation):
    (results,) = found(ablation)
    assert {row.label for row in results.section.rows} == {
        "coop", "coop (depth=2)", "coop (depth=4)", "coop (ratio=0.1)", "coop (ratio=0.9)", "coop (skip=false)"}  # fmt: skip
    (overview,) = shown(ablation)
    (table,) = overview.tables
    assert [row[0].text for row in table.rows] == [
        "as usual", "depth = 2", "depth = 4", "ratio = 0.1", "ratio = 0.9", "skip = false"]  # fmt: skip
    assert [cell.text for cell in table.rows[1][1:5]] == ["84.00", "−4.00", "different, p < 0.001", "10.0 s"]
    assert table.legend == "As usual: depth = 6, ratio = 0.5, skip = true."
    assert [chart.title for chart in overview.charts] == ["coop over depth", "coop over ratio"]
    assert plain(overview.answer) == (
        "With skip = false, H changes by −3.00 points (different, p < 0.001); training takes 2.50 times the usual; its peak is "
        "1.00 times the usual. Over the values tried, H changes with depth by 4.00 and ratio by 0.00 points."
    )


def test_two_variants_are_no_ablation(ablation):
    assert shown(ablation[:6]) == []


def test_an_ablation_of_runs_that_were_cut_off_has_no_scores_to_change(ablation):
    cut = [with_key(replace(run, accuracy={}), steps=1) for run in ablation]
    assert shown(cut) == []
    assert "accuracies mean nothing" in page(cut)


@pytest.fixture
def analysed(record):
    """An image tower of four blocks, of which coop trains none and full fine-tuning all; skip_tuning the upper two."""
    flows = {"full_finetuning": (4, 2, 5), "skip_tuning": (2, 1, 3), "coop": (0, 2, 5), "zero_shot": (0, 0, 0)}
    shifts = {"full_finetuning": (1.0, 2.0, 3.0, 4.0), "skip_tuning": (0.0, 0.0, 1.0, 2.0)}
    return [
        record(m, suite="analysis", missing={"analysis.text_shift": "the text tower is <b>closed</b>"}, analysis=AnalysisRecord(
            images=9, image_shift=shifts.get(m, (0.0,) * 4), image_blocks_with_gradient=i, text_blocks_with_gradient=t,
            class_texts_with_gradient=c, rank_gradient_before=(0.5, 0.3, 0.2), rank_gradient_after=(0.5, 0.45, 0.05)))
        for m, (i, t, c) in flows.items()
    ]  # fmt: skip


def test_an_analysis_shows_length_and_width_of_the_gradient_and_what_moved(analysed):
    (overview,) = shown(analysed)
    flow, image = overview.tables
    assert texts(flow) == [
        ["full_finetuning", "4 of 4", "2", "5 of 5", "3 of 5", "2 of 5"],
        ["skip_tuning", "2 of 4", "1", "3 of 5", "3 of 5", "2 of 5"],
        ["coop", "0 of 4", "2", "5 of 5", "3 of 5", "2 of 5"],
        ["zero_shot", "0 of 4", "0", "0 of 5", "3 of 5", "2 of 5"],
    ]
    assert texts(image) == [
        ["full_finetuning", "0.25", "0.50", "0.75", "1.00"], ["skip_tuning", "0.00", "0.00", "0.50", "1.00"]]  # fmt: skip
    assert image.legend == "The last block is 1. Not moved at all: coop and zero_shot."
    assert [chart.title for chart in overview.charts] == [
        "Feature sensitivity, image tower", "Gradient share by class rank, before training",
        "Gradient share by class rank, after training"]  # fmt: skip
    assert plain(overview.answer) == (
        "The gradient reaches furthest in full_finetuning: 4 of 4 image blocks, 2 text blocks and 5 of 5 class texts. It is "
        "shortest, where it enters a tower at all, in coop: 0 of 4 image blocks, 2 text blocks and 5 of 5 class texts. It is "
        "narrowest in skip_tuning: 2 of 4 image blocks, 1 text blocks and 3 of 5 class texts. Halfway up the image tower, "
        "features moved between 0.00 (skip_tuning) and 0.50 (full_finetuning) of what the last block's did."
    )


def test_what_an_analysis_could_not_see_is_absent_with_its_reason(analysed):
    blind = replace(analysed[0].analysis, rank_gradient_before=None, text_blocks_with_gradient=None)
    missing = {"analysis.rank_gradient_before": "class features depend on the image"}
    (overview,) = shown([replace(analysed[0], analysis=blind, missing=missing)])
    assert texts(overview.tables[0]) == [["full_finetuning", "4 of 4", "–", "5 of 5", "–", "2 of 5"]]
    assert overview.tables[0].notes == ["Not recorded.", "class features depend on the image"]


def test_an_analysis_that_failed_everywhere_has_no_overview(analysed):
    assert shown([replace(r, status="failed", analysis=None, accuracy={}) for r in analysed]) == []


def test_runs_that_were_cut_off_show_costs_and_no_accuracy(record):
    runs = [with_key(record(m, accuracy={}, step_seconds=(t,) * 6, load_seconds=0, extract_seconds=0.0, train_images_seen=24,
                            peak_bytes=b), steps=6)
            for m, t, b in (("coop", 0.4, 10**9), ("skip_tuning", 0.1, 10**8))]  # fmt: skip
    text = page(runs)
    assert "<strong>skip_tuning</strong> has the quickest epoch, extraction included, <b>2.00 s</b>" in text
    assert "<strong>coop</strong> takes 8.00 s, 4.0 times as much" in text
    assert 'id="s1-datasets"' not in text
    assert "accuracies mean nothing" in text


def test_shots_of_which_nothing_finished_have_a_table_and_no_curve(shots):
    (overview,) = shown([replace(r, status="failed", accuracy={}) for r in shots])
    assert overview.charts == ()


def test_records_of_one_suite_with_unlike_tests_break_nothing(record, gpu):
    from reports.findings.comparison import compare

    unlike = [
        with_key(record("coop", "digits", suite="mine"), shots=1),
        with_key(record("coop", "digits", suite="mine", accuracy={"digits": 0.0}), shots=4),
        record("zero_shot", "digits", suite="mine", accuracy={"digits": 100.0}, environment=gpu),
        record("coop", "digits", suite="mine", accuracy={"shapes": 50.0}, environment=gpu, windows={}),
    ]
    assert page(unlike)
    other = [with_key(unlike[0], shots=4), *unlike[2:]]
    assert compare(unlike[1:2], other[:1]) == ([], ["No run of mine is in both with the same tests."])
