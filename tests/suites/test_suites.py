"""The suites against the published protocols: what trains on what, what is tested, and how many runs that makes."""

import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness import plugins
from harness.plan import Request, plan
from harness.records import key_json
from suites.base2new import PUBLISHED

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
SUITES = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["adaptbench.suites"]
TEN = tuple(name for name in PUBLISHED if name != "imagenet")
FOUR = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")


def runs(suite, group="demo", **request):
    return plan(Request(suite=suite, **request), group)


def keys(suite, group="demo", **request):
    return [run.key for run in runs(suite, group, **request)]


def test_every_suite_is_registered_under_its_name_and_has_a_session():
    assert list(SUITES) == [
        "base2new", "cross-dataset", "domain-generalization", "few-shot", "cost", "ablation", "analysis",
    ]  # fmt: skip
    assert all(plugins.load("suite", name).name == name for name in SUITES)
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "-f", PROJECT.with_name("noxfile.py"), "--list"], capture_output=True, text=True
    ).stdout
    assert all(f" suite-{name}" in listed for name in SUITES)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("group", ["demo", "published"])
def test_every_suite_plans_by_default_on_either_group(suite, group):
    found = runs(suite, group)
    assert found
    assert len({key_json(run.key) for run in found}) == len(found)
    named = {name for run in found for name in (run.key.dataset, *(t.partition("/")[0] for t in run.key.tests))}
    assert {plugins.load("dataset", name).group for name in named} <= {group, "random"}


class TestTransfer:
    @pytest.mark.parametrize("suite", ["cross-dataset", "domain-generalization"])
    def test_one_source_and_fourteen_targets_three_trainings_a_method(self, suite):
        found = keys(suite, "published", methods=["coop"])
        assert [key.seed for key in found] == [1, 2, 3]
        for key in found:
            assert (key.dataset, key.classes, key.shots) == ("imagenet", "all", 16)
            assert key.tests == ("imagenet", *TEN, *FOUR)

    @pytest.mark.parametrize("group", ["demo", "published"])
    def test_both_suites_share_every_training(self, group):
        assert runs("cross-dataset", group) == runs("domain-generalization", group)
        assert {key.suite for key in keys("domain-generalization", group)} == {"cross-dataset"}

    def test_targets_tell_which_tests_answer_which_question(self):
        crossing, generalising = (plugins.load("suite", n) for n in ("cross-dataset", "domain-generalization"))
        assert (crossing.targets["published"], generalising.targets["published"]) == (TEN, FOUR)
        for group in ("published", "demo"):
            (task,) = crossing.tasks[group]
            tested = {test.dataset for test in task.tests}
            assert tested == {task.dataset, *crossing.targets[group], *generalising.targets[group]}

    def test_the_transfer_recipes_are_used(self):
        (run,) = runs("domain-generalization", "published", methods=["full_finetuning"], seeds=[1])
        assert (run.recipe_row, run.key.recipe.epochs) == ("transfer", 4)


def test_few_shot_is_five_shots_on_eleven_datasets():
    found = keys("few-shot", "published", methods=["coop"])
    assert len(found) == 11 * 5 * 3
    counts = Counter((key.dataset, key.shots) for key in found)
    assert counts == {(name, shots): 3 for name in PUBLISHED for shots in (1, 2, 4, 8, 16)}
    assert all(key.tests == (key.dataset,) and key.classes == "all" for key in found)


class TestCost:
    def test_each_method_runs_in_both_executions_side_by_side_at_full_size(self):
        found = keys("cost")
        pairs = list(zip(found[::2], found[1::2], strict=True))
        for reference, fast in pairs:
            assert fast == replace(reference, execution="fast")
            assert (reference.execution, reference.backbone, reference.pretrained) == (
                "reference", "ViT-B-16-quickgelu", "random",
            )  # fmt: skip
            assert reference.dataset == "random-images"
            assert reference.steps == 6

    def test_it_takes_the_recipes_behind_the_published_cost_columns(self):
        published = {
            "full_finetuning": (4, 10), "skip_tuning": (4, 20), "coop": (32, 100), "cocoop": (1, 10), "kgcoop": (32, 100),
            "prograd": (32, 100), "maple": (4, 5), "promptsrc": (4, 20), "tcp": (32, 50), "dept": (4, 10), "coprompt": (4, 8),
            "clip_adapter": (32, 100),
        }  # fmt: skip
        found = {key.method: key.recipe for key in keys("cost", methods=["all"])}
        assert {name: (found[name].batch_size, found[name].epochs) for name in published} == published

    def test_the_command_line_may_choose_otherwise(self):
        found = keys("cost", executions=["fast"], steps=20, methods=["coop"], datasets=["random:1000"])
        assert [(k.execution, k.steps, k.dataset, k.pretrained) for k in found] == [
            ("fast", 20, "random:1000", "random")
        ]
        assert keys("cost", backbone="demo-clip", methods=["coop"])[0].pretrained is None

    def test_random_images_have_classes_and_noise_that_depends_on_the_key(self):
        splits = plugins.load("dataset", "random:40").read(None)
        assert len({item.label for item in splits.train}) == 40
        assert (len(splits.train), len(splits.val), len(splits.test)) == (640, 0, 32)
        one, again, other = (splits.open(key) for key in ("train/0/0", "train/0/0", "train/0/1"))
        assert one.tobytes() == again.tobytes() != other.tobytes()
        assert one.size == (256, 256)


class TestAblation:
    def test_the_grids_are_the_papers_one_parameter_at_a_time(self):
        found = [key.settings for key in keys("ablation", seeds=[1])]
        usual = {"start_layer": 6, "top_ratio": 0.5, "decay": 0.3, "layer_skip": True, "class_skip": True}
        changes = [{name: s[name] for name in usual if s[name] != usual[name]} for s in found]
        one = [change for change in changes if len(change) == 1]
        assert sorted(c["start_layer"] for c in one if "start_layer" in c) == [2, 4, 8, 10]
        assert sorted(c["top_ratio"] for c in one if "top_ratio" in c) == [0.1, 0.3, 0.7, 0.9, 1.0]
        assert sorted(c["decay"] for c in one if "decay" in c) == [0.01, 0.1, 0.5, 0.7, 0.9, 1.0]
        assert changes.count({}) == 1
        assert [c for c in changes if len(c) == 2] == [{"layer_skip": False, "class_skip": False}]
        assert len(found) == 19

    def test_a_setting_of_a_varied_field_takes_the_place_of_the_grid(self):
        (key,) = keys("ablation", seeds=[1], settings={"start_layer": "3"})
        assert key.settings["start_layer"] == 3
        assert len(keys("ablation", seeds=[1], settings={"epochs": "2"})) == 19

    def test_the_command_of_a_variant_repeats_that_run_alone(self):
        from harness.runs.job import repeat_command

        run = next(run for run in runs("ablation", seeds=[1]) if run.key.settings["decay"] == 0.7)
        words = repeat_command(run, None, "cpu").split()
        assert "skip_tuning.decay=0.7" in words
        assert keys("ablation", seeds=[1], settings={"skip_tuning.decay": "0.7"}) == [run.key]


def test_the_analysis_looks_into_every_method():
    found = runs("analysis")
    assert all(run.analyse for run in found)
    assert [run.key.method for run in found] == plugins.names("method")
    assert not any(run.analyse for run in runs("base2new"))
