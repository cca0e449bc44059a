"""The verdicts as a comment on a pull request: GitHub's and GitLab's Markdown. No torch here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from harness.gate.verdict import Outcome, Verdict, worst

MARKER = "<!-- adaptbench-gate -->"
"""The comment's first line: whoever posts the next one finds this one by it, and replaces it."""

LIMIT_CHARACTERS = 60_000
"""GitHub takes comments of 65,536 characters."""

_SIGNS: dict[Outcome, str] = {"unusable": "⛔", "regression": "❌", "inconclusive": "❔", "pass": "✅"}
_HEAD = "| | benchmark | figure | base | head | slowdown | why |\n|---|---|---|---:|---:|---:|---|\n"


def markdown(verdicts: Sequence[Verdict], *, base: str | None) -> str:
    """The verdicts in a table, what did not pass first and passes folded; `base` is the ref that head was measured against.

    Nothing in a name or a reason can format, link, mention or end the table. At most LIMIT_CHARACTERS long.
    """
    against = f" against {_code(base)}" if base else ""
    failed = [v for outcome in _SIGNS if outcome != "pass" for v in verdicts if v.outcome == outcome]
    passed = [v for v in verdicts if v.outcome == "pass"]
    found = worst(verdicts)
    parts = [f"{MARKER}\n### {_SIGNS[found]} Performance gate: {found}\n\n{_counts(verdicts)}{against}.\n"]
    if failed:
        parts.append(f"\n{_table(failed, LIMIT_CHARACTERS - len(parts[0]) - 1000)}")
    if passed:
        room = LIMIT_CHARACTERS - sum(map(len, parts)) - 500
        parts.append(
            f"\n<details><summary>What passed: {len(passed)}</summary>\n\n{_table(passed, room)}\n</details>\n"
        )
    return "".join(parts)


def _counts(verdicts: Iterable[Verdict]) -> str:
    counted = Counter(verdict.outcome for verdict in verdicts)
    return ", ".join(f"{counted[o]} {o}" for o in _SIGNS if counted[o]) or "Nothing was compared"


def _table(verdicts: Sequence[Verdict], room: int) -> str:
    """As many rows as `room` characters hold, and how many there are beside."""
    rows: list[str] = []
    for verdict in verdicts:
        row = _row(verdict)
        room -= len(row)
        if room < len(_HEAD):
            return f"{_HEAD}{''.join(rows)}\nAnd {len(verdicts) - len(rows)} more.\n"
        rows.append(row)
    return _HEAD + "".join(rows)


def _row(v: Verdict) -> str:
    cells = (
        _SIGNS[v.outcome],
        _code(v.benchmark),
        _code(v.figure),
        _value(v, v.base),
        _value(v, v.head),
        _slowdown(v),
        _text(v.why),
    )
    return f"| {' | '.join(cells)} |\n"


def _value(verdict: Verdict, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _code(str(value))
    if verdict.figure == "seconds":
        return f"{1000 * value:,.4g} ms" if value < 1 else f"{value:,.4g} s"
    return f"{value:,}"


def _slowdown(verdict: Verdict) -> str:
    if verdict.slowdown_percent is None:
        return ""
    interval = verdict.interval_percent
    return f"{verdict.slowdown_percent:+.1f} %" + (f" ({interval[0]:+.1f} to {interval[1]:+.1f})" if interval else "")


def _code(text: str) -> str:
    """As code, where GitHub neither mentions people nor links numbers; nothing for an empty text."""
    return f"<code>{_text(text)}</code>" if text else ""


def _text(text: str, longest: int = 500) -> str:
    """Letters, digits, blanks and a few harmless signs as they are; hidden characters written out; the rest as HTML entities.

    An entity alone would still mention a person or link an issue: a zero-width blank after "@" and "#" prevents it. "www." would
    link without any other sign.
    """
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return re.sub("(?i)(www)[.]", r"\1&#46;", "".join(map(_character, short)))


def _character(c: str) -> str:
    if c.isalnum() or c in " .,;%()+…":
        return c
    if c in "\r\n\t":
        return " "
    if not c.isprintable():
        return f"&#92;u{ord(c):04x}"
    return f"&#{ord(c)};" + ("&#8203;" if c in "@#" else "")
