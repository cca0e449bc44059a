"""Recipe: how a method is trained, as data. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, fields, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from harness.errors import ConfigError
from harness.settings import AtLeastOne, Conflicts, Count, Decay, NotNegative, Positive, PositiveShare
from harness.suite import PUBLISHED, Setting

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_IF_SET = ("iterations", "iterations_per_shot", "schedule_period_epochs", "learning_rates")
LENGTHS = frozenset(("epochs", "iterations", "iterations_per_shot"))
"""The fields that say how long to train."""
_OF_SCHEDULE = ("schedule", "schedule_step", "schedule_period_epochs", "minimum_learning_rate")
_OF_TRAINING = (
    "epochs", "batch_size", "learning_rate", "learning_rates", "optimizer", "momentum", "weight_decay", "epsilon",
    "warmup_epochs", "warmup_learning_rate", *_OF_SCHEDULE,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Hyper-parameters of training that belong to no single method.

    Defaults are those the CoOp line of work shares: SGD with momentum 0.9, weight decay 5e-4 on every trainable, a cosine that
    steps once an epoch, and a constant warm-up rate that delays the cosine without shortening its period (`methods.md` 2.5).
    """

    epochs: Count = 0
    """Times that training sees every image."""
    iterations: AtLeastOne | None = None
    """Steps of training, which replace `epochs` where a method counts steps."""
    iterations_per_shot: AtLeastOne | None = None
    """Becomes `iterations` in the plan, once the number of shots is known (CLIP-LoRA)."""
    batch_size: AtLeastOne = 32
    """Images per step."""
    learning_rate: Positive | None = None
    """The rate that the schedule starts from; null for methods without steps."""
    learning_rates: Mapping[str, Positive] = field(default_factory=dict)
    """Rates of single parameter groups, which replace it there (Skip Tuning's image tower)."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """The optimiser."""
    momentum: Decay = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative = 5e-4
    """Weight decay on every trained weight."""
    epsilon: Positive = 1e-8
    """Epsilon of Adam and AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The curve of the learning rate."""
    schedule_step: Literal["epoch", "iteration"] = "epoch"
    """How often the rate moves along it."""
    schedule_period_epochs: AtLeastOne | None = None
    """Epochs of the cosine's period; null for as many as are trained."""
    minimum_learning_rate: NotNegative = 0.0
    """Where the cosine ends."""
    warmup_epochs: Count = 0
    """Epochs at `warmup_learning_rate`, after which the schedule starts."""
    warmup_learning_rate: Positive | None = None
    """One constant rate for all groups during warm-up; null for none."""
    augmentation: Literal["random-resized-crop-flip", "resize-randaugment", "none"] = "random-resized-crop-flip"
    """What is done to a training image."""
    crop_scale_minimum: PositiveShare = 0.08
    """The smallest share of an image's area that a random crop takes."""
    test_batch_size: AtLeastOne = 100
    """Images per batch of a test."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Values of the method's own fields in this row of its recipe table (MaPLe's depth in transfer suites)."""

    @cached_property
    def text(self) -> str:
        """All of it as JSON: equal recipes have equal texts."""
        return _adapter().dump_json(self).decode()

    @property
    def trains(self) -> bool:
        return self.epochs > 0 or bool(self.iterations) or bool(self.iterations_per_shot)

    @property
    def only_warms_up(self) -> bool:
        """Whether training ends before the schedule starts: every step has the warm-up's rate."""
        counts_epochs = self.iterations is None and self.iterations_per_shot is None
        return self.warmup_learning_rate is not None and counts_epochs and 0 < self.epochs <= self.warmup_epochs

    def for_shots(self, shots: int) -> Recipe:
        """This recipe with the length of training that so many shots call for, unless `iterations` says another."""
        if self.iterations_per_shot is None:
            return self
        iterations = shots * self.iterations_per_shot if self.iterations is None else self.iterations
        return replace(self, iterations=iterations, iterations_per_shot=None)


@cache
def _adapter() -> TypeAdapter[Recipe]:
    from pydantic import TypeAdapter  # here: `--help` doesn't wait for it

    return TypeAdapter(Recipe)


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
    unused = {"settings", *without_effect(recipe)}
    unused |= {name for name in _IF_SET if getattr(recipe, name) in (None, {})}
    return {f.name: getattr(recipe, f.name) for f in fields(Recipe) if f.name not in unused}


def without_effect(recipe: Recipe) -> Conflicts:
    """The fields of a recipe that change nothing beside the others, each with the reason and what to do about it."""
    unused: dict[str, str] = {}
    if not recipe.trains:
        unused |= dict.fromkeys(_OF_TRAINING, "it trains in no steps")
    if recipe.only_warms_up:
        why = f"all {recipe.epochs} epochs are warm-up: shorten warmup_epochs={recipe.warmup_epochs}, or train longer"
        unused |= dict.fromkeys(("learning_rate", "learning_rates", *_OF_SCHEDULE), why)
    if recipe.schedule == "constant":
        unused |= dict.fromkeys(_OF_SCHEDULE[1:], "the schedule is constant")
    if recipe.schedule_step == "iteration":
        unused["schedule_period_epochs"] = "the schedule moves by iterations, over all of them"
    if recipe.iterations is not None:
        unused["iterations_per_shot"] = f"iterations={recipe.iterations} takes its place"
    if recipe.iterations is not None or recipe.iterations_per_shot is not None:
        name = "iterations" if recipe.iterations is not None else "iterations_per_shot"
        unused["epochs"] = (
            f"{name}={getattr(recipe, name)} is the length of training. Set that, or {name}=null for epochs"
        )
    if recipe.optimizer == "sgd":
        unused["epsilon"] = "the optimizer is sgd; adam and adamw have an epsilon"
    else:
        unused["momentum"] = f"the optimizer is {recipe.optimizer}; sgd has a momentum"
    if not recipe.warmup_epochs:
        unused["warmup_learning_rate"] = "there is no warm-up: set warmup_epochs too"
    elif recipe.warmup_learning_rate is None:
        unused["warmup_epochs"] = "there is no rate to warm up with: set warmup_learning_rate too"
    if recipe.augmentation != "random-resized-crop-flip":
        unused["crop_scale_minimum"] = f"the augmentation is {recipe.augmentation}, which crops nothing at random"
    return unused


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
