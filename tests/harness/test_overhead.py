"""What measuring costs: a reference step is a plain loop's step, and the clock of the loop takes microseconds."""

import time

import numpy as np
import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F

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


def test_a_step_adds_microseconds_to_its_arithmetic(make_clip):
    """What no pair of times shows on a shared machine. A percent of a step of ViT-B/16, 0.4 s at the least, would be 4 ms."""
    recipe = Recipe(epochs=1, learning_rate=1e-4)
    backbone = Backbone(make_clip(), open_clip.get_tokenizer("ViT-B-16"), execution="reference")
    stepper = Stepper(Scalar(backbone), recipe, "fp32", fast=False)
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], 1e-4, momentum=0.9, weight_decay=5e-4)
    batch = Batch((torch.ones(()),), torch.zeros(1))

    def plain():
        (weight * batch.images).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def quickest(step):
        return min(_seconds(step, calls=100) for _ in range(10))

    added = quickest(lambda: stepper.step(batch, Scalar.reads)) - quickest(plain)
    print(f"our step adds {1e6 * added:.0f} us")
    assert added < 1e-3


def _seconds(step, calls):
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def test_the_clock_in_the_loop_takes_microseconds():
    clock = StepClock(torch.device("cpu"))
    batches = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            clock.start()
            clock.stop()
        batches.append((time.perf_counter() - start) / 200)
    print(f"the clock takes {1e6 * np.min(batches):.2f} us a step")
    assert np.min(batches) < 20e-6
    assert len(clock.seconds()) == 4000
