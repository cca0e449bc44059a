"""Golden vectors of the methods' original implementations, of any folder of the format of tests/methods/parity.

`parts` lists what a folder holds, and which check each of it has; a check compares every fact with the product's (`golden.case`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golden.backbone import filled_backbone
from golden.caches import check_tip_adapter
from golden.case import Case, exempt
from golden.prompts import (
    check_cocoop,
    check_coop,
    check_coprompt,
    check_dept,
    check_kgcoop,
    check_maple,
    check_prograd,
    check_promptsrc,
    check_tcp,
)
from golden.tables import TABLES, check_selection, check_tables
from golden.towers import (
    check_clip_adapter,
    check_full_finetuning,
    check_lora,
    check_skip_tuning,
    check_zero_shot,
)

CHECKS: dict[str, Callable] = {
    "zero_shot": check_zero_shot,
    "ft": check_full_finetuning,
    "clip_adapter": check_clip_adapter,
    "skip_tuning": check_skip_tuning,
    "lora": check_lora,
    "coop": check_coop,
    "cocoop": check_cocoop,
    "kgcoop": check_kgcoop,
    "prograd": check_prograd,
    "tcp": check_tcp,
    "dept": check_dept,
    "maple": check_maple,
    "promptsrc": check_promptsrc,
    "coprompt": check_coprompt,
    "tip_adapter": check_tip_adapter,
}
"""By the `method` of a file."""


@dataclass(frozen=True)
class Part:
    """A case of a file, or what the file holds beside its cases; `problem` says why nothing here can check it."""

    file: str
    name: str
    method: str
    data: dict
    check: Callable | None
    runs_towers: bool = False
    needs_backbone: bool = True
    problem: str = ""

    @property
    def id(self):
        return f"{self.file}:{self.name}" if self.name else self.file

    def run(self, execution="fast"):
        """Compare every fact with ours: the case that knows which checks were made."""
        assert self.check, self.problem
        case = Case(self.data)
        self.check(case, filled_backbone(execution) if self.needs_backbone else None)
        case.done()
        return case


def parts(folder):
    """Of all files of a folder; of a file that nothing here knows, one that fails."""
    return [
        part
        for path in sorted(Path(folder).glob("*.json"))
        for part in parts_of(path.stem, json.loads(path.read_text()))
    ]


def parts_of(file, data):
    method = data.get("method", "")
    found = [_case(file, method, case) for case in data.get("cases", [])]
    beside = {key: value for key, value in data.items() if key not in ("method", "cases")}
    if not found or not all(exempt((key,)) for key in beside):
        known = any(key in TABLES for key in beside) and (not method or method in CHECKS)
        problem = f"{file}.json: no check knows what it holds ({', '.join(data)})"
        found.append(Part(file, "", method, beside, check_tables if known else None, problem=problem))
    return found


def _case(file, method, data):
    name = str(data.get("case"))
    if method == "skip_tuning" and "similarity" in data:
        return Part(file, name, method, data, check_selection, needs_backbone=False)
    problem = f"{file}.json: no check knows the method {method!r}; known: {', '.join(CHECKS)}"
    return Part(file, name, method, data, CHECKS.get(method), runs_towers=True, problem=problem)
