"""What the pages say of the code is there: files, functions, links."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAPS = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = ("harness", "methods", "suites", "reports", "tests", "docs", ".github", ".ci")


def missing_places(text):
    """Of `folder/file.py` and `folder/file.py:name`, those that are not there."""
    for path, name in re.findall(rf"`((?:{'|'.join(map(re.escape, TOP))})/[\w./-]*)(?::(\w+))?`", text):
        file = ROOT / path
        if not file.exists():
            yield path
        elif name:
            defined = (ast.FunctionDef, ast.ClassDef)
            if name not in {node.name for node in ast.parse(file.read_text()).body if isinstance(node, defined)}:
                yield f"{path}:{name}"


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.name)
def test_every_place_named_is_there(page):
    assert not list(missing_places(page.read_text()))


def test_the_way_to_a_record_is_short():
    way = (ROOT / "docs" / "architecture.md").read_text().partition("## One run")[2].partition("\n## ")[0]
    assert len(set(re.findall(r"`(harness/[\w/]+\.py)", way))) <= 20


def test_a_place_that_is_not_there_is_found():
    text = "`harness/plan.py:plan`, `harness/plan.py:plant`, `harness/nowhere.py`"
    assert list(missing_places(text)) == ["harness/plan.py:plant", "harness/nowhere.py"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_changelog_leads_moved_imports_to_modules():
    section = (ROOT / "CHANGELOG.md").read_text().partition("## 0.2.0")[2].partition("\n## ")[0]
    rows = re.findall(r"^  \| `([\w.]+)` \| `([\w.]+)` \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) > 15
    for _, package, modules in rows:
        for old, new in re.findall(r"`(\w+)`(?: \(now `(\w+)`\))?", modules):
            assert (ROOT / package.replace(".", "/") / f"{new or old}.py").exists(), (package, old)
