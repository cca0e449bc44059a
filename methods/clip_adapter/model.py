"""The arithmetic of CLIP-Adapter; hyper-parameters, recipes and the paper are in `methods.clip_adapter`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, Classes, ClassFeatureModel
from methods._text import class_features, hidden_width
from methods.clip_adapter import ClipAdapter


class ClipAdapterModel(ClassFeatureModel):
    """Image features go through the adapter; class features are those of zero-shot CLIP."""

    text_start = "features"

    def __init__(self, backbone: Backbone, method: ClipAdapter) -> None:
        super().__init__(backbone)
        self._method = method
        width = backbone.embed_width
        hidden = hidden_width(width, method.reduction)
        where = {"device": backbone.device, "dtype": backbone.dtype}
        self.down = nn.Linear(width, hidden, bias=False, **where)
        self.up = nn.Linear(hidden, width, bias=False, **where)

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        self.forget_constants()

    def prepare(self, train: object, val: object) -> None:
        self.text_features = self._text_features()

    def _text_features(self) -> Tensor:
        return self.constant("text", lambda: class_features(self.backbone, self._classes, self._method.template_list))

    def classifier(self) -> Tensor:
        return self._text_features()

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.class_logits(batch.images, self.text_features), batch.labels)

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E), not normalised: alpha * adapted + (1 - alpha) * f."""
        ratio = self._method.ratio
        adapted = F.relu(self.up(F.relu(self.down(images))))
        return ratio * adapted + (1 - ratio) * images
