"""What measuring costs: a reference step is a plain loop's step, and its clock is read at its two edges alone."""

import time
from collections import Counter

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from harness.clip.backbone import Backbone
from harness.method import AdaptedModel, Batch, Classes, Read
from harness.probes.speedup import Speedup
from harness.recipe import Recipe
from harness.training.loop import StepClock, Stepper
from methods.full_finetuning import FullFinetuning

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("dog", "great white shark", "cat", "house")


def plain_step(model, images, labels, optimizer):
    """Fine-tuning as anybody would write it with open_clip, all 77 tokens."""
    tokens = open_clip.get_tokenizer("ViT-B-16")([f"a photo of a {name}." for name in NAMES])

    def step():
        texts = F.normalize(model.encode_text(tokens), dim=-1)
        logits = model.logit_scale.exp() * F.normalize(model.encode_image(images), dim=-1) @ texts.T
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def test_a_reference_step_costs_what_a_plain_loop_does(make_clip):
    """At a size of milliseconds a step, where any overhead of ours would show; the lower bound of the ratio's interval."""
    torch.set_num_threads(1)
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=1e-4)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    backbone = Backbone(make_clip(layers=4), open_clip.get_tokenizer("ViT-B-16"), execution="reference")
    ours = FullFinetuning().adapt(backbone)
    ours.set_classes(Classes(NAMES, {"clip": "a photo of a {}.", "fine-tuning": "a photo of a {}."}))
    stepper = Stepper(ours, recipe, "fp32", fast=False)
    theirs = make_clip(layers=4).eval().requires_grad_(False)
    trained = {n for n, p in backbone.model.named_parameters() if p.requires_grad}
    parameters = [p.requires_grad_(True) for n, p in theirs.named_parameters() if n in trained]
    plain = plain_step(theirs, images, labels, torch.optim.SGD(parameters, 1e-4, momentum=0.9, weight_decay=5e-4))
    batch = Batch((images,), labels)
    stepper.set_rates(0, 0, 1)
    assert float(stepper.step(batch, ())) == pytest.approx(float(plain()), rel=1e-5)
    seconds = {"ours": [], "plain": []}
    for pair in range(60):
        works = [("ours", lambda: stepper.step(batch, ())), ("plain", plain)]
        for name, work in works if pair % 2 else works[::-1]:
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    ratio = Speedup(reference_seconds=tuple(seconds["ours"]), fast_seconds=tuple(seconds["plain"]))
    print(
        f"our reference step / a plain loop's: {ratio.median:.3f} ({ratio.interval[0]:.3f} to {ratio.interval[1]:.3f})"
    )
    assert ratio.interval[0] <= 1.01


class Scalar(AdaptedModel):
    """Next to no arithmetic: one trained number."""

    reads = (Read("features"),)

    def __init__(self, backbone):
        super().__init__(backbone)
        self.weight = nn.Parameter(torch.ones(()))

    def loss(self, batch):
        return self.weight * batch.images


class Operators(TorchDispatchMode):
    """Counts the operators that torch runs."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(str(operator))
        return operator(*args, **(kwargs or {}))


def operators(step):
    """The operators of one step, after one that made what stays: gradients and optimiser state."""
    step()
    with Operators() as counted:
        step()
    return Counter(counted.names)


def test_a_step_adds_no_operator_to_its_arithmetic(make_clip):
    recipe = Recipe(epochs=1, learning_rate=1e-4)
    backbone = Backbone(make_clip(), open_clip.get_tokenizer("ViT-B-16"), execution="reference")
    stepper = Stepper(Scalar(backbone), recipe, "fp32", fast=False)
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], 1e-4, momentum=0.9, weight_decay=5e-4)
    batch = Batch((torch.ones(()),), torch.zeros(1))

    def plain():
        loss = weight * batch.images
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    added = operators(lambda: stepper.step(batch, Scalar.reads))
    added.subtract(operators(plain))
    assert not +added, added


def test_the_clock_in_the_loop_is_read_twice_a_step(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr("harness.training.loop.time.perf_counter", lambda: next(ticks))
    clock = StepClock(torch.device("cpu"))
    for _ in range(100):
        clock.start()
        clock.stop()
    assert clock.seconds() == [1] * 100
    assert next(ticks) == 200
