"""Recipe: how a method is trained, as data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Hyper-parameters of training that belong to no single method.

    Defaults are those the CoOp line of work shares: SGD with momentum 0.9, weight decay 5e-4 on every trainable, a cosine that
    steps once an epoch, and a constant warm-up rate that delays the cosine without shortening its period (`methods.md` 2.5).

    `learning_rates` gives single parameter groups a rate of their own (Skip Tuning's image tower).
    `iterations` replaces `epochs` where a method counts steps; `iterations_per_shot` becomes `iterations` once the number of shots
    is known, in the plan (CLIP-LoRA).
    `settings` are values of the method's own fields in this row of its recipe table (MaPLe's depth in transfer suites).
    """

    epochs: Count = 0
    iterations: Count | None = None
    iterations_per_shot: Count | None = None
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Positive | None = None
    learning_rates: Mapping[str, Positive] = field(default_factory=dict)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    epsilon: Positive = 1e-8
    schedule: Literal["cosine", "constant"] = "cosine"
    schedule_step: Literal["epoch", "iteration"] = "epoch"
    schedule_period_epochs: Count | None = None
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup_epochs: Count = 0
    warmup_learning_rate: Positive | None = None
    augmentation: Literal["random-resized-crop-flip", "resize-randaugment", "none"] = "random-resized-crop-flip"
    crop_scale_minimum: Annotated[float, Field(gt=0, le=1)] = 0.08
    test_batch_size: Annotated[int, Field(ge=1)] = 100
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        return self.epochs > 0 or bool(self.iterations) or bool(self.iterations_per_shot)

    def for_shots(self, shots: int) -> Recipe:
        """This recipe with the length of training that so many shots call for, unless `iterations` says another."""
        if self.iterations_per_shot is None:
            return self
        iterations = shots * self.iterations_per_shot if self.iterations is None else self.iterations
        return replace(self, iterations=iterations, iterations_per_shot=None)


def resolve(recipes: Mapping[str, Recipe], suite: str, dataset: str, group: str, shots: int) -> tuple[str, Recipe]:
    """The row of a method's recipe table for a dataset in a suite, most specific key first, with the key it was found under.

    Keys: ``suite/dataset/8-shot``, ``suite/dataset``, ``suite/group``, the dataset's group, ``suite/8-shot``, the suite,
    ``default``.
    """
    here, few = f"{suite}/{dataset}", f"{shots}-shot"
    for key in (f"{here}/{few}", here, f"{suite}/{group}", group, f"{suite}/{few}", suite):
        if key in recipes:
            return key, recipes[key]
    return "default", recipes["default"]
