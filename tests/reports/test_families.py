"""Suites of every shape: shots, executions, transfer that shares its runs, ablations, steps without a meaning."""

from dataclasses import replace

import pytest

from reports.families import overviews
from reports.groups import sections
from reports.page import row_styles
from reports.pictures import section_charts
from reports.tables import tables


def found(records):
    return [(section, tables(section)) for section in sections(records)]


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def with_key(record, **changes):
    return replace(record, key=replace(record.key, **changes))


@pytest.fixture
def shots(record):
    return [
        with_key(record(m, "a", s, suite="few-shot", accuracy={"a": level + 4 * i + s}), shots=k)
        for m, level in (("coop", 50), ("adapter", 55))
        for i, k in enumerate((1, 4, 16))
        for s in (1, 2, 3)
    ]


def test_shots_make_one_curve_a_method_and_one_table(shots):
    pairs = found(shots)
    assert [section.condition.shots for section, _ in pairs] == [1, 4, 16]
    (overview,) = overviews(pairs, row_styles(pairs))
    assert [c.title for c in overview.table.columns] == ["Method", "1-shot", "4-shot", "16-shot"]
    assert texts(overview.table) == [["adapter", "57.00", "61.00", "65.00"], ["coop", "52.00", "56.00", "60.00"]]
    assert all(row[3].best == (row[0].text == "adapter") for row in overview.table.rows)
    (chart,) = overview.charts
    assert chart.svg.count(">coop<") == 1


def test_a_number_of_shots_that_did_not_finish_is_absent_and_leaves_the_curve(shots):
    pairs = found([r for r in shots if (r.key.method, r.key.shots, r.key.seed) != ("coop", 16, 3)] + [
        replace(shots[8], status="failed", accuracy={})])  # fmt: skip
    (overview,) = overviews(pairs, row_styles(pairs))
    assert ["coop", "52.00", "56.00", "–"] in texts(overview.table)


def test_the_two_executions_stand_side_by_side(record):
    runs = [record(execution=e, seed=s, train_seconds=t, base=80 + s, peak_bytes=b, step_seconds=(t / 100,) * 5)
            for e, t, b in (("reference", 30.0, 400), ("fast", 10.0, 100)) for s in (1, 2)]  # fmt: skip
    pairs = found(runs)
    (overview,) = overviews(pairs, row_styles(pairs))
    assert texts(overview.table) == [
        ["coop", "±0", "30.0 s", "10.0 s", "3.00", "300 ms", "100 ms", "3.00", "400 B", "100 B", "4.00"]
    ]


def test_sections_that_differ_in_more_than_one_condition_are_no_family(record, gpu):
    assert overviews(found([record(execution="reference"), record(environment=gpu)]), {}) == []


def test_shared_runs_answer_the_questions_of_both_suites(record):
    accuracy = {"imagenet": 70.0, "caltech101": 90.0, "dtd": 50.0, "imagenetv2": 60.0, "imagenet_a": 40.0}
    pairs = found([record(dataset="imagenet", suite="cross-dataset", seed=s, accuracy=accuracy) for s in (1, 2)])
    averages = {section.condition.suite: found.line("coop")["target"] for section, found in pairs}
    assert averages == {"cross-dataset": 70, "domain-generalization": 50}
    assert [section.again for section, _ in pairs] == [False, True]
    assert set(pairs[1][1].units.index.unique("unit")) == {"imagenet", "imagenetv2", "imagenet_a"}


@pytest.fixture
def ablation(record):
    grid = [{"depth": d, "ratio": 0.5} for d in (2, 4, 6)] + [{"depth": 6, "ratio": r} for r in (0.1, 0.9)]
    return [record(settings={**s, "skip": True}, seed=i, base=80 + s["depth"]) for s in grid for i in (1, 2)]


def test_an_ablation_names_what_differs_from_the_usual_and_draws_each_setting(ablation):
    ((section, numbers),) = found(ablation)
    assert {row.label for row in section.rows} == {
        "coop", "coop (depth=2)", "coop (depth=4)", "coop (ratio=0.1)", "coop (ratio=0.9)"}  # fmt: skip
    drawn = section_charts("s", section, numbers, row_styles([(section, numbers)]))
    assert [c.title for c in drawn][-2:] == ["coop over depth", "coop over ratio"]


def test_runs_that_were_cut_off_show_costs_and_no_accuracy(record):
    from reports.page import page

    runs = [with_key(record(m, accuracy={"digits": 1.0}, step_seconds=(t,) * 6, peak_bytes=b), steps=6)
            for m, t, b in (("coop", 0.4, 10**9), ("skip_tuning", 0.1, 10**8))]  # fmt: skip
    shown = page(runs)
    assert (
        "<strong>skip_tuning</strong> has the quickest training step, <b>100 ms</b>; <strong>coop</strong> takes 400 ms"
        in shown
    )
    assert 'id="s1-datasets"' not in shown
    assert "accuracies mean nothing" in shown


def test_shots_of_which_nothing_finished_have_a_table_and_no_curve(shots):
    pairs = found([replace(r, status="failed", accuracy={}) for r in shots])
    (overview,) = overviews(pairs, row_styles(pairs))
    assert overview.charts == ()


def test_records_of_one_suite_with_unlike_tests_break_nothing(record, gpu):
    from reports.compare import compare
    from reports.page import page

    unlike = [
        with_key(record("coop", "digits", suite="mine"), shots=1),
        with_key(record("coop", "digits", suite="mine", accuracy={"digits": 0.0}), shots=4),
        record("zero_shot", "digits", suite="mine", accuracy={"digits": 100.0}, environment=gpu),
        record("coop", "digits", suite="mine", accuracy={"shapes": 50.0}, environment=gpu, windows={}),
    ]
    assert page(unlike)
    other = [with_key(unlike[0], shots=4), *unlike[2:]]
    assert compare(unlike[1:2], other[:1]) == ([], ["No run of mine is in both with the same tests."])
