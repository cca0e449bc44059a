"""The command ``adaptbench new``: a method, dataset or suite of one's own to begin with, in files that run as they are."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.terminal import console
from harness.errors import ConfigError, did_you_mean
from harness.files import write_atomically

_METHOD = '''"""NAME: what it does, in a sentence, with the paper that says so."""

from dataclasses import dataclass

import torch
from torch import nn

from harness.recipe import Recipe
from harness.settings import Positive
from harness.simple_method import SimpleMethod


@dataclass(frozen=True)
class CLASS(SimpleMethod):
    """One learned vector, added to the features of every class."""

    scale: Positive = 0.5

    recipes = {
        "default": Recipe(epochs=50, batch_size=32, learning_rate=0.001, optimizer="adamw", augmentation="none"),
    }

    def trained(self, width):
        return nn.Parameter(torch.zeros(width))

    def class_features(self, texts, trained):
        return texts + self.scale * trained
'''
_METHOD_TEST = """from pathlib import Path

from harness.validation.validate import validate

METHOD = f"{Path(__file__).parent.parent / 'NAME.py'}:CLASS"


def test_it_keeps_the_contract():
    verdict = validate(METHOD)
    assert not verdict.failures, f"\\n{verdict}"
"""
_BENCHMARK = """from pathlib import Path

METHOD = f"{Path(__file__).parents[2] / 'NAME.py'}:CLASS"


def test_a_training_step(method_benchmark):
    method_benchmark(METHOD)


def test_a_test_of_one_batch(method_benchmark):
    method_benchmark(METHOD, part="evaluate")
"""
_DATASET = '''"""NAME: a dataset of one's own. For a folder or a CSV file of images, folder:PATH and csv:PATH need no code."""

from PIL import Image

from harness.suite import Dataset, Item, Splits

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (220, 210, 40)}


def read(folders):
    """The lists of images; `folders.data_root` is what --data-root says. An item is a key, its label, and its class name."""

    def items(part, count):
        return tuple(
            Item(f"{part}/{name}/{number}", label, name)
            for label, name in enumerate(COLOURS)
            for number in range(count)
        )

    return Splits(train=items("train", 16), val=items("val", 4), test=items("test", 20), open=open_image)


def open_image(key):
    """The RGB image of an item's key; of files, harness.data.split_files.open_image(path)."""
    part, name, number = key.split("/")
    shade = sum(map(ord, part)) % 20 + int(number)
    return Image.new("RGB", (64, 64), tuple(min(255, value + shade) for value in COLOURS[name]))


DATASET = Dataset(
    name="NAME",
    title="NAME",
    group="own",
    templates={"clip": "a photo of a {} square."},
    read=read,
)
'''
_SUITE = '''"""NAME: a question of one's own."""

from harness.suite import ANY, Suite, Task, Test

SUITE = Suite(
    name="NAME",
    question="Does tuning on half of the classes cost accuracy on the other half?",
    setting="base-to-new",  # which rows of the methods' recipes count: base-to-new, few-shot or transfer
    groups={"demo": ("demo-digits",)},
    each=Task(dataset=ANY, classes="base", tests=(Test(ANY, "base"), Test(ANY, "new"))),
    shots=(16,),
    seeds=(1, 2, 3),
    methods=("zero_shot", "coop"),
)
'''
_FILES: Mapping[str, Mapping[str, str]] = {
    "method": {
        "NAME.py": _METHOD,
        "tests/test_NAME.py": _METHOD_TEST,
        "tests/benchmarks/test_NAME_speed.py": _BENCHMARK,
    },
    "dataset": {"NAME.py": _DATASET},
    "suite": {"NAME.py": _SUITE},
}
_NEXT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "method": (
        ("what a run relies on, with the line of each failure", "adaptbench validate NAME.py:CLASS"),
        ("beside two others, on the demo data", "adaptbench run few-shot --methods zero_shot,clip_adapter,NAME.py:CLASS "
         "--datasets demo-digits --shots 16 --seeds 1"),
        ("the page", "adaptbench report results"),
        ("the test, and the figures that a gate compares", "pytest tests; adaptbench gate --update"),
    ),
    "dataset": (
        ("what it comes to", "adaptbench plan few-shot --datasets NAME.py:DATASET --methods zero_shot"),
        ("a run", "adaptbench run few-shot --datasets NAME.py:DATASET --methods zero_shot,clip_adapter --seeds 1"),
    ),
    "suite": (
        ("its runs", "adaptbench plan NAME.py:SUITE"),
        ("all of them", "adaptbench run NAME.py:SUITE"),
    ),
}  # fmt: skip
"""By kind: why, and the command."""


def new_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="method, dataset or suite.", autocompletion=completion.choice(list(_FILES))
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the file, in lower case: my_method.")],
) -> None:
    """Begin a method, dataset or suite of your own: files that run as they are, in the current folder."""
    if kind not in _FILES:
        raise ConfigError(f"there is no kind '{kind}' to begin.", did_you_mean(kind, _FILES))
    _check_name(kind, name)
    words = {"NAME": name, "CLASS": "".join(part.capitalize() for part in name.split("_"))}
    files = {Path(_filled(path, words)): _filled(text, words) for path, text in _FILES[kind].items()}
    if there := [str(path) for path in files if path.exists()]:
        raise ConfigError(
            f"{' and '.join(there)} would be overwritten.", f"Nothing was written. Choose another name than {name}."
        )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    console.print(f"Written: {', '.join(map(str, files))}", highlight=False, soft_wrap=True)
    for why, command in _NEXT[kind]:
        console.print(f"  {_filled(command, words)}   # {why}", highlight=False, soft_wrap=True)


def _check_name(kind: str, name: str) -> None:
    """Raises ConfigError for what is no name of a module, or is another module's."""
    right = re.sub(r"\W+|(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower()
    if not right.isidentifier() or keyword.iskeyword(right):
        right = f"my_{kind}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"'{name}' is no name for a file of Python: it is written with a-z, 0-9 and _, and begins with a letter.",
            f"For example: adaptbench new {kind} {right}",
        )
    if not Path(f"{name}.py").exists() and find_spec(name) is not None:
        raise ConfigError(
            f"'{name}' is the name of a module that is installed, which the file would be taken for.",
            f"For example: adaptbench new {kind} my_{name}",
        )


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
