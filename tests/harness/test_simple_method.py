"""Methods of a file each, as docs/own-method.md has them: runs in both executions, their saved models, and what is refused."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.errors import ConfigError, MethodError
from harness.method import Classes
from harness.runs.runner import execute
from harness.saved.exports import export_classifier, export_open_clip
from harness.saved.model import load
from harness.simple_method import SimpleMethod

PAGE = (Path(__file__).parents[2] / "docs" / "own-method.md").read_text()
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
EXAMPLES = {  # the method, its settings for a backbone of two blocks a tower, and what it can be exported as
    "residual": ("Residual", {}, {"classifier"}),
    "adapter": ("Adapter", {}, set()),
    "norms": ("Norms", {"blocks": "12"}, {"open_clip"}),
}
CLASSES = Classes(("red", "green_square", "blue"), {"clip": "a photo of a {}."})
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own(tmp_path, monkeypatch, job, tinyworld):
    """`own("residual", "fast")`: a run of an example of the page, its file being in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def run(name, execution):
        (tmp_path / f"{name}.py").write_text(FILES[f"{name}.py"])
        sys.modules.pop(name, None)
        kind, settings, _ = EXAMPLES[name]
        wanted = job(f"{name}.py:{kind}", settings={"epochs": "2", **settings}, executions=[execution])
        return dataclasses.replace(wanted, saved=tmp_path / f"{execution}.safetensors")

    yield run
    for name in EXAMPLES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_page_runs_alike_in_both_executions_and_is_saved(name, own, tmp_path):
    fast, reference = (execute(own(name, execution)) for execution in ("fast", "reference"))
    for record in (fast, reference):
        assert record.status == "ok", record.reason
        assert record.saved_bytes, record.missing
    assert fast.epoch_losses == pytest.approx(reference.epoch_losses, rel=1e-5)
    assert {key: test.correct for key, test in fast.accuracy.items()} == {
        key: test.correct for key, test in reference.accuracy.items()
    }
    saved = load(tmp_path / "fast.safetensors", device="cpu")
    for format, write in (("classifier", export_classifier), ("open_clip", export_open_clip)):
        if format in EXAMPLES[name][2]:
            assert write(saved, tmp_path / format) < 1e-4
        else:
            with pytest.raises(ConfigError, match="can't be exported"):
                write(saved, tmp_path / format)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_file_of_forty_lines_at_most(name):
    assert len(FILES[f"{name}.py"].splitlines()) <= 40


class Chosen(SimpleMethod):
    """Trains the weights of CLIP that have one of these words in their name."""

    def __init__(self, *words):
        self.words = words

    def trainable(self, name):
        return any(word in name for word in self.words)


@pytest.mark.parametrize(
    ("words", "reads", "text_start"),
    [
        ((), "features", "features"),
        (("visual.proj",), 2, "features"),
        (("visual.transformer.resblocks.1.",), 1, "features"),
        (("visual.conv1", "text_projection"), "pixels", 2),
        (("transformer.resblocks.1.",), 1, 1),
        (("token_embedding",), "features", 0),
        (("logit_scale",), "features", "features"),
    ],
)
def test_a_tower_runs_from_its_lowest_trained_weight_on(words, reads, text_start, tiny_backbone):
    backbone = tiny_backbone()
    model = Chosen(*words).adapt(backbone)
    assert (model.reads[0].stage, model.text_start) == (reads, text_start)
    model.set_classes(CLASSES)
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tower = backbone.image
    inputs = {"pixels": pixels, "features": tower.encode(pixels).detach()}.get(reads)
    if inputs is None:
        inputs = tower.blocks(tower.embed(pixels), 0, reads).detach()
    logits = model.logits(inputs, model.classifier())
    images = F.normalize(tower.encode(pixels), dim=-1)
    texts = F.normalize(backbone.text.encode(backbone.text.tokenize(model._method.prompts(CLASSES))), dim=-1)
    torch.testing.assert_close(logits, backbone.logit_scale * images @ texts.T, rtol=1e-4, atol=1e-4)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    if trained:
        F.cross_entropy(logits, torch.arange(4) % 3).backward()
        assert {name for name, p in model.named_parameters() if p.grad is not None} == trained
    assert bool(trained) == (words not in ((), ("logit_scale",)))


class Drops(SimpleMethod):
    def trained(self, width):
        return nn.Sequential(nn.Linear(width, width), nn.Dropout(0.5))

    def image_features(self, images, trained):
        return trained(images)


def test_a_module_is_in_training_mode_in_training_alone(tiny_backbone):
    model = Drops().adapt(tiny_backbone())
    assert not model.trained.training
    model.begin_epoch(0)
    assert model.trained.training
    model.finish(None, None)
    assert not model.trained.training


class WrongCall(SimpleMethod):
    def class_features(self, texts):
        return texts


class WrongShape(SimpleMethod):
    def class_features(self, texts, trained):
        return texts.mean(dim=0)


class WrongKind(SimpleMethod):
    def trained(self, width):
        return torch.zeros(width)

    def class_features(self, texts, trained):
        return texts + trained


class Misspelt(SimpleMethod):
    def class_feature(self, texts, trained):
        return texts


class Unused(SimpleMethod):
    def trained(self, width):
        return nn.Parameter(torch.zeros(width))


@pytest.mark.parametrize(
    ("method", "what", "advice"),
    [
        (Misspelt, "nothing calls class_feature of Misspelt", "Call it class_features"),
        (Unused, "makes nothing of what its function trained returns", r"Write class_features\(self, texts, trained\)"),
        (WrongCall, r"can't be called as class_features\(texts, trained\)", r"Write def class_features\(self, texts"),
        (WrongShape, r"class_features of WrongShape returns the shape \(32,\)", "a row for each row"),
        (WrongKind, "trained of WrongKind returns an object of the class Tensor", "Return an nn.Module"),
    ],
)
def test_what_can_not_be_meant_is_told(method, what, advice, tiny_backbone):
    def classifier():
        model = method().adapt(tiny_backbone())
        model.set_classes(CLASSES)
        return model.classifier()

    with pytest.raises(MethodError) as refused:
        classifier()
    assert re.search(what, refused.value.what), refused.value.what
    assert re.search(advice, refused.value.advice), refused.value.advice
