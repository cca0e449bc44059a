"""Strings from records as words of a sentence or a cell: none overflows what stands around it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from harness.visible import visible


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was to be a record and isn't: where it lies, and what is wrong."""

    source: str
    what: str


def short(text: str, length: int) -> str:
    """`text`, cut in the middle to at most `length` characters: beginnings and ends tell names apart."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[-(length - 1 - head) :]}"


@lru_cache(maxsize=1 << 14)
def shown(text: str, length: int) -> str:
    """`text` with nothing hidden in it, at most `length` characters long; what many runs have in common is looked at once."""
    return short(visible(text), length)


def listed(names: list[str], most: int | None = None) -> str:
    """``a``, ``a and b``, ``a, b and c``; of more than `most` names, these and ``3 more``."""
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def uncapitalised(text: str) -> str:
    """A title within a sentence: ``train time``, but ``FLOPs`` and ``CPU time``."""
    return text if text[1:2].isupper() else f"{text[:1].lower()}{text[1:]}"


def plural(number: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def few(values: Collection[str]) -> str:
    """The first three, for a sentence."""
    shown = " / ".join(short(visible(value), 60) for value in sorted(values)[:3])
    return f"{shown} and {len(values) - 3} more" if len(values) > 3 else shown
