"""What may be averaged with what: records into sections (like with like), and a section's records into rows.

A section holds records of one suite, shots, backbone, machine, precision, execution, prompt template and number of
steps, all measured or all simulated. A row is one method with one configuration; its records differ in dataset and seed only.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter

from harness.recipe import Recipe
from harness.records import Environment, RunKey, RunRecord, key_json
from harness.suite import Test
from harness.visible import visible
from harness.weights import HUB
from reports.format.text import short
from reports.results.machines import timed_on, unlike
from reports.results.questions import questions

REFERENCE = "zero_shot"
"""The method every other is compared with, where it was run."""

_RECIPE = TypeAdapter(Recipe)
_STATE = re.compile(r"(@|:names=)[0-9a-f]{12}(?=$|:)")
"""The digests of its files, and of names given to its classes, in the name of a user's own dataset."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Condition:
    """What all records of a section share. `weights`: the pretrained tag or file, or "built-in weights".

    `template`: the prompt template that replaced the datasets' own; `steps`: after so many training was cut off; `simulated`:
    nothing was computed, so that there is neither time nor accuracy. `contents`: of datasets of which the records know several
    states (a folder that got an image more between two runs), the one that these records are on.
    """

    suite: str
    shots: int
    backbone: str
    weights: str
    machine: str
    device: str
    precision: str
    execution: str
    template: str
    steps: str
    simulated: bool
    contents: str = ""

    @classmethod
    def of(cls, record: RunRecord, changed: Collection[str] = ()) -> Condition:
        """The condition a record was measured under; devices of one kind (``cuda:0``, ``cuda:1``) are alike.

        changed: names of datasets that stand for one state of several.
        """
        key, environment = record.key, record.environment
        return cls(
            suite=key.suite,
            shots=key.shots,
            backbone=key.backbone,
            weights=key.pretrained or ("the hub's weights" if key.backbone.startswith(HUB) else "built-in weights"),
            machine=environment.machine,
            device=_device(environment),
            precision=key.precision,
            execution=key.execution,
            template=key.template or "",
            steps="" if key.steps is None else str(key.steps),
            simulated=key.simulated,
            contents=", ".join(sorted(_datasets(record).intersection(changed))) if changed else "",
        )


def _device(environment: Environment) -> str:
    """The kind of device; of a run that failed before it had chosen one, the kind it would have taken."""
    kind = environment.device.partition(":")[0]
    return ("cuda" if environment.gpu else "cpu") if kind == "auto" else kind


@dataclass(frozen=True)
class Row:
    """One line of every table of its section. `label` is unique there, printable, and at most 64 characters long.

    `untimed`: why it has no times beside the other rows', where its runs were not all on the kind of machine of theirs.
    """

    label: str
    method: str
    records: tuple[RunRecord, ...]
    untimed: str = ""

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({r.key.seed for r in self.records}))


@dataclass(frozen=True)
class Section:
    """`repeats` counts records left out because a newer record of the same run on the same machine is there.

    `targets` are the datasets that a transfer averages, None for all. `again`: another section has the same records.
    """

    condition: Condition
    rows: tuple[Row, ...]
    repeats: int
    targets: frozenset[str] | None = None
    again: bool = False

    @cached_property
    def records(self) -> tuple[RunRecord, ...]:
        return tuple(r for row in self.rows for r in row.records)

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        return tuple(sorted({r.key.dataset for r in self.records}))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({r.key.seed for r in self.records}))

    @cached_property
    def paired(self) -> bool:
        """Whether every run tests the base and the new half of its dataset, and nothing else."""
        return all(set(r.key.tests) == {f"{r.key.dataset}/base", f"{r.key.dataset}/new"} for r in self.records)

    @cached_property
    def transfers(self) -> bool:
        """Whether some run is tested on a dataset it was not trained on."""
        return any(Test.from_key(test).dataset != r.key.dataset for r in self.records for test in r.key.tests)

    @property
    def costs_only(self) -> bool:
        """Whether training was cut off or simulated, so that there are no accuracies, or none that mean anything."""
        return bool(self.condition.steps) or self.condition.simulated

    def tests(self, record: RunRecord) -> tuple[str, ...]:
        """The tests of a record that this section is about."""
        wanted = dict.fromkeys(record.key.tests)
        if self.targets is None:
            return tuple(wanted)
        return tuple(t for t in wanted if Test.from_key(t).dataset in {record.key.dataset, *self.targets})


def sections(records: Iterable[RunRecord]) -> tuple[Section, ...]:
    """The sections of a page: of a suite and its shots the largest first, whatever the order of `records`."""
    unique = set_of_records(records)
    changed = _changed(unique)
    found = grouped(unique, lambda record: Condition.of(record, changed))
    order = sorted(
        found, key=lambda condition: (condition.suite, condition.shots, -len(found[condition]), astuple(condition))
    )
    return tuple(asked for condition in order for asked in _asked(_section(condition, found[condition])))


def _changed(records: Iterable[RunRecord]) -> set[str]:
    """Names of datasets that tell apart several contents behind one name: ``folder:birds@4f21...`` beside another of birds."""
    names = set().union(*map(_datasets, records))
    states = grouped(names, lambda name: _STATE.sub("", name))
    return {name for same in states.values() if len(same) > 1 for name in same}


def _datasets(record: RunRecord) -> set[str]:
    """What a record was trained and tested on."""
    return {record.key.dataset, *(Test.from_key(test).dataset for test in record.key.tests)}


def set_of_records(records: Iterable[RunRecord]) -> list[RunRecord]:
    """`records` by their keys and times, without exact copies, as come from one file in two of the folders."""
    unique: list[RunRecord] = []
    for _, same_run in sorted(grouped(records, lambda r: (key_json(r.key), r.started_at)).items()):
        unique.extend(r for i, r in enumerate(same_run) if r not in same_run[:i])
    return unique


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """`items` by `key`, in the order of their first occurrence."""
    groups: defaultdict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def _asked(section: Section) -> list[Section]:
    """The section under each suite whose question its records answer."""
    tested = {Test.from_key(test).dataset for r in section.records for test in r.key.tests}
    asked = [q for q in questions(section.condition.suite) if q.targets & tested]
    return [
        replace(section, condition=replace(section.condition, suite=q.suite), targets=q.targets, again=i > 0)
        for i, q in enumerate(asked)
    ] or [section]


def _section(condition: Condition, records: list[RunRecord]) -> Section:
    alike = Counter(map(_likeness, records))
    same_runs = grouped(records, lambda r: likeness if alike[likeness := _likeness(r)] == 1 else _run(r))
    newest = [_newest(same) for same in same_runs.values()]
    rows: list[Row] = []
    for found in grouped(newest, lambda r: r.key.method).values():
        states = grouped(found, lambda r: r.key.source_sha256)
        for source, of_one_source in states.items():
            rows.extend(_rows(_named(of_one_source[0].key.method, source, len(states)), of_one_source))
    main = timed_on(newest)
    rows = [replace(row, untimed=unlike(main, row.records)) for row in rows]
    return Section(condition, _distinct(rows), repeats=len(records) - len(newest))


def _likeness(record: RunRecord) -> Hashable:
    """What two records of one run have in common, and hardly any others of a section: only these are compared in full."""
    key = record.key
    return key.method, key.dataset, key.seed, key.classes


def _run(record: RunRecord) -> str:
    """Of records of one section: the same run, whether or not its version told the device, and whatever its method's source was."""
    return key_json(replace(record.key, device=None, source_sha256=None))


def _newest(same_run: Sequence[RunRecord]) -> RunRecord:
    """The newest finished one. An edited method's earlier figures are none of its own: of several sources the newest counts."""
    if len({r.key.source_sha256 for r in same_run}) > 1:
        newest_source = max(same_run, key=lambda r: r.started_at).key.source_sha256
        same_run = [r for r in same_run if r.key.source_sha256 == newest_source]
    return max(same_run, key=lambda r: (r.status == "ok", r.started_at))


def _named(method: str, source_sha256: str | None, sources: int) -> str:
    """A method, and which of several sources of it, whose runs are not averaged."""
    return method if sources == 1 else f"{method} (source {(source_sha256 or 'unknown')[:7]})"


def _rows(name: str, records: list[RunRecord]) -> list[Row]:
    """A method's records as rows: one, unless some dataset was run with two configurations.

    A recipe table may legitimately hold a row for one dataset, so different datasets may differ within a row.
    """
    parts = [records]
    for level in (lambda r: canonical(r.key.settings), lambda r: _configuration(r.key)):
        if all(map(_one_each, parts)):
            break
        parts = list(grouped(records, level).values())
    return [Row(_label(name, part, parts), part[0].key.method, tuple(part)) for part in parts]


def _one_each(records: list[RunRecord]) -> bool:
    return len({(r.key.dataset, _configuration(r.key)) for r in records}) == len({r.key.dataset for r in records})


def _label(method: str, part: list[RunRecord], parts: list[list[RunRecord]]) -> str:
    own, usual = part[0].key.settings, usual_settings([p[0].key.settings for p in parts])
    marks = ", ".join(f"{k}={plain(own.get(k))}" for k, value in usual.items() if value != canonical(own.get(k)))
    return short(visible(f"{method} ({marks})" if marks else method), 60)


def usual_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """By setting that differs: the value (as JSON) that more than half of them have, None where there is no such value."""
    usual: dict[str, str | None] = {}
    for name in sorted(set().union(*settings)):
        value, times = Counter(canonical(s.get(name)) for s in settings).most_common(1)[0]
        if times < len(settings):
            usual[name] = value if 2 * times > len(settings) else None
    return usual


def _distinct(rows: list[Row]) -> tuple[Row, ...]:
    """The same rows; those with equal labels (only their recipes differ, or long names were cut) are numbered."""
    numbered: list[Row] = []
    for label, same in grouped(rows, lambda row: row.label).items():
        for i, row in enumerate(same, 1):
            numbered.append(replace(row, label=f"{label} #{i}" if len(same) > 1 else label))
    return tuple(numbered)


def _configuration(key: RunKey) -> str:
    return canonical(key.settings) + recipe_json(key.recipe)


def recipe_json(recipe: Recipe) -> str:
    """A canonical text of a recipe."""
    return recipe.text


def recipe_from_json(text: str) -> Recipe:
    """The recipe that has this canonical text."""
    return _RECIPE.validate_json(text)


def plain(value: Any) -> str:
    """A setting as ``--set`` takes it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def canonical(value: Any) -> str:
    """Equal values give equal texts."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, default=str)
