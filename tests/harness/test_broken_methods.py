"""What a method of a user's own can do wrong: each ends before the run, or as a failed row, by name and with the next step."""

import importlib
import re
import sys

import pytest

from harness.cli.progress import summary
from harness.errors import AdaptBenchError
from harness.runs.runner import execute

pytestmark = pytest.mark.usefixtures("one_thread")

RIGHT = '''
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from harness.method import AdaptedModel, ClassFeatureModel, Read, cosine_logits
from harness.recipe import Recipe


@dataclass(frozen=True)
class Mine:
    """A residual on image features."""

    scale: float = 1.0
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": Recipe(epochs=1, batch_size=4, learning_rate=0.01, settings={"scale": 2.0})
    }

    def adapt(self, backbone):
        return Model(backbone, self.scale)


class Model(AdaptedModel):
    reads = (Read("features"),)

    def __init__(self, backbone, scale):
        super().__init__(backbone)
        self.scale = scale
        self.residual = nn.Parameter(torch.zeros(backbone.embed_width))
        self.weights = nn.Parameter(torch.ones(3), requires_grad=False)

    def set_classes(self, classes):
        prompts = self.backbone.prompts(classes.template("clip"), classes.names)
        with torch.no_grad():
            self.texts = F.normalize(self.backbone.text.encode(self.backbone.text.tokenize(prompts)), dim=-1)

    def logits(self, images, classifier):
        return cosine_logits(self.backbone.logit_scale, images + self.scale * self.residual, self.texts)

    def loss(self, batch):
        return F.cross_entropy(self.logits(batch.images, None), batch.labels)
'''
HEAD = "@dataclass(frozen=True)\nclass Mine:"
RECIPES = RIGHT[RIGHT.index("    recipes: ") : RIGHT.index("    def adapt")]
ADAPT = "        return Model(backbone, self.scale)\n"
LOSS = "        return F.cross_entropy(self.logits(batch.images, None), batch.labels)\n"
LOGITS = "        return cosine_logits(self.backbone.logit_scale, images + self.scale * self.residual, self.texts)\n"
AIM = "        prompts = self.backbone.prompts("


def method(old, new):
    return lambda source: source.replace(old, new)


def also(text):
    """More methods of the model."""
    return lambda source: f"{source}\n{text}"


BEFORE_A_RUN = {
    "the model instead of the method": (
        also("Mine = Model"),
        r"'mine:Mine' is no dataclass.*a model is what its `adapt` returns",
        r"@dataclass\(frozen=True\) above 'class Model'",
    ),
    "an object": (
        also("Mine = Mine()"),
        "'mine:Mine' is an object of the class Mine, and a method is a class",
        "Name the frozen",
    ),
    "a function": (
        also("def Mine(): ..."),
        "'mine:Mine' is a function, and a method is a class",
        "Name the frozen dataclass",
    ),
    "no such name": (also("del Mine"), "the module 'mine' has no 'Mine'", "It has: .*Model"),
    "no dataclass": (
        method(HEAD, "class Mine:"),
        "'mine:Mine' is no dataclass",
        r"Write @dataclass\(frozen=True\) above",
    ),
    "not frozen": (
        method(HEAD, "@dataclass\nclass Mine:"),
        "a dataclass that can be changed",
        r"Write @dataclass\(frozen=True\)",
    ),
    "a subclass without the decorator": (
        also("class Base(Mine):\n    rank: int = 2\nMine = Base"),
        "'mine:Mine' is no dataclass",
        "above 'class Base'",
    ),
    "a setting without default": (
        method("scale: float = 1.0", "scale: float"),
        "the setting 'scale' of 'mine:Mine' has no default",
        "scale: float = ...",
    ),
    "a default of another type": (
        method("scale: float = 1.0", "scale: float = 'big'"),
        "the setting 'scale' of 'mine:Mine' is 'big'",
        "Give it a value of",
    ),
    "a setting that no record holds": (
        method("scale: float = 1.0", "scale: object = torch.float32"),
        "torch.float32, which a record can't hold",
        "Settings are",
    ),
    "a type that isn't imported": (
        lambda source: "from __future__ import annotations\n" + source.replace("scale: float", "scale: Flaot"),
        "the types of the settings of 'mine:Mine' can't be read.*Flaot",
        "Import what they name",
    ),
    "defaults that are refused": (
        method("    def adapt", "    def __post_init__(self):\n        raise ValueError('odd')\n\n    def adapt"),
        r"can't be made with its defaults: ValueError: odd \(mine.py:\d+, in __post_init__\)",
        r"Mend it until Mine\(\) works",
    ),
    "recipes without ClassVar": (
        method("ClassVar[Mapping[str, Recipe]]", "dict"),
        r"mutable default .* for field recipes",
        r"Write recipes: ClassVar\[",
    ),
    "recipes as a field": (
        method(RECIPES, "    recipes: Mapping = __import__('dataclasses').field(default_factory=dict)\n"),
        "the recipes of 'mine:Mine' are a field",
        r"Write recipes: ClassVar\[",
    ),
    "no recipes": (method(RECIPES, ""), "'mine:Mine' has no recipes", r"Write recipes: ClassVar\["),
    "one recipe": (
        method(RECIPES, "    recipes = Recipe(epochs=1)\n"),
        "are an object of the class Recipe",
        "Write recipes:",
    ),
    "no default row": (
        method('"default"', '"defualt"'),
        "no row 'default' .* it has 'defualt'",
        'Give it one: recipes = {"default"',
    ),
    "a row that is no recipe": (
        method(RECIPES, '    recipes = {"default": dict(epochs=1)}\n'),
        "the row 'default' .* is a dict, and no Recipe",
        "Write Recipe",
    ),
    "a misspelt recipe field": (
        method("epochs=1", "epoch=1"),
        r"epoch\s+Unexpected keyword argument.*mine.py:\d+",
        "Mend the module",
    ),
    "a misspelt setting in a row": (
        method('{"scale": 2.0}', '{"scael": 2.0}'),
        "the row 'default' .* sets 'scael'",
        "Did you mean 'scale'",
    ),
    "a setting of another type in a row": (
        method('{"scale": 2.0}', '{"scale": "two"}'),
        "'scale' of 'mine:Mine' is 'two' in the row 'default'",
        "Give it a value of",
    ),
    "training without a rate": (
        method("learning_rate=0.01, ", ""),
        "the recipe of 'mine:Mine' trains without a learning rate",
        "mine:Mine.learning_rate=0.002",
    ),
    "no adapt": (method("    def adapt(self, backbone):\n" + ADAPT, ""), "'mine:Mine' has no adapt", "Write def adapt"),
    "adapt without the backbone": (
        method("def adapt(self, backbone)", "def adapt(self)"),
        r"adapt\(self\) of 'mine:Mine' can't be called",
        "Write def adapt",
    ),
    "a family that is no text": (
        method(RECIPES, RECIPES + "    family = 3\n"),
        "family of 'mine:Mine' is 3, and no text",
        'Write family = "..."',
    ),
    "a syntax error": (
        method("class Model(AdaptedModel):", "class Model(AdaptedModel)"),
        r"expected ':' \(mine.py, line \d+\)",
        "Mend",
    ),
    "a module that isn't there": (
        method("import torch\n", "import torhc\n"),
        "No module named 'torhc'",
        "install its package",
    ),
    "a name that isn't there": (
        method("import AdaptedModel,", "import AdaptModel,"),
        "cannot import name 'AdaptModel' from 'harness.method'",
        "Mend the import",
    ),
    "an error while it is imported": (
        also("1 / 0"),
        r"ZeroDivisionError: division by zero \(mine.py:\d+",
        "Mend the module",
    ),
    "an exit while it is imported": (also("raise SystemExit(3)"), r"SystemExit: 3 \(mine.py:\d+", "Mend the module"),
    "a relative import": (
        method("import torch\n", "from .helper import help\nimport torch\n"),
        "attempted relative import",
        "from helper import",
    ),
}

IN_A_RUN = {
    "adapt returns nothing": (
        method(ADAPT, "        Model(backbone, self.scale)\n"),
        r"returns nothing \(None\)",
        "Return an object",
    ),
    "adapt returns another module": (
        method(ADAPT, "        return nn.Linear(2, 2)\n"),
        "an object of the class Linear, and no AdaptedModel",
        "inherits harness.method",
    ),
    "no super().__init__": (
        method("        super().__init__(backbone)\n", ""),
        r"before Module.__init__\(\) call \(mine.py:\d+, in __init__\)",
        "Mend it there",
    ),
    "another backbone": (
        method("super().__init__(backbone)", "super().__init__(nn.Linear(2, 2))"),
        "isn't on the backbone",
        r"super\(\).__init__\(backbone\)",
    ),
    "no set_classes": (
        method("def set_classes", "def set_class"),
        r"has no set_classes\(classes\)",
        "Write it in the class Model",
    ),
    "no logits": (
        lambda source: source.replace("def logits", "def answers").replace("self.logits", "self.answers"),
        r"has no logits\(images, classifier\)",
        "Write it in the class Model",
    ),
    "no loss": (method("def loss", "def los"), r"has no loss\(batch\)", "Write it in the class Model"),
    "no classifier": (
        method("Model(AdaptedModel)", "Model(ClassFeatureModel)"),
        r"has no classifier\(\)",
        "Write it in the class",
    ),
    "logits without the classifier": (
        lambda source: source.replace("def logits(self, images, classifier)", "def logits(self, images)").replace(
            ", None)", ")"
        ),
        r"logits of the model of 'mine:Mine' takes \(images\)",
        r"called as logits\(images, classifier\)",
    ),
    "a hook with other arguments": (
        also("    def end_epoch(self):\n        pass\n"),
        r"end_epoch .* takes \(\)",
        r"called as end_epoch\(epoch, epochs\)",
    ),
    "a call that is a value": (
        also("    finish = True\n"),
        "finish .* is True, and no function",
        r"called as finish\(train, val\)",
    ),
    "a property that is a function": (
        also("    def answers_zero_shot(self):\n        return False\n"),
        "answers_zero_shot .* is a function",
        "@property",
    ),
    "reads that are no tuple": (
        method('(Read("features"),)', '(Read("features"))'),
        "an object of the class Read, and no tuple",
        "Write reads",
    ),
    "reads that are words": (
        method('(Read("features"),)', '("features",)'),
        "holds 'features', and no Read",
        "Write reads",
    ),
    "a stage that isn't there": (
        method('Read("features")', 'Read("feature")'),
        "the stage 'feature', which there is not",
        "Write reads",
    ),
    "a block too high": (
        method('Read("features")', "Read(7)"),
        "the stage 7, which .* this image tower has 2 blocks",
        "Write reads",
    ),
    "the tower trained below what is read": (
        method(
            "        self.scale = scale\n",
            "        self.scale = scale\n        backbone.model.visual.requires_grad_(True)\n",
        ),
        r"reads the stage 'features', and \d+ weights of the image tower below it require a gradient: backbone.model.visual",
        r"Freeze them, or read where they begin: reads = \(Read\('pixels'\),\)",
    ),
    "nothing to train": (
        method("nn.Parameter(torch.zeros(backbone.embed_width))", "torch.zeros(backbone.embed_width)"),
        "the model Model has nothing to train",
        "Make an nn.Parameter in adapt",
    ),
    "a group that leaves some out": (
        also("    def parameter_groups(self):\n        return {'all': []}\n"),
        "leaves out what requires a gradient.*: residual",
        "freeze it",
    ),
    "a group with frozen weights": (
        also("    def parameter_groups(self):\n        return {'all': list(self.parameters())}\n"),
        "requires no gradient",
        "Leave it out",
    ),
    "a weight in two groups": (
        also("    def parameter_groups(self):\n        return {'a': [self.residual], 'b': [self.residual]}\n"),
        "holds a parameter twice",
        "one group",
    ),
    "groups that are a list": (
        also("    def parameter_groups(self):\n        return [self.residual]\n"),
        "is no table of lists",
        'Return {"all"',
    ),
    "a rate for a group that isn't there": (
        method("learning_rate=0.01,", 'learning_rate=0.01, learning_rates={"al": 0.1},'),
        "a learning rate for the group 'al'",
        "Did you mean 'all'",
    ),
    "a weight that loss doesn't use": (
        method(
            "        self.scale = scale\n",
            "        self.scale = scale\n        self.idle = nn.Parameter(torch.ones(2))\n",
        ),
        "1 of 2 weights of the model Model never got a gradient, .*: idle",
        "Use them in loss with gradients on",
    ),
    "a parameter made in loss": (
        method(
            LOSS,
            "        self.made = nn.Parameter(torch.ones(1))\n"
            + LOSS.replace("self.logits(", "self.made * self.logits("),
        ),
        "made parameters while it trained.*: made",
        "Make every nn.Parameter in adapt",
    ),
    "a loss without a gradient": (
        method(LOSS, LOSS.replace("batch.labels)", "batch.labels).detach()")),
        "no gradient leads from the loss",
        "no detach",
    ),
    "a loss that is a number": (
        method(LOSS, "        return 0.5\n"),
        "returns float, and no tensor",
        "Return a scalar tensor",
    ),
    "a loss an image": (
        method(LOSS, LOSS.replace("batch.labels)", "batch.labels, reduction='none')")),
        r"the shape \(4,\), and no scalar",
        "Return a scalar",
    ),
    "a loss that is never returned": (
        method(LOSS, LOSS.replace("return ", "")),
        "returns NoneType",
        "Return a scalar tensor",
    ),
    "a backward that returns nothing": (
        also("    def backward(self, batch, scaler):\n        scaler.scale(self.loss(batch)).backward()\n"),
        "backward .* returns nothing",
        "detached",
    ),
    "batches out of range": (
        also("    def batches(self, labels, batch_size, rng):\n        yield [0, 99]\n"),
        "the place 99 of 6 images",
        "from 0 to 5",
    ),
    "batches of tensors": (
        also("    def batches(self, labels, batch_size, rng):\n        yield torch.arange(2)\n"),
        "yields tensor",
        "Yield lists of whole numbers",
    ),
    "frozen weights changed in place": (
        method(LOSS, "        self.weights.add_(1)\n        self.backbone.model.visual.proj.data.mul_(1.01)\n" + LOSS),
        r"changed weights that are frozen, 2 of \d+: ",
        "Train what is to change",
    ),
    "logits of too many classes": (
        method("self.texts)\n", "self.texts) if torch.is_grad_enabled() else torch.zeros(len(images), 4)\n"),
        r"the shape \(21, 4\) for 21 images and 3 classes",
        r"Return \(21, 3\)",
    ),
    "logits of one image": (
        method("self.texts)\n", "self.texts) if torch.is_grad_enabled() else torch.zeros(3)\n"),
        r"returns the shape \(3,\)",
        "a row for each",
    ),
    "labels instead of logits": (
        method(
            "self.texts)\n",
            "self.texts) if torch.is_grad_enabled() else torch.ones(len(images), len(self.texts), dtype=int)\n",
        ),
        "are of the type torch.int64",
        "Return floating-point numbers",
    ),
    "the second set_classes ignored": (
        method(
            AIM,
            "        if hasattr(self, 'texts') and len(self.texts) == len(classes.names):\n            return\n" + AIM,
        ),
        "ignores set_classes once it has been aimed",
        "Make everything that depends on the classes anew",
    ),
    "every set_classes but the first ignored": (
        method(AIM, "        if hasattr(self, 'texts'):\n            return\n" + AIM),
        r"the shape \(14, 3\) for 14 images and 2 classes",
        "the last set_classes",
    ),
    "a bug in loss": (
        method(LOSS, "        return batch.imges\n"),
        r"no attribute 'imges' \(mine.py:\d+, in loss\)",
        "Mend it there",
    ),
    "a shape that torch refuses": (
        method(LOGITS, LOGITS.replace("images +", "images[:, :5] +")),
        r"RuntimeError: .* \(mine.py:\d+, in logits\)",
        "Mend it there",
    ),
    "an exit": (
        method(LOSS, "        raise SystemExit(3)\n"),
        r"SystemExit: 3 \(mine.py:\d+, in loss\)",
        "Mend it there",
    ),
    "a setting that isn't there": (
        method("self.scale = scale", "self.scael = scale"),
        "no attribute 'scale'",
        "Mend it there",
    ),
}
DIVERGED = {
    "a loss that is no number": (
        method(LOSS, LOSS.rstrip() + " * float('nan')\n"),
        "not finite from step 1 of epoch 1",
        "--set learning_rate",
    ),
    "logits that are no numbers": (
        method(
            "self.texts)\n",
            "self.texts) if torch.is_grad_enabled() else torch.full((len(images), len(self.texts)), float('nan'))\n",
        ),
        "the logits of 21 of 21 test images are not finite",
        "--set learning_rate",
    ),
}


@pytest.fixture
def mine(tmp_path, monkeypatch, tinyworld):
    """`mine(change)`: the module of a method with one mistake, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def make(change):
        changed = change(RIGHT)
        assert changed != RIGHT
        (tmp_path / "mine.py").write_text(changed)
        importlib.invalidate_caches()

    sys.modules.pop("mine", None)
    yield make
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("mistake", BEFORE_A_RUN)
def test_what_is_no_method_is_refused_before_a_run(mine, job, mistake):
    change, what, advice = BEFORE_A_RUN[mistake]
    mine(change)
    with pytest.raises(AdaptBenchError) as refused:  # which the command prints, with exit code 2
        job("mine.py:Mine")
    assert re.search(what, " ".join(refused.value.what.split())), refused.value.what
    assert re.search(advice, refused.value.advice), refused.value.advice


@pytest.mark.parametrize("mistake", [*IN_A_RUN, *DIVERGED])
def test_what_breaks_the_contract_is_a_failed_row(mine, job, mistake):
    change, what, advice = (IN_A_RUN | DIVERGED)[mistake]
    mine(change)
    record = execute(job("mine:Mine", shots=2))
    assert record.status == ("diverged" if mistake in DIVERGED else "failed")
    said = " ".join(summary(record).split())
    assert re.search(what, said), said
    assert re.search(advice, said), said
    assert "Traceback" not in said
    assert (record.traceback is not None) == ("Mend it there" in said)


def test_the_right_method_is_ok(mine, job):
    mine(lambda source: source + "\n")
    record = execute(job("mine:Mine", shots=2))
    assert record.status == "ok", record.reason
    assert record.key.settings == {"scale": 2.0}
