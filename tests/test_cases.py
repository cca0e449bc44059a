"""The page of cases from the field names places and tests that are there, and is up to date."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("cases_page", ROOT / "docs" / "cases.py")
cases = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cases)
EVERY = [*cases.CASES["field"], *cases.CASES["newcomer"]]


@cache
def defined(path):
    """Functions, classes and constants of a file, those of its classes too."""
    body = ast.parse((ROOT / path).read_text()).body
    body = [*body, *(each for node in body if isinstance(node, ast.ClassDef) for each in node.body)]
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    named = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {node.name for node in named} | {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case["case"])
def test_its_places_and_tests_are_there(case):
    assert case["places"]
    assert case["tests"]
    for named in (*case["places"], *case["tests"]):
        path, _, name = named.partition(":")
        assert (ROOT / path).is_file(), named
        assert not name or name in defined(path), named
    assert all(name.startswith("tests/") and ":" in name for name in case["tests"])


def test_every_case_and_every_item_is_on_the_page():
    assert [len(table) for table in cases.CASES.values()] == [35, 9]
    assert len({case["case"] for case in EVERY}) == len(EVERY)
    assert cases.PAGE.read_text(encoding="utf-8") == cases.page()
