"""RunRecord: what one run left behind. Frozen, validated, units in the names, readable without torch.

A record stores what was measured; means, harmonic means and ratios are derived by reports. What could not be measured is null,
and `missing` says why. Records are written by `harness.runs.store`, one JSON file per run. ``python -m harness.records`` prints
their JSON schema, with what each field means.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from itertools import compress, pairwise
from operator import eq
from typing import Annotated, Any, Final, Literal

import pydantic_core
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticSerializationError

from harness.errors import DataError
from harness.files import printable
from harness.recipe import Recipe as Recipe
from harness.run_key import KEY_ADAPTER
from harness.run_key import Precision as Precision
from harness.run_key import RunKey as RunKey
from harness.run_key import key_json as key_json
from harness.settings import AtLeastOne
from harness.suite import Execution

SCHEMA_VERSION: Final = 1

Status = Literal["ok", "out_of_memory", "diverged", "failed", "timeout"]
Phase = Literal["setup", "train", "test"]
Tower = Literal["image", "text"]
MOST_RECORD_BYTES = 1 << 26
"""Of a file: a million steps, or the confusions of ImageNet, take a quarter of it."""
_LEAST, _MOST = 1e-100, 1e100
_ROUNDING_PERCENT = 1e-6


def _within_arithmetic(figure: float) -> float:
    if not _LEAST <= figure <= _MOST and figure and not _LEAST <= -figure <= _MOST:
        raise ValueError(f"no measure is below {_LEAST:g} or above {_MOST:g}, but 0")
    return figure


def _all_within_arithmetic(figures: tuple[float, ...]) -> tuple[float, ...]:
    _within_arithmetic(min(filter(None, figures), default=0.0))
    return figures


_Figure = Annotated[float, AfterValidator(_within_arithmetic)]
"""Of a size that sums, squares and quotients of some of them stay finite numbers."""
Bytes = Annotated[int, Field(ge=0, le=1 << 60)]
Seconds = Annotated[_Figure, Field(ge=0, le=1e10)]
_StepSeconds = Annotated[float, Field(ge=0, le=1e10)]
"""Of which a record has thousands: one look at all of them takes a fraction of one at each."""
Percent = Annotated[_Figure, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=1 << 60)]
Classes = Annotated[int, Field(ge=0, le=1 << 20)]
NonNegative = Annotated[_Figure, Field(ge=0)]

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)  # a plan has keys alone


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class WindowRecord:
    """One phase as the meters saw it."""

    seconds: Seconds
    """Seconds from one edge to the other: monotonic clock, device synchronised at both edges."""
    cpu_seconds: Seconds | None = None
    """Processor seconds of the process in the window, user and system, all threads."""
    peak_tensor_bytes: Bytes | None = None
    """Exact peak of live tensor bytes on a CPU, each storage rounded up to 512, taken in a pass of its own."""
    peak_allocated_bytes: Bytes | None = None
    """Peak of the bytes in live tensors, by the CUDA allocator."""
    peak_reserved_bytes: Bytes | None = None
    """Peak of the bytes that the CUDA allocator held, unused ones included."""
    peak_process_bytes: Bytes | None = None
    """Bytes of the device that this process held at the window's end: allocator, context, libraries (NVML)."""
    device_used_bytes: Bytes | None = None
    """All bytes of the device that were in use at the window's end, by whomever (NVML)."""
    peak_rss_bytes: Bytes | None = None
    """The process's resident-set high-water mark, less its value before set-up: an upper bound of host memory."""
    energy_joules: NonNegative | None = None
    """What the whole GPU took in the window, by NVML's total energy counter; null for windows below 10 s."""
    temperature_celsius: tuple[_Figure, _Figure] | None = None
    """The GPU's temperature at the window's two edges."""
    clock_megahertz: tuple[_Figure, _Figure] | None = None
    """The clock of the GPU's streaming processors at the window's two edges."""
    throttle_reasons: tuple[str, ...] | None = None
    """What held that clock down at either edge: heat, power, hardware (NVML); empty where nothing did."""
    stopped_seconds: Seconds | None = None
    """Seconds in which the process was stopped or the machine slept; above 0, the window's times mean nothing."""
    contended: bool | None = None
    """On a CPU: threads waited for a processor for over a tenth of the window. On a GPU: another process used it at an edge."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class TestRecord:
    """One test split: top-1 over all of its images, with the counts behind it."""

    __test__ = False

    accuracy_percent: Percent
    """Top-1 over all of the split's images (micro average), unrounded."""
    correct: Count
    """How many images were answered with their class."""
    images: Count
    """How many images were tested."""
    classes: Classes
    """How many classes there were to choose from."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, in the order of their labels."""
    answers_zero_shot: bool = False
    """The method had nothing to say of these classes, and answered as the pretrained backbone does."""
    confusion: tuple[tuple[Count, Count, Count], ...] = ()
    """(true class, predicted class, images) for every pair that occurs; a class is its position in `class_names`."""

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
    """What training changed, and where its gradient went. The definitions are AdaptBench's own: `harness.probes.analysis`."""

    images: Count
    """How many training images were looked at."""
    image_shift: tuple[NonNegative, ...] | None = None
    """How far each block's output at the pooled token moved in the image tower: mean Euclidean distance. A block's feature
    sensitivity is its shift divided by the last block's."""
    text_shift: tuple[NonNegative, ...] | None = None
    """The same for each block of the text tower, over the texts that classifying takes."""
    class_gradient_before: tuple[NonNegative, ...] | None = None
    """For every class, the mean share of its text feature in an image's gradient, before training."""
    class_gradient_after: tuple[NonNegative, ...] | None = None
    """The same after training."""
    rank_gradient_before: tuple[NonNegative, ...] | None = None
    """Those shares before training with each image's classes sorted, the largest first, then averaged by rank."""
    rank_gradient_after: tuple[NonNegative, ...] | None = None
    """The same after training."""
    image_blocks_with_gradient: Count | None = None
    """Blocks of the image tower that one training step's gradient passes through."""
    text_blocks_with_gradient: Count | None = None
    """Blocks of the text tower that one training step's gradient passes through."""
    class_texts_with_gradient: Count | None = None
    """Class texts that one training step's gradient passes through the text tower."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class BlockRecord:
    """One block of a tower in one training step, all its passes together."""

    tower: Tower
    """The tower that the block belongs to."""
    block: Count
    """The block's number in its tower, from 0."""
    forward_seconds: Seconds
    """Seconds of its forward passes, device synchronised at both ends."""
    backward_seconds: Seconds | None
    """Seconds from the gradient of its output to that of its input; null where no gradient came."""
    saved_bytes: Bytes
    """Bytes that autograd keeps of it for the backward pass, weights apart."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class SimulationRecord:
    """What a simulation finds for an execution of the run."""

    peak_bytes: Mapping[str, Mapping[str, Bytes]]
    """By phase, the bytes that live at its peak on a device, by category; those of "host" lie in host memory beside it."""
    step_flops: Count | None
    """FLOPs of one training step, 2 per multiply-add; null for methods without steps."""
    test_batch_flops: Count
    """FLOPs of one test batch, 2 per multiply-add."""
    note: str | None = None
    """Where training could be simulated in part only, so that its peak may be higher; null where it was simulated whole."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class ProfileRecord:
    """A training step from inside."""

    blocks: tuple[BlockRecord, ...] = ()
    """What each block of the towers took in one step; empty where the blocks can't be looked into."""
    simulated: Mapping[Execution, SimulationRecord | None] = field(default_factory=dict)
    """What a simulation finds, by execution; null for a method that can't be simulated."""
    gemm_flops_per_second: NonNegative | None = None
    """FLOPs per second of a 4096 matrix product in the same process, the peak that utilisation refers to; null but for
    fp32."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Environment:
    """The machine and the software a run saw."""

    hostname_sha256: str
    """Digest of the host's name: enough to tell machines apart."""
    platform: str
    """Operating system, its version and architecture."""
    python: str
    """Version of Python."""
    versions: Mapping[str, str]
    """Versions of the packages that figures depend on, by name; what isn't installed is absent."""
    cpu: str | None
    """The processor's name."""
    cpu_count: Count | None
    """Logical processors of the machine."""
    threads: Count | None
    """Threads that torch computed with."""
    omp_wait_policy: str | None
    """OMP_WAIT_POLICY, by which idle threads sleep or spin; null where it wasn't set."""
    memory_bytes: Bytes | None
    """The machine's main memory."""
    device: str
    """The device that computed: cpu, cuda or cuda:N."""
    gpu: str | None = None
    """The GPU's name."""
    gpu_memory_bytes: Bytes | None = None
    """The GPU's memory."""
    driver: str | None = None
    """Version of the GPU's driver (NVML)."""
    cuda: str | None = None
    """Version of CUDA that torch was built for."""
    cudnn: str | None = None
    """Version of cuDNN."""
    allocator: str | None = None
    """Options of the CUDA allocator, from PYTORCH_ALLOC_CONF; null where there are none."""
    tf32: bool | None = None
    """Matrix products in fp32 were allowed to round to TF32."""
    commit: str | None = None
    """The commit of the checkout that ran; null for an installed copy."""
    dirty: bool | None = None
    """Tracked files differed from that commit."""
    load_average: _Figure | None = None
    """Processes that ran or waited to, averaged over the last minute of the run."""
    concurrent_runs: AtLeastOne | None = None
    """The most runs of the same results folder that were under way on the machine at once, this one included."""

    @property
    def in_company(self) -> bool:
        """Whether other runs were under way on the machine at the same time, as far as is known."""
        return (self.concurrent_runs or 1) > 1

    @property
    def machine(self) -> str:
        """The words by which a report tells machines apart: the device that computed, and its thread count on a CPU."""
        return (
            self.gpu if self.gpu else f"{self.cpu or 'unknown CPU'}, {self.threads} thread{'s' * (self.threads != 1)}"
        )


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class RunRecord:
    """One run, as its file holds it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this schema."""
    key: RunKey
    """What makes the run the run it is."""
    recipe_row: str
    """The row of the method's recipe table that the recipe came from."""
    status: Status
    """How the run ended."""
    reason: str | None = None
    """What went wrong; null for a run that is ok."""
    traceback: str | None = None
    """The traceback of a failure that nobody expected, the home folder as ``~``; null where the reason says it all."""
    started_at: str
    """When the run began: UTC, ISO 8601, to the second."""
    total_seconds: Seconds
    """Seconds of the whole run in its process: its phases, and the passes beside them (memory, profile, analysis)."""
    windows: Mapping[Phase, WindowRecord] = field(default_factory=dict)
    """The phases whose windows closed, by name."""
    accuracy: Mapping[str, TestRecord] = field(default_factory=dict)
    """Results by the test split's key."""
    validation: TestRecord | None = None
    """The last epoch's weights on the validation draw, at most 4 images per class; no phase includes it."""
    analysis: AnalysisRecord | None = None
    """What training changed, in suites that ask for it."""
    profile: ProfileRecord | None = None
    """A training step from inside, where it was asked for, and what was simulated."""
    epoch_losses: tuple[_Figure | None, ...] = ()
    """Mean loss over the steps of each epoch."""
    step_seconds: Annotated[tuple[_StepSeconds, ...], AfterValidator(_all_within_arithmetic)] = ()
    """Seconds of each optimiser step on its ready batch, raw, warm-up included."""
    load_seconds: Seconds | None = None
    """Seconds of the train window spent waiting for the steps' batches: decoding, augmentation, copies."""
    extract_seconds: Seconds | None = None
    """Seconds of the train window spent on features in bulk, with the decoding of their images."""
    train_images_seen: Count | None = None
    """Training images that went into optimiser steps, one in every epoch anew."""
    train_texts_encoded: Count | None = None
    """Texts that went through the text tower in the train window, a class's in every step anew."""
    train_image_count: Count | None = None
    """Images in the few-shot draw."""
    train_class_count: Count | None = None
    """Classes trained on."""
    test_images_seen: Count | None = None
    """Images tested, over all test splits."""
    reused_test_features: Count | None = None
    """Test images whose features an earlier run had left; null where none could be reused."""
    reused_test_seconds: Seconds | None = None
    """Seconds those features took then, which the test phase was spared; null where none could be reused."""
    split_rule: str | None = None
    """How the lists of the dataset were made; null where they are the source's own."""
    trainable_parameters: Count | None = None
    """Trained weights, each tensor once."""
    total_parameters: Count | None = None
    """All weights of the model, each tensor once."""
    changed_weights_percent: Percent | None = None
    """Share of the trained weights that training changed."""
    peaks_of_seed: AtLeastOne | None = None
    """The seed of the run, equal in all else, whose memory pass counted `peak_tensor_bytes`, as shapes alone decide it; null
    where this run's own did."""
    weights_sha256: str | None = None
    """Digest of the backbone's weights."""
    saved_bytes: Count | None = None
    """Size of the file that the trained model was saved to; null where it was not to be."""
    environment: Environment
    """The machine and the software."""
    warnings: tuple[str, ...] = ()
    """Warnings that came up in the run, each once."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Reasons for nulls by the field's name, ``train.energy_joules`` for a window's field."""
    command: str | None = None
    """A command that repeats the run; of paths it keeps the last part."""


_ADAPTER = TypeAdapter(RunRecord)


_NUMBERS = re.compile(rb"\[\n\s+([-+.\w]+(?:,\n\s+[-+.\w]+)*)\n\s+\]")  # no string holds a bare line break


def to_json(record: RunRecord) -> bytes:
    """The record as the text of its file: indented, with each list of numbers on a line of its own."""
    try:
        text = _ADAPTER.dump_json(record, indent=1)
    except PydanticSerializationError:  # of a name that is not UTF-8
        text = _ADAPTER.dump_json(_ADAPTER.validate_python(_printable(_ADAPTER.dump_python(record))), indent=1)
    return _NUMBERS.sub(lambda found: b"[" + b" ".join(found[1].split()) + b"]", text) + b"\n"


def _printable(value: Any) -> Any:
    """The same with every text such that it can be encoded."""
    if isinstance(value, Mapping):
        return {_printable(name): _printable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(each) for each in value]
    return printable(value) if isinstance(value, str) else value


class NewerRecordError(DataError):
    """A record of a later version, which this one neither reads nor replaces."""


def from_json(data: bytes, source: str) -> RunRecord:
    """A validated record. Raises DataError naming `source` and the first thing wrong with it."""
    try:
        record = _ADAPTER.validate_json(data)
        _require_names_once(data)
        _require_agreement(record)
    except (ValidationError, _ContradictionError) as error:
        _refuse_newer(data, source)
        raise _no_record(source, error) from error
    return record


def key_from_json(data: bytes, source: str) -> RunKey:
    """The key in a record's file. Raises DataError naming `source`."""
    try:
        return KEY_ADAPTER.validate_json(data)
    except ValidationError as error:
        raise _no_record(source, error) from error


_SPACE = b" \t\r\n"
_UNNAMED = b"0123456789+-.eE[]," + _SPACE
_NUMBERS_OF = re.compile(rb'":\[(?:\[[\d,]*\],?)*[\d,.eE+-]*\]')
"""The end of a name, and a list of numbers or of lists of counts, without white space: most of a record, and no names."""
_MOST_SHAPES = 1024
_shapes: set[bytes] = set()
"""What records are without numbers and lists, where no object has a name twice even then: the seeds of a run have one shape."""


def _require_names_once(data: bytes) -> None:
    """Raises _ContradictionError for a JSON text, known to be one, in which a name stands twice in an object."""
    shape = data.translate(None, delete=_UNNAMED)
    plain = b"\\" not in data  # so that equal shapes have the same strings in the same objects
    if plain and shape in _shapes:
        return
    named = _NUMBERS_OF.sub(b'":0', data.translate(None, delete=_SPACE))
    document, names = pydantic_core.from_json(named), named.count(b'":')
    if _distinct_names(document) < names:
        json.loads(data, object_pairs_hook=_each_once)
    elif plain and len(_shapes) < _MOST_SHAPES and _distinct_names(document, _UNNAMED.decode()) == names:
        _shapes.add(shape)


def _distinct_names(document: dict[str, Any], without: str = "") -> int:
    """How many names a record's objects have, each once; those in lists of lists are not looked for.

    Letters that were taken out can make two names one, and no two of one; what ends a name may be in a text, too.
    """
    found = len({name.translate(dict.fromkeys(map(ord, without))) for name in document}) if without else len(document)
    for value in document.values():
        if type(value) is dict:
            found += _distinct_names(value, without)
        elif type(value) is list and value and type(value[0]) is dict:
            found += sum(_distinct_names(each, without) for each in value if type(each) is dict)
    return found


class _ContradictionError(ValueError):
    """A file says two things of which one can't be."""


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise _ContradictionError(f"'{max(names, key=names.count)[:200]}' stands twice in one object")


def _require_agreement(record: RunRecord) -> None:
    if others := record.accuracy.keys() - set(record.key.tests):
        raise _ContradictionError(f"accuracy: '{min(others)}' is no test of its key")
    for name, test in record.accuracy.items():
        for what in _contradictions(test):
            raise _ContradictionError(f"accuracy.{name}: {what}")
    for what in _contradictions(record.validation) if record.validation else ():
        raise _ContradictionError(f"validation: {what}")


def _contradictions(test: TestRecord) -> Iterator[str]:
    """What can't be true of one test."""
    if test.correct > test.images:
        yield f"{test.correct} of {test.images} images can't be correct"
    if test.images and abs(test.accuracy_percent - 100 * test.correct / test.images) > _ROUNDING_PERCENT:
        yield f"{test.correct} of {test.images} images are not {test.accuracy_percent:g} %"
    if test.class_names and len(test.class_names) != test.classes:
        yield f"{len(test.class_names)} names of {test.classes} classes"
    if test.confusion:
        true, predicted, counts = zip(*test.confusion, strict=True)
        if max(max(true), max(predicted)) >= test.classes:
            yield f"the confusion has a class beyond the {test.classes} that there are"
        images = sum(counts)
        correct = sum(compress(counts, map(eq, true, predicted)))
        if (correct, images) != (test.correct, test.images):
            yield f"{test.correct} of {test.images} images are correct, and by the confusion {correct} of {images}"


def _refuse_newer(data: bytes, source: str) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is int and SCHEMA_VERSION < version < 1000:
        raise NewerRecordError(
            f"{source} is a run record of schema {version}, written by a later AdaptBench: this one reads {SCHEMA_VERSION}.",
            "Update AdaptBench (pip install -U adaptbench), or choose another folder by --results DIR.",
        )


def _no_record(source: str, error: ValidationError | _ContradictionError) -> DataError:
    why = first_fault(error) if isinstance(error, ValidationError) else str(error)
    return DataError(
        f"{source} is no run record of schema {SCHEMA_VERSION}: {why}.",
        "Delete it to have the run done again, or read it with the AdaptBench version that wrote it.",
    )


def json_schema() -> dict[str, Any]:
    """The JSON schema of a record's file, each field with its description."""
    schema = _ADAPTER.json_schema(mode="serialization")
    for kind in (schema, *schema["$defs"].values()):
        described = _field_docstrings(globals()[kind["title"]])
        for name, of in kind["properties"].items():
            of["description"] = described[name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _field_docstrings(kind: type) -> dict[str, str]:
    """What stands below each field of a class. pydantic would read them whenever it is imported, for a seventh of a plan's time."""
    (defined,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(defined, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(defined.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def first_fault(error: ValidationError) -> str:
    """Where in a file the first thing is that is wrong with it, and what that is."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
