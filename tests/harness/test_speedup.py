"""Reference and fast in turns: raw pairs, their ratio, and what can't be measured."""

import json

import pytest

from harness.errors import ConfigError
from harness.method import Classes
from harness.plan import Request, plan
from harness.probes.speedup import Speedup, measure

CLASSES = Classes(tuple(f"kind {i} of dog" for i in range(12)), {"clip": "a photo of a {}."})


def key_of(method):
    return plan(Request(suite="cost", methods=[method], backbone="demo-clip", shots=[1]), "published")[0].key


def test_ratios_are_of_pairs_and_the_interval_holds_their_median():
    speed = Speedup(reference_seconds=(4.0, 9.0, 2.0, 8.0), fast_seconds=(2.0, 3.0, 1.0, 2.0))
    assert speed.ratios.tolist() == [2, 3, 2, 4]
    assert speed.median == 2.5
    assert speed.interval == (2.0, 4.0)


@pytest.mark.parametrize("part", ["text", "step", "live-step", "epoch"])
def test_the_fast_execution_of_coop_is_faster_in_every_part(part):
    speed = measure(key_of("coop"), CLASSES, part, pairs=3)
    assert len(speed.reference_seconds) == len(speed.fast_seconds) == 3
    assert speed.median > 1


def test_the_text_of_a_method_whose_classes_depend_on_the_image_is_measured_too():
    assert measure(key_of("cocoop"), CLASSES, "text", pairs=3).median > 1


@pytest.mark.parametrize(
    ("method", "part", "why"), [("zero_shot", "step", "no steps"), ("clip_adapter", "text", "--part")]
)
def test_what_a_method_lacks_is_advised(method, part, why):
    with pytest.raises(ConfigError, match=why):
        measure(key_of(method), CLASSES, part, pairs=3)


def test_the_command_prints_raw_pairs_and_goes_on_after_a_method_without_steps(adaptbench_here):
    words = "zero_shot,coop --backbone demo-clip --classes 6 --part text --pairs 3 --json"
    done = adaptbench_here("speedup", *words.split())
    assert done.returncode == 0
    assert "zero_shot: 'zero_shot' trains in no steps" in done.stdout
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert list(found["methods"]) == ["coop"]
    assert len(found["methods"]["coop"]["fast_seconds"]) == 3


def test_an_unknown_part_is_advised(adaptbench_here):
    done = adaptbench_here("speedup", "coop", "--part", "txt")
    assert done.returncode == 2
    assert "Did you mean 'text'" in done.stderr
