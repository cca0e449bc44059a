"""How much slower a benchmark may be, as the command line says it: ``5%``, or ``NAME=10%`` for those that NAME picks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from harness.errors import ConfigError

DEFAULT_PERCENT = 5.0
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


def parsed(texts: Iterable[str]) -> dict[str, float]:
    """Percent by name; "" for all others. Raises ConfigError for anything but a percentage from 1 on."""
    found = {"": DEFAULT_PERCENT}
    for text in texts:
        name, separator, limit = text.rpartition("=")
        percent = _PERCENT.fullmatch(limit.strip())
        if percent is None or float(percent[1]) < 1 or (separator and not name):
            raise ConfigError(
                f"--threshold {text} is no percentage from 1 on.",
                "Write 5%, or NAME=10% for one benchmark. (A fraction is refused on purpose: pytest-benchmark takes "
                "mean:0.05 for 0.05 seconds.)",
            )
        found[name] = float(percent[1])
    return found


def for_each(thresholds: Mapping[str, float], benchmarks: Sequence[str]) -> dict[str, float]:
    """The percentage of every benchmark: the last one whose NAME is its node id or test name, ``*`` standing for anything.

    Raises ConfigError for a NAME that picks none.
    """
    found = dict.fromkeys(benchmarks, thresholds[""])
    for name, percent in thresholds.items():
        picked = [b for b in benchmarks if name and any(_is(name, each) for each in (b, b.rpartition("::")[2]))]
        if name and not picked:
            raise ConfigError(
                f"--threshold {name}=...: no benchmark has this name.", f"There are: {', '.join(benchmarks)}."
            )
        found |= dict.fromkeys(picked, percent)
    return found


def _is(pattern: str, name: str) -> bool:
    return pattern == name or fnmatchcase(name, pattern.replace("[", "[[]"))
