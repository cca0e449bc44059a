"""The arithmetic of KgCoOp; hyper-parameters, recipes and the paper are in `methods.kgcoop`."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch
from methods._text import ContextModel, feature_distance
from methods.kgcoop import KgCoOp


class KgCoOpModel(ContextModel):
    """CoOp whose class features are drawn to those of the hand-written prompts."""

    def __init__(self, backbone: Backbone, method: KgCoOp) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method

    def prepare(self, train: object, val: object) -> None:
        self.reference_features(self._method.template_list)

    def loss(self, batch: Batch) -> Tensor:
        features = F.normalize(self.text_features(self.context), dim=-1)
        distance = feature_distance(features, self.reference_features(self._method.template_list))
        return F.cross_entropy(self.logits(batch.images, features), batch.labels) + self._method.weight * distance
