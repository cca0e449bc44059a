"""Weights files as they are handed around: read into open_clip's names, or refused by what is in them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harness.clip.library import open_clip
from harness.errors import BackboneError
from harness.files import require_regular

BELOW = ("state_dict", "model", "model_state_dict", "module", "net", "weights")
"""Keys that weights stand under in files of training codes."""
OPENAI_FACTS = ("input_resolution", "context_length", "vocab_size")
"""What OpenAI's archives hold beside the weights."""
TRANSFORMERS = ("text_model.", "vision_model.")
_DRAWS = (
    *(Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_),
    *(nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.xavier_normal_),
)
"""Initialisers that draw. A mode hears of those of `nn.init` alone, and not of what they call."""
MOST_LOGIT_SCALE = 10.0
"""Before the exponential. CLIP keeps it at 4.6 or less, SigLIP near 4.7; beyond 10 every softmax is a maximum."""

MOST_UNPACKED, MOST_CODE_BYTES = 2, 16 << 20
"""An archive is so many times its file's size at most: weights are stored as they are, and code takes little."""
GET_AGAIN = "Get the file again; a checkpoint is a .safetensors file, or a state dict that torch.save wrote."


@dataclass(frozen=True)
class Checkpoint:
    """Weights by open_clip's names, and whether they were trained with QuickGELU; None where the file doesn't tell."""

    weights: dict[str, Tensor]
    quick_gelu: bool | None


def read(path: Path) -> Checkpoint:
    """The weights in a file: safetensors, a state dict (also below a usual key, and with a prefix), or OpenAI's archive.

    Nothing in it is executed. Raises BackboneError.
    """
    try:
        require_regular(path)
        loaded, quick_gelu = _content(path)
    except UnpicklingError as error:
        if "Unsupported operand" in str(error) or "Unsupported" not in str(error):
            raise BackboneError(f"{path.name} can't be read: it is no checkpoint.", GET_AGAIN) from error
        raise BackboneError(
            f"{path.name} holds more than weights, which loading would run.",
            "Save the state dict alone, best as .safetensors, where you trust the file.",
        ) from error
    except Exception as error:  # whatever the readers of damaged files raise, an IndexError among it
        why = [*str(error).splitlines(), type(error).__name__][0] or type(error).__name__
        raise BackboneError(f"{path.name} can't be read: {why[:300]}.", GET_AGAIN) from error
    weights = _tensors(path, loaded)
    if any(fact in weights for fact in OPENAI_FACTS):
        quick_gelu = True
    weights = _unprefixed(path, {name: value for name, value in weights.items() if name not in OPENAI_FACTS})
    _refuse_transformers(path, weights)
    return Checkpoint(weights, _activation_by_name(path.name) if quick_gelu is None else quick_gelu)


def _content(path: Path) -> tuple[Any, bool | None]:
    """What a file holds, and whether its code computes QuickGELU; None for a file without code."""
    if path.suffix == ".safetensors":
        _require_each_name_once(path)
        return load_file(path), None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
            if unpacked_bytes > MOST_UNPACKED * path.stat().st_size + MOST_CODE_BYTES:
                raise ValueError(f"it unpacks to {unpacked_bytes >> 20} MiB, where torch.save packs nothing")
            code = [archive.read(name) for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
        if any(b"__setstate__" in text for text in code):  # it would run, and TorchScript can write files
            raise UnpicklingError("Unsupported code in the archive")
        if code:
            return torch.jit.load(path, map_location="cpu").state_dict(), any(b"1.702" in text for text in code)
    return torch.load(path, map_location="cpu", weights_only=True), None


def _require_each_name_once(path: Path) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands in it twice")
        return dict(pairs)

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length <= path.stat().st_size:
            json.loads(file.read(length), object_pairs_hook=once)


def _tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise BackboneError(f"{path.name} holds a {type(loaded).__name__}, no weights by name.", GET_AGAIN)
    for below in BELOW:
        if isinstance(loaded.get(below), Mapping):
            return _tensors(path, loaded[below])
    weights = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not weights:
        raise BackboneError(
            f"{path.name} holds no weights, but {_some([str(name) for name in loaded]) or 'nothing'}.",
            f"They may stand at the top, or below one of: {', '.join(BELOW)}.",
        )
    return weights


def _unprefixed(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names without what stands before ``logit_scale``, such as ``module.`` and ``clip.``."""
    prefixes = [name.removesuffix("logit_scale") for name in weights if f".{name}".endswith(".logit_scale")]
    if len(prefixes) > 1:
        raise BackboneError(
            f"{path.name} holds {len(prefixes)} models: below {_some(prefixes)}.",
            "Save the one that you mean by itself.",
        )
    return {name.removeprefix(prefixes[0]) if prefixes else name: value for name, value in weights.items()}


def _refuse_transformers(path: Path, weights: Mapping[str, Tensor]) -> None:
    theirs = next((name for name in weights if name.startswith(TRANSFORMERS)), None)
    if theirs:
        raise BackboneError(
            f"{path.name} has the names of Hugging Face's transformers, such as '{theirs}'; open_clip's are other ones.",
            "Take the same weights as open_clip has them: by their tag (--pretrained openai for OpenAI's), or from a hub "
            "repository that has an open_clip_config.json (--backbone hf-hub:NAME).",
        )


def _activation_by_name(file: str) -> bool | None:
    """What open_clip's tags say of a file of this name; None where they say nothing, or not all the same."""
    if "quickgelu" in file.lower():
        return True
    tags = [open_clip.pretrained.get_pretrained_cfg(model, tag) for model, tag in open_clip.list_pretrained()]
    known = {bool(tag.get("quick_gelu")) for tag in tags if tag.get("url", "").rpartition("/")[2] == file}
    return known.pop() if len(known) == 1 else None


class Undrawn(TorchFunctionMode):
    """Weights are not drawn at random where a model is made: for one that `fill` fills, which lets none of them stay as it was."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def fill(model: Any, checkpoint: Checkpoint, name: str) -> None:
    """Put weights into open_clip's model, converted as open_clip does. Raises BackboneError, by `name`, where they don't fit."""
    weights = open_clip.factory.convert_state_dict(model, checkpoint.weights)
    if "positional_embedding" in weights and not hasattr(model, "positional_embedding"):
        weights = open_clip.factory.convert_to_custom_text_state_dict(weights)
    for scalar in ("logit_scale", "logit_bias"):
        own = getattr(model, scalar, None)
        if own is not None and scalar in weights and weights[scalar].numel() == own.numel():
            weights[scalar] = weights[scalar].reshape(own.shape)
    if getattr(model, "logit_bias", None) is not None and "logit_bias" not in weights:
        weights["logit_bias"] = torch.zeros_like(model.logit_bias)
    own_state = model.state_dict()
    positions = "text.transformer.embeddings.position_ids"
    if positions not in own_state:
        weights.pop(positions, None)
    open_clip.factory.resize_pos_embed(weights, model)
    open_clip.factory.resize_text_pos_embed(weights, model)
    wrong = _misfits(own_state, weights)
    if wrong:
        raise BackboneError(
            f"the weights of {name} don't fit the backbone: {'; '.join(wrong)}.",
            "Choose the --backbone that they were trained as; a checkpoint is a .safetensors file or a state dict, whole.",
        )
    model.load_state_dict(weights)


def _misfits(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    both = [name for name in own if name in weights]
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in both
        if weights[name].shape != own[name].shape
    ]
    whole = [name for name in both if own[name].is_floating_point() and not weights[name].is_floating_point()]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes, "whole numbers": whole}
    return [f"{len(names)} {what} ({_some(names)})" for what, names in found.items() if names]


def require_sound(model: Any, name: str) -> None:
    """Raise BackboneError for weights that no training leaves: NaN, infinite, or a scale of the logits beyond all use."""
    for weight_name, weight in model.state_dict().items():
        if weight.is_floating_point() and not weight.sum().isfinite() and not weight.isfinite().all():
            raise BackboneError(
                f"the weights of {name} are not all finite: '{weight_name}' has NaN or infinity.", GET_AGAIN
            )
    scale = float(model.logit_scale.detach().max()) if hasattr(model, "logit_scale") else 0.0
    if abs(scale) > MOST_LOGIT_SCALE:
        raise BackboneError(
            f"the weights of {name} have a logit_scale of {scale:g}; its exponential scales the logits, and 4.6 is usual.",
            GET_AGAIN,
        )


def activation_doubt(checkpoint: Checkpoint, backbone: str, file: str) -> str | None:
    """What is to be said where a file's activation is not, or may not be, the one that the backbone computes."""
    config = open_clip.get_model_config(backbone) or {}
    computes = bool(config.get("quick_gelu"))
    twin = backbone.removesuffix("-quickgelu") if computes else f"{backbone}-quickgelu"
    words = {True: "QuickGELU", False: "GELU"}
    other = f" Take --backbone {twin}." if twin in open_clip.list_models() else ""
    if checkpoint.quick_gelu is None:
        if computes or not other:
            return None
        return (
            f"{file} doesn't tell its activation, and {backbone} computes GELU. If it was trained with QuickGELU, as OpenAI's "
            f"weights were, every figure here is wrong: take --backbone {twin} then."
        )
    if checkpoint.quick_gelu == computes:
        return None
    return f"{file} was trained with {words[not computes]}, and {backbone} computes {words[computes]}: figures are wrong.{other}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
