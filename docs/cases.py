"""What people in the field report, and where it is answered here, as a page: ``python docs/cases.py`` makes cases.md of cases.toml.

`tests/test_cases.py` has every place and every test that is named be there, and the page be this one.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cases.md")
CASES: Mapping[str, Sequence[Mapping[str, Any]]] = tomllib.loads(PAGE.with_suffix(".toml").read_text(encoding="utf-8"))
"""By table: the kind of a case, what it was, what happens now, the places in the code, and the tests, as ``path:name``."""

HEAD = """# Cases from the field

What people who do this job report in public (of CoOp, Dassl, MaPLe, Tip-Adapter, CLIP-LoRA, open_clip, torchvision, Pillow,
datasets, pytest-benchmark and NVML), and what a new user met who wrote methods and brought images and weights: each with its
kind, what happens now, the places that see to it, and the tests that keep it so. The rule behind them:
[nothing is left out in silence](architecture.md#nothing-is-left-out-in-silence).

Written by `python docs/cases.py` from `docs/cases.toml`; a test wants every place and every test that is named to be there.
"""


def page() -> str:
    """The whole page, in Markdown."""
    tables = _table("Reports from the field", CASES["field"]), _table("A new user's first week", CASES["newcomer"])
    return "\n\n".join([HEAD.rstrip(), *tables]) + "\n"


def _table(title: str, cases: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"## {title}", "", "| # | kind | case | what happens | places | tests |", "|---|---|---|---|---|---|"]
    for number, case in enumerate(cases, 1):
        places, tests = (", ".join(f"`{each}`" for each in case[column]) for column in ("places", "tests"))
        lines.append(f"| {number} | {case['kind']} | {case['case']} | {case['now']} | {places} | {tests} |")
    return "\n".join([*lines, "", f"{len(cases)} of {len(cases)}."])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
