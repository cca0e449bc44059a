"""The rule that chooses the demo recipes' learning rates, and that the recipes are those it chose."""

import json
import re
from pathlib import Path

import pytest

from harness.recipe import Recipe
from suites.demo.recipes import GRID, MARGIN_POINTS, SEEDS, Score, changes, choose, page, score, settings, trained

PAGE = Path(__file__).parents[2] / "docs" / "demo-recipes.md"


def scores(*of_h, learned=GRID):
    return {
        rate: Score(h, h + 10, h - 10, MARGIN_POINTS if rate in learned else 0.9 * MARGIN_POINTS)
        for rate, h in zip(GRID, of_h, strict=True)
    }


def test_the_highest_h_is_chosen_and_the_lowest_rate_of_equals():
    assert choose(scores(70, 72, 71, 60, 71)) == GRID[1]
    assert choose(scores(70, 72, 72, 60, 71)) == GRID[1]


def test_rates_at_which_nothing_was_learned_count_only_where_all_are_such():
    assert choose(scores(72, 71, 70, 69, 70, learned=GRID[2:])) == GRID[2]
    assert choose(scores(72, 71, 70, 69, 70, learned=())) == GRID[0]


def test_a_score_is_of_all_runs_and_its_gain_that_of_the_least_dataset():
    zero_shot = {"digits": [(80.0, 60.0)] * 2, "scenes": [(60.0, 60.0)] * 2}
    found = score({"digits": [(80.0, 60.0), (84.0, 56.0)], "scenes": [(70.0, 70.0)] * 2}, zero_shot)
    assert (found.base, found.new, found.gain_points) == (76.0, 64.0, 2.0)
    assert found.h == pytest.approx((2 * 80 * 60 / 140 + 2 * 84 * 56 / 140 + 70 + 70) / 4)


def test_a_group_keeps_its_ratio_to_the_first_rate():
    recipe = Recipe(epochs=1, learning_rate=0.002, learning_rates={"head": 0.013})
    changed = settings("dept", recipe, 0.004)
    assert changed["dept.learning_rate"] == "0.004"
    assert json.loads(changed["dept.learning_rates"]) == pytest.approx({"head": 0.026})
    assert settings("coop", Recipe(epochs=1, learning_rate=0.002), 0.004) == {"coop.learning_rate": "0.004"}


def test_the_page_has_every_score_and_what_was_chosen():
    text = page({"coop": scores(72, 71, 70, 69, 70.5, learned=GRID[1:])}, Score(68, 67, 69, 0))
    *_, head, _, row = text.splitlines()
    assert row.startswith("| `coop` | *72.0 (82.0, 62.0)* | 71.0 (81.0, 61.0) |")
    assert row.endswith(f"| 70.5 (80.5, 60.5) | {GRID[1]} |")
    assert len(head.split("|")) == len(row.split("|"))
    assert "68.0 (67.0, 69.0)" in text


def test_a_recipe_with_another_rate_is_named():
    recipes = {"coop": Recipe(epochs=1, learning_rate=GRID[0]), "maple": Recipe(epochs=1, learning_rate=GRID[1])}
    told = list(changes(dict.fromkeys(recipes, scores(70, 72, 71, 60, 60)), recipes))
    assert told == [f"coop: the rule chooses {GRID[1]}, its demo recipe has {GRID[0]}."]


def test_every_demo_recipe_has_the_rate_that_the_page_says():
    chosen = {m[1]: float(m[2]) for m in re.finditer(r"^\| `(\w+)` .*\| (\S+) \|$", PAGE.read_text("utf-8"), re.M)}
    ours = {name: recipe.learning_rate for name, recipe in trained().items() if name in chosen}
    assert ours == chosen
    assert len(chosen) == 14


def test_the_seeds_are_not_those_of_tables():
    assert not set(SEEDS) & {1, 2, 3}
