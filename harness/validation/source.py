"""The lines of a method's source: where what an error speaks of is written, and which line changed something as it ran."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from harness.own_source import own_source
from harness.simple_method import OVERRIDDEN
from harness.training.contract import CALLS

_STAND_INS: Mapping[str, tuple[str, ...]] = {
    "loss": ("class_features", "image_features"),
    "logits": ("image_features", "class_features"),
    "classifier": ("class_features",),
    "parameter": ("trained", "trainable"),
    "adapt": ("__init__",),
    "constructor": ("__init__",),
}
"""What to look at where a method has no function of this name: of a `SimpleMethod`, what it overrides."""
_OTHERS = ("adapt", "reads", "keeps", "recipes", "text_start", "answers_zero_shot", "conflicts")


@dataclass(frozen=True)
class Place:
    """A line of a file, from 1 on."""

    file: Path
    line: int

    def __str__(self) -> str:
        """``mine.py:12: self.scale = scale``, with the file as seen from the current folder if it lies there."""
        here = os.path.relpath(self.file)
        return f"{self.file.name if here.startswith('..') else here}:{self.line}: {self.text}"

    @property
    def text(self) -> str:
        """What is written there, without its indentation; empty where there is no such line."""
        lines = self.file.read_text(errors="replace").splitlines() if self.file.is_file() else []
        return lines[self.line - 1].strip() if 0 < self.line <= len(lines) else ""


class Source:
    """The file of a method's class, and those beside it that it imports."""

    def __init__(self, module: str, file: Path) -> None:
        """Of a module that may not be importable: it is read, not run."""
        paths = [file.resolve(), *own_source(module, file).files.values()]
        self._trees = {path: _tree(path) for path in dict.fromkeys(paths)}
        self.files = frozenset(map(str, self._trees))

    def place(self, names: Iterable[str], said: str = "", fallback: str = "") -> Place:
        """Where the first of these names is written, or else one of an error's words `said`, else a class: `fallback`, or one.

        ``.name`` is an attribute alone. Of the words, functions come before attributes, and those before mere uses; what is in
        quotes or after the last colon comes before what is elsewhere.
        """
        kinds = (_functions, _attributes, _uses, _classes)
        if found := self._first_of((name, written) for name in names for written in kinds):
            return found
        named = re.findall(r"\w+", " ".join(re.findall(r"'([^']*)'", said)) + " " + said.rpartition(":")[2])
        words = re.findall(r"\w+", said)
        for asked in (_called(words), named, [word for word in words if "_" in word], [fallback]):
            tried = [each for word in asked for each in (word, *_STAND_INS.get(word, ()))]
            if found := self._first_of((name, written) for written in kinds for name in tried):
                return found
        path, tree = next(iter(self._trees.items()))
        return Place(path, next(_classes(tree), ("", 1))[1])

    def _first_of(self, asked: Iterable[tuple[str, Callable[[ast.AST], Iterator[tuple[str, int]]]]]) -> Place | None:
        for name, written in asked:
            for path, tree in self._trees.items():
                for found, line in written(tree):
                    if found == name:
                        return Place(path, line)
        return None

    def changing(self, run: Callable[[], object], state: Callable[[], Any]) -> Place | None:
        """The first line of these files after which `state()` is another than before, while `run()` runs; None if none is.

        `run` may fail. The state is looked at before every line: this is for finding out, not for measuring.
        """
        found: list[Place] = []
        before = state()
        last: dict[int, int] = {}

        def look(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if found or frame.f_code.co_filename not in self.files:
                return None
            now = state()
            if event == "call":
                before = now
            elif now != before and id(frame) in last:
                found.append(Place(Path(frame.f_code.co_filename), last[id(frame)]))
            last[id(frame)] = frame.f_lineno
            return look

        tracing = sys.gettrace()
        sys.settrace(look)
        try:
            run()
        except Exception:  # it is known already: what counts is what had changed by then
            pass
        finally:
            sys.settrace(tracing)
        return found[0] if found else None


def _tree(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.parse("")


def _called(words: Iterable[str]) -> list[str]:
    """The words that are functions of the contract."""
    return [word for word in words if word in CALLS or word in OVERRIDDEN or word in _OTHERS]


def _functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    return ((node.name, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _classes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    return ((node.name, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def _attributes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Fields of classes, and attributes that are given a value."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Attribute):
                yield f".{target.attr}", target.lineno
            name = getattr(target, "attr", getattr(target, "id", None))
            if name:
                yield name, target.lineno


def _uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Attributes and names that are read, and numbers' types and texts such as ``"cuda"``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield f".{node.attr}", node.lineno
        name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "value", None)
        if isinstance(name, str) and isinstance(node, ast.Attribute | ast.Name | ast.Constant):
            yield name, node.lineno
