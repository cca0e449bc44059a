"""The small pictures of a run: curves over its epochs and steps, bars over its classes and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import add

from harness.recipe import Recipe
from harness.records import RunRecord
from harness.training.schedule import learning_rate
from reports.format import units
from reports.format.text import plural, shown
from reports.results.classes import ByClass, Classes
from reports.results.sections import recipe_from_json, recipe_json

POINTS = 80
"""At most so many points of a curve are drawn, each the mean of its neighbours."""


@dataclass(slots=True)
class Trace:
    """A small curve or row of bars: its picture, what its axes run between (`x` from left, `y` from below), and that in words."""

    title: str
    svg: str
    x: tuple[str, str]
    y: tuple[str, str]
    words: str


def traces(record: RunRecord, classes: Classes) -> list[Trace]:
    """Every curve and row of bars that a record has the figures for."""
    by_test = (trace for test, results in classes.items() for trace in _classes(test, results))
    return [*_losses(record), *_rates(record), *_speeds(record), *by_test, *_analysis(record)]


def _losses(record: RunRecord) -> Iterator[Trace]:
    losses = [loss for loss in record.epoch_losses if loss is not None]
    if len(losses) > 1:
        unknown = len(record.epoch_losses) - len(losses)
        words = f"from {losses[0]:.3f} to {losses[-1]:.3f} in {plural(len(record.epoch_losses), 'epoch')}"
        words += f", {unknown} of them unknown" if unknown else ""
        yield _curve("Loss by epoch", losses, "epoch", "{:.3f}".format, words)


def _rates(record: RunRecord) -> list[Trace]:
    return _of_schedule(recipe_json(record.key.recipe), len(record.epoch_losses), len(record.step_seconds))


@lru_cache(maxsize=256)
def _of_schedule(recipe: str, epochs: int, steps: int) -> list[Trace]:
    """The learning rate by a recipe, given as JSON: the seeds of a method on a dataset have the same."""
    rates = _learning_rates(recipe_from_json(recipe), epochs, steps)
    if len(set(rates)) < 2:
        return []
    words = f"from {rates[0]:.3g} to {rates[-1]:.3g}, highest {max(rates):.3g}; from the recipe"
    return [_curve("Learning rate by epoch", rates, "epoch", "{:.3g}".format, words, from_zero=True)]


def _speeds(record: RunRecord) -> Iterator[Trace]:
    """By the images that a step sees on average: the last batch of an epoch may be smaller."""
    steps = record.step_seconds
    if record.train_images_seen and len(steps) > 1 and (quickest := min(steps)) > 0:
        images = record.train_images_seen / len(steps)
        speeds = [images / s for s in steps]
        slow, quick = units.rate(images / max(steps)), units.rate(images / quickest)
        words = f"from {slow} to {quick} images/s in {plural(len(steps), 'step')}"
        yield _curve("Images a second, step by step", speeds, "step", units.rate, words, from_zero=True)


def _learning_rates(recipe: Recipe, epochs: int, steps: int) -> list[float]:
    """The rate at the start of each epoch, by the recipe's schedule."""
    if not recipe.learning_rate or not epochs:
        return []
    steps = max(steps, epochs)
    return [learning_rate(recipe, recipe.learning_rate, e, e * steps // epochs, steps) for e in range(epochs)]


def _classes(test: str, results: ByClass) -> Iterator[Trace]:
    known = sorted([percent for percent in results.accuracy_percents if percent is not None])
    if known:
        words = f"from {known[0]:.0f} to {known[-1]:.0f} %, the middle one {known[len(known) // 2]:.0f} %"
        title = f"Accuracy by class, sorted: {shown(test, 40)}"
        yield Trace(title, _bars(known, 100.0), ("lowest class", "highest"), ("0 %", "100 %"), words)


def _analysis(record: RunRecord) -> Iterator[Trace]:
    """How far each block moved, and how many receive a gradient."""
    if record.analysis is None:
        return
    for tower, shift, blocks in (
        ("Image", record.analysis.image_shift, record.analysis.image_blocks_with_gradient),
        ("Text", record.analysis.text_shift, record.analysis.text_blocks_with_gradient),
    ):
        if shift and shift[-1]:
            relative = [s / shift[-1] for s in shift]
            gradient = "" if blocks is None else f"; {blocks} of {plural(len(shift), 'block')} receive a gradient"
            words = f"shift of each block over that of the last, {relative[0]:.2f} in the first{gradient}"
            title, x = f"{tower} tower: feature sensitivity", ("block 0", f"block {len(shift) - 1}")
            yield Trace(title, _bars(relative, max(relative)), x, ("0", f"{max(relative):.2f}"), words)


def _curve(
    title: str, values: Sequence[float], noun: str, text: Callable[[float], str], words: str, from_zero: bool = False
) -> Trace:
    """A line over epochs or steps."""
    drawn = _thinned(values)
    low, high = 0.0 if from_zero else min(drawn), max(drawn)
    down = 36 / ((high - low) or 1.0)
    line = _line_of(len(drawn)) % tuple([38 - down * (v - low) for v in drawn])
    return Trace(title, line, (f"{noun} 1", f"{noun} {len(values):,}"), (text(low), text(high)), words)


@cache
def _line_of(points: int) -> str:
    """A line through so many points side by side, whose heights are left to fill in."""
    across = 100 / max(points - 1, 1)
    return '<polyline points="' + "".join(f"{i * across:.1f},%.1f " for i in range(points)) + '"/>'


def _bars(values: Sequence[float], most: float) -> str:
    drawn = _thinned(values)
    heights = [40 - (h if (h := 38 * v / most) > 0.4 else 0.4) for v in drawn] if most else [39.6] * len(drawn)
    return _bars_of(len(drawn)) % tuple(heights)


@cache
def _bars_of(number: int) -> str:
    """So many bars side by side, whose upper ends are left to fill in."""
    wide = 100 / number
    return '<path d="M0 40' + "".join(f"V%.1fH{i * wide:.1f}" for i in range(1, number + 1)) + 'V40z"/>'


def _thinned(values: Sequence[float]) -> list[float]:
    size = -(-len(values) // POINTS)
    if size == 1:
        return list(values)
    whole = len(values) // size * size
    totals, rest = values[:whole:size], values[whole:]
    for i in range(1, size):
        totals = list(map(add, totals, values[i:whole:size]))
    found = [total / size for total in totals]
    return [*found, sum(rest) / len(rest)] if rest else found
