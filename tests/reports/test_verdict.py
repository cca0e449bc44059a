import html
import re
from dataclasses import replace

from reports.findings.verdict import verdict
from reports.results.section_results import section_results
from reports.results.sections import sections

OF_H = "H, the harmonic mean of base and new accuracy: "


def words(records):
    (section,) = sections(records)
    return html.unescape(re.sub(r"<[^>]*>", "", str(verdict(section_results(section)))))


def method(record, name, score, seconds=10.0, seeds=(1, 2, 3), wobble=0.0):
    percents = [score + (1 + wobble) * (s - 2) for s in seeds]
    return [record(name, seed=s, base=p, new=p, train_seconds=seconds) for s, p in zip(seeds, percents, strict=True)]


def test_a_clear_winner_and_what_the_quickest_gives_up(record):
    adapter = method(record, "adapter", 70, 4, wobble=0.1)
    text = words(method(record, "coop", 80, 60) + adapter + method(record, "zero_shot", 50, wobble=-1.0))
    assert text == (
        f"coop has the best {OF_H}80.00 (95 % interval 77.5–82.5, 3 seeds), 30.00 points above zero_shot, with adapter clearly "
        "behind it, by 10.00 points (p < 0.001). Training coop takes 1 min 00 s with a peak of 300 MiB; the quickest of all, "
        "adapter, needs 4.00 s, 15 times less, and is 10.00 points lower."
    )


def test_what_can_not_be_told_apart_is_tied_and_the_quickest_of_the_tied_is_named(record):
    wavering = [
        record("adapter", seed=s, base=79 + w, new=79 + w, train_seconds=30) for s, w in ((1, 3), (2, 0), (3, -3))
    ]
    text = words(method(record, "coop", 80, 60) + wavering + method(record, "quick", 20, 1, wobble=0.1))
    assert "statistically tied with adapter." in text
    assert "the quickest of those tied, adapter, needs 30.0 s, 2.0 times less, and is 1.00 points lower." in text
    assert "clearly behind" not in text


def test_a_reference_that_is_tied_needs_no_training_at_all(record):
    wavering = method(record, "adapter", 79.5, 4, wobble=-2.0)
    text = words(method(record, "coop", 80, 60, wobble=0.5) + wavering + method(record, "zero_shot", 79, wobble=-1.0))
    assert "1.00 points above zero_shot, statistically tied with adapter and zero_shot. Training coop" in text
    assert text.endswith(
        "a peak of 300 MiB; zero_shot, which needs no training, can't be told from it and is 1.00 points lower."
    )


def test_of_many_that_are_tied_four_are_named(record):
    even = [r for i in range(6) for r in method(record, f"m{i}", 79, wobble=0.1 * i)]
    text = words(method(record, "coop", 79.01, wobble=-3.0) + even)
    assert "statistically tied with m0, m1, m2, m3 and 2 more." in text


def test_one_seed_says_that_the_order_is_not_sure(record):
    text = words(method(record, "coop", 80, seeds=(1,)) + method(record, "adapter", 79, seeds=(1,)))
    assert text.startswith(f"coop has the best {OF_H}79.00 (1 seed), and, with too few seeds for a comparison")
    assert "interval" not in text
    assert "tied" not in text


def test_rows_of_one_seed_among_others_are_named(record):
    runs = method(record, "coop", 80) + method(record, "adapter", 60, wobble=0.1)
    tardy = method(record, "tardy", 79, seeds=(1,))
    assert (
        "with adapter clearly behind it, by 20.00 points (p < 0.001); of tardy, with one seed only, nothing"
        in words(runs + tardy)
    )
    later = method(record, "<later>", 79, seeds=(2,))
    tied = words(runs + method(record, "lora", 79.9, wobble=-2.0) + tardy + later)
    assert "tied with lora; of <later> and tardy, with one seed only, nothing can be said for sure. Training" in tied


def test_rows_with_other_seeds_than_the_best_are_named(record):
    other = [replace(r, key=replace(r.key, seed=r.key.seed + 3)) for r in method(record, "other", 79)]
    text = words(method(record, "coop", 80) + method(record, "adapter", 60, wobble=0.1) + other)
    assert "; of other, with too few seeds in common with the others, nothing can be said for sure. Training" in text


def test_an_incomplete_method_is_not_ranked(record):
    failed = [record("coop", seed=3, status="failed", accuracy={})]
    text = words(method(record, "coop", 90, seeds=(1, 2)) + failed + method(record, "adapter", 70))
    assert text.startswith(f"adapter is the only one to have finished every dataset, with {OF_H}70.00")
    assert words(failed) == "No method has finished every dataset, so none is ranked."


def test_the_reference_may_win(record):
    text = words(method(record, "coop", 60) + method(record, "zero_shot", 70))
    assert text.startswith(f"zero_shot has the best {OF_H}70.00 (95 % interval 67.5–72.5, 3 seeds)")
    assert "No adaptation here improves" in text


def test_suites_without_h_speak_of_accuracy(record):
    text = words([record(dataset="a", accuracy={"a": 70.0, "a/base": 80.0})])
    assert text.startswith("coop has the best average accuracy, 75.00 (1 seed).")


def test_names_are_escaped(record):
    (section,) = sections([record("<script>x</script>")])
    assert "<script>" not in verdict(section_results(section))
