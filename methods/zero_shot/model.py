"""The arithmetic of Zero-shot CLIP; hyper-parameters, recipes and the paper are in `methods.zero_shot`."""

from __future__ import annotations

from torch import Tensor

from harness.clip.backbone import Backbone
from harness.method import Classes, ClassFeatureModel, PlainClip
from methods._text import class_features


class ZeroShotModel(ClassFeatureModel):
    """logits = s * f^ t^T."""

    def __init__(self, backbone: Backbone, template_list: str) -> None:
        super().__init__(backbone)
        self._template_list = template_list

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        self.forget_constants()

    def plain_clip(self) -> PlainClip:
        return PlainClip(self.backbone.model.state_dict(), self._classes.template(self._template_list))

    def classifier(self) -> Tensor:
        return self.constant("text", lambda: class_features(self.backbone, self._classes, self._template_list))
