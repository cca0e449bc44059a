"""Strings from records, made safe to look at: nothing in them can hide, reverse or overflow the words around them."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was to be a record and isn't: where it lies, and what is wrong."""

    source: str
    what: str


def visible(text: str, keep: str = "") -> str:
    """`text` with control characters, direction marks and lone surrogates written out, as in ``\\u202e``.

    HTML escaping is the template's; this is for what escaping leaves alone. `keep` are characters to leave as they are.
    """
    plain = text.translate(dict.fromkeys(map(ord, keep))) if keep else text
    if plain.isprintable():  # nothing is hidden then, and almost every text is
        return text
    return "".join(c if c in keep or not _hidden(c) else c.encode("unicode_escape").decode() for c in text)


def block(text: str) -> str:
    """`visible`, for a text of several lines: line ends and tabs stay."""
    return visible(text.replace("\r\n", "\n"), keep="\n\t")


def short(text: str, length: int) -> str:
    """`text`, cut in the middle to at most `length` characters: beginnings and ends tell names apart."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[-(length - 1 - head) :]}"


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


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def few(values: Collection[str]) -> str:
    """The first three, for a sentence."""
    shown = " / ".join(short(visible(value), 60) for value in sorted(values)[:3])
    return f"{shown} and {len(values) - 3} more" if len(values) > 3 else shown
