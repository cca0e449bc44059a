"""Learning rates in closed form: of an epoch, or of an iteration."""

from __future__ import annotations

import math

from harness.recipe import Recipe


def learning_rate(recipe: Recipe, base: float, epoch: int, iteration: int, iterations: int) -> float:
    """The rate of a parameter group whose base rate is `base`, 0-based `epoch` and `iteration` of `iterations` in all.

    Per epoch (Dassl's scheduler): the warm-up rate is one constant for all groups; the cosine starts after the warm-up and keeps
    its full period, so it never reaches zero: base * (1 + cos(pi * (epoch - warmup) / period)) / 2.
    Per iteration (CLIP-LoRA, Tip-Adapter-F): from base to the minimum over all iterations.
    """
    if epoch < recipe.warmup_epochs and recipe.warmup_learning_rate is not None:
        return recipe.warmup_learning_rate
    if recipe.schedule == "constant":
        return base
    if recipe.schedule_step == "iteration":
        done = iteration / iterations
    else:
        done = (epoch - recipe.warmup_epochs) / (recipe.schedule_period_epochs or recipe.epochs or 1)
    low = recipe.minimum_learning_rate
    return low + (base - low) * (1 + math.cos(math.pi * done)) / 2
