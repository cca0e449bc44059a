"""The words a suite is written in: datasets, tasks, suites, backbones. Standard library only, so that planning is instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from PIL.Image import Image

ClassSubset = Literal["all", "base", "new"]
Execution = Literal["fast", "reference"]
EXECUTIONS: tuple[Execution, ...] = ("reference", "fast")
Setting = Literal["base-to-new", "few-shot", "transfer"]
"""What a suite trains and tests for, whatever its name: half of the classes, few images of all, or other datasets."""
PUBLISHED = "published"
RECIPES = (PUBLISHED, "released", "paper", "cost")
"""Whose recipes: what gave the published accuracy; the authors' files as they are; the paper's words; what gave the published cost.

A method has rows for the last three only where they differ from the first.
"""
ANY = "*"
"""Stands for the dataset in `Suite.each`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled image. `image` is a key that is unique in its dataset: a path relative to the image folder, or a name."""

    image: str
    label: int
    classname: str


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A dataset as read: three lists of items, and how to open an image (an RGB `PIL.Image`; `DataError` if broken).

    `rule` says how the lists were made where the source has none; it goes into the record. `open` may have a method `stamp` from a
    key to a text that changes when the image does; without it, nothing that was computed from images is kept for other runs.
    By its methods `size` and `content`, images are found that are one by content (`harness.data.duplicates`).
    """

    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]
    open: Callable[[str], Image]
    rule: str | None = None

    @property
    def stamp(self) -> Callable[[str], str] | None:
        return getattr(self.open, "stamp", None)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where data lies: what the user downloaded (``--data-root``), and where generated data is kept."""

    data_root: Path | None
    cache: Path


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset's name, prompt templates and reader.

    `templates` maps the name of a template list to a template with one ``{}``. "clip" is the list of zero-shot CLIP and is
    always there; a list a dataset does not name falls back to it. `group` is "published", "demo" or the user's own word:
    suites and recipes address datasets by name or by group.
    """

    name: str
    title: str
    group: str
    templates: Mapping[str, str]
    read: Callable[[Folders], Splits]

    def template(self, template_list: str) -> str:
        return self.templates.get(template_list, self.templates["clip"])


def prompt(template: str, classname: str) -> str:
    """A class's prompt: underscores become spaces, as in all published code."""
    return template.format(classname.replace("_", " "))


@dataclass(frozen=True, kw_only=True)
class BackboneFiles:
    """A backbone that comes as files: an open_clip model config and its weights."""

    name: str
    config: Path
    weights: Path


@dataclass(frozen=True, slots=True)
class Test:
    """A test split: the test images of `classes` of `dataset`, classified among those classes only."""

    dataset: str
    classes: ClassSubset = "all"

    __test__ = False  # not a pytest class

    @property
    def key(self) -> str:
        """The name of this test in a record: ``eurosat/base``, or ``eurosat`` for all classes."""
        return self.dataset if self.classes == "all" else f"{self.dataset}/{self.classes}"

    @classmethod
    def from_key(cls, key: str) -> Test:
        """The test that has this key."""
        dataset, _, classes = key.rpartition("/")
        return cls(dataset, cast(ClassSubset, classes)) if classes in ("base", "new") and dataset else cls(key)


@dataclass(frozen=True, slots=True)
class Task:
    """One question of a suite: train on `classes` of `dataset`, then take each of `tests`."""

    dataset: str
    tests: tuple[Test, ...]
    classes: ClassSubset = "all"

    def on(self, dataset: str) -> Task:
        """This task with `ANY` replaced by `dataset`."""
        tests = tuple(replace(t, dataset=dataset) if t.dataset == ANY else t for t in self.tests)
        return replace(self, dataset=dataset if self.dataset == ANY else self.dataset, tests=tests)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A question, and the tasks that answer it; no loop, no torch, no path, no method's code.

    `each` is asked of every dataset in `groups[name]`, or of any dataset named on the command line; `tasks[name]` are
    further tasks of a group that name their datasets themselves (transfer suites). The rest are defaults that the command line
    may replace, but for these:

    `setting` is what methods have recipes for: a suite that trains and tests as another does names the same. `recipes` chooses
    among those that a method has there (`RECIPES`).
    `profile` has each run look at a training step block by block, and simulate it in both executions (`harness.probes.profile`).
    `variants` gives methods settings (as ``--set`` has them) that are run side by side. `analyse` has each run look at what
    training changed (`harness.probes.analysis`). `shares_runs_of` names the suite whose runs answer this question too: they are
    planned, keyed and stored as that suite's, so that either suite reuses what the other has trained. `targets` are the tests
    that the answer averages, by group; empty for all of them.
    """

    name: str
    question: str
    setting: Setting | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    each: Task | None = None
    tasks: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    shots: tuple[int, ...] = (16,)
    seeds: tuple[int, ...] = (1, 2, 3)
    methods: tuple[str, ...] = ()
    recipes: str = PUBLISHED
    executions: tuple[Execution, ...] = ("fast",)
    backbone: str = "demo-clip"
    pretrained: str | None = None
    steps: int | None = None
    variants: Mapping[str, tuple[Mapping[str, str], ...]] = field(default_factory=dict)
    analyse: bool = False
    profile: bool = False
    shares_runs_of: str | None = None
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def group_tasks(self, group: str) -> tuple[Task, ...]:
        """All tasks of a group of datasets."""
        each = tuple(self.each.on(d) for d in self.groups.get(group, ())) if self.each else ()
        return each + self.tasks.get(group, ())
