"""Recipes: the ten points where they were not the authors', a source for every field, and the settings of suites."""

import csv
import json
import re
import runpy
from collections import defaultdict
from pathlib import Path

import pytest

from harness import plugins
from harness.cli.list import list_
from harness.cli.plan import plan_
from harness.errors import ConfigError
from harness.plan import Request, plan
from harness.recipe import relevant_fields, source_of
from harness.suite import RECIPES
from methods._sources import REPOSITORIES
from suites.base2new import PUBLISHED

DOCS = Path(__file__).parents[2] / "docs"
METHODS = [name for name in plugins.names("method") if plugins.load("method", name).__module__.startswith("methods.")]
LARGE = {"imagenet", "sun397", "food101"}


def one(suite, method, dataset, shots=16, recipes=None):
    (run,) = plan(
        Request(suite=suite, methods=[method], datasets=[dataset], seeds=[1], shots=[shots], recipes=recipes),
        "published",
    )
    return run.key.recipe, run.key.settings


class TestTheAuthorsRows:
    """One test a row of the table of differences that was found by reading the authors' files."""

    @pytest.mark.parametrize("suite", ["base2new", "few-shot", "ablation", "analysis"])
    def test_skip_tuning_divides_its_epochs_by_4_on_large_datasets_in_every_suite(self, suite):
        whole = 40 if suite == "few-shot" else 20
        for dataset in PUBLISHED:
            runs = plan(Request(suite=suite, methods=["skip_tuning"], datasets=[dataset], shots=[16]), "published")
            assert {run.key.recipe.epochs for run in runs} == {whole // 4 if dataset in LARGE else whole}

    def test_skip_tuning_transfers_from_imagenet_with_5_of_20_epochs(self):
        recipe, _ = one("cross-dataset", "skip_tuning", "imagenet")
        assert (recipe.epochs, recipe.learning_rate, recipe.warmup_learning_rate) == (5, 1e-5, 1e-8)
        assert plugins.load("method", "skip_tuning").recipes["transfer"].epochs == 20

    @pytest.mark.parametrize("suite", ["base2new", "few-shot", "ablation", "analysis"])
    def test_coprompt_tip_adapter_f_and_tcp_have_a_datasets_values_in_every_suite(self, suite):
        _, settings = one(suite, "coprompt", "eurosat")
        assert (settings["prompt_depth"], settings["context_length"], settings["consistency_weight"]) == (12, 2, 0.1)
        assert one(suite, "coprompt", "food101")[0].epochs == 5
        assert one(suite, "tip_adapter_f", "eurosat")[0].epochs == 100
        assert one(suite, "tcp", "imagenet")[1]["new_classes_epoch"] == (0 if suite == "few-shot" else 25)

    def test_prograds_few_shot_epochs_follow_the_shots(self):
        epochs = [one("few-shot", "prograd", "caltech101", shots)[0].epochs for shots in (1, 2, 4, 8, 16)]
        assert epochs == [50, 100, 100, 200, 200]
        assert {one("few-shot", "prograd", "imagenet", shots)[0].epochs for shots in (1, 16)} == {50}
        assert one("base2new", "prograd", "imagenet")[0].epochs == 50
        assert one("base2new", "prograd", "dtd")[0].epochs == 100

    def test_coop_transfers_with_50_epochs_and_four_vectors_from_words(self):
        recipe, settings = one("cross-dataset", "coop", "imagenet")
        assert (recipe.epochs, settings["context_length"], settings["context_init"]) == (50, 4, "a photo of a")

    def test_coops_base_to_new_recipe_gave_its_published_accuracy(self):
        recipe, settings = one("base2new", "coop", "eurosat")
        assert (recipe.epochs, settings["context_length"], settings["context_init"]) == (200, 4, "a photo of a")
        assert one("base2new", "coop", "imagenet")[0].epochs == 50

    @pytest.mark.parametrize("dataset", ["imagenet", "sun397"])
    def test_tcp_trains_50_epochs_and_takes_new_classes_from_epoch_25(self, dataset):
        recipe, settings = one("base2new", "tcp", dataset)
        assert (recipe.epochs, recipe.schedule_period_epochs, settings["new_classes_epoch"]) == (50, None, 25)
        assert one("base2new", "tcp", "eurosat")[1]["new_classes_epoch"] == 0

    @pytest.mark.parametrize("method", ["lp_plus_plus", "tip_adapter", "tip_adapter_f"])
    def test_seven_templates_go_with_imagenet_and_its_variants_and_one_with_others(self, method):
        from harness.method import Classes

        list_ = plugins.load("method", method)().template_list
        counts = {
            name: len(Classes(("a",), plugins.load("dataset", name).templates).templates_of(list_))
            for name in ("imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r", "eurosat", "dtd")
        }
        assert counts == {
            **dict.fromkeys(("imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"), 7), "eurosat": 1, "dtd": 1,
        }  # fmt: skip

    def test_prograds_own_context_is_a_row(self):
        for suite, recipes in (("few-shot", None), ("base2new", "released"), ("base2new", "paper")):
            _, settings = one(suite, "prograd", "oxford_pets", recipes=recipes)
            assert (settings["context_length"], settings["context_init"], settings["template_context"]) == (
                16,
                "",
                True,
            )
        assert one("base2new", "prograd", "oxford_pets")[1]["context_length"] == 4

    def test_costs_have_the_recipes_of_the_cost_columns(self):
        recipe, settings = one("base2new", "kgcoop", "eurosat", recipes="cost")
        assert (recipe.batch_size, settings["weight"]) == (32, 1.5)
        recipe, settings = one("cross-dataset", "dept", "imagenet", recipes="cost")
        assert (settings["similarity_weight"], settings["weight"], settings["as_released"]) == (0.5, 1.5, True)
        recipe, _ = one("base2new", "coprompt", "food101", recipes="cost")
        assert (recipe.epochs, recipe.schedule_period_epochs) == (8, 5)
        assert one("few-shot", "coprompt", "eurosat", recipes="cost")[1]["prompt_depth"] == 12


class TestSources:
    def test_the_page_of_recipes_is_that_of_the_cards(self):
        page = runpy.run_path(str(DOCS / "recipes.py"))["page"]()
        assert (DOCS / "recipes.md").read_text(encoding="utf-8") == page, "Write it anew: python docs/recipes.py"

    def test_list_methods_name_prints_rows_fields_and_sources(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")  # which a pipe need not heed
        list_("methods", "kgcoop")
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["cost:default", "batch_size", "32", "Koorye/SkipTuning@8c4636e"] in [line[:4] for line in lines]
        assert ["weight", "1.5", "Koorye/SkipTuning@8c4636e", "train.py:117"] in lines
        with pytest.raises(ConfigError, match="adaptbench list methods kgcoop"):
            list_("suites", "kgcoop")

    @pytest.mark.parametrize("name", METHODS)
    def test_every_field_of_every_row_has_one(self, name):
        method = plugins.load("method", name)
        place = rf"(?:{'|'.join(REPOSITORIES.values())}) \S+:\d+"
        form = re.compile(rf"{place}(?:, {place})?|ours: .+")
        for row, recipe in method.recipes.items():
            for field in relevant_fields(method, recipe):
                source = source_of(method, row, field)
                assert source is not None, f"{row}: {field} has no source"
                assert form.fullmatch(source), f"{row}: {field} has the source {source!r}"
        assert set(method.sources) <= set(method.recipes)

    def test_one_line_of_one_file_says_one_value(self):
        said = defaultdict(set)
        for name in METHODS:
            method = plugins.load("method", name)
            for row, recipe in method.recipes.items():
                for field, value in relevant_fields(method, recipe).items():
                    source = source_of(method, row, field)
                    if not source.startswith("ours"):
                        said[source, field].add(repr(value))
        assert len(said) > 300
        assert {where: values for where, values in said.items() if len(values) > 1} == {}

    def test_what_stands_before_a_colon_can_be_asked_for(self):
        for name in METHODS:
            method = plugins.load("method", name)
            assert {row.partition(":")[0] for row in method.recipes if ":" in row} <= set(RECIPES)


SUITE_OF = {"base-to-new": "base2new", "few-shot": "few-shot", "transfer": "cross-dataset"}
AUTHORS = list(csv.DictReader((Path(__file__).parent / "authors_recipes.csv").read_text(encoding="utf-8").splitlines()))
"""Read off the authors' files by hand and by script, not from our recipes; ``*`` is every dataset, or every number of shots.

Of two lines on one field, the one that names the dataset or the shots counts, and of two such, the later.
"""


def planned(suite, capsys):
    """What ``plan --json`` prints of every method on the published datasets."""
    plan_(suite, methods=",".join(METHODS), datasets="published", seeds="1", as_json=True)
    runs = json.loads(capsys.readouterr().out)
    return {(run["method"], run["dataset"], str(run["shots"])): run for run in runs}


def expected(method, setting, dataset, shots):
    """{field: value} of the authors; a specific line after the general ones."""
    lines = [line for line in AUTHORS if (line["method"], line["setting"]) == (method, setting)]
    here = [line for line in lines if line["dataset"] in ("*", dataset) and line["shots"] in ("*", shots)]
    here.sort(key=lambda line: (line["dataset"] != "*") * 2 + (line["shots"] != "*"))
    return {line["field"]: line["value"] for line in here}


def ours(run, field):
    """A field of a planned run: the method's own by its name, else the recipe's; ``a.b`` is an entry of a mapping."""
    where, _, rest = field.partition(".")
    if where == "settings":
        return run["settings"][rest]
    value = run["settings"].get(where, run["recipe"].get(where))
    return value[rest] if rest else value


def alike(value, text):
    if isinstance(value, bool | str):
        return str(value) == text
    return float(value) == pytest.approx(float(text), rel=1e-9)


@pytest.mark.parametrize("setting", SUITE_OF)
def test_plans_of_the_published_suites_are_the_authors(setting, capsys):
    compared = 0
    for (method, dataset, shots), run in planned(SUITE_OF[setting], capsys).items():
        for field, text in expected(method, setting, dataset, shots).items():
            value = ours(run, field)
            assert alike(value, text), (
                f"{method} on {dataset}, {shots} shots: {field} is {value!r}, the authors' is {text}"
            )
            compared += 1
    assert compared > {"base-to-new": 2000, "few-shot": 6000, "transfer": 100}[setting]
