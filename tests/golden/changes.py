"""Every single change of a part of a golden file, and whether the checks notice it."""

import re
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from golden.case import EXACT, exempt, leaves

MISSING = object()

FREE = {
    r"^check_tables: \w+(\.\d+)? is missing$": "how many tables a file has, and how many rows each, is up to it",
    r"^check_tables: prompts(\.[^.]+){1,2} is missing$": "so are its lists of prompts and the data sets of each",
    r"^check_tables: batch_statistics\.\d+\.probability_\w+ is missing$": "some sets have no such probability",
    r"^check_tables: reserve_probability\.\d+\.lambda": "a tail of two ranks is 1 and 0 whatever the slope",
    r"^check_tables: per_iteration\.\d+\.at_iteration": "one of thousands of iterations alters a rate by less than its demand",
    r"^check_selection.*: similarity\.(std|key|values)": "ranks alone count, and none where all classes are kept",
    r"^check_selection in a trap: labels\.": "the released code gives the labels that it loses the place 0, whichever they are",
    r"^check_full_finetuning: (prompts|extras) is missing$": "only some cases have it",
    r"^check_tcp: new_reference_prompts is missing$": "only some cases have it",
    r"^check_skip_tuning: (distinct_)?tensors_in_optimizer is missing$": "only some cases have it",
    r"^check_lora: extras\.[^ ]*[AB] is missing$": "the rule fills all of the tensors; the file describes a few",
    r"^check_skip_tuning: (text|image)_cache\.values\.\d+ is missing$": "how many entries are sampled is up to the file",
    r"^check_coprompt: sentences\.": "a step has one sentence a class; the others are there to be left out",
}
"""Changes that nothing can notice, by the check and the words of the change, and why."""


@dataclass(frozen=True)
class Change:
    """A fact that has another value, or is `MISSING`."""

    path: tuple
    value: Any

    def __str__(self):
        return f"{'.'.join(map(str, self.path))} is {'missing' if self.value is MISSING else repr(self.value)}"

    @contextmanager
    def made(self, data):
        """The change in place, until it is undone."""
        *above, key = self.path
        for each in above:
            data = data[each]
        before = data.copy()
        if self.value is MISSING:
            del data[key]
        else:
            data[key] = self.value
        try:
            yield
        finally:
            data.clear()
            (data.extend if isinstance(data, list) else data.update)(before)


@dataclass
class Review:
    """What came of the changes of a part."""

    made: int = 0
    noticed: int = 0
    exempt: int = 0
    free: int = 0
    runs: int = 0
    """Changes for which the product's side was computed anew, since they alter what it is given or what is compared."""
    unnoticed: list[str] = field(default_factory=list)


def review(part):
    """Make each change of a part in turn."""
    case = part.run()
    checks = Places(case)
    result = Review()
    for change in changes(part.data, case, checks):
        result.made += 1
        with change.made(part.data):
            if exempt(change.path):
                result.exempt += 1
            elif _notices(part, case, checks, change, result):
                result.noticed += 1
            elif any(re.search(pattern, _words(part, change)) for pattern in FREE):
                result.free += 1
            else:
                result.unnoticed.append(str(change))
    return result


def _words(part, change):
    trap = " in a trap" if part.data.get("trap") else ""
    return f"{part.check.__name__}{trap}: {change}"


def _notices(part, case, checks, change, result):
    if not _steers(case, change):
        return any(check.problem(part.data) for check in checks[change.path])
    result.runs += 1
    try:
        part.run()
    except Exception:
        return True
    return False


def _steers(case, change):
    """Whether a change alters more than a fact that ours is compared with."""
    if change.value is MISSING and change.path in case.listed:
        return True
    return any(_related(change.path, path) for path in case.inputs | case.used)


def _related(one, other):
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


class Places(dict):
    """The checks that read something of a path, by path."""

    def __init__(self, case):
        super().__init__()
        self._below = defaultdict(list)
        for check in case.checks:
            for length in range(len(check.path) + 1):
                self._below[check.path[:length]].append(check)
        self._at = {check.path: check for check in case.checks}

    def __missing__(self, path):
        above = [self._at[path[:n]] for n in range(len(path)) if path[:n] in self._at]
        return above + self._below[path]


def changes(data, case, checks):
    """Another value for each single fact, and each fact, row and object left out."""
    for path in list(leaves(data)):
        if path:
            yield Change(path, _other(data, path, case, checks))
    for path in list(_nodes(data)):
        yield Change(path, MISSING)


def _nodes(data, path=()):
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield (*path, key)
        yield from _nodes(data[key], (*path, key))


def _other(data, path, case, checks):
    """A number further away than its demand allows, a flag the other way, other words."""
    value = data
    for key in path:
        value = value[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return re.sub(r"[a-z]", lambda letter: "bcdefghijklmnopqrstuvwxyza"[ord(letter[0]) - 97], value) + "x"
    if isinstance(value, int | float):
        return _other_number(data, path, value, case, checks)
    return 1  # null, an empty list or object


def _other_number(data, path, value, case, checks):
    given = any(_related(path, each) for each in case.inputs)
    demanding = [check for check in checks[path] if check.demand is not EXACT]
    if given or not demanding:
        return value + 1 if isinstance(value, int) else value * 1.25 if value else 0.25
    allowed = demanding[0].allowed(data)[path[len(demanding[0].path) :]]
    return value + (3 * float(allowed) or 1e-9)
