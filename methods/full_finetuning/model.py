"""The arithmetic of Full fine-tuning; hyper-parameters, recipes and the paper are in `methods.full_finetuning`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Classes, ClassFeatureModel, PlainClip, Read
from methods._text import class_tokens


class FinetunedModel(ClassFeatureModel):
    """CLIP whose class prompts are encoded anew in every step, since the text tower moves."""

    def __init__(self, backbone: Backbone, template_list: str) -> None:
        super().__init__(backbone)
        self._template_list = template_list
        self.reads = (Read(0),)
        for group in self.parameter_groups().values():
            for parameter in group:
                parameter.requires_grad_(True)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"text": self.backbone.text.upper_parameters(0), "image": self.backbone.image.upper_parameters(0)}

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        self._tokens = class_tokens(self.backbone, classes, self._template_list)
        self.forget_constants()

    def classifier(self) -> Tensor:
        text = self.backbone.text
        embedded = self.constant("embedded", lambda: text.embed(self._tokens))
        return F.normalize(text.head(text.blocks(embedded, 0, text.depth)), dim=-1)

    def plain_clip(self) -> PlainClip:
        return PlainClip(self.backbone.model.state_dict(), self._classes.template(self._template_list))

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E), not normalised, from image tokens after ln_pre."""
        tower = self.backbone.image
        return tower.head(tower.blocks(images, 0, tower.depth))
