"""What a request comes to: runs in order, recipes from their rows, settings as their fields' types."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from harness import plugins
from harness.data.few_shot import classnames
from harness.errors import ConfigError
from harness.installed import entry_points
from harness.plan import Request, build_method, conflicts_of, doubts, plan
from harness.recipe import Recipe, resolve
from harness.runs.job import repeat_command
from harness.suite import Folders, Suite, Task, Test

METHODS = ["zero_shot", "full_finetuning", "coop", "clip_adapter", "skip_tuning"]
PUBLISHED = [
    "imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101",
    "fgvc_aircraft", "sun397", "dtd", "eurosat", "ucf101",
]  # fmt: skip


def runs(group="demo", **request):
    return plan(Request(suite="base2new", **request), group)


def one(method, dataset, **request):
    (run,) = runs(methods=[method], datasets=[dataset], seeds=[1], **request)
    return run


class TestBaseToNew:
    def test_the_published_datasets_are_11_tasks_a_method_and_seed(self):
        keys = [run.key for run in runs("published")]
        assert len(keys) == 5 * 3 * 11
        assert set(Counter((key.method, key.seed) for key in keys).values()) == {11}
        assert {key.dataset for key in keys} == set(PUBLISHED)
        assert len({(key.method, key.seed, key.dataset) for key in keys}) == 165

    def test_datasets_are_outermost_and_seeds_innermost(self):
        order = [(run.key.dataset, run.key.method, run.key.seed) for run in runs("published")]
        assert order == [(d, m, s) for d in PUBLISHED for m in METHODS for s in (1, 2, 3)]

    def test_a_run_trains_on_the_base_half_and_tests_both(self):
        for run in runs("published"):
            key = run.key
            assert key.classes == "base"
            assert key.tests == (f"{key.dataset}/base", f"{key.dataset}/new")
            assert (key.shots, key.backbone, key.precision, key.execution) == (16, "demo-clip", "fp32", "fast")

    def test_the_demo_group_is_three_datasets(self):
        datasets = list(dict.fromkeys(run.key.dataset for run in runs()))
        assert len(datasets) == 3
        assert all(plugins.load("dataset", name).group == "demo" for name in datasets)

    def test_the_same_request_gives_the_same_plan(self):
        assert runs("published") == runs("published")


class TestChoice:
    def test_groups_and_names_mix_and_each_task_is_taken_once(self):
        chosen = runs(datasets=["eurosat", "published", "demo-digits", "eurosat"], methods=["coop"], seeds=[1])
        assert [r.key.dataset for r in chosen] == ["eurosat", *(d for d in PUBLISHED if d != "eurosat"), "demo-digits"]

    def test_a_dataset_of_no_group_of_the_suite_can_be_named(self):
        assert one("coop", "demo-letters").key.tests == ("demo-letters/base", "demo-letters/new")

    def test_methods_seeds_and_shots_are_taken_in_the_order_given(self):
        chosen = runs(datasets=["dtd"], methods=["coop", "zero_shot", "coop"], seeds=[5, 2], shots=[4, 1])
        assert [(r.key.shots, r.key.method, r.key.seed) for r in chosen] == [
            (shots, method, seed) for shots in (4, 1) for method in ("coop", "zero_shot") for seed in (5, 2)
        ]

    def test_all_is_every_registered_method(self):
        chosen = runs(datasets=["dtd"], methods=["all"], seeds=[1])
        assert [r.key.method for r in chosen] == plugins.names("method")

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            ({"methods": ["skip_tunin"]}, r"no method 'skip_tunin'(?s:.*)Did you mean 'skip_tuning'"),
            ({"datasets": ["eurosta"]}, r"no dataset or group 'eurosta'(?s:.*)Did you mean 'eurosat'"),
            ({"datasets": ["publised"]}, r"Did you mean 'published'"),
        ],
        ids=str,
    )
    def test_unknown_names_are_answered_with_a_near_one(self, request_, message):
        with pytest.raises(ConfigError, match=message):
            runs(**request_)

    def test_an_unknown_suite_too(self):
        with pytest.raises(
            ConfigError, match=r"no suite 'base2knew'(?s:.*)Did you mean 'base2new'(?s:.*)module:attribute"
        ):
            plan(Request(suite="base2knew"), "demo")


class TestRecipes:
    @pytest.mark.parametrize("dataset", PUBLISHED)
    def test_skip_tunings_published_rows(self, dataset):
        run = one("skip_tuning", dataset)
        large = dataset in ("imagenet", "sun397", "food101")
        recipe = run.key.recipe
        assert recipe.epochs == (5 if large else 20)
        assert run.recipe_row == (dataset if large else "default")
        assert (recipe.batch_size, recipe.learning_rate, recipe.learning_rates) == (4, 2e-5, {"image": 5e-6})
        assert (recipe.warmup_epochs, recipe.warmup_learning_rate) == (1, 1e-6)
        assert recipe.augmentation == "random-resized-crop-flip"

    @pytest.mark.parametrize("dataset", ["eurosat", "demo-digits"])
    @pytest.mark.parametrize("method", METHODS)
    def test_demo_rows_are_for_demo_datasets_only(self, method, dataset):
        run = one(method, dataset)
        has_demo_row = "demo" in plugins.load("method", method).recipes
        assert (run.recipe_row == "demo") == (has_demo_row and dataset.startswith("demo-"))

    def test_the_published_recipes_of_the_others(self):
        recipes = {method: one(method, "eurosat").key.recipe for method in METHODS}
        assert not recipes["zero_shot"].trains
        ft = recipes["full_finetuning"]
        assert (ft.epochs, ft.batch_size, ft.learning_rate, ft.warmup_epochs) == (10, 4, 1e-5, 0)
        for name, epochs in (("coop", 200), ("clip_adapter", 100)):
            recipe = recipes[name]
            assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (epochs, 32, 2e-3)
            assert (recipe.warmup_epochs, recipe.warmup_learning_rate) == (1, 1e-5)
        for recipe in recipes.values():
            assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("sgd", 0.9, 5e-4)
            assert (recipe.test_batch_size, recipe.crop_scale_minimum) == (100, 0.08)

    def test_a_row_sets_the_methods_own_fields(self):
        assert one("coop", "eurosat").key.settings["context_length"] == 4
        demo = one("coop", "demo-digits").key
        assert (demo.settings["context_length"], demo.settings["context_init"]) == (4, "a photo of a")
        assert demo.recipe.settings == {}

    def test_the_most_specific_row_wins(self):
        order = ("c:s/d", "c:default", "s/d/4-shot", "s/d", "s/g", "d", "g", "s/4-shot", "s", "default")
        rows = {key: Recipe(epochs=i) for i, key in enumerate([*order, "s/16-shot", "s/d/1-shot", "s/other"])}
        for most in order:
            assert resolve(rows, "s", "d", "g", 4, "c") == (most, rows[most])
            del rows[most]


class TestSettings:
    def test_the_recipes_that_are_asked_for_are_taken_and_others_stay(self):
        (cost,) = runs(datasets=["dtd"], methods=["kgcoop"], seeds=[1], recipes="cost")
        assert (cost.recipe_row, cost.key.recipe.batch_size, cost.key.settings["weight"]) == ("cost:default", 32, 1.5)
        assert runs(datasets=["dtd"], methods=["maple"], recipes="cost") == runs(datasets=["dtd"], methods=["maple"])
        with pytest.raises(ConfigError, match=r"no recipes 'costs'(?s:.*)Did you mean 'cost'"):
            runs(datasets=["dtd"], methods=["kgcoop"], recipes="costs")

    def test_settings_become_their_fields_types(self):
        run = one(
            "skip_tuning",
            "eurosat",
            settings={
                "epochs": "3",
                "learning_rate": "1e-3",
                "learning_rates": '{"image": 0.5}',
                "start_layer": "4",
                "class_skip": "true",
                "warmup_learning_rate": "null",
                "warmup_epochs": "0",
                "top_ratio": "0.7",
            },
        )
        recipe, settings = run.key.recipe, run.key.settings
        assert (recipe.epochs, recipe.learning_rate, recipe.learning_rates) == (3, 1e-3, {"image": 0.5})
        assert recipe.warmup_learning_rate is None
        assert (settings["start_layer"], settings["class_skip"], settings["top_ratio"]) == (4, True, 0.7)
        method = build_method("skip_tuning", settings)
        assert (method.start_layer, method.class_skip) == (4, True)

    def test_a_setting_with_an_owner_is_that_methods_alone(self):
        chosen = runs(datasets=["dtd"], methods=["coop", "clip_adapter"], seeds=[1], settings={"coop.epochs": "7"})
        assert [r.key.recipe.epochs for r in chosen] == [7, 100]

    def test_a_field_of_one_selected_method_leaves_the_others_alone(self):
        chosen = runs(datasets=["dtd"], methods=["coop", "zero_shot"], seeds=[1], settings={"context_length": "4"})
        assert [r.key.settings.get("context_length") for r in chosen] == [4, None]

    def test_epochs_for_all_leave_a_method_without_training_alone(self):
        chosen = runs(datasets=["dtd"], methods=["coop", "zero_shot"], seeds=[1], settings={"epochs": "2"})
        assert [r.key.recipe.epochs for r in chosen] == [2, 0]

    def test_an_epoch_of_its_own_needs_a_learning_rate(self):
        with pytest.raises(ConfigError, match=r"without a learning rate(?s:.*)--set zero_shot.learning_rate"):
            one("zero_shot", "dtd", settings={"zero_shot.epochs": "2"})

    @pytest.mark.parametrize(
        ("setting", "value", "message"),
        [
            ("epoch", "3", r"--set epoch: no selected method(?s:.*)Did you mean 'epochs'"),
            ("coop.context_lenght", "3", r"Did you mean 'context_length'"),
            ("co.epochs", "3", r"no selected method 'co'(?s:.*)Did you mean 'coop'"),
            ("start_layer", "3", r"--set start_layer: no selected method or recipe has this setting"),
            ("epochs", "three", r"--set epochs=three: Input should be a valid integer(?s:.*)'coop'"),
            ("epochs", "-1", r"--set epochs=-1: Input should be greater than or equal to 0"),
            ("batch_size", "0", r"--set batch_size=0: "),
            ("optimizer", "lion", r"--set optimizer=lion: Input should be 'sgd', 'adam' or 'adamw'"),
            ("context_length", "4.5", r"--set context_length=4.5: "),
            ("class_position", "back", r"--set class_position=back: Input should be 'end', 'middle' or 'front'"),
            ("learning_rate", "null", r"trains without a learning rate"),
            ("context_length", "1000", r"context_init 'a photo of a' has 4 words(?s:.*)--set context_init="),
            ("context_init", "a b", r"has 2 words(?s:.*)context_length is 4"),
            ("minimum_learning_rate", "5", r"learning_rate=0.002 would rise to minimum_learning_rate=5"),
            ("learning_rate", "inf", r"learning_rate=inf: Input should be a finite number"),
            ("momentum", "1", r"momentum=1: Input should be less than 1"),
            ("epsilon", "1", r"epsilon=1 does not go with(?s:.*)the optimizer is sgd"),
            ("crop_scale_minimum", "2", r"less than or equal to 1"),
        ],
    )
    def test_wrong_settings_are_named(self, setting, value, message):
        with pytest.raises(ConfigError, match=message):
            one("coop", "dtd", settings={setting: value})

    @pytest.mark.parametrize(
        ("method", "settings", "message"),
        [
            ("clip_lora", {"epochs": "2"}, r"iterations_per_shot=500 is the length(?s:.*)iterations_per_shot=null"),
            ("coop", {"epochs": "1", "iterations": "8"}, r"epochs=1 does not go with(?s:.*)iterations=8 is the length"),
            ("coop", {"epochs": "1", "learning_rate": "1"}, r"all 1 epochs are warm-up: shorten warmup_epochs=1"),
            ("coop", {"epochs": "0", "batch_size": "1"}, r"it trains in no steps"),
            ("coop", {"warmup_epochs": "0", "warmup_learning_rate": "1"}, r"there is no warm-up: set warmup_epochs"),
            ("full_finetuning", {"warmup_epochs": "2"}, r"set warmup_learning_rate too"),
            ("coop", {"schedule": "constant", "schedule_period_epochs": "3"}, r"the schedule is constant"),
            ("coop", {"augmentation": "none", "crop_scale_minimum": "0.5"}, r"crops nothing at random"),
            ("skip_tuning", {"class_skip": "false", "top_ratio": "0.3"}, r"class_skip is off"),
            ("skip_tuning", {"top_ratio": "1", "decay": "0.3"}, r"with top_ratio=1 every step has all classes"),
            ("skip_tuning", {"layer_skip": "false", "start_layer": "3"}, r"layer_skip is off"),
            ("skip_tuning", {"top_ratio": "7"}, r"top_ratio=7: Input should be less than or equal to 1(?s:.*)top_ratio=0.5"),
            ("maple", {"context_length": "5"}, r"has 4 words, too few for context_length=5(?s:.*)--set context_init="),
            ("prograd", {"template_context": "true"}, r"context_init has to be empty"),
            ("tcp", {"new_classes_epoch": "60"}, r"training ends after 50 epochs"),
            ("tip_adapter", {"templates": '["a {}."]', "template_list": "clip"}, r"`templates` takes its place"),
            ("tip_adapter", {"templates": '["a"]'}, r"says once, by \{\}, where the class name goes"),
            ("zero_shot", {"zero_shot.augmentation": "none"}, r"reads no training images"),
            ("zero_shot", {"epochs": "2"}, r"epochs=2 has no effect: the selected methods train in no steps"),
            ("zero_shot", {"template_list": "nosuch"}, r"have these lists of templates: (?s:.*)clip(?s:.*)template_list=clip"),
            ("coprompt", {"descriptions": "nosuch.json"}, r"descriptions=nosuch.json: there is no such file"),
        ],
    )  # fmt: skip
    def test_settings_without_effect_and_contradictions_are_refused(self, method, settings, message):
        with pytest.raises(ConfigError, match=message):
            one(method, "dtd", settings=settings)

    def test_a_template_has_no_effect_on_a_method_with_its_own(self):
        with pytest.raises(ConfigError, match=r"own, 'a photo of a \{\}.'(?s:.*)--set clip_lora.template="):
            one("clip_lora", "dtd", template="a {}.")
        assert one("clip_lora", "dtd", template="a {}.", settings={"clip_lora.template": ""}).key.template == "a {}."
        with pytest.raises(ConfigError, match="lists of templates: clip"):
            one("zero_shot", "dtd", template="a {}.", settings={"template_list": "fine-tuning"})

    def test_what_a_named_setting_says_is_not_said_again_by_an_unnamed_one(self):
        chosen = runs(datasets=["dtd"], methods=["coop", "clip_lora"], seeds=[1],
                      settings={"clip_lora.iterations": "9", "coop.batch_size": "5", "epochs": "7", "batch_size": "6"})  # fmt: skip
        recipes = [run.key.recipe for run in chosen]
        assert [(r.epochs, r.iterations, r.batch_size) for r in recipes] == [(7, None, 5), (0, 9, 6)]

    def test_warm_up_throughout_is_said(self):
        said = "coop: all 1 epochs are warm-up, at 1e-05 instead of 0.002: train longer, or without it (--set warmup_epochs=0)."
        assert doubts(one("coop", "dtd", settings={"epochs": "1"}).key) == [said]
        assert doubts(one("coop", "dtd").key) == []

    def test_every_row_of_every_card_goes_with_itself(self):
        for name in plugins.names("method"):
            method = plugins.load("method", name)
            for row, recipe in method.recipes.items():
                built = method(**recipe.settings)
                assert not (conflicts_of(built, recipe).keys() & recipe.settings.keys()), (name, row)


class TestPlugIns:
    def test_module_and_attribute_stand_for_a_name(self, tinyworld):
        (run,) = plan(
            Request(suite="tinyworld:SUITE", methods=["tinyworld:Scripted"], datasets=["tinyworld:COLOURS"]), "demo"
        )
        key = run.key
        assert (key.suite, key.method, key.dataset) == ("tiny", "tinyworld:Scripted", "tinyworld:COLOURS")
        assert key.tests == ("tinyworld:COLOURS/base", "tinyworld:COLOURS/new")
        assert build_method(key.method, key.settings) == tinyworld.Scripted()

    def test_what_is_installed_is_read_once(self, monkeypatch):
        reads = []
        monkeypatch.setattr(plugins, "entry_points", lambda *of: reads.append(1) or entry_points(*of))
        plugins._tables.cache_clear()
        for name in plugins.names("method"):
            assert plugins.load("method", name)
        assert len(reads) == 1

    def test_an_installed_plug_in_is_known_by_its_entry_points(self, tinyworld):
        assert plugins.names("suite")[-1] == "tiny" or "tiny" in plugins.names("suite")
        assert {"scripted"} == set(plugins.names("method")) - set(METHODS) - self.others()
        assert plugins.load("dataset", "tiny-colours") is tinyworld.COLOURS
        (run,) = plan(Request(suite="tiny", methods=["scripted"], seeds=[1]), "tiny")
        assert run.key.tests == ("tiny-colours/base", "tiny-colours/new")

    def others(self):
        """Methods that this project has beyond the first five."""
        import tomllib
        from pathlib import Path

        table = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        return set(table["project"]["entry-points"]["adaptbench.methods"])

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "no_such_module:X",
                r"'no_such_module:X' can't be imported from 'no_such_module'(?s:.*)install its package",
            ),
            ("tinyworld:Scriptd", r"'tinyworld' has no 'Scriptd'(?s:.*)It has: (?s:.*)Scripted"),
        ],
    )
    def test_a_plug_in_that_is_not_there_is_named(self, tinyworld, name, message):
        with pytest.raises(ConfigError, match=message):
            plan(Request(suite="tiny", methods=[name]), "tiny")

    def test_pyproject_is_what_is_registered(self):
        """After a change of the table the package wants installing anew; a test run on a stale one proves little."""
        import tomllib
        from pathlib import Path

        tables = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
        for kind in ("method", "suite", "dataset", "backbone", "command"):
            assert set(plugins.names(kind)) == set(tables[f"adaptbench.{kind}s"])


class TestCheckpoints:
    def test_a_file_is_labelled_by_name_and_digest_and_not_by_folder(self, tmp_path):
        labels = []
        for folder, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
            (tmp_path / folder).mkdir()
            path = tmp_path / folder / "mine.safetensors"
            path.write_bytes(content)
            labels.append(one("coop", "dtd", backbone="ViT-B-16", pretrained=str(path)).key.pretrained)
        digest = hashlib.sha256(b"one").hexdigest()[:12]
        assert labels[0] == labels[1] == f"mine.safetensors@{digest}"
        assert labels[2] != labels[0]
        assert str(tmp_path) not in json.dumps(labels)

    def test_a_tag_stays_a_tag(self):
        assert one("coop", "dtd", backbone="ViT-B-16", pretrained="openai").key.pretrained == "openai"
        assert one("coop", "dtd").key.pretrained is None


@pytest.mark.parametrize(
    "test", [Test("eurosat"), Test("eurosat", "base"), Test("random:10", "new")], ids=lambda t: t.key
)
def test_a_tests_key_names_it(test):
    assert Test.from_key(test.key) == test


def test_a_suite_may_name_datasets_from_a_source(tmp_path, monkeypatch):
    """Their tests are keyed by the names that the source gives them, and are found again by these."""
    for name in ("one", "two"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name / "0.png").write_bytes(b"")
    spec = f"folder:{tmp_path / 'pictures'}"
    suite = Suite(
        name="mine", question="?", tasks={"all": (Task(dataset=spec, tests=(Test(spec), Test(spec, "new"))),)},
        methods=("zero_shot",), seeds=(1,),
    )  # fmt: skip
    load = plugins.load
    monkeypatch.setattr("harness.plugins.load", lambda kind, name: suite if kind == "suite" else load(kind, name))
    (run,) = plan(Request(suite="mine"), "all")
    name = run.key.dataset
    assert name.startswith("folder:pictures@")
    assert run.key.tests == (name, f"{name}/new")
    assert [Test.from_key(test) for test in run.key.tests] == [Test(name), Test(name, "new")]
    assert run.sources == {name: spec}


def test_class_names_make_another_dataset_of_a_users_own(tmp_path):
    for code in ("n01440764", "n01443537"):
        for number in range(4):
            path = tmp_path / "fish" / code / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    file = tmp_path / "classnames.txt"
    file.write_text("n01440764 tench\nn01443537 gold fish\n")
    request = Request(
        suite="few-shot", methods=["zero_shot"], datasets=[f"folder:{tmp_path / 'fish'}"], shots=[1], seeds=[1]
    )
    (plain,) = plan(request, "demo")
    (run,) = plan(replace(request, class_names=str(file)), "demo")
    assert re.fullmatch(rf"{plain.key.dataset}:names=[0-9a-f]{{12}}", run.key.dataset)
    splits = run.dataset(run.key.dataset).read(Folders(None, tmp_path))
    assert classnames(splits) == ("tench", "gold fish")
    command = repeat_command(run, None, "cpu")
    assert "--class-names classnames.txt" in command
    assert str(tmp_path) not in command
    file.write_text("n01440764 tench\nn01443537 goldfish\n")
    with pytest.raises(ConfigError, match="has changed"):
        run.dataset(run.key.dataset)
    with pytest.raises(ConfigError, match="no dataset of your own"):
        plan(replace(request, datasets=["demo-digits"], class_names=str(file)), "demo")


@pytest.mark.parametrize(
    "test", [Test("dtd"), Test("dtd", "base"), Test("folder:/a/b"), Test("folder:/a/b", "new")], ids=str
)
def test_a_test_is_found_by_its_key(test):
    assert Test.from_key(test.key) == test
