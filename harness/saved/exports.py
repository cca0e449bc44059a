"""A saved model for other programs: plain CLIP weights, or a linear classifier on CLIP's image features.

What is exported has answered like the saved model before it is written, on random images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.errors import ConfigError
from harness.files import replacing, write_atomically
from harness.method import LinearHead, PlainClip, cosine_logits
from harness.saved.model import SavedModel
from harness.training.reading import advance, autocast
from harness.weights import CONFIG

_IMAGES = 8
_TOLERANCE = 1e-4
"""Of probabilities on random images: other orders of the same sums differ by less, another function by more."""


def export_classifier(saved: SavedModel, path: Path) -> float:
    """Write the classifier on image features f (B, E) for the classes aimed at; returns by how much probabilities differ.

    A file of safetensors: weight (C, E), logit_scale (a scalar), bias (C,) if there is one; its metadata say the class names and
    the formula. Raises ConfigError where the method's answers are no such classifier.
    """
    with torch.no_grad(), autocast(saved.header.key.precision, saved.model.backbone.device):
        head = saved.model.linear_head() if saved.model.reads[0].stage == "features" else None
    if head is None:
        raise _unfit(saved, "classifier", "its answers are no linear function of CLIP's image features")
    difference = _difference(saved, lambda pixels: _on_features(saved, head, pixels))
    if difference > _TOLERANCE:
        raise _unfit(saved, "classifier", "its answers are no linear function of CLIP's image features")
    tensors = {"weight": head.weight, "logit_scale": head.scale} | ({} if head.bias is None else {"bias": head.bias})
    features = "f / |f|" if head.normalised else "f"
    metadata = {
        "classes": json.dumps(saved.class_names, ensure_ascii=False),
        "formula": f"logits = logit_scale * ({features}) @ weight.T{'' if head.bias is None else ' + bias'}",
        **_origin(saved),
    }
    _write(path, tensors, metadata)
    return difference


def export_open_clip(saved: SavedModel, folder: Path) -> float:
    """Write the CLIP that answers alike into a folder that open_clip loads; returns by how much probabilities differ.

    ``open_clip.create_model("local-dir:FOLDER")``, or ``--backbone local-dir:FOLDER``. Raises ConfigError where there is none.
    """
    plain = saved.model.plain_clip()
    if plain is None:
        raise _unfit(saved, "open_clip", "its answers need more than the weights of a CLIP")
    difference = _difference(saved, _answers_of(saved, plain))
    if difference > _TOLERANCE:
        raise _unfit(saved, "open_clip", "the weights of a CLIP alone answer otherwise")
    folder.mkdir(parents=True, exist_ok=True)
    backbone = saved.model.backbone
    config = {"model_cfg": _architecture(saved), "preprocess_cfg": dict(backbone.model.visual.preprocess_cfg)}
    write_atomically(folder / CONFIG, json.dumps(config, indent=1).encode())
    metadata = {
        "classes": json.dumps(saved.class_names, ensure_ascii=False),
        "template": plain.template,
        **_origin(saved),
    }
    _write(folder / "open_clip_model.safetensors", plain.weights, metadata)
    return difference


def _origin(saved: SavedModel) -> dict[str, str]:
    key = saved.header.key
    return {
        "method": key.method,
        "backbone": key.backbone,
        "pretrained": key.pretrained or "",
        "weights_sha256": saved.header.weights_sha256 or "",
    }


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file(
            {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, part, metadata
        )


def _unfit(saved: SavedModel, name: str, why: str) -> ConfigError:
    return ConfigError(
        f"'{saved.header.key.method}' can't be exported as {name}: {why}.",
        "adaptbench.load(SAVED) has all of it in Python; docs/own-method.md says which export fits which method.",
    )


@torch.no_grad()
def _difference(saved: SavedModel, other: Callable[[Tensor], Tensor]) -> float:
    """The largest difference of probabilities between the saved model and another that answers on pixels."""
    backbone = saved.model.backbone
    generator = torch.Generator().manual_seed(0)
    side = backbone.pixels.size
    pixels = torch.randn(_IMAGES, 3, side, side, generator=generator).to(backbone.device)
    with autocast(saved.header.key.precision, backbone.device):
        ours, theirs = saved(pixels), other(pixels)
    return float((ours.double().softmax(-1) - theirs.double().softmax(-1)).abs().max())


def _on_features(saved: SavedModel, head: LinearHead, pixels: Tensor) -> Tensor:
    return head.logits(advance(saved.model.backbone, pixels, "features"))


def _answers_of(saved: SavedModel, plain: PlainClip) -> Callable[[Tensor], Tensor]:
    """The logits of a CLIP with these weights and this template, as open_clip computes them."""

    def answers(pixels: Tensor) -> Tensor:
        backbone: Backbone = saved.model.backbone.copied("reference")
        backbone.model.load_state_dict(plain.weights)
        texts = backbone.text.tokenize(backbone.prompts(plain.template, saved.class_names))
        classifier = F.normalize(backbone.text.encode(texts), dim=-1)
        return cosine_logits(backbone.logit_scale, backbone.model.encode_image(pixels.to(backbone.dtype)), classifier)

    return answers


def _architecture(saved: SavedModel) -> dict[str, Any]:
    """open_clip's configuration of the backbone."""
    name = saved.header.key.backbone
    config = open_clip.get_model_config(name)
    if config is None:
        raise ConfigError(
            f"open_clip has no configuration of '{name}' to write beside the weights.",
            "Of a backbone in a folder (local-dir:), copy its open_clip_config.json; as classifier needs none.",
        )
    return dict(config)
