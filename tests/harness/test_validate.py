"""`adaptbench validate` on broken methods: each is named in words with the line to change, as docs/own-method.md has it."""

import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from harness.errors import users_frame
from harness.validation.validate import validate

PAGE = (Path(__file__).parents[2] / "docs" / "own-method.md").read_text()
RIGHT = '''
import random
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from harness.method import AdaptedModel, Read, cosine_logits
from harness.recipe import Recipe


@dataclass(frozen=True)
class Mine:
    """A residual on image features."""

    scale: float = 1.0
    recipes = {"default": Recipe(epochs=1, batch_size=4, learning_rate=0.01)}

    def adapt(self, backbone):
        return Model(backbone, self.scale)


class Model(AdaptedModel):
    reads = (Read("features"),)

    def __init__(self, backbone, scale):
        super().__init__(backbone)
        self.scale = scale
        self.residual = nn.Parameter(backbone.logit_scale.new_zeros(backbone.embed_width))

    def set_classes(self, classes):
        names = classes.names
        texts = self.backbone.text.tokenize(self.backbone.prompts(classes.template("clip"), names))
        with torch.no_grad():
            self.texts = F.normalize(self.backbone.text.encode(texts), dim=-1)

    def logits(self, images, classifier):
        images = images + self.scale * self.residual
        return cosine_logits(self.backbone.logit_scale, images, self.texts)

    def loss(self, batch):
        logits = self.logits(batch.images, None)
        return F.cross_entropy(logits, batch.labels)
'''
NAMES = "        names = classes.names\n"
LOGITS = "        logits = self.logits(batch.images, None)\n"
ANSWER = "        return cosine_logits(self.backbone.logit_scale, images, self.texts)\n"
PARAMETER = "        self.residual = nn.Parameter(backbone.logit_scale.new_zeros(backbone.embed_width))\n"


def instead(old, new):
    return old, new


def after(line, more):
    return line, line + more


BROKEN = {
    "a wrong shape": instead(ANSWER, ANSWER.replace("self.texts)", "self.texts).mean(dim=1)")),
    "no gradient to a parameter": after(
        PARAMETER, "        self.unused = nn.Parameter(backbone.logit_scale.new_zeros(3))\n"
    ),
    "no gradient at all": instead("F.cross_entropy(logits, ", "F.cross_entropy(logits.detach(), "),
    "nothing to train": instead("nn.Parameter(backbone.logit_scale.new_zeros(backbone.embed_width))", "0.0"),
    "frozen weights changed": after(LOGITS, "        self.backbone.model.visual.proj.data.mul_(1.01)\n"),
    "the global seed set": after(PARAMETER, "        torch.manual_seed(0)\n"),
    "a type forced": instead("images + self.scale * self.residual", "(images + self.scale * self.residual).float()"),
    "a device forced": instead(
        "self.backbone.text.encode(texts), dim=-1)", "self.backbone.text.encode(texts), dim=-1).cpu()"
    ),
    "logits that are no numbers": instead(ANSWER, ANSWER.rstrip() + " / self.residual.norm().floor()\n"),
    "dropout left in training mode": (
        PARAMETER + "|" + "images + self.scale",
        PARAMETER + "        self.drop = nn.Dropout(0.5)\n" + "|" + "self.drop(images) + self.scale",
    ),
    "the backbone in training mode": after(PARAMETER, "        self.backbone.train()\n"),
    "chance that no seed rules": after(LOGITS, "        logits = logits * (1 + random.SystemRandom().random())\n"),
    "images kept": (
        PARAMETER + "|" + LOGITS,
        PARAMETER + "        self.seen = []\n" + "|" + LOGITS + "        self.seen.append(batch.images)\n",
    ),
    "classes in another order": instead(NAMES, "        names = tuple(sorted(classes.names))\n"),
    "base and new classes mixed": instead(
        NAMES, "        names = self.names = tuple(dict.fromkeys([*getattr(self, 'names', ()), *classes.names]))\n"
    ),
    "training on the test's classes": after(NAMES, "        self.residual.data.add_(len(names) == 2)\n"),
    "a number of classes that stays": instead(
        NAMES, "        names = self.names = getattr(self, 'names', classes.names)\n"
    ),
    "a setting without type": instead("    scale: float = 1.0\n", "    scale = 1.0\n"),
    "a setting without default": instead("scale: float = 1.0", "scale: float"),
    "another name": instead("class Mine:", "class Yours:"),
    "an exception in the constructor": after(PARAMETER, "        self.width = backbone.widht\n"),
    "printing": after(LOGITS, "        print('loss')\n"),
    "torch's defaults changed": after(PARAMETER, "        torch.set_default_dtype(torch.float64)\n"),
    "something that isn't saved": (
        "self.scale = scale|" + LOGITS,
        "self.scale = scale|" + LOGITS + "        self.scale = self.scale + 0.5\n",
    ),
    "fast unlike reference": after(LOGITS, "        logits = logits * (2 if self.backbone.image.fast else 1)\n"),
    "answers that depend on the batch": instead("images + self.scale", "images - images.mean(dim=0) + self.scale"),
    "a syntax error": instead("def loss(self, batch):", "def loss(self, batch)"),
}
"""By mistake, what it replaces in the right method, and by what; of several places, parts between bars."""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """`mine(change)`: the verdict on a method with one mistake, in the current folder, on towers of two blocks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr("harness.validation.checks.BLOCKS", 2)

    def make(old="", new=""):
        source = RIGHT
        for before, now in zip(old.split("|"), new.split("|"), strict=True):
            assert before in source
            source = source.replace(before, now)
        (tmp_path / "mine.py").write_text(source)
        sys.modules.pop("mine", None)
        return validate("mine.py:Mine")

    yield make
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_method_is_named_in_words_with_its_line(mine, mistake):
    verdict = mine(*BROKEN[mistake])
    assert verdict.failures
    first = verdict.failures[0]
    said = f"| {mistake} | `{first.place.text}` | {first.what} |"
    assert said in PAGE


def test_the_place_is_the_users_where_packages_are_reached_through_a_link(tmp_path):
    """As in an environment that a link leads to."""
    linked = tmp_path / "packages"
    linked.symlink_to(sysconfig.get_path("stdlib"))
    spec = spec_from_file_location("linked_heapq", linked / "heapq.py")
    heapq = module_from_spec(spec)
    spec.loader.exec_module(heapq)
    with pytest.raises(TypeError) as caught:
        heapq.nlargest(1, [1], key=3)
    assert Path(caught.traceback[-1].path).parent == linked
    assert users_frame(caught.value).filename == __file__


def test_the_right_method_passes(mine):
    verdict = mine()
    assert not verdict.failures
    assert not verdict.unchecked
    assert len(verdict.passed) > 10


def test_the_table_has_no_other_rows():
    rows = PAGE.partition("| mistake |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(BROKEN)
    assert len(rows) >= 20


@pytest.mark.usefixtures("mine")
class TestTheCommand:
    def test_a_right_method_is_exit_code_0(self, mine, adaptbench_here):
        mine()
        process = adaptbench_here("validate", "mine.py:Mine")
        assert process.returncode == 0, process.stdout
        assert "It is ready to run: --methods mine.py:Mine" in process.stdout

    def test_a_broken_one_is_exit_code_1_and_names_its_line(self, mine, adaptbench_here):
        mine(*BROKEN["printing"])
        process = adaptbench_here("validate", "mine.py:Mine")
        assert process.returncode == 1
        line = (Path.cwd() / "mine.py").read_text().splitlines().index("        print('loss')") + 1
        assert f"mine.py:{line}: print('loss')" in process.stdout
        assert "say it by warnings.warn" in process.stdout
        assert "1 of 13 checks failed" in process.stdout

    def test_what_is_not_checked_is_said(self, mine, adaptbench_here):
        mine(*BROKEN["nothing to train"])
        process = adaptbench_here("validate", "mine.py:Mine")
        assert process.returncode == 1
        assert "a saved model answers alike: not checked, as it rests on what failed" in process.stdout

    @pytest.mark.parametrize("words", [["nowhere.py:Mine"], ["tip_adaptor"]])
    def test_what_is_not_there_is_bad_usage(self, words, adaptbench_here):
        process = adaptbench_here("validate", *words)
        assert process.returncode == 2
        assert "Error:" in process.stderr
