import re

from reports.groups import sections
from reports.tables import tables
from reports.verdict import verdict


def words(records):
    (section,) = sections(records)
    return re.sub(r"<[^>]*>", "", str(verdict(tables(section), len(section.datasets))))


def method(record, name, score, seconds=10.0, seeds=(1, 2, 3)):
    return [record(name, seed=s, base=score + s - 2, new=score + s - 2, train_seconds=seconds) for s in seeds]


def test_a_clear_winner_and_what_the_quickest_gives_up(record):
    text = words(method(record, "coop", 80, 60) + method(record, "adapter", 70, 4) + method(record, "zero_shot", 50))
    assert text == (
        "coop has the best H: 80.00 (sd 1.00 over 3 seeds), 30.00 points above zero_shot. adapter follows 10.00 points behind, "
        "more than the spread over seeds. Training coop takes 1 min 00 s with a peak of 300 MiB. The quickest of all, adapter, "
        "needs 4.00 s, 15 times less, and is 10.00 points lower."
    )


def test_within_the_spread_is_tied_and_the_quickest_of_the_tied_is_named(record):
    text = words(method(record, "coop", 80, 60) + method(record, "adapter", 79.1, 30) + method(record, "quick", 60, 1))
    assert "adapter is tied with it within the spread over seeds." in text
    assert "The quickest of those tied, adapter, needs 30.0 s, 2.0 times less." in text
    assert "follows" not in text


def test_one_seed_says_that_the_order_is_not_sure(record):
    text = words(method(record, "coop", 80, seeds=(1,)) + method(record, "adapter", 79, seeds=(1,)))
    assert text.startswith("coop has the best H: 79.00 (1 seed).")
    assert "With a single seed no spread is known" in text
    assert "sd" not in text


def test_an_incomplete_method_is_not_ranked(record):
    failed = [record("coop", seed=3, status="failed", accuracy={})]
    text = words(method(record, "coop", 90, seeds=(1, 2)) + failed + method(record, "adapter", 70))
    assert text.startswith("adapter has the best H: 70.00")
    assert words(failed) == "No method has finished every dataset, so none is ranked."


def test_the_reference_may_win(record):
    text = words(method(record, "coop", 60) + method(record, "zero_shot", 70))
    assert text.startswith("zero_shot has the best H: 70.00 (sd 1.00 over 3 seeds). No adaptation here improves")


def test_suites_without_h_speak_of_accuracy(record):
    text = words([record(accuracy={"a": 70.0, "b": 80.0})])
    assert text.startswith("coop has the best average accuracy: 75.00 (1 seed).")


def test_names_are_escaped(record):
    (section,) = sections([record("<script>x</script>")])
    assert "<script>" not in verdict(tables(section), 1)
