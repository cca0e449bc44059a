"""Recipe: how a method is trained, as data. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, fields, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from harness.errors import ConfigError
from harness.suite import PUBLISHED, Setting

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]

_IF_SET = ("iterations", "iterations_per_shot", "schedule_period_epochs", "learning_rates")
_OF_TRAINING = (
    "epochs", "batch_size", "learning_rate", "learning_rates", "optimizer", "momentum", "weight_decay", "epsilon", "schedule",
    "schedule_step", "minimum_learning_rate", "warmup_epochs", "warmup_learning_rate",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Recipe:
    """Hyper-parameters of training that belong to no single method.

    Defaults are those the CoOp line of work shares: SGD with momentum 0.9, weight decay 5e-4 on every trainable, a cosine that
    steps once an epoch, and a constant warm-up rate that delays the cosine without shortening its period (`methods.md` 2.5).
    """

    epochs: Count = 0
    """Times that training sees every image."""
    iterations: Count | None = None
    """Steps of training, which replace `epochs` where a method counts steps."""
    iterations_per_shot: Count | None = None
    """Becomes `iterations` in the plan, once the number of shots is known (CLIP-LoRA)."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images per step."""
    learning_rate: Positive | None = None
    """The rate that the schedule starts from; null for methods without steps."""
    learning_rates: Mapping[str, Positive] = field(default_factory=dict)
    """Rates of single parameter groups, which replace it there (Skip Tuning's image tower)."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """The optimiser."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay on every trained weight."""
    epsilon: Positive = 1e-8
    """Epsilon of Adam and AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The curve of the learning rate."""
    schedule_step: Literal["epoch", "iteration"] = "epoch"
    """How often the rate moves along it."""
    schedule_period_epochs: Count | None = None
    """Epochs of the cosine's period; null for as many as are trained."""
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Where the cosine ends."""
    warmup_epochs: Count = 0
    """Epochs at `warmup_learning_rate`, after which the schedule starts."""
    warmup_learning_rate: Positive | None = None
    """One constant rate for all groups during warm-up; null for none."""
    augmentation: Literal["random-resized-crop-flip", "resize-randaugment", "none"] = "random-resized-crop-flip"
    """What is done to a training image."""
    crop_scale_minimum: Annotated[float, Field(gt=0, le=1)] = 0.08
    """The smallest share of an image's area that a random crop takes."""
    test_batch_size: Annotated[int, Field(ge=1)] = 100
    """Images per batch of a test."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Values of the method's own fields in this row of its recipe table (MaPLe's depth in transfer suites)."""

    @property
    def trains(self) -> bool:
        return self.epochs > 0 or bool(self.iterations) or bool(self.iterations_per_shot)

    def for_shots(self, shots: int) -> Recipe:
        """This recipe with the length of training that so many shots call for, unless `iterations` says another."""
        if self.iterations_per_shot is None:
            return self
        iterations = shots * self.iterations_per_shot if self.iterations is None else self.iterations
        return replace(self, iterations=iterations, iterations_per_shot=None)


def resolve(
    recipes: Mapping[str, Recipe],
    setting: Setting | None,
    dataset: str,
    group: str,
    shots: int,
    choice: str = PUBLISHED,
) -> tuple[str, Recipe]:
    """The row of a method's recipe table for a dataset in a setting, most specific key first, with the key it was found under.

    Keys: ``setting/dataset/8-shot``, ``setting/dataset``, ``setting/group``, the dataset, its group, ``setting/8-shot``, the
    setting, ``default``. Rows of a `choice` other than the published recipes (``cost:default``, ``cost:transfer``), where there are
    any, come before all others. Raises ConfigError for a table without ``default``.
    """
    here, few = f"{setting}/{dataset}", f"{shots}-shot"
    keys = [f"{here}/{few}", here, f"{setting}/{group}", dataset, group, f"{setting}/{few}", f"{setting}", "default"]
    for key in (*(f"{choice}:{key}" for key in keys), *keys):
        if key in recipes:
            return key, recipes[key]
    raise ConfigError("a method's recipes have no row 'default'.", 'Give it one: recipes = {"default": Recipe(...)}')


def relevant_fields(method: Any, recipe: Recipe) -> dict[str, Any]:
    """What a row of a method's recipe table comes to: the recipe's fields that have an effect in it, then the method's own."""
    return effective_fields(recipe) | asdict(method(**recipe.settings))


def effective_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe, but for `settings` and those that have no effect beside the others (Adam's momentum)."""
    unused = {"settings"}
    if not recipe.trains:
        unused |= set(_OF_TRAINING)
    unused |= {name for name in _IF_SET if getattr(recipe, name) in (None, {})}
    if recipe.iterations is not None or recipe.iterations_per_shot is not None:
        unused.add("epochs")
    unused.add("epsilon" if recipe.optimizer == "sgd" else "momentum")
    if not recipe.warmup_epochs:
        unused.add("warmup_learning_rate")
    if recipe.augmentation != "random-resized-crop-flip":
        unused.add("crop_scale_minimum")
    return {f.name: getattr(recipe, f.name) for f in fields(Recipe) if f.name not in unused}


def sourced_fields(method: Any) -> Iterator[tuple[str, str, Any, str]]:
    """(row, field, value, source) of a method's recipe table: all of ``default``, and where other rows differ from it."""
    default = relevant_fields(method, method.recipes["default"])
    for row, recipe in method.recipes.items():
        for name, value in relevant_fields(method, recipe).items():
            if row == "default" or name not in default or value != default[name]:
                yield row, name, value, source_of(method, row, name) or ""


def source_of(method: Any, row: str, name: str) -> str | None:
    """Where a field of a row was taken from, as the card says; None if it doesn't.

    `method.sources` has, for each row, the sources of fields; ``*`` stands for the row's fields that aren't named. A field
    that a row has in common with ``default`` has that row's source, unless it says another.
    """
    own = getattr(method, "sources", {}).get(row, {})
    found = own.get(name, own.get("*"))
    if found is None and row != "default":
        values, default = (relevant_fields(method, method.recipes[key]) for key in (row, "default"))
        if name in default and values[name] == default[name]:
            return source_of(method, "default", name)
    return found
