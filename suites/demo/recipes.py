"""Which learning rate each method's demo recipe has: ``python -m suites.demo.recipes``. Runs what the results folder lacks.

One rule for all, `choose`: of one grid, the rate with the highest H among those that teach the method something, by seeds that no
table has. Lengths and batches are set by what a laptop can do; the rate is all that is searched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, harmonic_mean

from harness import plugins
from harness.errors import DataError
from harness.files import cache_folder
from harness.plan import Request, plan
from harness.recipe import Recipe
from harness.runs.store import Store

GRID = (0.001, 0.002, 0.005, 0.01, 0.02)
DATASETS = ("demo-digits", "demo-scenes")
SEEDS = (11, 12)
"""Tables of the project have seeds 1, 2 and 3."""
MARGIN_POINTS = 1.0
"""A method has learned something on a dataset where its base accuracy is that much above zero-shot's."""

_HEAD = """# The recipes of the demo datasets

Written by `nox -s demo-recipes`. Backbone and datasets are ours, so no published recipe fits them. Every method that trains by
gradient steps got its learning rate by one rule: **of the rates at which its mean base accuracy is at least {margin:g} point above
zero-shot's on every dataset (of all rates, where none is so), the one with the highest mean H, and of equals the lowest.** By H
alone, a method whose training costs new classes more than it gives base ones would get the rate at which it stays zero-shot, and a
first report would show nothing of it.

- Rates: {grid}, for every method. Where a group of weights has a rate of its own, it keeps its
  ratio to the first.
- Runs: base-to-new on {datasets}, 16 shots, seeds {seeds}; no table has these seeds. H is the
  harmonic mean of base and new accuracy in percent, averaged over datasets and seeds.
- Not searched: lengths and batches, which are what a laptop does in seconds, and everything else that a method's default row has.
- H is that of the datasets' own test images: what the demo shows is how methods compare in a small world that all were fitted to by
  one rule, not what they reach elsewhere.

Zero-shot has H {zero_shot}. In brackets: base and new accuracy, means over datasets and seeds. In italics: rates at which the
method did not learn enough. Where that is a whole row, the method stays near zero-shot at its demo length, whatever the rate.

| method |{rates} chosen |
|---|{lines}---|"""


@dataclass(frozen=True)
class Score:
    """Means over datasets and seeds, in percent; `gain_points` is base accuracy above zero-shot's, where that is least."""

    h: float
    base: float
    new: float
    gain_points: float

    @property
    def learned(self) -> bool:
        return self.gain_points >= MARGIN_POINTS


def trained() -> dict[str, Recipe]:
    """The demo recipes that take gradient steps, by method."""
    cards = {name: plugins.load("method", name) for name in plugins.names("method")}
    rows = {name: card.recipes["demo"] for name, card in cards.items() if "demo" in card.recipes}
    return {name: recipe for name, recipe in rows.items() if recipe.trains}


def settings(name: str, recipe: Recipe, rate: float) -> dict[str, str]:
    """What ``--set`` makes of a demo recipe: this learning rate, and groups of weights in the same ratio to it."""
    assert recipe.learning_rate is not None
    changed = {f"{name}.learning_rate": str(rate)}
    if recipe.learning_rates:
        groups = {group: own / recipe.learning_rate * rate for group, own in recipe.learning_rates.items()}
        changed[f"{name}.learning_rates"] = json.dumps(groups)
    return changed


def run(results: Path, cache: Path, methods: Iterable[str], changed: Mapping[str, str]) -> None:
    """Do the runs that `results` lacks, through the command line. Raises DataError if one fails."""
    options = {"methods": methods, "datasets": DATASETS, "seeds": map(str, SEEDS)}
    chosen = [text for option, values in options.items() for text in (f"--{option}", ",".join(values))]
    chosen += [text for key, value in changed.items() for text in ("--set", f"{key}={value}")]
    folders = ["--results", str(results), "--cache", str(cache)]
    if subprocess.run([sys.executable, "-m", "harness", "run", "base2new", *chosen, *folders]).returncode:
        raise DataError("not all runs ended well.", "Their reasons are above; the same command goes on from there.")


Pairs = Mapping[str, Sequence[tuple[float, float]]]
"""Base and new accuracy in percent, one pair per seed, by dataset."""


def read(results: Path, name: str, changed: Mapping[str, str]) -> Pairs:
    """A method's accuracies with these settings. Raises DataError if a record is missing or has failed."""
    store = Store(results)
    request = Request(suite="base2new", methods=[name], datasets=DATASETS, seeds=SEEDS, settings=changed)
    found: dict[str, list[tuple[float, float]]] = {}
    for planned in plan(request, "demo"):
        record = store.find(planned.key)
        if record is None or record.status != "ok":
            raise DataError(
                f"{results} has no finished run of {name} on {planned.key.dataset} with {dict(changed)}.",
                "Run python -m suites.demo.recipes, which does what is missing.",
            )
        base, new = (record.accuracy[test].accuracy_percent for test in planned.key.tests)
        found.setdefault(planned.key.dataset, []).append((base, new))
    return found


def score(pairs: Pairs, zero_shot: Pairs) -> Score:
    """What accuracies come to, beside those without training."""
    every = [pair for of_dataset in pairs.values() for pair in of_dataset]
    gains = [_base(of_dataset) - _base(zero_shot[name]) for name, of_dataset in pairs.items()]
    base, new = map(fmean, zip(*every, strict=True))
    return Score(fmean(map(harmonic_mean, every)), base, new, min(gains))


def _base(pairs: Sequence[tuple[float, float]]) -> float:
    return fmean(base for base, _ in pairs)


def choose(scores: Mapping[float, Score]) -> float:
    """Of the rates at which something was learned, or of all where there is none: that with the highest H; the lowest of equals."""
    rates = sorted(rate for rate, of_rate in scores.items() if of_rate.learned) or sorted(scores)
    return max(rates, key=lambda rate: scores[rate].h)


def page(scores: Mapping[str, Mapping[float, Score]], zero_shot: Score) -> str:
    """The whole page, in Markdown."""
    head = _HEAD.format(
        margin=MARGIN_POINTS,
        grid=", ".join(map(str, GRID)),
        datasets=" and ".join(DATASETS),
        seeds=" and ".join(map(str, SEEDS)),
        zero_shot=_text(zero_shot),
        rates="".join(f" {rate} |" for rate in GRID),
        lines="---|" * len(GRID),
    )
    return "\n".join([head, *(_row(name, of_rate) for name, of_rate in scores.items()), ""])


def _row(name: str, scores: Mapping[float, Score]) -> str:
    cells = [_text(scores[rate]) if scores[rate].learned else f"*{_text(scores[rate])}*" for rate in GRID]
    return f"| `{name}` | {' | '.join(cells)} | {choose(scores)} |"


def _text(of_rate: Score) -> str:
    return f"{of_rate.h:.1f} ({of_rate.base:.1f}, {of_rate.new:.1f})"


def changes(scores: Mapping[str, Mapping[float, Score]], recipes: Mapping[str, Recipe]) -> Iterable[str]:
    """The methods whose recipe has another rate than the rule chooses, in words."""
    for name, of_rate in scores.items():
        if choose(of_rate) != recipes[name].learning_rate:
            yield f"{name}: the rule chooses {choose(of_rate)}, its demo recipe has {recipes[name].learning_rate}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, read, write the page, and say which recipes have to change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="records (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    parser.add_argument("--page", type=Path, default=Path("docs/demo-recipes.md"), help="default: %(default)s")
    args = parser.parse_args(arguments)
    recipes = trained()
    wanted = {name: {rate: settings(name, recipe, rate) for rate in GRID} for name, recipe in recipes.items()}
    try:
        run(args.results, args.cache, ["zero_shot"], {})
        for rate in GRID:
            changed = {key: text for of_rate in wanted.values() for key, text in of_rate[rate].items()}
            run(args.results, args.cache, wanted, changed)
        zero_shot = read(args.results, "zero_shot", {})
        scores = {
            name: {rate: score(read(args.results, name, changed), zero_shot) for rate, changed in of_rate.items()}
            for name, of_rate in wanted.items()
        }
    except DataError as error:
        sys.exit(str(error))
    args.page.write_text(page(scores, score(zero_shot, zero_shot)), encoding="utf-8")
    print(*changes(scores, recipes), sep="\n")


if __name__ == "__main__":
    main()
