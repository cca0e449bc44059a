"""The docs site: each page is found from its contents, each method has its card, and a build has nothing to warn of."""

import importlib.util
import posixpath
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from harness import plugins
from tests.conftest import PROJECT


@cache
def site_pages():
    spec = importlib.util.spec_from_file_location("site_pages", PROJECT / "docs" / "site" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def pages():
    return dict(site_pages().pages())


def named(nav):
    for entry in nav:
        for value in entry.values():
            yield from named(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_contents_or_in_a_list():
    nav = list(named(yaml.safe_load((PROJECT / "docs" / "site" / "mkdocs.yml").read_text())["nav"]))
    assert len(nav) == len(set(nav))
    assert set(pages()) - set(nav) == {name for name in pages() if re.fullmatch(r"methods/(?!index).*", name)}
    assert set(nav) <= set(pages())


def test_every_method_has_a_card_with_its_recipe_and_its_figures():
    ours = [name for name in plugins.names("method") if plugins.load("method", name).__module__.startswith("methods.")]
    assert len(ours) == 18
    for name in ours:
        card, trains = pages()[f"methods/{name}.md"], plugins.load("method", name).recipes["default"].trains
        assert f"`adaptbench estimate {name}`" in card
        assert len(re.findall(r"^\| default \| `", card, re.MULTILINE)) >= 1
        assert ("harmonic mean" in card) == (trains and name != "zero_shot"), name
        assert f"({name}.md)" in pages()["methods/index.md"]


def test_links_lead_to_pages_of_the_site():
    """Those that a build checks, and those to files beside the pages, which the site hasn't."""
    images = {f"images/{path.name}" for path in (PROJECT / "docs" / "images").iterdir()}
    there = pages().keys() | images | {*site_pages().FILES}
    for name, text in pages().items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) in there, (name, target)


@pytest.mark.long
def test_a_build_has_nothing_to_warn_of_and_a_planted_link_to_nowhere_is_an_error():
    zensical = Path(sys.executable).with_name("zensical")
    build = [zensical, "build", "--strict", "-f", "build/docs/mkdocs.yml"]
    subprocess.run([sys.executable, "docs/site/pages.py"], cwd=PROJECT, check=True)
    clean = subprocess.run(build, cwd=PROJECT, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert (PROJECT / "build" / "docs" / "site" / "methods" / "coop.html").exists()
    page = PROJECT / "build" / "docs" / "source" / "faq.md"
    page.write_text(page.read_text().replace("(suites.md)", "(suitez.md)"))
    assert subprocess.run(build, cwd=PROJECT, capture_output=True).returncode != 0
