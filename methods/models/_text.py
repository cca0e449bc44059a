"""What two or more methods share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from harness.backbone import Backbone
from harness.method import Classes
from harness.towers import Tokens


def class_tokens(backbone: Backbone, classes: Classes, template_list: str) -> Tokens:
    """The tokenised prompts of a template list, one a class."""
    return backbone.text.tokenize(backbone.prompts(classes.template(template_list), classes.names))


def class_features(backbone: Backbone, classes: Classes, template_list: str) -> Tensor:
    """Normalised features (C, E) of the prompts of a template list."""
    return F.normalize(backbone.text.encode(class_tokens(backbone, classes, template_list)), dim=-1)
