"""The arithmetic of PromptSRC; hyper-parameters, recipes and the paper are in `methods.promptsrc`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, ImageSource, Read, cosine_logits
from methods._deep import DeepPromptModel
from methods.promptsrc import PromptSRC


class PromptSRCModel(DeepPromptModel):
    """Independent prompts in both towers, regulated by the frozen towers and averaged over epochs."""

    def __init__(self, backbone: Backbone, method: PromptSRC) -> None:
        super().__init__(backbone, method.context_init, method.context_length, method.prompt_depth)
        self._method = method
        self.reads = (Read(0), Read("features"))
        self.deep_text = self.deep_text_prompts()
        width = backbone.image.width
        self.image = nn.ParameterList([nn.Parameter(self.random_prompts(width)) for _ in range(self.depth)])
        self._average: dict[str, Tensor] = {}

    def text_prompts(self) -> Sequence[Tensor]:
        return [self.context, *self.deep_text]

    def image_prompts(self) -> Sequence[Tensor]:
        return list(self.image)

    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        self._average = {}
        with torch.no_grad():
            self.teacher = F.normalize(self.mean_template_features(), dim=-1)

    def mean_template_features(self) -> Tensor:
        """(C, E): the mean over templates of features that are *not* normalised."""
        text = self.backbone.text
        templates = open_clip.OPENAI_IMAGENET_TEMPLATES[: self._method.teacher_templates]
        total = torch.zeros((), device=self.backbone.device)
        for template in templates:
            features = text.encode(text.tokenize([template(name) for name in self._classes.readable]))
            total = total + features.to(torch.promote_types(features.dtype, torch.float32))
        return total / len(templates)

    def loss(self, batch: Batch) -> Tensor:
        method = self._method
        terms = self.loss_terms(batch)
        return (
            terms["cross_entropy"]
            + method.text_weight * terms["text_l1"]
            + method.image_weight * terms["image_l1"]
            + method.logit_weight * terms["logits_kl"]
        )

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms before they are weighted. L1 terms are means over all entries; KL, teacher first, over images and classes."""
        images, frozen = batch.inputs
        scale = self.backbone.logit_scale
        classifier, features = self.classifier(), self.image_features(images)
        logits = cosine_logits(scale, features, classifier)
        teacher_logits = cosine_logits(scale, frozen, self.teacher)
        divergence = F.kl_div(logits.log_softmax(-1), teacher_logits.log_softmax(-1), reduction="sum", log_target=True)
        return {
            "cross_entropy": F.cross_entropy(logits, batch.labels),
            "text_l1": F.l1_loss(classifier, self.teacher.to(classifier.dtype)),
            "image_l1": F.l1_loss(F.normalize(features, dim=-1), F.normalize(frozen.to(features.dtype), dim=-1)),
            "logits_kl": divergence / logits.numel(),
        }

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        weight = gaussian_weights(epochs, self._method.averaging_mean, self._method.averaging_std)[epoch]
        for name, parameter in self._prompts().items():
            value = weight * parameter.to(torch.promote_types(parameter.dtype, torch.float32))
            self._average[name] = self._average[name] + value if name in self._average else value

    @torch.no_grad()
    def finish(self, train: ImageSource, val: ImageSource) -> None:
        for name, parameter in self._prompts().items():
            if name in self._average:
                parameter.copy_(self._average[name])
        self._average = {}

    def _prompts(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def gaussian_weights(epochs: int, mean: float, std: float) -> list[float]:
    """The weight of each epoch 1..T in the average: a normal density, scaled to sum to 1."""
    exponents = [-(((i - mean) / std) ** 2) / 2 for i in range(1, epochs + 1)]
    highest = max(exponents)
    densities = [math.exp(e - highest) for e in exponents]
    return [d / sum(densities) for d in densities]
