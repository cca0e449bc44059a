"""Write what the docs site is built from to build/docs: ``python docs/site/pages.py``.

The pages of docs/, with links that hold there; those of methods, suites and datasets, written from the code; the root's own pages.
"""

import inspect
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import plugins
from harness.recipe import sourced_fields

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "docs"
OF_THE_ROOT = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "suites/demo/MODEL_CARD.md": "model-card.md",
}
"""Pages that stand elsewhere in the repository, by their names in the site."""
FILES = ("experiment.schema.json", "notebook.ipynb")
"""What pages of docs/ lead to beside each other and their images."""
LINK = re.compile(r"\[([^\]\[]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def main() -> None:
    """Write all of it, anew."""
    site = BUILD / "source"
    shutil.rmtree(BUILD, ignore_errors=True)
    for name, text in pages():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", site / "images")
    for name in FILES:
        shutil.copy(ROOT / "docs" / name, site)
    shutil.copy(Path(__file__).with_name("extra.css"), site)
    shutil.copy(Path(__file__).with_name("mkdocs.yml"), BUILD)


def pages() -> Iterator[tuple[str, str]]:
    """The name and the text of each page."""
    yield "index.md", Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    written = {f"docs/{page.name}": page.name for page in sorted((ROOT / "docs").glob("*.md"))}
    for path, name in {**written, **OF_THE_ROOT}.items():
        yield name, linked((ROOT / path).read_text(encoding="utf-8"), Path(path).parent)
    methods = [name for name in plugins.names("method") if _is_ours(plugins.load("method", name))]
    for name in methods:
        yield f"methods/{name}.md", "\n".join(method_card(name))
    yield "methods/index.md", "\n".join(_method_list(methods))
    yield "suites/index.md", "\n".join(_suite_list())
    yield "datasets/index.md", "\n".join(_dataset_list())
    yield "api.md", "# Python API\n\n::: adaptbench\n"


def linked(text: str, folder: Path) -> str:
    """A page with links that hold in the site; those to files that are not part of it become text."""

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath((folder / link[2]).as_posix())
        place = OF_THE_ROOT.get(target, "index.md" if target == "README.md" else target.removeprefix("docs/"))
        return link[1] if place == target else f"[{link[1]}]({place}{link[3] or ''})"

    return LINK.sub(replaced, text)


def _is_ours(thing: object) -> bool:
    module = getattr(thing, "__module__", "")
    return module.partition(".")[0] in plugins.OURS


def method_card(name: str) -> Iterator[str]:
    """What a method is, what it needs, its demo figures, and every field of its recipes with its source."""
    method = plugins.load("method", name)
    module = sys.modules[method.__module__]
    yield from (f"# {name}", "", (module.__doc__ or "").strip(), "", inspect.cleandoc(method.__doc__ or ""), "")
    yield from (
        "| family | needs |",
        "|---|---|",
        f"| {method.family} | {getattr(method, 'needs', '') or 'nothing beside a backbone'} |",
        "",
    )
    yield from ("```sh", f"adaptbench run base2new --methods zero_shot,{name} --datasets demo-digits", "```", "")
    yield from (
        f"What it trains, and what that takes: `adaptbench list methods --backbone demo-clip`, `adaptbench estimate {name}`.",
        "",
    )
    if row := demo_figures(name):
        yield from ("## In the demo world", "", row, "")
    yield from ("## Recipe", "", "The default row, and where others differ from it.", "")
    yield from ("| row | field | value | source |", "|---|---|---|---|")
    for recipe, field, value, source in sourced_fields(method):
        yield f"| {recipe} | `{field}` | {f'`{value}`' if str(value) else ''} | {source} |"


def demo_figures(name: str) -> str:
    """What the search for the demo recipes measured at the rate that it chose, as docs/demo-recipes.md has it."""
    table = [
        line
        for line in (ROOT / "docs" / "demo-recipes.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    head = next((row for row in rows if row[0] == "method"), [])
    for row in rows:
        if row[0] == f"`{name}`" and row[-1] in head:
            h, base, new = re.findall(r"\d+\.\d", row[head.index(row[-1])])
            return (
                f"At learning rate {row[-1]}: base {base}, new {new}, harmonic mean {h} (zero-shot: 72.0, 71.2 and 71.0); top-1 in "
                "percent on demo-digits and demo-scenes, 16 shots, seeds 11 and 12 ([how they were measured](../demo-recipes.md))."
            )
    return ""


def _method_list(methods: list[str]) -> Iterator[str]:
    yield from (
        "# Methods",
        "",
        "Written from their cards. Yours is one file: [your own method](../own-method.md).",
        "",
    )
    yield from ("| method | family | what | needs |", "|---|---|---|---|")
    for name in methods:
        method = plugins.load("method", name)
        what = (sys.modules[method.__module__].__doc__ or "").strip().partition("\n")[0]
        yield f"| [`{name}`]({name}.md) | {method.family} | {what} | {getattr(method, 'needs', '')} |"


def _suite_list() -> Iterator[str]:
    yield from (
        "# Suites",
        "",
        "Written from their definitions; [what each trains and tests](../suites.md), and how to add one.",
        "",
    )
    yield from ("| suite | question | shots | seeds | methods | backbone |", "|---|---|---|---|---|---|")
    for name in plugins.names("suite"):
        suite = plugins.load("suite", name)
        if not suite.name.startswith("tiny"):
            lists = (", ".join(map(str, of)) for of in (suite.shots, suite.seeds, suite.methods or ["all"]))
            yield f"| `{name}` | {suite.question} | {' | '.join(lists)} | `{suite.backbone}` |"


def _dataset_list() -> Iterator[str]:
    yield from (
        "# Datasets",
        "",
        "Written from their definitions; [your own, splits and class names](../suites.md).",
        "",
    )
    yield from ("| dataset | title | group | template |", "|---|---|---|---|")
    for name in plugins.names("dataset"):
        dataset = plugins.load("dataset", name)
        yield f"| `{name}` | {dataset.title} | {dataset.group} | {dataset.templates['clip']} |"


if __name__ == "__main__":
    main()
