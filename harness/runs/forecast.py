"""How long planned runs will take here and how much memory they will hold, by what a results folder knows of this machine.

One source for all who ask: `adaptbench plan`, ``run --dry-run``, ``--max-hours``, and the time left that a suite shows. No torch.

A run is judged by the first of these that there is: runs of its kind (all but suite and seed alike) that this very suite has done;
runs of its kind recorded before, else a calibration of it, times how much slower this suite has been than those; runs of its
method with other data, scaled by the numbers of images, steps and classes. Else nothing is known, and nothing is said.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal, NamedTuple

from harness.data.sizes import Count, Sizes
from harness.plan import PlannedRun
from harness.records import RunKey, RunRecord
from harness.runs.observation import Observation, kind_of, observed

Source = Literal["records", "steps", "similar"]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected of a run, and by what: `count` records of its kind, the few steps of a calibration, or `count` similar runs.

    `why` is the reason of what is null: of everything, or of the bytes alone.
    """

    seconds: float | None = None
    peak_tensor_bytes: int | None = None
    peak_rss_bytes: int | None = None
    source: Source | None = None
    count: int = 0
    why: str | None = None


class _Way(NamedTuple):
    """How a run is done: the share of its test features that is there, and whether it counts its peak of tensors itself."""

    spared_share: float
    counting: bool


@dataclass(frozen=True)
class _Asked:
    """A run's key, and texts that it has in common with others: found once, as that takes longer than what is done with them."""

    key: RunKey
    kind: str
    likeness: str
    features: frozenset[str]


class Forecasts:
    """What is known of runs, and what it says of others; learns from each run that ends meanwhile."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        """sizes: of the data, where it is read."""
        self._before: defaultdict[str, list[Observation]] = defaultdict(list)
        self._here: defaultdict[str, list[Observation]] = defaultdict(list)
        self._of_method: defaultdict[str, list[Observation]] = defaultdict(list)
        self._sizes = Sizes() if sizes is None else sizes
        self._not_spared: dict[str, float] = {}
        self._extracted: set[str] = set()
        self._took = self._expected = self._longest = 0.0
        self._asked: dict[int, _Asked] = {}
        self._found: dict[tuple[str, _Way], Forecast] = {}

    def remember(self, observations: Iterable[Observation]) -> Forecasts:
        """What was known before the suite, of this machine."""
        for each in observations:
            self._before[kind_of(each.key)].append(each)
            self._longest = max(self._longest, each.seconds(0.0))
            self._note(each)
        self._found.clear()
        return self

    def learn(self, record: RunRecord) -> None:
        """A run of the suite has ended."""
        observation = observed(record)
        if observation is None:
            return
        kind = kind_of(observation.key)
        self._note(observation)
        if before := self._before.get(kind):
            self._took += self._median([observation], _Way(1.0, observation.counted))
            self._expected += self._median(before, _Way(1.0, observation.counted))
        self._here[kind].append(observation)
        self._found.clear()

    def of(self, runs: Sequence[PlannedRun]) -> list[Forecast]:
        """What is expected of each run, if they are done in this order: one extracts test features, for others to take over."""
        extracted, counted, found = set(self._extracted), {*self._here}, []
        for run in runs:
            asked = self._asked.get(id(run.key))
            if asked is None:  # the key is kept with it: no other gets its number
                asked = self._asked[id(run.key)] = _Asked(
                    run.key, kind_of(run.key), _likeness(run.key), _features(run.key)
                )
            share = self._share(asked, extracted)
            way = _Way(share, counting=asked.kind not in counted)
            counted.add(asked.kind)
            if (asked.kind, way) not in self._found:
                self._found[asked.kind, way] = self._of(asked, way)
            found.append(self._found[asked.kind, way])
            if any(each.shares for each in self._of_method.get(asked.likeness, ())):
                extracted |= asked.features
        return found

    @property
    def slowdown(self) -> float:
        """How many times as long as those before them this suite's runs have taken.

        As if one more, the longest known, had taken what was expected: a few short runs tell little.
        """
        return (self._took + self._longest) / (self._expected + self._longest) if self._expected else 1.0

    def _share(self, asked: _Asked, extracted: Set[str]) -> float:
        """Of a run's test images, those whose features are there; all or none where their numbers aren't known."""
        if asked.features.isdisjoint(extracted):
            return 0.0
        if asked.features <= extracted:
            return 1.0
        key = asked.key
        images = {test: count.images for test in key.tests if (count := self._sizes.tested_on.get(test)) is not None}
        if len(images) < len(key.tests):
            return 0.0
        there = sum(count for test, count in images.items() if _features_of(key, test) <= extracted)
        return there / max(1, sum(images.values()))

    def _note(self, observation: Observation) -> None:
        key = observation.key
        self._of_method[_likeness(key)].append(observation)
        self._sizes.tested_on |= observation.tested_on
        if observation.trained_on is not None:
            self._sizes.trained_on[key.dataset, key.classes, key.shots] = observation.trained_on
        if observation.spared_seconds is not None:
            self._not_spared |= dict.fromkeys(_features(key), observation.test_seconds - observation.spared_seconds)
        if observation.shares and observation.source == "record":
            self._extracted |= _features(key)

    def _of(self, asked: _Asked, way: _Way) -> Forecast:
        if here := self._here.get(asked.kind):
            return self._by(here, "records", way, 1.0)
        before = self._before.get(asked.kind, [])
        if recorded := [each for each in before if each.source == "record"]:
            return self._by(recorded, "records", way, self.slowdown)
        if before:
            return self._by(before, "steps", way, self.slowdown)
        return self._by_like_runs(asked, way)

    def _by(self, known: Sequence[Observation], source: Source, way: _Way, slowdown: float) -> Forecast:
        return Forecast(
            seconds=slowdown * self._median(known, way),
            peak_tensor_bytes=_highest(each.peak_tensor_bytes for each in known),
            peak_rss_bytes=_highest(each.peak_rss_bytes for each in known),
            source=source,
            count=len(known),
        )

    def _by_like_runs(self, asked: _Asked, way: _Way) -> Forecast:
        key, known = asked.key, self._of_method.get(asked.likeness)
        if not known:
            return Forecast(why=f"no run of {key.method} with these settings on {key.backbone} is known here")
        size = self._sizes.of(key)
        usable = [each for each in known if each.trained_on is not None and each.tested_on]
        if size is None or not usable:
            return Forecast(why=f"the runs known here don't tell the size of {key.dataset} and of its tests")
        like = _scaled(_nearest(usable, size[0]), key, *size, exponent=_exponent(usable))
        return Forecast(
            seconds=(1.0 if self._here else self.slowdown) * self._median([like], way),
            source="similar",
            count=len(usable),
            why="runs with other data tell nothing of memory",
        )

    def _median(self, known: Sequence[Observation], way: _Way) -> float:
        alike = [each for each in known if each.counted == way.counting] or known
        return median(self._with_spared(each).seconds(*way) for each in alike)

    def _with_spared(self, observation: Observation) -> Observation:
        """Of the first run to extract features: what they spare others is all of its test but what others' tests still took."""
        if not observation.shares or observation.spared_seconds is not None:
            return observation
        told = [self._not_spared[each] for each in _features(observation.key) if each in self._not_spared]
        return replace(observation, spared_seconds=max(0.0, observation.test_seconds - min(told, default=0.0)))


def _highest(values: Iterable[int | None]) -> int | None:
    found = list(values)
    return None if None in found else max(each for each in found if each is not None)


def _features(key: RunKey) -> frozenset[str]:
    """What a run may take over from others, and leaves to them: features of each test's images, by its backbone."""
    if key.execution != "fast" or key.steps is not None:
        return frozenset()
    return frozenset().union(*(_features_of(key, test) for test in key.tests))


def _features_of(key: RunKey, test: str) -> frozenset[str]:
    """Of a test, or of its two halves where it has all classes: features are those of an image, whoever tests it."""
    halves = (test,) if test.endswith(("/base", "/new")) else (f"{test}/base", f"{test}/new")
    return frozenset(f"{half} {key.backbone} {key.pretrained} {key.precision}" for half in halves)


def _likeness(key: RunKey) -> str:
    """What runs have in common that differ in data, and in how long they train."""
    recipe = replace(key.recipe, epochs=min(1, key.recipe.epochs), iterations=key.recipe.iterations and 1)
    return kind_of(replace(key, dataset="any", classes="all", tests=(), shots=1, recipe=recipe))


def _nearest(known: Sequence[Observation], wanted: Count) -> Observation:
    """The latest of those whose numbers of images and classes are nearest, as ratios."""

    def distance(count: Count | None) -> float:
        assert count is not None
        return abs(math.log(wanted.images / count.images)) + abs(math.log(wanted.classes / count.classes))

    return min(reversed(known), key=lambda each: distance(each.trained_on))


def _exponent(known: Sequence[Observation]) -> float:
    """The power of the number of classes with which a step's time grows, 0 to 1, as far as runs with several numbers tell."""
    by_classes: defaultdict[float, list[float]] = defaultdict(list)
    for each in known:
        if each.trained_on is not None and each.step_seconds > 0:
            by_classes[math.log(each.trained_on.classes)].append(math.log(each.step_seconds))
    if len(by_classes) < 2:
        return 0.0
    points = [(x, fmean(values)) for x, values in by_classes.items()]
    middle_x, middle_y = (fmean(values) for values in zip(*points, strict=True))
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)
    return min(1.0, max(0.0, slope))


def _scaled(known: Observation, key: RunKey, trained_on: Count, test_images: int, exponent: float) -> Observation:
    """What a run would be on other data: its parts grow with images, steps, and classes."""
    there = known.trained_on
    assert there is not None
    steps, steps_there = _steps(key, trained_on), _steps(known.key, there)
    stepped = known.steps * known.step_seconds * (steps / steps_there if steps_there else 1.0)
    images = trained_on.images / there.images
    epochs = max(1, key.recipe.epochs) / max(1, known.key.recipe.epochs)
    rest = max(0.0, known.train_seconds - known.steps * known.step_seconds - known.load_seconds)
    again = epochs if key.recipe.augmentation != "none" else 1.0
    tests = test_images / max(1, sum(count.images for count in known.tested_on.values()))
    return replace(
        known,
        key=key,
        train_seconds=stepped * (trained_on.classes / there.classes) ** exponent
        + (known.load_seconds * epochs + rest * again) * images,
        test_seconds=known.test_seconds * tests,
        spared_seconds=None if known.spared_seconds is None else known.spared_seconds * tests,
    )


def _steps(key: RunKey, trained_on: Count) -> int:
    recipe = key.recipe
    steps = recipe.iterations or recipe.epochs * math.ceil(trained_on.images / recipe.batch_size)
    return min(steps, key.steps or steps)
