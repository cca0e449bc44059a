"""The page of mistakes and of what is said of them: python -m docs.mistakes, from a checkout with its tests.

Each is planted in a folder of its own, through the command itself. The tests plant the same ones, and look for them on the page.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr
from io import StringIO
from pathlib import Path
from unittest import mock

PAGE = Path(__file__).with_name("mistakes.md")
HEAD = """# Mistakes, and what is said of them

Written by `python -m docs.mistakes`, which makes each of these mistakes by the command. All end with exit code 2 and write nothing.
Long lists of what is known are cut here.

## In an experiment's file

{files} files, each read by `adaptbench plan FILE`:

| mine.yaml | message |
|---|---|
"""
WORDS = """
## On the command line

{words} commands, beside the files `mine.py` (a method), `syntax.py` (not Python), `a-file`, `list.csv`, `names.txt` and a
folder `plain`:

| adaptbench | message |
|---|---|
"""
SHOWN = 3
"""Names of a long list that the page has."""


def page() -> str:
    """The whole page."""
    from tests import test_experiment, test_mistakes

    files = [text for text, *_ in test_experiment.MISTAKES]
    commands = [command for command, *_ in test_mistakes.MISTAKES]
    in_files = [row(text, message("plan mine.yaml", {"mine.yaml": text})) for text in files]
    in_words = [row(command, message(command, test_mistakes.FILES)) for command in commands]
    return HEAD.format(files=len(files)) + "".join(in_files) + WORDS.format(words=len(commands)) + "".join(in_words)


def message(command: str, files: Mapping[str, str]) -> str:
    """What a command says on standard error, in a folder of these files."""
    from harness.__main__ import main

    said, here = StringIO(), {"COLUMNS": "200", "NO_COLOR": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        chdir(folder),
        redirect_stderr(said),
        mock.patch.dict(os.environ, here),
    ):
        for name, text in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
        with mock.patch("sys.argv", ["adaptbench", *command.split(" ")]), mock.patch("sys.path", list(sys.path)):
            try:
                main()
            except SystemExit:
                sys.modules.pop("mine", None)
    text = said.getvalue()
    for place, name in {
        folder: "~",
        sysconfig.get_path("stdlib"): "PYTHON",
    }.items():  # the page has no machine's own folders
        text = text.replace(place, name)
    return text


def cell(text: str) -> str:
    """What was written, line by line."""
    return "<br>".join(f"`{line}`".replace("|", "\\|") for line in text.splitlines() if line) or "nothing"


def row(text: str, said: str) -> str:
    """A mistake's row: what was written, and the message without its frame, on one line."""
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", said).split())
    short = re.sub(rf"((?:Known|It has): (?:[^ ,.]+, ){{{SHOWN - 1}}}[^ ,.]+), [^.]*", r"\1 and others", words)
    return f"| {cell(text)} | {plain(short)} |\n"


def plain(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    return re.sub(r"([\\*_|{}[\]])", r"\\\1", text).replace("<", "&lt;").replace("`", "&#96;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
