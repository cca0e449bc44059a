"""RunRecord: what one run left behind. Frozen, validated, units in the names, readable without torch.

A record stores what was measured; means, harmonic means and ratios are derived by reports. What could not be measured is null,
and `missing` says why. Records are written by `harness.runs.store`, one JSON file per run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from harness.errors import DataError
from harness.recipe import Recipe
from harness.suite import Execution

SCHEMA_VERSION: Final = 1

Status = Literal["ok", "out_of_memory", "diverged", "failed", "timeout"]
Precision = Literal["fp32", "bf16", "fp16", "fp16-pure"]
Phase = Literal["setup", "train", "test"]
Tower = Literal["image", "text"]
Bytes = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0)]

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class RunKey:
    """What makes a run the run it is. Two runs with equal keys are the same run: a suite resumes by them.

    `settings` are all fields of the method after the recipe row and ``--set``; `pretrained` is a tag, a file's name, or null
    for the weights a built-in backbone ships with; `tests` are the keys of the test splits. `steps`, where it isn't null, ends
    training after so many steps and each test after so many batches. `template` replaces the datasets' prompt templates.
    """

    suite: str
    dataset: str
    classes: Literal["all", "base", "new"]
    tests: tuple[str, ...]
    shots: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=1)]
    method: str
    settings: Mapping[str, Any]
    recipe: Recipe
    backbone: str
    pretrained: str | None
    precision: Precision
    execution: Execution
    steps: Annotated[int, Field(ge=1)] | None = None
    template: str | None = None
    simulated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class WindowRecord:
    """One phase as the meters saw it.

    seconds: monotonic clock, device synchronised at both edges. cpu_seconds: user + system of the process.
    peak_tensor_bytes: exact peak of live tensor bytes (CPU), taken in a pass of its own. peak_allocated_bytes,
    peak_reserved_bytes: the CUDA allocator's. peak_process_bytes: what the driver says this process holds (NVML).
    device_used_bytes: all of the device's memory that was in use at the window's end, by whomever (NVML).
    peak_rss_bytes: the process's resident-set high-water mark, an upper bound. energy_joules: NVML's total energy counter.
    temperature_celsius, clock_megahertz: the GPU's and its streaming processors', at the window's two edges.
    contended: the threads of a CPU run waited for a processor for more than a tenth of the window.
    """

    seconds: Seconds
    cpu_seconds: Seconds | None = None
    peak_tensor_bytes: Bytes | None = None
    peak_allocated_bytes: Bytes | None = None
    peak_reserved_bytes: Bytes | None = None
    peak_process_bytes: Bytes | None = None
    device_used_bytes: Bytes | None = None
    peak_rss_bytes: Bytes | None = None
    energy_joules: NonNegative | None = None
    temperature_celsius: tuple[float, float] | None = None
    clock_megahertz: tuple[float, float] | None = None
    contended: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class TestRecord:
    """One test split: top-1 over all of its images (micro average), unrounded, with the counts behind it.

    confusion: (true class, predicted class, images) for every pair that occurs; a class is its position in `class_names`.
    answers_zero_shot: the method had nothing to say of these classes, and answered as the pretrained backbone does.
    """

    __test__ = False

    accuracy_percent: Percent
    correct: Count
    images: Count
    classes: Count
    class_names: tuple[str, ...] = ()
    answers_zero_shot: bool = False
    confusion: tuple[tuple[Count, Count, Count], ...] = ()

    @property
    def class_accuracy_percent(self) -> tuple[float | None, ...]:
        """Top-1 of each class, None for a class without images."""
        images, correct = [0] * self.classes, [0] * self.classes
        for true, predicted, count in self.confusion:
            images[true] += count
            correct[true] += count if true == predicted else 0
        return tuple(100 * right / of if of else None for right, of in zip(correct, images, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class AnalysisRecord:
    """What training changed, and where its gradient went. The definitions are AdaptBench's own: `harness.probes.analysis`.

    image_shift, text_shift: for every block, how far its output at the pooled token moved (mean Euclidean distance). The feature
    sensitivity of a block is its shift divided by the last block's. class_gradient_before, _after: for every class, the mean share
    of its text feature in an image's gradient; rank_gradient_*: the same with each image's classes sorted by share. The blocks and
    class texts of a tower that one training step's gradient passes through.
    """

    images: Count
    image_shift: tuple[NonNegative, ...] | None = None
    text_shift: tuple[NonNegative, ...] | None = None
    class_gradient_before: tuple[NonNegative, ...] | None = None
    class_gradient_after: tuple[NonNegative, ...] | None = None
    rank_gradient_before: tuple[NonNegative, ...] | None = None
    rank_gradient_after: tuple[NonNegative, ...] | None = None
    image_blocks_with_gradient: Count | None = None
    text_blocks_with_gradient: Count | None = None
    class_texts_with_gradient: Count | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class BlockRecord:
    """One block of a tower in one training step, all its passes together.

    saved_bytes: what autograd keeps for the backward pass, weights apart. backward_seconds is null where no gradient came.
    """

    tower: Tower
    block: Count
    forward_seconds: Seconds
    backward_seconds: Seconds | None
    saved_bytes: Bytes


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class SimulationRecord:
    """What a simulation finds for an execution of the run.

    peak_bytes: by phase, what lives at its peak on a device, by category ("host" lies beside it). FLOPs are of one training step
    and of one test batch. note: where training could be simulated in part only, so that its peak may be higher.
    """

    peak_bytes: Mapping[str, Mapping[str, Bytes]]
    step_flops: Count | None
    test_batch_flops: Count
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class ProfileRecord:
    """A training step from inside.

    gemm_flops_per_second: of a 4096 matrix product in the same process, the peak that utilisation refers to; null but for fp32.
    """

    blocks: tuple[BlockRecord, ...] = ()
    simulated: Mapping[Execution, SimulationRecord | None] = field(default_factory=dict)
    gemm_flops_per_second: NonNegative | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Environment:
    """The machine and the software a run saw."""

    hostname_sha256: str
    platform: str
    python: str
    versions: Mapping[str, str]
    cpu: str | None
    cpu_count: int | None
    threads: int | None
    omp_wait_policy: str | None
    memory_bytes: Bytes | None
    device: str
    gpu: str | None = None
    gpu_memory_bytes: Bytes | None = None
    driver: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    allocator: str | None = None
    tf32: bool | None = None
    commit: str | None = None
    dirty: bool | None = None
    load_average: float | None = None

    @property
    def machine(self) -> str:
        """The words by which a report tells machines apart: the device that computed, and its thread count on a CPU."""
        return self.gpu if self.gpu else f"{self.cpu or 'unknown CPU'}, {self.threads} threads"


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class RunRecord:
    """One run. `missing` maps a field's name to the reason for its null, ``train.energy_joules`` for a window's field.

    validation: the last epoch's weights on the validation draw, at most 4 images per class; no phase includes it. split_rule: how
    the lists of the dataset were made, null where they are the source's own. reused_test_features: how many test images' features
    an earlier run had left; the test phase was spared the reused_test_seconds that they took then. Null where none could be reused.

    Parts of the train window: load_seconds, waiting for the steps' batches; extract_seconds, features in bulk; step_seconds, each
    optimiser step. train_texts_encoded: how many texts went through the text tower in it, a class's in every step anew.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    key: RunKey
    recipe_row: str
    status: Status
    reason: str | None = None
    started_at: str
    total_seconds: Seconds
    windows: Mapping[Phase, WindowRecord] = field(default_factory=dict)
    accuracy: Mapping[str, TestRecord] = field(default_factory=dict)
    validation: TestRecord | None = None
    analysis: AnalysisRecord | None = None
    profile: ProfileRecord | None = None
    epoch_losses: tuple[float | None, ...] = ()
    step_seconds: tuple[Seconds, ...] = ()
    load_seconds: Seconds | None = None
    extract_seconds: Seconds | None = None
    train_images_seen: Count | None = None
    train_texts_encoded: Count | None = None
    train_image_count: Count | None = None
    train_class_count: Count | None = None
    test_images_seen: Count | None = None
    reused_test_features: Count | None = None
    reused_test_seconds: Seconds | None = None
    split_rule: str | None = None
    trainable_parameters: Count | None = None
    total_parameters: Count | None = None
    changed_weights_percent: Percent | None = None
    weights_sha256: str | None = None
    environment: Environment
    warnings: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


_ADAPTER = TypeAdapter(RunRecord)
_KEY_ADAPTER = TypeAdapter(RunKey)


_NUMBERS = re.compile(rb"\[\n\s+([-+.\w]+(?:,\n\s+[-+.\w]+)*)\n\s+\]")  # no string holds a bare line break


def to_json(record: RunRecord) -> bytes:
    """The record as the text of its file: indented, with each list of numbers on a line of its own."""
    text = _ADAPTER.dump_json(record, indent=1)
    return _NUMBERS.sub(lambda found: b"[" + b" ".join(found[1].split()) + b"]", text) + b"\n"


def from_json(data: bytes, source: str) -> RunRecord:
    """A validated record. Raises DataError naming `source` and the first thing wrong with it."""
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        raise DataError(
            f"{source} is no run record of schema {SCHEMA_VERSION}: {first_fault(error)}.",
            "Delete it to have the run done again, or read it with the AdaptBench version that wrote it.",
        ) from error


def first_fault(error: ValidationError) -> str:
    """Where in a file the first thing is that is wrong with it, and what that is."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"


def key_json(key: RunKey) -> str:
    """A canonical text of a key: equal keys give equal texts, whatever the order of their mappings.

    An optional field at its default is left out: a field that a later version adds leaves the texts of older keys as they were.
    """
    defaults = {f.name: f.default for f in fields(RunKey) if f.default is not MISSING}
    values = _KEY_ADAPTER.dump_python(key, mode="json")
    given = {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}
    return json.dumps(given, sort_keys=True, separators=(",", ":"))
