"""A part of a golden file that knows which of its facts were read, and how far ours may lie from each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from harness import plugins
from harness.method import Classes

EXEMPT = {
    r"(^|\.)(proves|note|loss_terms_note|classification_note|reserve_probability_note|use|what)$": "prose for readers",
    r"^case$": "a label: what depends on it (the images) says its own key",
    r"^dropout$": "says in words that these numbers are without dropout, which is how the model is built",
    r"(^|\.)authors_code$": "how the authors' code stops, which is not to be imitated",
    r"^degenerate\.\d+\.(images|mode)$": "sets that the authors' code refuses, in words; ours has a test",
    r"\.epochs_simulated$": "the size of the authors' simulation, which its standard errors contain",
}
"""Facts that no check reads, by the end of their path, and why."""


@dataclass(frozen=True)
class Sampled:
    """Tensors as the files sample them: [norm, entries at 0, n//5, n//2, 3n//4, n-1] of n entries each."""

    values: np.ndarray
    size: int


def entries(tensor):
    """One tensor, sampled."""
    return rows(tensor.flatten()[None], one=True)


def rows(tensor, one=False):
    """Each row of a tensor (rows, n), sampled. Norms in float64: a float32 sum over many entries is off by more than is allowed."""
    n = tensor.shape[1]
    flat = tensor.detach().double()
    values = torch.cat([flat.norm(dim=1, keepdim=True), flat[:, [0, n // 5, n // 2, 3 * n // 4, n - 1]]], dim=1).numpy()
    return Sampled(values[0] if one else values, n)


def norm(tensor):
    return tensor.detach().double().norm()


Demand = Callable[[np.ndarray, int], np.ndarray]
"""How far ours may lie from each of the expected values; the second argument is the number of entries of sampled tensors."""


def relative(share: float) -> Demand:
    return lambda expected, size: share * np.abs(expected)


def absolute(limit: float) -> Demand:
    return lambda expected, size: np.full(expected.shape, limit)


def of_largest(share: float) -> Demand:
    return lambda expected, size: np.full(expected.shape, share * np.abs(expected).max(initial=0))


def sampled(expected, size):
    norms = np.abs(expected[..., :1])
    return np.concatenate([1e-4 * norms, 1e-3 * (np.abs(expected[..., 1:]) + norms / size**0.5)], axis=-1)


def after_a_step(share: float) -> Demand:
    """Of [norm, size of the change]."""
    return lambda expected, size: np.stack(
        [share * expected[..., 0], 2e-3 * expected[..., 1] + 1e-8 * expected[..., 0]], axis=-1
    )


def losses(expected, size):
    return np.abs(expected) * np.where(np.arange(len(expected)) == 0, 1e-4, 2e-4)


LOSS = relative(1e-4)
NORM = relative(1e-4)
LOGITS = of_largest(1e-4)
RATE = relative(1e-6)
PROBABILITY = absolute(1e-6)
FILL = relative(1e-6)  # the same float32 numbers, rounded to nine digits
LORA_STEP = after_a_step(1e-3)  # AdamW's first step follows the sign of each entry, also of those that are rounding
EXACT = None

DEMANDS: dict[str, Demand] = {
    "loss": LOSS,
    "loss_terms": LOSS,
    "loss_when_prompts_are_encoded_every_step": LOSS,
    "losses_over_steps": losses,
    "logits": LOGITS,
    "classification_logits": LOGITS,
    "teacher_logits": LOGITS,
    "teacher_log_probabilities": LOGITS,
    "test_logits": LOGITS,
    "new_test_logits": LOGITS,
    "test_logits_after_steps": LOGITS,
    "test_logits_after_epoch": LOGITS,
    "test_logits_at_best": LOGITS,
    "val_logits_at_init": LOGITS,
    "zero_shot_test_logits": LOGITS,
    "zero_shot_val_logits": LOGITS,
    "similarity_to_prototypes": LOGITS,
    "cosine_of_the_two_gradients": absolute(1e-4),
    "norm_up_to_eot": NORM,
    "image_features": sampled,
    "text_features": sampled,
    "teacher_text_features_before_normalisation": sampled,
    "class_prototypes": sampled,
    "class_prompts": sampled,
    "image_prompts": sampled,
    "classifier_columns": sampled,
    "cache_keys": sampled,
    "keys_after_training": sampled,
    "gradients": sampled,
    "head_gradients": sampled,
    "gradient_of_cross_entropy": sampled,
    "gradient_of_soft_cross_entropy": sampled,
    "after_one_step": after_a_step(1e-5),
    "optimizer": RATE,
    "learning_rates": RATE,
    "per_epoch": RATE,
    "scaling": RATE,
    "result": LOGITS,
}
"""The demands of the vectors' README, by key. What is neither here nor said by a check has to be equal."""


def demand_of(path):
    return next((DEMANDS[key] for key in reversed(path) if key in DEMANDS), EXACT)


@dataclass(frozen=True)
class Check:
    """One comparison of a fact with ours, which can be made again after the fact has changed.

    `ours` is a value, or makes one of the expected value: entries whose places the file names.
    """

    path: tuple
    ours: Any
    demand: Demand | None

    def expected(self, data):
        for key in self.path:
            data = data[key]
        return data

    def problem(self, data):
        """What is wrong with the fact in `data`, None if nothing."""
        try:
            expected = self.expected(data)
            ours = self.ours(expected) if callable(self.ours) else self.ours
            if self.demand is EXACT:
                return None if _same(expected, ours) else f"expected {expected!r}, ours is {ours!r}"
            return self._distance(expected, ours)
        except (LookupError, TypeError, ValueError) as error:
            return f"can't be compared: {error!r}"

    def allowed(self, data):
        """How far ours may lie from each number of the fact."""
        size = self.ours.size if isinstance(self.ours, Sampled) else 1
        return self.demand(np.array(self.expected(data), dtype=np.float64), size)

    def _distance(self, expected, ours):
        expected = np.array(expected, dtype=np.float64)
        values, size = (
            (ours.values, ours.size) if isinstance(ours, Sampled) else (np.asarray(ours, dtype=np.float64), 1)
        )
        if values.shape != expected.shape:
            return f"shape {expected.shape} expected, ours is {values.shape}"
        allowed = self.demand(expected, size)
        wrong = ~(np.abs(values - expected) <= allowed)
        if wrong.any():
            worst = np.unravel_index(np.argmax(np.where(wrong, np.abs(values - expected), -1)), wrong.shape)
            place = "".join(f"[{i}]" for i in worst)
            return f"{place} expected {expected[worst]!r} within {allowed[worst]:.3g}, ours is {values[worst]!r}"
        return None


def _same(expected, ours):
    """Equal also in type where a flag stands for a number or the other way round."""
    if isinstance(expected, list) and isinstance(ours, list | tuple):
        return len(expected) == len(ours) and all(map(_same, expected, ours))
    return expected == ours and isinstance(expected, bool) == isinstance(ours, bool)


def leaves(data, path=()):
    """The path of every single fact; an empty list or object is one."""
    if isinstance(data, dict | list) and data:
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from leaves(data[key], (*path, key))
    else:
        yield path


class Case:
    """A part of a golden file. A fact is given to the product, or ours is compared with it; `done` wants every one to be read."""

    def __init__(self, data):
        self._data = data
        self.checks: list[Check] = []
        self.inputs: set[tuple] = set()
        self.used: set[tuple] = set()
        """Facts that decide what is compared with what, beside the inputs."""
        self.listed: set[tuple] = set()
        """Lists and objects of which the file says what they hold, and keys that not every case has."""

    @property
    def name(self):
        return self._data.get("case", "this part of the file")

    def _at(self, path):
        here = self._data
        for key in path:
            assert isinstance(here, list) or key in here, f"{self.name} has no {_dotted(path)}"
            here = here[key]
        return here

    def has(self, *path):
        """Whether the case has a fact that not every case has."""
        self.listed.add(path)
        here = self._data
        for key in path:
            if isinstance(here, dict) and key not in here:
                return False
            here = here[key]
        return True

    def keys(self, *path):
        """The keys of an object, or the places of a list, where the file may hold as many as it likes."""
        here = self._at(path)
        self.listed |= {(*path, key) for key in (range(len(here)) if isinstance(here, list) else here)}
        return list(here) if isinstance(here, dict) else range(len(here))

    def look(self, *path):
        """A fact that decides what is compared with what; some check has to read it too."""
        self.used.add(path)
        return self._at(path)

    def given(self, *path):
        """A fact that the product is given: what comes out has to react to it."""
        self.inputs.add(path)
        return self._at(path)

    def check(self, path, ours, demand=...):
        """Compare a fact with ours: a value, a tensor, `Sampled`, or a function of the expected value."""
        path = path if isinstance(path, tuple) else (path,)
        if isinstance(ours, torch.Tensor):
            ours = ours.detach().double().numpy().copy()
        check = Check(path, ours, demand_of(path) if demand is ... else demand)
        self.checks.append(check)
        problem = check.problem(self._data)
        assert problem is None, f"{self.name}, {_dotted(path)}: {problem}"

    def check_all(self, key, ours, demand=...):
        """Compare each of ours, by name, with the fact of that name below a key."""
        for name, value in ours.items():
            self.check((*(key if isinstance(key, tuple) else (key,)), name), value, demand)

    def done(self):
        read = self.inputs | {check.path for check in self.checks}
        unread = [
            path
            for path in leaves(self._data)
            if not any(path[:n] in read for n in range(len(path) + 1)) and not exempt(path)
        ]
        assert not unread, f"{self.name}: no check looked at {', '.join(map(_dotted, unread[:5]))}"

    @property
    def classes(self):
        return self._classes("classnames")

    @property
    def new_classes(self):
        """Other classes to aim at, None in a case without."""
        return self._classes("new_classnames") if self.has("new_classnames") else None

    def _classes(self, key):
        return Classes(tuple(self.given(key)), dataset(self.given("dataset")).templates)


def _dotted(path):
    return ".".join(map(str, path))


def exempt(path):
    """Why a fact needn't be read; None if it has to be."""
    return next((reason for pattern, reason in EXEMPT.items() if re.search(pattern, _dotted(path))), None)


@cache
def dataset(name):
    """A registered data set by the name that the authors' code has for it."""
    ours = {re.sub(r"\W|_", "", each): each for each in plugins.names("dataset")}
    return plugins.load("dataset", ours[{"describabletextures": "dtd"}.get(name.lower(), name.lower())])
