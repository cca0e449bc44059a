"""Write docs/recipes.md from the methods' cards: ``python docs/recipes.py``."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from harness import plugins
from harness.recipe import sourced_fields

PAGE = Path(__file__).with_name("recipes.md")
HEAD = """# Recipes, field by field

Written by `python docs/recipes.py` from the methods' cards; `adaptbench list methods NAME` prints one of them.

A row is of a setting (base-to-new, few-shot, transfer), a dataset, a number of shots, or several of these; the most specific one
counts. Below stand all fields of the default row, and in what the others differ from it. A source is a file of the authors'
repository at the commit that was read, and a line, or says why the value is ours.

`cost:`, `released:` and `paper:` begin the rows of `--recipes`, which a method has only where they differ from what gave its
published accuracy: its authors' own files for KgCoOp (weight 8, batch 128; the cost columns have 1.5 and 32), DePT, MaPLe and most
others. We read repositories, not the text of every paper. Only ProGrad's says that the paper did otherwise than the published
figures' recipe, so `paper:` rows are ProGrad's alone; with the others, `--recipes paper` is the default."""


def page() -> str:
    """The whole page, in Markdown."""
    names = [name for name in plugins.names("method") if plugins.load("method", name).__module__.startswith("methods.")]
    return "\n".join([HEAD, *(line for name in names for line in section(name)), ""])


def section(name: str) -> Iterable[str]:
    """One method: a table, with one line per field; fields of several rows that agree in value and source share one."""
    yield from ("", f"## {name}", "", "| row | field | value | source |", "|---|---|---|---|")
    lines: dict[tuple[str, str, str], list[str]] = {}
    for row, group in groupby(sourced_fields(plugins.load("method", name)), key=lambda found: found[0]):
        for _, field, value, source in group:
            lines.setdefault((field, str(value), source), []).append(row)
    for (field, value, source), rows in lines.items():
        yield f"| {', '.join(rows)} | `{field}` | `{value}` | {source} |".replace("``", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
