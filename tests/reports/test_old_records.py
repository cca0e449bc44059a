"""Records of every version and kind, as the command of that version wrote them: nothing of them is lost, and they are reported."""

import json
from pathlib import Path

import pytest

from harness.records import from_json, to_json
from reports.__main__ import compared, read
from reports.export.records import FORMATS
from reports.pages.page import page

FOLDER = Path(__file__).with_name("old_records")
FILES = sorted(FOLDER.iterdir())
VERSIONS = ("0.1", "0.2")


def without(value, earlier):
    """A value with the fields alone that an earlier version had."""
    if isinstance(value, dict) and isinstance(earlier, dict):
        return {name: without(value.get(name), earlier[name]) for name in earlier}
    if isinstance(value, list) and isinstance(earlier, list):
        assert len(value) == len(earlier)
        return [without(*pair) for pair in zip(value, earlier, strict=True)]
    return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_of_a_record_is_lost(path):
    data = path.read_bytes()
    earlier = json.loads(data)
    assert without(json.loads(to_json(from_json(data, path.name))), earlier) == earlier


def test_they_are_reported_together():
    records, problems = read([FOLDER])
    assert (len(records), problems) == (len(FILES), [])
    shown = page(records)
    assert all(record.key.method in shown for record in records)
    assert {"ok", "diverged"} == {record.status for record in records}


def test_they_are_compared_with_each_other(tmp_path):
    for version in VERSIONS:
        (tmp_path / version).mkdir()
        for path in FOLDER.glob(f"{version}-*"):
            (tmp_path / version / path.name).write_bytes(path.read_bytes())
    sections, *_ = compared(*(tmp_path / version for version in VERSIONS), tmp_path / "page.html")
    assert sections
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_they_are_exported(format):
    records, _ = read([FOLDER])
    assert len(FORMATS[format](records)) > 100
