"""The arithmetic of Skip Tuning; hyper-parameters, recipes and the paper are in `methods.skip_tuning`."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.clip.text_batches import TextState
from harness.method import (
    Batch,
    Classes,
    ClassFeatureModel,
    ImageSource,
    PlainClip,
    Read,
    cosine_logits,
    shuffled_batches,
)
from methods._text import class_tokens
from methods.skip_tuning import SkipTuning


class SkipTunedModel(ClassFeatureModel):
    """CLIP from block omega on, over images and texts cached below it."""

    def __init__(self, backbone: Backbone, method: SkipTuning) -> None:
        super().__init__(backbone)
        self._method = method
        self.start = method.start_layer if method.layer_skip else 0
        self.caches_images = method.layer_skip
        self.reads = (Read(self.start),)
        self.text_start = self.start
        for group in self.parameter_groups().values():
            for parameter in group:
                parameter.requires_grad_(True)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        backbone = self.backbone
        return {
            "text": backbone.text.upper_parameters(self.start),
            "image": backbone.image.upper_parameters(self.start),
        }

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        self._tokens = class_tokens(self.backbone, classes, self._method.template_list)
        self.forget_constants()

    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        """Class prototypes (C, E): text features of the pretrained model, never refreshed; and the mask over ranks."""
        with torch.no_grad():
            self.prototypes = F.normalize(self._upper_text(self._lower_text()), dim=-1)
        count = len(self.prototypes)
        self.top = top_count(count, self._method) if self._method.class_skip else count
        probabilities = reserve_probabilities(count, self.top, self._method.decay, self._method.as_released)
        draws = torch.rand(count, device=self.backbone.device)
        self.mask = (
            draws < probabilities.to(draws.device) if self.top < count else torch.ones_like(draws, dtype=torch.bool)
        )

    @property
    def random_shapes(self) -> bool:  # type: ignore[override]
        """A step encodes the texts of the classes that its mask keeps."""
        return self.top < len(self.prototypes)

    def begin_epoch(self, epoch: int) -> None:
        self.text_cache = self.constant("lower text", self._lower_text)

    def batches(self, labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
        return epoch_batches(labels, batch_size, rng)

    def loss(self, batch: Batch) -> Tensor:
        features = self.image_features(batch.images)
        kept, labels = self._select(features, batch.labels)
        texts = self.text_cache if kept is None else self.text_cache.select(kept)
        classifier = F.normalize(self._upper_text(texts), dim=-1)
        return F.cross_entropy(cosine_logits(self.backbone.logit_scale, features, classifier), labels)

    @torch.no_grad()
    def _select(self, features: Tensor, labels: Tensor) -> tuple[Tensor | None, Tensor]:
        if self.top == len(self.prototypes):
            return None, labels
        similarity = F.normalize(features, dim=-1) @ self.prototypes.to(features.dtype).T
        return select_classes(similarity, labels, self.mask, keep_labels=not self._method.as_released)

    @torch.no_grad()
    def _lower_text(self) -> TextState:
        text = self.backbone.text
        return text.blocks(text.embed(self._tokens), 0, self.start)

    def _upper_text(self, state: TextState) -> Tensor:
        text = self.backbone.text
        return text.head(text.blocks(state, self.start, text.depth))

    def plain_clip(self) -> PlainClip:
        return PlainClip(self.backbone.model.state_dict(), self._classes.template(self._method.template_list))

    def classifier(self) -> Tensor:
        return F.normalize(self.backbone.text.encode(self._tokens), dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E), not normalised, from the tokens (B, N, W) that go into block omega."""
        tower = self.backbone.image
        return tower.head(tower.blocks(images, self.start, tower.depth))

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        features = self.image_features(images)  # first: the tower's peak does not hold the scale as well
        return cosine_logits(self.backbone.logit_scale, features, classifier)


def top_count(classes: int, method: SkipTuning) -> int:
    """n_top: how many of the nearest classes a step always keeps. A ratio of exactly 1 keeps all, whatever the maximum."""
    if method.top_ratio == 1.0:
        return classes
    wanted = method.top_ratio * classes if method.top_ratio < 1 else min(method.top_ratio, classes)
    return min(math.ceil(wanted), method.maximum_top)


def reserve_probabilities(classes: int, top: int, decay: float, as_released: bool = False) -> Tensor:
    """The probability (C,) that each *rank* is kept: 1 for the first `top`, then a falling exponential from 1 to 0.

    p(x) = (exp(-x / decay) - exp(-5 / decay)) / (1 - exp(-5 / decay)), x evenly spaced on [0, 5] over the tail.
    """
    tail = classes - top
    x = torch.linspace(0, 5, tail, dtype=torch.float64)
    last = math.exp(-5 / decay)
    p = (torch.exp(-x / decay) - last) / (1 - last)
    if tail == 1 and as_released:
        p = torch.zeros(1, dtype=torch.float64)  # the released code divides 0 by 0 there, and NaN is never above a draw
    return torch.cat([torch.ones(top, dtype=torch.float64), p])


def select_classes(
    similarity: Tensor, labels: Tensor, mask: Tensor, *, keep_labels: bool = True
) -> tuple[Tensor, Tensor]:
    """Kept class indices (K,), ascending, and the labels as positions among them.

    similarity (B, C) of images to class prototypes; mask (C,) over ranks, the same in every step of a run. A class's score is its
    highest similarity in the batch; the batch's own classes come first. `keep_labels` False lets the mask drop one of those, and
    gives its images label 0.
    """
    scores = similarity.scatter(1, labels[:, None], 1e4).max(dim=0).values
    ranks = scores.argsort(descending=True)
    if keep_labels:
        mask = mask.clone()
        mask[: len(labels.unique())] = True
    kept = ranks[mask].sort().values
    return kept, (kept == labels[:, None]).int().argmax(dim=1)


def epoch_batches(labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    """Batches of one class if every class can fill one, else shuffled ones, so that no class goes without.

    The released code goes by the number of shots instead, and stops at a class that is smaller than a batch.
    """
    smallest = min(Counter(labels).values())
    return (one_class_batches if smallest >= batch_size else shuffled_batches)(labels, batch_size, rng)


def one_class_batches(labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    """Each batch holds images of one class, drawn uniformly among classes that can still fill a batch."""
    left: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        left.setdefault(label, []).append(place)
    while left:
        label = rng.choice(list(left))
        batch = rng.sample(left[label], batch_size)
        left[label] = [i for i in left[label] if i not in batch]
        if len(left[label]) < batch_size:
            del left[label]
        yield batch
