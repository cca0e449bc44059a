"""The commands that README and docs show, page by page, and the small variant in which a test executes each."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from harness.cli.commands import command

PROGRAMS = ("adaptbench", "nox", "python", "python3", "pytest", "pip", "pipx")
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```|`(?P<span>[^`\n]+)`", re.MULTILINE | re.DOTALL)
FORM = re.compile(r"\.\.\.|<\w+>|\w\|\w|\b(SUITE|METHODS?|NAMES?|RESULTS|SITE|FILE|FOLDER|BEFORE|OTHER)\b")
"""What makes of a command in a sentence a form: a choice, or a word that stands for many things."""
FILLED = {
    "SAVED": "results/few-shot/coop/folder_flowers*.safetensors",
    "IMAGES": "new-photos/",
    "PATH": "~/flowers",
    "DIR": "~/data",
    "STORE": "gates",
}
"""What stands in the place of a word in capitals."""
SMALL = {
    "run": {"--seeds": "1", "--shots": "1", "--steps": "1", "--backbone": "demo-clip"},
    "estimate": {"--backbone": "demo-clip", "--classes": "5"},
    "speedup": {"--backbone": "demo-clip", "--classes": "5", "--pairs": "3"},
}
"""By command, the options that have these values in the variant, whatever the page says."""
USUAL = {
    "run": {"--datasets": "demo-digits", "--methods": "coop"},
    "plan": {"--datasets": "demo-digits", "--methods": "zero_shot"},
}
"""By command, the values of options that the page leaves out."""
LEFT_OUT = {"run": ("--pretrained", "--precision", "--jobs")}
"""By command, the options that the variant goes without."""


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, without its comment."""

    page: str
    line: str

    @property
    def source(self) -> str:
        """What is handed to it by a pipe; empty where nothing is."""
        return self.line.rpartition(" | ")[0]

    @property
    def target(self) -> str:
        """The file that its output goes to; empty where none is named."""
        return self.line.partition(" > ")[2]

    @property
    def words(self) -> list[str]:
        """Its words, with the name of its program alone, without source and target."""
        first, *rest = shlex.split(self.line.partition(" > ")[0].rpartition(" | ")[2])
        return [Path(first).name, *rest]


def shown(page: str, text: str) -> list[Shown]:
    """The commands of a page in its order, each once: lines of shells, and those that a sentence gives whole."""
    found = []
    for match in BLOCK.finditer(text):
        if match["span"]:
            found += [match["span"]] if _is_whole(match["span"]) else []
        else:
            found += [part for line in _lines(match["language"], match["block"]) for part in line.split(" && ")]
    return [Shown(page, line.strip()) for line in dict.fromkeys(found)]


def _lines(language: str, block: str) -> Iterator[str]:
    """The commands of a block of shell, or of a session with its output."""
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s+)#\s.*", "", line)
        if language == "sh" and line:
            yield line
        elif language == "console" and line.startswith("$ "):
            yield line[2:]


def _is_whole(span: str) -> bool:
    """Whether a sentence gives a command to type: it doesn't only name one, or its form."""
    if span.split()[0] not in PROGRAMS or len(span.split()) == 1 or FORM.search(span):
        return False
    words = Shown("", span).words
    return words[0] != "adaptbench" or words[1].startswith("-") or _has_its_arguments(words[1:])


def _has_its_arguments(words: list[str]) -> bool:
    named = command(words.pop(0))
    if isinstance(named, typer.core.TyperGroup):
        if len(words) < 2:
            return False
        named = named.commands[words.pop(0)]
    given, _, _ = named.make_parser(typer.Context(named)).parse_args(args=words)
    return all(given.get(parameter.name) for parameter in named.params if parameter.required)


def variant(words: list[str]) -> list[str]:
    """What is executed of a command of ours: the same, but small (SMALL, USUAL, LEFT_OUT), and of all methods CoOp.

    A session of nox is what it calls.
    """
    if words[0] == "nox":
        session, rest = words[words.index("-s") + 1], words[words.index("--") + 1 :] if "--" in words else []
        suite = session.removeprefix("suite-")
        words = ["adaptbench", *([session] if suite == session else ["run", suite, "--site", "site"]), *rest]
    words = [_filled(word) for word in words]
    name = words[1]
    usual = {} if any(word.endswith(".yaml") for word in words) else USUAL.get(name, {})
    if usual and "--data-root" in words:
        usual = {**usual, "--datasets": "eurosat"}
    words = ["coop" if word == "all" else word for word in words]
    for option in LEFT_OUT.get(name, ()):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    for option, value in {**{o: v for o, v in usual.items() if o not in words}, **SMALL.get(name, {})}.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


def _filled(word: str) -> str:
    for capitals, real in FILLED.items():
        word = re.sub(rf"(?<![A-Z]){re.escape(capitals)}(?![\w.])", real, word)
    return word
