"""Experiments as files: what the command line of ``adaptbench run`` has, as YAML, with a place for every mistake.

A key is an option's name, or ``suite``; the command line overrides it. The options stay the one place where a value's meaning is
known: here a file is checked against the types that they take, and becomes words of the command line. Every scalar is read as its
text, so that ``no`` is a name and ``1e-3`` a number for whoever wants one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from harness.cli import options
from harness.cli.run import run_
from harness.errors import AdaptBenchError, ConfigError, did_you_mean
from harness.files import read_text, write_atomically
from harness.plan import PlannedRun, default_group

LARGEST_BYTES = 1 << 16
DEEPEST = 4
LISTS = ("methods", "datasets", "seeds", "shots", "execution")
"""The options that take several, comma-separated on the command line."""
_OF_THE_COMMAND = ("context", "return", "dry_run", "again", "retry_failed")
"""Options that ask for something now; an experiment is the same each time."""
EXAMPLE = "For example:\n  suite: base2new\n  methods: all\n  seeds: [1, 2]\n  set: {epochs: 10}"

Place = tuple[str | int, ...]
"""Of a part of a file: the option, then the keys or the numbers within its value."""
Scalar = str | int | float | bool


@dataclass(frozen=True)
class Experiment:
    """A file that was read: its values by option, and the line of each value, and of each part of one."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Place, int]
    texts: Mapping[Place, str]

    def words(self, command: Any, given: Mapping[str, Any]) -> list[str]:
        """The suite, and the options for a command that has them; without those, and the settings, that are `given` on its line."""
        known = {p.opts[0].removeprefix("--"): p for p in command.params if p.param_type_name == "option"}
        found = [str(self.values["suite"])]
        for key, value in self.values.items():
            if (option := known.get(key)) is None or (option.name in given and not isinstance(value, dict)):
                continue
            if isinstance(value, dict):
                overridden = {text.partition("=")[0].strip() for text in given.get(option.name) or ()}
                value = [f"{name}={text}" for name, text in _flat(value) if name not in overridden]
            name = option.opts[0]
            if getattr(option, "is_flag", False):
                found += [name] * bool(value)
            elif option.multiple:
                found += [f"{name}={each}" for each in value]
            else:
                found.append(f"{name}={_joined(value) if isinstance(value, list) else value}")
        return found

    @contextmanager
    def located(self) -> Iterator[None]:
        """Errors in here are told with the file, and with the line of the value that they speak of."""
        try:
            yield
        except AdaptBenchError as error:
            line = self._line(error.what)
            raise type(error)(f"{self.path}{f':{line}' if line else ''}: {error.what}", error.advice) from error

    def _line(self, what: str) -> int | None:
        """Of the option that a text names, if any; within it, of the setting, or of the value, that the text names first."""
        named = [place for place in self.lines if place and _at(what, f"--{place[0]}") is not None]
        settings = {place: ".".join(map(str, place[1:])) for place in named if len(place) > 1}
        values = {place: self.texts[place] for place in named or self.texts if place in self.texts}
        for told, quote in ((settings, ""), (values, "'"), (values, "")):
            found = {
                place: at for place, text in told.items() if (at := _at(what, f"{quote}{text}{quote}")) is not None
            }
            if found:
                return self.lines[min(found, key=lambda place: (found[place], -len(told[place])))]
        return self.lines[named[0]] if named else None


def _at(what: str, text: str) -> int | None:
    """Where a text has a word, or several; None where it hasn't."""
    found = re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w-])", what) if text else None
    return found.start() if found else None


def read(path: Path) -> Experiment:
    """A file's experiment. Raises ConfigError, with the line, for what is no YAML, no such option or no value of its type."""
    node = _composed(path)
    lines: dict[Place, int] = {}
    texts: dict[Place, str] = {}
    values = _value(path, node, (), lines, texts)
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"{path} has no option.", EXAMPLE)
    for key in {*LISTS} & {key for key in values if isinstance(values[key], str)}:
        for number, part in enumerate(_split(values[key])):
            lines[key, number], texts[key, number] = lines[key,], part
    try:
        checked = experiment_model().model_validate(values)
    except ValidationError as error:
        raise _refused(path, error.errors(), lines, texts) from None
    return Experiment(path, {key: getattr(checked, key) for key in values}, lines, texts)


def keep(given: Mapping[str, Any], runs: Sequence[PlannedRun], results: Path) -> Path:
    """Write beside the results the experiment that a command stood for: its options, and what the suite chose beside them.

    `given` has the values of the parameters of ``adaptbench run``. The same experiment has the same file.
    """
    from harness.cli.run import run_

    keys = [run.key for run in runs]
    chosen: dict[str, list[Any]] = {
        "methods": [key.method for key in keys],
        "seeds": [key.seed for key in keys],
        "shots": [key.shots for key in keys],
        "execution": [key.execution for key in keys],
    }
    values: dict[str, Any] = {"suite": given["suite"]}
    values |= {name: list(dict.fromkeys(of)) for name, of in chosen.items()}
    values["datasets"] = options.datasets_of(given.get("datasets")) or [default_group(given.get("data_root"))]
    values["backbone"] = given.get("backbone") or keys[0].backbone
    usual = signature(run_).parameters
    for name, option in _options().items():
        if given.get(name) and given[name] != usual[name].default and option.key not in values:
            values[option.key] = _plain(option, given[name])
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
    path = results / "experiments" / f"{keys[0].suite}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"# To do it again: adaptbench run {path}\n{text}".encode())
    return path


def _plain(option: _Option, value: Any) -> Any:
    if option.is_mapping:
        return options.settings_of(value)
    return str(value) if isinstance(value, Path) else value


def _composed(path: Path) -> yaml.Node | None:
    try:
        text = read_text(path, LARGEST_BYTES)
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ConfigError(f"{path}:{event.start_mark.line + 1}: a value within {DEEPEST} others.", EXAMPLE)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) or getattr(event, "anchor", None):
                raise ConfigError(
                    f"{path}:{event.start_mark.line + 1}: there is no use for YAML's &, * and ! here.",
                    'Write the value out; one that begins with such a character in "quotes".',
                )
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"{path}{f':{mark.line + 1}' if mark else ''}: {error.problem or 'no YAML'}.", EXAMPLE
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}.", EXAMPLE) from None
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}.", "Name an experiment's file, or a suite."
        ) from None


def _value(path: Path, node: yaml.Node | None, place: Place, lines: dict[Place, int], texts: dict[Place, str]) -> Any:
    """What a node holds, all scalars as text; notes where each part stands."""
    if node is None:
        return None
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(path, each, (*place, i), lines, texts) for i, each in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for name, of in node.value:
            key = str(name.value)
            line = name.start_mark.line + 1
            if key in found:
                raise ConfigError(f"{path}:{line}: '{key}' stands here for the second time.", "Leave one of them out.")
            lines[*place, key] = line
            found[key] = _value(path, of, (*place, key), lines, texts)
        return found
    texts[place] = node.value
    return node.value


def _refused(path: Path, found: Sequence[Any], lines: Mapping[Place, int], texts: Mapping[Place, str]) -> ConfigError:
    """What the model says first of a file; of a value that might have been of several types, all that it might have been."""
    place: Place = tuple(found[0]["loc"])
    key = str(place[0])
    while place not in lines and len(place) > 1:  # the model adds the types that it tried
        place = place[:-1]
    line, known = lines.get(place, 1), experiment_model().model_fields
    if found[0]["type"] == "missing":
        return ConfigError(f"{path} names no suite.", EXAMPLE)
    if found[0]["type"] == "extra_forbidden":
        return ConfigError(f"{path}:{line}: there is no option '{key}'.", did_you_mean(key, known))
    said = f"'{texts[place]}' is" if place in texts else "this is"
    right = " or ".join(
        dict.fromkeys(e["msg"].removeprefix("Input should be ") for e in found if e["loc"][:1] == (key,))
    )
    return ConfigError(
        f"{path}:{line}: {key}: {said} no right value.", f"It takes: {right}. {known[key].description or ''}"
    )


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, of in value.items():
        if isinstance(of, dict):
            yield from ((f"{name}.{field}", str(text)) for field, text in of.items())
        else:
            yield name, str(of)


def _joined(parts: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(parts)
    return line.getvalue()


def _split(value: Any) -> Any:
    """A text of several parts, as on the command line."""
    return (
        [part.strip() for part in next(csv.reader([value], skipinitialspace=True))] if isinstance(value, str) else value
    )


class _Option(NamedTuple):
    """An option of ``adaptbench run``: what a file calls it, the type that its function takes, and what it says of itself."""

    key: str
    kind: Any
    help: str
    least: float | None
    is_mapping: bool


@cache
def _options() -> dict[str, _Option]:
    """By parameter; without what asks for something now: an experiment is the same each time."""
    found = {}
    for name, hint in get_type_hints(run_, include_extras=True).items():
        if name in _OF_THE_COMMAND:
            continue
        kind, told = get_args(hint)
        written = [each for each in (told.default, *(told.param_decls or ())) if str(each).startswith("--")]
        key = written[0].removeprefix("--") if written else name.replace("_", "-")
        found[name] = _Option(key, kind, told.help, getattr(told, "min", None), told.metavar == "KEY=VALUE")
    return found


@cache
def experiment_model() -> type[BaseModel]:
    """What a file may hold: `suite`, and any of the options."""
    fields: dict[str, Any] = {}
    for name, option in _options().items():
        needed = name == "suite"
        kind = option.kind if needed else _kind(name, option) | None
        fields[option.key] = (kind, Field(... if needed else None, description=option.help))
    config = ConfigDict(extra="forbid", title="An experiment of AdaptBench")
    return create_model("Experiment", __config__=config, **fields)


def _kind(name: str, option: _Option) -> Any:
    """The type of an option's value in a file."""
    if name in LISTS:
        of = Annotated[int, Field(ge=1)] if name in ("seeds", "shots") else str
        return Annotated[list[of], Field(min_length=1), BeforeValidator(_split)]  # type: ignore[valid-type]
    if name in ("jobs", "threads"):
        return Literal["auto"] | Annotated[int, Field(ge=1)]
    if option.is_mapping:
        return dict[str, Scalar | dict[str, Scalar]]
    (plain,) = [each for each in get_args(option.kind) or (option.kind,) if each is not NoneType]
    return Annotated[plain, Field(ge=option.least)] if plain in (int, float) else str if plain is Path else plain


def schema() -> str:
    """The JSON schema of a file, for editors."""
    return json.dumps(experiment_model().model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
