"""A run repeated from its record alone, and what differs from what was recorded."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from harness import plugins, weights
from harness.data.class_names import ClassNames, read_class_names
from harness.errors import AdaptBenchError, ConfigError
from harness.own_source import source_sha256
from harness.plan import PlannedRun
from harness.protocol import adapter, check_method
from harness.records import Environment, RunKey, RunRecord, TestRecord, first_fault
from harness.runs.forecast import Forecasts
from harness.runs.job import Job, may_optimize, repeat_command
from harness.runs.suite_runner import Progress, absolute, check_data
from harness.runs.worker_process import Isolation
from harness.suite import Folders, Test

_OF_THE_MOMENT = ("load_average", "concurrent_runs", "versions")
"""Of an environment, what differs between any two runs, and what is compared one by one."""
_SINGLE = (
    "split_rule",
    "train_image_count",
    "train_class_count",
    "train_images_seen",
    "train_texts_encoded",
    "test_images_seen",
    "trainable_parameters",
    "total_parameters",
    "changed_weights_percent",
    "weights_sha256",
)
"""Fields of a record that are one value, which equal runs have alike."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the files are that a record names without their folders; those not given are looked for in the current folder.

    `method` is ``FILE.py:NAME``, `backbone` ``local-dir:PATH``, `pretrained` a checkpoint, `datasets` are such as ``folder:PATH``.
    """

    method: str | None = None
    backbone: str | None = None
    pretrained: str | None = None
    datasets: Sequence[str] = ()
    class_names: str | None = None


def planned(record: RunRecord, places: Places) -> PlannedRun:
    """The run of a record. Raises ConfigError that names all that isn't here, or isn't what the record was made with."""
    key = record.key
    faults: list[AdaptBenchError] = []

    def found(look: Callable[[], Any]) -> Any:
        try:
            return look()
        except AdaptBenchError as fault:
            faults.append(fault)

    settings = found(lambda: _settings(key, places.method))
    pretrained = found(lambda: _weights(record, places))
    sources = found(lambda: _sources(record, places))
    if faults:
        raise ConfigError(
            " ".join(["the run can't be replayed here:", *(fault.what for fault in faults)]),
            " ".join(fault.advice for fault in faults),
        )
    return PlannedRun(
        key=replace(key, settings=settings),
        recipe_row=record.recipe_row,
        sources=sources,
        class_names=_class_names_file(record, places),
        pretrained=pretrained,
        analyse=record.analysis is not None,
    )


def job_of(record: RunRecord, run: PlannedRun, folders: Folders) -> Job:
    """The run with what a record says of how it was done: the kind of device, and the threads."""
    device = run.key.device or record.environment.device.partition(":")[0]
    threads = record.environment.threads or 1
    return Job(
        run=run,
        pretrained=absolute(run.pretrained),
        folders=folders,
        device=device,
        threads=threads,
        command=repeat_command(run, run.pretrained, device, threads),
    )


def replay(record: RunRecord, run: PlannedRun, folders: Folders, progress: Progress) -> RunRecord:
    """Do a record's run again in a process of its own, and return what it leaves; no file is written.

    Raises ConfigError or DataError where it can't start.
    """
    check_data([run], folders, progress.note)
    job = job_of(record, run, folders)
    progress.planned([run], [run], Forecasts())
    with Isolation(compiler=may_optimize(run)) as isolation:
        isolation.check(job)
        progress.started(1, run)
        isolation.start("replay", job)
        while True:
            for _, told in isolation.wait():
                if isinstance(told, RunRecord):
                    progress.ended(1, told)
                    return told
                progress.event(1, told)


def differences(recorded: RunRecord, replayed: RunRecord) -> list[str]:
    """What two records of one run don't have alike of what equal runs have: all but times and what the machine was doing."""
    return list(_differences(recorded, replayed))


def environment_differences(recorded: Environment, here: Environment) -> list[str]:
    """What of machine and software isn't as it was, each with both values."""
    names = [each.name for each in fields(Environment) if each.name not in _OF_THE_MOMENT]
    pairs = {name: (getattr(recorded, name), getattr(here, name)) for name in names}
    pairs["host"] = tuple(digest[:8] for digest in pairs.pop("hostname_sha256"))
    for package in sorted({*recorded.versions, *here.versions}):
        pairs[package] = recorded.versions.get(package), here.versions.get(package)
    return [f"{name}: {_text(was)}, here {_text(now)}" for name, (was, now) in pairs.items() if was != now]


def _settings(key: RunKey, method: str | None) -> dict[str, Any]:
    """The settings of the run, read as its method reads them. Raises ConfigError where the method isn't the record's."""
    if method is not None and plugins.named(method) != key.method:
        raise ConfigError(f"the record is of the method {key.method}, not of {method}.", "Name the file of that class.")
    try:
        cls = plugins.load("method", key.method)
    except ConfigError as error:
        raise ConfigError(error.what, "Say where its file is: --method FILE.py:NAME.") from error
    check_method(key.method, cls)
    here = source_sha256(cls.__module__)
    if here != key.source_sha256:
        raise ConfigError(
            f"the source of {key.method} has the hash {_text(here)[:12]} here, and the record {_text(key.source_sha256)[:12]}.",
            "Have its files as they were when the record was made: --method FILE.py:NAME.",
        )
    if unknown := key.settings.keys() - {each.name for each in fields(cls)}:
        raise ConfigError(
            f"{key.method} has no setting '{min(unknown)}' here.", "Use the AdaptBench that wrote the record."
        )
    try:
        return asdict(adapter(cls).validate_python(dict(key.settings)))
    except ValidationError as error:
        raise ConfigError(
            f"{key.method} can't have the record's settings here: {first_fault(error)}.",
            "Use the AdaptBench that wrote the record, or have the file there that the setting names.",
        ) from error


def _weights(record: RunRecord, places: Places) -> str | None:
    """The tag or file of the record's weights. Raises ConfigError for others, and where there are none."""
    key, said = record.key, _said(record)
    is_local = key.backbone.startswith(weights.LOCAL)
    is_file = key.pretrained is not None and "@" in key.pretrained
    backbone = places.backbone or said.get("--backbone", key.backbone) if is_local else key.backbone
    pretrained = places.pretrained or (said.get("--pretrained") if is_file and not is_local else key.pretrained)
    option = f"--backbone {weights.LOCAL}PATH" if is_local else "--pretrained FILE"
    advice = f"Say where the weights are: {option}."
    try:
        name, source, label = weights.of_backbone(backbone, None if is_local else pretrained)
    except (ConfigError, OSError) as error:
        raise ConfigError(f"the weights {key.pretrained} of {key.backbone} aren't here.", advice) from error
    if (name, label) != (key.backbone, key.pretrained):
        raise ConfigError(
            f"the record is of {key.backbone} with the weights {key.pretrained}; here is {name} with {label}.", advice
        )
    return source


def _sources(record: RunRecord, places: Places) -> dict[str, str]:
    """Where the datasets are that a record knows by a digest. Raises ConfigError for one that isn't here."""
    key, sources = record.key, dict[str, str]()
    registered = plugins.names("dataset")
    names = dict.fromkeys((key.dataset, *(Test.from_key(test).dataset for test in key.tests)))
    file = _class_names_file(record, places)
    class_names = None
    here: list[tuple[str, str]] = []
    for name in names:
        if name in registered or not plugins.is_source(name):
            plugins.load("dataset", name)
            continue
        if file is not None and class_names is None:
            class_names = read_class_names(file)
        here = here or list(_named_sources(record, places, class_names))
        spec = next((spec for spec, found in here if found == name), None)
        if spec is None:
            others = f": here is {' and '.join(found for _, found in here)}" if here else ""
            raise ConfigError(
                f"the dataset {name} isn't here{others}.",
                "Say where its files are, as they were: --datasets folder:PATH (and --class-names FILE, if there was one).",
            )
        sources[name] = spec
    return sources


def _named_sources(record: RunRecord, places: Places, class_names: ClassNames | None) -> Iterator[tuple[str, str]]:
    """Datasets of one's own that are here, each with what a key calls it: those given, else the one in the record's command."""
    for spec in places.datasets or [_said(record).get("--datasets", "").strip('"')]:
        try:
            dataset = plugins.load("dataset", spec)
        except AdaptBenchError:
            if places.datasets:
                raise
            continue
        yield spec, dataset.name if class_names is None else class_names.of(dataset).name


def _class_names_file(record: RunRecord, places: Places) -> str | None:
    return places.class_names or _said(record).get("--class-names")


def _said(record: RunRecord) -> dict[str, str]:
    """The options of the command that repeats a run; of paths it has the last part."""
    return dict(pairwise(shlex.split(record.command or "")))


def _differences(recorded: RunRecord, replayed: RunRecord) -> Iterator[str]:
    for name in ("status", "reason"):
        if getattr(recorded, name) != getattr(replayed, name):
            yield f"{name}: {_text(getattr(recorded, name))}, here {_text(getattr(replayed, name))}"
    tests = {
        f"accuracy of {test}": (recorded.accuracy.get(test), replayed.accuracy.get(test)) for test in recorded.key.tests
    }
    for name, (was, now) in (tests | {"validation": (recorded.validation, replayed.validation)}).items():
        if was != now:
            yield f"{name}: {_answers(was)}, here {_answers(now)}{_same_count(was, now)}"
    was_losses, losses = recorded.epoch_losses, replayed.epoch_losses
    unlike = [i for i, (a, b) in enumerate(zip(was_losses, losses, strict=False)) if a != b]
    if unlike:
        first = unlike[0]
        yield f"loss of epoch {first + 1}: {was_losses[first]!r}, here {losses[first]!r} (the first of {len(unlike)} that differ)"
    elif len(was_losses) != len(losses):
        yield f"epochs: {len(was_losses)}, here {len(losses)}"
    for name in _SINGLE:
        if getattr(recorded, name) != getattr(replayed, name):
            yield f"{name}: {_text(getattr(recorded, name))}, here {_text(getattr(replayed, name))}"
    for phase in recorded.windows.keys() & replayed.windows.keys():
        was_bytes, peak_bytes = recorded.windows[phase].peak_tensor_bytes, replayed.windows[phase].peak_tensor_bytes
        if was_bytes != peak_bytes:
            yield f"peak_tensor_bytes of {phase}: {_text(was_bytes)}, here {_text(peak_bytes)}"
    if recorded.analysis != replayed.analysis:
        yield "analysis: other figures"
    if recorded.key.simulated and recorded.profile != replayed.profile:
        yield "simulation: other figures"


def _answers(test: TestRecord | None) -> str:
    return "none" if test is None else f"{test.accuracy_percent:.2f} % ({test.correct} of {test.images})"


def _same_count(was: TestRecord | None, now: TestRecord | None) -> str:
    same = was is not None and now is not None and (was.correct, was.images) == (now.correct, now.images)
    return ", of other images or classes" if same else ""


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
