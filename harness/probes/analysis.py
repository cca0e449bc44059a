"""What training changed inside a model, and where its gradient went: the quantities of Skip Tuning's analysis, for every method.

The paper gives neither code nor formulas. These are AdaptBench's definitions, through the contract alone:

* The shift of a block is the mean Euclidean distance between its output before training and after it, at the token that its
  tower pools (CLS, end of text), over training images and over the texts that classifying them takes. Divided by the last
  block's, it is the feature sensitivity FS.
* The gradient dependence GD of an image on class k is |dCE / dt_k| / sum_j |dCE / dt_j|, with t the class features that the
  model hands its logits.
* The gradient flow of a training step: the blocks whose output receives a gradient (its length), and the class texts that the
  text tower carries it through (its width).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.clip.blocks import Around, each_block
from harness.data.image_set import ImageSet
from harness.method import AdaptedModel, Classes
from harness.records import AnalysisRecord
from harness.suite import Item
from harness.training.reading import advance, autocast

IMAGES = 100
"""Training images looked at, drawn at random: the paper's number."""
BATCH_SIZE = 20

Rows = Mapping[int, list[Tensor]]
"""By block: its output at the pooled token, (..., D), every time it ran."""


@dataclass(frozen=True)
class Snapshot:
    """A model at one moment: what its blocks put out for so many images, and each image's gradient shares (N, C).

    There are no shares where there are no class features without an image.
    """

    images: int
    image: Rows
    text: Rows
    gradient: Tensor | None


@dataclass
class Flow:
    """The blocks of each tower that a gradient passed, and the most class texts it passed in one of them."""

    image_blocks: set[int] = field(default_factory=set)
    text_blocks: set[int] = field(default_factory=set)
    texts: int = 0


def sample(items: Sequence[Item], seed: int) -> tuple[Item, ...]:
    """The training images to look at."""
    return tuple(random.Random(seed).sample(list(items), min(IMAGES, len(items))))


def snapshot(model: AdaptedModel, classes: Classes, images: ImageSet, precision: str) -> Snapshot:
    """Classify the images in their test view, and note what happens. The model keeps its weights."""
    model.set_classes(classes)  # again: what it keeps of the classes has to pass the tower
    backbone, stage = model.backbone, model.reads[0].stage
    image: defaultdict[int, list[Tensor]] = defaultdict(list)
    text: defaultdict[int, list[Tensor]] = defaultdict(list)
    shares = []
    with (
        each_block(backbone.image, _noting(lambda i, x: image[i].append(x[:, 0].detach().float().cpu()))),
        each_block(backbone.text, _noting(lambda i, state: text[i].append(_ends(state).detach().float().cpu()))),
        autocast(precision, backbone.device),
    ):
        classifier = _class_features(model, text)
        for indices, pixels in images.in_order(BATCH_SIZE, epoch=None):
            with torch.no_grad():
                inputs = advance(backbone, pixels.to(backbone.device), stage)
            shares.append(_gradient_shares(model, inputs, images.labels[list(indices)], classifier))
    known = [s for s in shares if s is not None]
    return Snapshot(len(images), image, text, torch.cat(known) if known else None)


@torch.no_grad()
def _class_features(model: AdaptedModel, text: dict[int, list[Tensor]]) -> Tensor | None:
    """The model's class features, with the rows in `text` that they come of. Asked twice: what only the first call encodes is a
    reference beside the class features, unless the second encodes nothing.
    """
    classifier = model.classifier()
    first = dict(text)
    text.clear()
    model.classifier()
    if not text:
        text.update(first)
    return classifier


def compare(
    model: AdaptedModel, before: Snapshot, after: Snapshot, flow: Flow
) -> tuple[AnalysisRecord, dict[str, str]]:
    """The record, and the reasons for its nulls by field. `model` is either of the two snapshots' models."""
    staged = {"image": model.backbone.image.staged, "text": model.backbone.text.staged}
    image, text = shift(before.image, after.image), shift(before.text, after.text)
    first, last = before.gradient, after.gradient
    found: dict[str, Any] = {
        "image_shift": image,
        "text_shift": text,
        "class_gradient_before": _by_class(first),
        "class_gradient_after": _by_class(last),
        "rank_gradient_before": _by_rank(first),
        "rank_gradient_after": _by_rank(last),
        "image_blocks_with_gradient": len(flow.image_blocks) if staged["image"] else None,
        "text_blocks_with_gradient": len(flow.text_blocks) if staged["text"] else None,
        "class_texts_with_gradient": flow.texts if staged["text"] else None,
    }
    reasons = {}
    for name in (name for name, value in found.items() if value is None):
        tower = name.partition("_")[0].replace("class", "text")
        if "_gradient_" in name:
            reasons[name] = "this model's class features depend on the image"
        elif not staged[tower]:
            reasons[name] = f"the blocks of this backbone's {tower} tower can't be looked into"
        else:
            reasons[name] = f"classifying takes no pass of the {tower} tower that was there before training as well"
    return AnalysisRecord(images=after.images, **found), reasons


def shift(before: Rows, after: Rows) -> tuple[float, ...] | None:
    """Mean Euclidean distances by block. None if no block ran, or if other things ran before than after."""
    if not after or _shapes(before) != _shapes(after):
        return None
    return tuple(
        float(torch.cat([(x - y).norm(dim=-1).flatten() for x, y in zip(before[i], after[i], strict=True)]).mean())
        for i in sorted(after)
    )


@contextmanager
def gradient_flow(model: AdaptedModel) -> Iterator[Flow]:
    """Within the context, note which blocks and how many class texts receive a gradient."""
    flow = Flow()

    def image(block: int, x: Tensor) -> None:
        if x.requires_grad:
            x.register_hook(lambda gradient: flow.image_blocks.add(block))

    def text(block: int, state: Any) -> None:
        def passed(gradient: Tensor) -> None:
            flow.text_blocks.add(block)
            flow.texts = max(flow.texts, count)

        if state.hidden.requires_grad:
            count = _ends(state).shape[-2]
            state.hidden.register_hook(passed)

    with each_block(model.backbone.image, _noting(image)), each_block(model.backbone.text, _noting(text)):
        yield flow


def _shapes(rows: Rows) -> dict[int, list[torch.Size]]:
    return {block: [x.shape for x in outputs] for block, outputs in rows.items()}


def _by_class(gradient: Tensor | None) -> tuple[float, ...] | None:
    return None if gradient is None else tuple(gradient.mean(dim=0).tolist())


def _by_rank(gradient: Tensor | None) -> tuple[float, ...] | None:
    return None if gradient is None else tuple(gradient.sort(dim=-1, descending=True).values.mean(dim=0).tolist())


def _ends(state: Any) -> Tensor:
    return state.end_rows(lambda x: x)


def _noting(note: Callable[[int, Any], None]) -> Around:
    """Call `note(number, output)` after every block."""

    def around(number: int, state: Any, run: Callable[[], Any]) -> Any:
        after = run()
        note(number, after)
        return after

    return around


def _gradient_shares(model: AdaptedModel, inputs: Tensor, labels: Tensor, classifier: Tensor | None) -> Tensor | None:
    """(B, C): each image's gradient on the class features, by class, as shares of its sum; None without class features."""
    if classifier is None:
        with torch.no_grad():
            model.logits(inputs, None)
        return None
    features = classifier.detach().requires_grad_()
    logits = model.logits(inputs, features).float()
    losses = F.cross_entropy(logits, labels.to(logits.device), reduction="none")
    norms = [torch.autograd.grad(loss, features, retain_graph=True)[0].float().norm(dim=-1) for loss in losses]
    gradient = torch.stack(norms).cpu()
    return gradient / gradient.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
