"""What packages register is what importlib.metadata has, however they are installed."""

import sys
import zipfile
from importlib import metadata

import pytest

from harness.installed import EntryPoint, entry_points

GROUPS = ("adaptbench.methods", "adaptbench.suites")
METHOD = "[adaptbench.methods]\nmine = mine.methods:Mine\n"
METADATA = "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n"
BY_HAND = (
    "stray = one", "# [adaptbench.suites]", "[ adaptbench.suites ]", "no = no:NO", "[adaptbench.suites]", "",
    "  first=mine:FIRST [extra]", "#second = mine:SECOND", "third = mine : a = b", "[console_scripts]", "x = y:z",
)  # fmt: skip
LAYOUTS = {
    "wheel": {"mine-1.0.dist-info/entry_points.txt": METHOD},
    "in place": {"mine.egg-info/entry_points.txt": METHOD},
    "two of a name": {
        "my_own-1.0.dist-info/entry_points.txt": METHOD,
        "My.Own-2.0.dist-info/entry_points.txt": METHOD.replace("mine =", "other ="),
    },
    "nothing registered": {"mine-1.0.dist-info/METADATA": "Name: mine\n"},
    "a file about it": {"mine-1.0-py3.11.egg-info": "Name: mine\n"},
    "a folder in its place": {"mine-1.0.dist-info/entry_points.txt/file": ""},
    "written by hand": {"mine-1.0.dist-info/entry_points.txt": "\r\n".join(BY_HAND)},
    "an egg": {"mine.egg/EGG-INFO/PKG-INFO": METADATA, "mine.egg/EGG-INFO/entry_points.txt": METHOD},
    "a name that is in its metadata": {
        "-1.0.dist-info/METADATA": METADATA,
        "-1.0.dist-info/entry_points.txt": METHOD,
    },
}


def both(folders, monkeypatch):
    """Ours, and those of importlib.metadata."""
    monkeypatch.setattr(sys, "path", list(map(str, folders)))
    theirs = metadata.entry_points()
    known = [EntryPoint(e.group, e.name, e.value) for group in GROUPS for e in theirs.select(group=group)]
    return sorted(entry_points(tuple(sys.path), GROUPS), key=lambda e: GROUPS.index(e.group)), known


def written(files, folder):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return [folder, *folder.glob("*.egg")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout, tmp_path, monkeypatch):
    found, known = both(written(LAYOUTS[layout], tmp_path), monkeypatch)
    assert found == known
    assert bool(found) != (layout in ("nothing registered", "a file about it", "a folder in its place"))


def test_an_archive_is_read(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("mine-1.0.dist-info/METADATA", METADATA)
        archive.writestr("mine-1.0.dist-info/entry_points.txt", METHOD)
    found, known = both([tmp_path / "mine.zip"], monkeypatch)
    assert found == known == [EntryPoint("adaptbench.methods", "mine", "mine.methods:Mine")]


def test_the_first_folder_of_modules_comes_first(tmp_path, monkeypatch):
    first = written({"mine-1.0.dist-info/entry_points.txt": METHOD}, tmp_path / "first")
    last = written({"mine-2.0.dist-info/entry_points.txt": METHOD.replace("mine =", "no =")}, tmp_path / "last")
    found, known = both([*first, tmp_path / "gone", *last, *first], monkeypatch)
    assert found == known
    assert [entry.name for entry in found] == ["mine"]


def test_what_is_installed_here_is_what_importlib_has(monkeypatch):
    found, known = both(sys.path, monkeypatch)
    assert found == known
    assert len(found) > len(GROUPS)


def test_another_finder_is_asked(monkeypatch):
    class Distribution(metadata.Distribution):
        def read_text(self, filename):
            return {"entry_points.txt": METHOD, "METADATA": "Name: mine\n"}.get(filename)

        def locate_file(self, path):
            raise NotImplementedError

    class Finder:
        @staticmethod
        def find_distributions(context):
            return [Distribution()]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    found, known = both([], monkeypatch)
    assert found == known == [EntryPoint("adaptbench.methods", "mine", "mine.methods:Mine")]


@pytest.mark.parametrize(
    ("value", "module", "attribute"),
    [
        ("mine:Mine", "mine", "Mine"),
        ("mine.methods : Mine [extra, other]", "mine.methods", "Mine"),
        ("mine", "mine", ""),
        ("no-module:Mine", "no-module", "Mine"),
    ],
)
def test_where_it_leads(value, module, attribute):
    entry = EntryPoint("", "", value)
    assert (entry.module, entry.attribute) == (module, attribute)
