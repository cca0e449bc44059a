"""Tables of a section that no other file names: each seed by itself; and what is said of a row that has only one."""

from dataclasses import replace

import pytest
from fakes.eighteen import eighteen

from reports.results.section_results import section_results
from reports.results.sections import sections
from reports.results.titles import row_styles
from reports.tables.by_dataset import UNDECIDED, unit_table
from reports.tables.section_tables import FEW_SEEDS, GAP, headline, seed_table


def by_seed(records):
    """{(method, seed): (score, train time)}, each as its text or the reason for its absence."""
    (section,) = sections(records)
    found = section_results(section)
    table = seed_table("t", found, row_styles([found]))
    return {
        (method.text, int(seed.text)): tuple(table.notes[c.note - 1] if c.absent else c.text for c in figures)
        for method, seed, *figures in table.rows
    }


@pytest.fixture
def runs(record):
    """Accuracy 60, 70 by seed on digits and 20 more on shapes; training takes 10 s and 30 s."""
    return [
        record("coop", d, s, accuracy={d: 50 + 10 * s + more}, train_seconds=seconds)
        for d, more, seconds in (("digits", 0.0, 10.0), ("shapes", 20.0, 30.0))
        for s in (1, 2)
    ]


def test_a_seed_is_averaged_and_summed_over_all_datasets(runs):
    assert by_seed(runs) == {("coop", 1): ("70.00", "40.0 s"), ("coop", 2): ("80.00", "40.0 s")}


def test_h_of_a_seed_is_that_of_its_averages_as_in_the_headline(record):
    """digits: base 90, new 30; shapes: base 50, new 70. The mean of the datasets' H is 51.67."""
    runs = [
        record("coop", d, s, base=b + s, new=n + s)
        for d, b, n in (("digits", 89, 29), ("shapes", 49, 69))
        for s in (1, 3)
    ]
    assert by_seed(runs) == {("coop", 1): ("58.33", "20.0 s"), ("coop", 3): ("60.39", "20.0 s")}


@pytest.mark.parametrize("made", [True, False], ids=["failed", "never made"])
def test_a_seed_with_a_gap_shows_no_part_of_a_total(runs, made):
    *kept, last = runs
    failed = [replace(last, status="failed", accuracy={}, windows={})] if made else []
    assert by_seed(kept + failed) == {("coop", 1): ("70.00", "40.0 s"), ("coop", 2): (GAP, GAP)}


def test_a_dataset_that_a_row_lacks_altogether_is_a_gap_in_every_seed(runs, record):
    mine = record("mine", "digits", accuracy={"digits": 90.0})
    assert by_seed([*runs, mine])["mine", 1] == (GAP, GAP)
    assert by_seed([*runs, mine])["coop", 1] == ("70.00", "40.0 s")


def test_a_dataset_on_which_nothing_finished_is_a_gap(runs):
    failed = [replace(r, status="failed", accuracy={}, windows={}) for r in runs[2:]]
    assert set(by_seed(runs[:2] + failed).values()) == {(GAP, GAP)}


def test_no_training_is_its_own_reason(record):
    zero_shot = record("zero_shot", "digits", accuracy={"digits": 50.0})
    assert by_seed([zero_shot]) == {("zero_shot", 1): ("50.00", "This method trains nothing.")}


@pytest.fixture
def one_late(record):
    """coop and lora are tied; tardy has one seed."""
    runs = [record(m, seed=s, base=(v := level + w * (s - 2)), new=v)
            for m, level, w in (("coop", 80, 1.0), ("lora", 80.1, -1.0)) for s in (1, 2, 3)]  # fmt: skip
    return [*runs, record("tardy", seed=1, base=79, new=79)]


def test_a_row_of_one_seed_has_no_group_and_a_reason(one_late):
    (section,) = sections(one_late)
    found = section_results(section)
    table = headline("t", found, row_styles([found]))
    (place,) = (i for i, column in enumerate(table.columns) if column.title == "Group")
    groups = {row[0].text: row[place] for row in table.rows}
    assert (groups["coop"].text, groups["lora"].text, groups["tardy"].absent) == ("a", "a", True)
    assert table.notes[groups["tardy"].note - 1] == FEW_SEEDS


def by_dataset(records):
    (section,) = sections(records)
    found = section_results(section)
    return unit_table("t", found, row_styles([found]))


def test_by_dataset_a_row_of_one_seed_is_said_to_be_compared_with_none(one_late):
    assert by_dataset(one_late).legend.endswith(
        " Rows of one seed (tardy) are compared with none: they are never underlined, nor is any other where they are the best."
    )
    assert "Rows of one seed" not in by_dataset(one_late[:-1]).legend


def test_by_dataset_ties_go_by_the_score_and_a_dataset_says_from_which_difference(record, gpu):
    """On eurosat seeds scatter by 3 points. One method is never tied while another with a higher score is not."""
    table = by_dataset(eighteen(record, gpu, datasets=("eurosat", "imagenet"), details=False))
    assert [row[0].details for row in table.rows] == [("apart from 5.9 points",), ("apart from 0.3 points",)]
    for (_, *cells), points, most in zip(table.rows, (5.9, 0.3), (8, 1), strict=True):
        own = [cell for cell in cells if not cell.note]
        best = max(cell.value for cell in own)
        assert [cell.tied for cell in own] == [best - points < cell.value < best for cell in own]
        assert sum(cell.tied for cell in own) <= most


def test_by_dataset_nothing_is_marked_where_the_seeds_decide_nothing(one_late):
    (row,) = by_dataset(one_late[:-1]).rows
    assert row[0].details == (UNDECIDED,)
    assert not any(cell.tied for cell in row)
