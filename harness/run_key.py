"""RunKey: what makes a run the run it is. Apart from the rest of a record, which a plan needn't import."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from harness.recipe import Recipe
from harness.settings import AtLeastOne
from harness.suite import Execution

Precision = Literal["fp32", "bf16", "fp16", "fp16-pure"]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class RunKey:
    """What makes a run the run it is. Two runs with equal keys are the same run: a suite resumes by them."""

    suite: str
    """The suite that the run was planned by, or the one whose runs that suite shares."""
    dataset: str
    """The dataset that the method was trained on."""
    classes: Literal["all", "base", "new"]
    """Which of its classes were trained on: all, the first half (base) or the second (new)."""
    tests: tuple[str, ...]
    """Keys of the test splits, ``eurosat/base``, or ``eurosat`` for all classes."""
    shots: AtLeastOne
    """Training images per class."""
    seed: Annotated[int, Field(ge=1, le=1 << 63)]
    """The seed of the few-shot draw, the method's own weights, the order of the images and their augmentation."""
    method: str
    """The method's registered name, or ``module:Class``."""
    settings: Mapping[str, Any]
    """All fields of the method, after the recipe row and ``--set``."""
    recipe: Recipe
    """How the method was trained, after ``--set``."""
    backbone: str
    """The backbone's name."""
    pretrained: str | None
    """The weights: a tag, or a file's name and the start of its SHA-256 (of a local-dir:, with its config); null for those that a
    backbone comes with."""
    precision: Precision
    """How it was computed: fp32, under autocast (bf16, fp16), or with fp16 weights (fp16-pure)."""
    execution: Execution
    """The authors' arithmetic (reference), or the one that leaves out work that can't change the result (fast)."""
    steps: AtLeastOne | None = None
    """Where it isn't null, training ended after so many steps and each test after so many batches."""
    template: str | None = None
    """A prompt template that replaced the datasets' own; null where they kept theirs."""
    simulated: bool = False
    """The run was simulated on tensors without contents: it has no times and no accuracy."""
    device: Literal["cpu", "cuda"] | None = None
    """The kind of device; null for simulated runs, and in records of before 0.2, whose environment says it."""
    source_sha256: str | None = None
    """Of a method of the user's own, a digest of its module and of those beside it that it imports; else null."""


KEY_ADAPTER = TypeAdapter(RunKey)
_DEFAULTS = {f.name: f.default for f in fields(RunKey) if f.default is not MISSING}


def key_json(key: RunKey) -> str:
    """A canonical text of a key: equal keys give equal texts, whatever the order of their mappings.

    An optional field at its default is left out: a field that a later version adds leaves the texts of older keys as they were.
    """
    values = KEY_ADAPTER.dump_python(key, mode="json")
    given = {name: value for name, value in values.items() if name not in _DEFAULTS or value != _DEFAULTS[name]}
    return _CANONICAL.encode(given)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
