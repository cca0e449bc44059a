"""What a suite's answer may call a gain or a loss."""

import html
import re
from dataclasses import replace

import pytest
from fakes.eighteen import eighteen

from reports.findings.suite_answers import answer
from reports.results.section_results import section_results
from reports.results.sections import sections

SEEDS = (1, 2, 3)
WAVES = {1: -1.0, 2: 0.2, 3: 0.8}


def words(records):
    (section,) = sections(records)
    return html.unescape(re.sub(r"<[^>]*>", "", str(answer(section_results(section)))))


def method(record, name, base, new, wave=1.0, seeds=SEEDS):
    """Base scatters with the wave, new against it, so that the two are tested apart."""
    return [record(name, seed=s, base=base + wave * WAVES[s], new=new - wave * WAVES[s]) for s in seeds]


@pytest.fixture
def reference(record):
    return method(record, "zero_shot", 60.0, 60.0, wave=0.0)


def test_only_what_is_sure_counts_as_above_or_below(record, reference):
    runs = (
        reference + method(record, "coop", 90, 30) + method(record, "adapter", 90, 59) + method(record, "lora", 61, 85)
    )
    assert words(runs) == (
        "Of 3 adapted methods, 2 score above zero_shot on the classes trained on; 1 can't be told from it. "
        "On the other classes, 1 scores above it; 1 scores below it: coop (−30.00); 1 can't be told from it."
    )


def test_noise_is_neither_gain_nor_loss(record, reference):
    runs = reference + method(record, "coop", 60.3, 59.7) + method(record, "adapter", 59.8, 60.1)
    assert words(runs) == (
        "Of 2 adapted methods, none can be told from zero_shot on the classes trained on. "
        "On the other classes, none can be told from it."
    )


def test_the_more_methods_the_surer_each_has_to_be(record, reference):
    """A base gain of p = 0.030 is one for a single method, and none of two."""
    lone = reference + method(record, "coop", 63, 60)
    assert "1 scores above zero_shot on the classes trained on" in words(lone)
    assert "none can be told from zero_shot" in words(lone + method(record, "adapter", 60, 60))


def test_one_seed_says_which_way_it_points_and_that_nothing_is_sure(record):
    runs = [r for name, base, new in (("zero_shot", 60, 60), ("coop", 80, 50), ("adapter", 70, 61))
            for r in method(record, name, base, new, 0.0, seeds=(1,))]  # fmt: skip
    assert words(runs) == (
        "From 1 seed nothing can be said for sure. As it stands, 2 of 2 adapted methods score above zero_shot on the classes "
        "trained on, and 1 below it on the other classes."
    )


def test_a_method_of_one_seed_is_told_apart_from_those_that_were_compared(record, reference):
    runs = reference + method(record, "coop", 90, 60) + method(record, "adapter", 60, 30)
    assert words(runs + method(record, "tardy", 90, 20, seeds=(1,))) == (
        "Of 3 adapted methods, 1 scores above zero_shot on the classes trained on; 1 can't be told from it. "
        "On the other classes, 1 scores below it: adapter (−30.00); 1 can't be told from it. "
        "Of tardy, with one seed only, nothing can be said for sure."
    )


def test_a_reference_of_one_seed_leaves_nothing_sure(record, reference):
    assert words(reference[:1] + method(record, "coop", 90, 60)).startswith("From 1 seed nothing can be said for sure.")


def test_a_transfer_is_asked_about_its_source_and_its_targets(record):
    runs = [
        record(name, suite="transfer", dataset="a", seed=s,
               accuracy={"a": source + scale * WAVES[s], "b": target + scale * WAVES[s], "c": target})
        for name, source, target, scale in (("zero_shot", 60.0, 60.0, 0), ("coop", 80.0, 40.0, 1)) for s in SEEDS
    ]  # fmt: skip
    assert words(runs) == (
        "Of 1 adapted method, 1 scores above zero_shot on what they were trained on. "
        "On the targets, 1 scores below it: coop (−20.00)."
    )


def test_without_one_complete_reference_there_is_no_answer(record, reference):
    coop = method(record, "coop", 80, 50)
    assert words(coop) == ""
    assert words([*coop, *reference[:2], record("zero_shot", seed=3, status="failed", accuracy={})]) == ""


def test_names_are_text(record, reference):
    (section,) = sections(reference + method(record, "<b>{0}{x}", 90, 20))
    assert "&lt;b&gt;{0}{x}" in answer(section_results(section))


def test_every_method_is_accounted_for(record, reference):
    runs = reference + method(record, "coop", 90, 30) + method(record, "adapter", 90, 59)
    probe = [record("probe", seed=s, base=80.0, new=60.0) for s in SEEDS]
    probe = [
        replace(r, accuracy={t: replace(a, answers_zero_shot=t.endswith("new")) for t, a in r.accuracy.items()})
        for r in probe
    ]
    broken = [record("broken", seed=s, status="failed", accuracy={}) for s in SEEDS]
    said = words(runs + probe + broken)
    assert said == (
        "Of 4 adapted methods, 2 score above zero_shot on the classes trained on; 1 can't be told from it; 1 has not finished "
        "(broken). On the other classes, 1 scores below it: coop (−30.00); 1 can't be told from it; 1 scores the same as it "
        "(probe)."
    )


def test_all_eighteen_methods_are_accounted_for(record, gpu):
    said = words(eighteen(record, gpu, details=False))
    trained, other = said.split(". On the other classes, ")
    assert trained.startswith("Of 17 adapted methods, ")
    for sentence, missing in ((trained.partition(", ")[2], 0), (other, 1)):  # the unfinished one stands in the first
        assert sum(map(int, re.findall(r"(?:^|; )(\d+|none)", sentence))) == 17 - missing
    assert "1 has not finished (provp)" in trained
    assert "4 score the same as it (tip_adapter_f, linear_probe, taskres and tip_adapter)" in other
