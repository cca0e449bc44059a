"""The arithmetic of ProGrad; hyper-parameters, recipes and the paper are in `methods.prograd`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.errors import ConfigError
from harness.method import Batch, Classes, Read, cosine_logits
from methods._text import ContextModel
from methods.prograd import ProGrad

ROUNDING = 256
"""In units of the precision: a teacher's gradient this much smaller than the student's is rounding (2 or 3 were measured)."""


class ProGradModel(ContextModel):
    """CoOp with a gradient projected where it contradicts that of a zero-shot teacher.

    The teacher is a CLIP of its own: it reads the features a second time, which only the fast execution gets for nothing. Its text
    features, logits and probabilities are in float32 under autocast too; image features are those of the run's precision.
    """

    reads = (Read("features"), Read("features"))

    def __init__(self, backbone: Backbone, method: ProGrad) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method
        self._started = not method.template_context

    def set_classes(self, classes: Classes) -> None:
        if self._method.template_context:
            self._start_from_template(classes.template(self._method.template_list))
        super().set_classes(classes)

    @torch.no_grad()
    def _start_from_template(self, template: str) -> None:
        """The words before the class name, at the right of the context: their vectors when training starts, zeros before them.

        A word of two tokens pushes the last ones out of the context: they stay in the prompt as they are, as in the released code.
        """
        words = template.partition("{}")[0].split()
        if len(words) > self.length:
            raise ConfigError(
                f"{len(words)} words of the template '{template}' don't fit into {self.length} context vectors.",
                f"Use --set prograd.context_length={len(words)}, or --set prograd.template_context=false.",
            )
        free = self.length - len(words)
        self._placeholder = " ".join(["X"] * free + words)
        if not self._started:
            self.context.zero_()
            if words:
                self.context[free:] = self.backbone.text.word_embeddings(" ".join(words))[: len(words)]
            self._started = True

    def prepare(self, train: object, val: object) -> None:
        self._teacher()

    def _teacher(self) -> Tensor:
        """The teacher's class features (C, E), outside autocast."""
        with torch.autocast(self.backbone.device.type, enabled=False):
            return self.reference_features(self._method.template_list)

    @torch.no_grad()
    def teacher_logits(self, images: Tensor) -> Tensor:
        """Zero-shot logits (B, C) of image features (B, E), in float32 or better."""
        with torch.autocast(images.device.type, enabled=False):
            features, scale = (t.to(_at_least_float32(t)) for t in (images, self.backbone.logit_scale))
            return cosine_logits(scale, features, self._teacher())

    def backward(self, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """Two backward passes through one forward pass. Both gradients are scaled alike, so the projection is scaled too."""
        student, teacher = batch.inputs
        logits = self.logits(student, self.classifier())
        distillation = soft_cross_entropy(logits, self.teacher_logits(teacher), self._method.temperature)
        loss = F.cross_entropy(logits, batch.labels)
        self.end_forward()
        parameters = [p for p in self.parameters() if p.requires_grad]
        general = torch.autograd.grad(scaler.scale(distillation), parameters, retain_graph=True)
        specific = torch.autograd.grad(scaler.scale(loss), parameters)
        for parameter, ours, theirs in zip(parameters, specific, general, strict=True):
            parameter.grad = project(ours, theirs, self._method.conflict_weight)
        return loss.detach()


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """-mean_b sum_k softmax(z0 / tau)_k log softmax(z / tau)_k tau^2 of logits z and a teacher's z0 (B, C): a scalar."""
    target = (teacher / temperature).softmax(dim=-1)
    log_probability = F.log_softmax(logits.to(teacher.dtype) / temperature, dim=-1)
    return -(target * log_probability).sum(dim=-1).mean() * temperature**2


def project(gradient: Tensor, general: Tensor, weight: float) -> Tensor:
    """`gradient` without `weight` times its component against `general`, and as it is where the two agree.

    It stays as it is, too, where `general` is 0 up to rounding (a student that still equals its teacher), which has a direction
    only by accident. What is not finite in either makes all of the result so, and the gradient scaler skips the step.
    """
    precise = _at_least_float32(gradient)
    ours, direction = gradient.to(precise), general.to(precise)
    limits = torch.finfo(precise)
    length = direction.norm()
    direction = direction / length.clamp_min(limits.tiny)
    conflict = (ours * direction).sum().clamp(max=0)
    conflict = conflict.masked_fill(length <= ROUNDING * limits.eps * ours.norm(), 0)
    return (ours - weight * conflict * direction).to(gradient.dtype)


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
