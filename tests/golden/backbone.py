"""The backbone of the golden vectors, filled by its rule (tests/methods/parity/README.md), and what else is filled so."""

import zlib
from functools import cache, lru_cache

import numpy as np
import open_clip
import torch

from harness.clip.backbone import Backbone


def normal(name, shape):
    """Standard normal numbers (float64), one stream per name."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)


def fill(name, shape, std=1.0, offset=0.0):
    """`offset + std * normal(name, shape)`, computed in float64, cast to float32."""
    return torch.from_numpy((offset + std * normal(name, shape)).astype(np.float32))


@lru_cache(maxsize=1024)
def filled(name, shape, std=1.0, offset=0.0):
    """`fill`, of a tensor that nobody changes."""
    return fill(name, shape, std, offset)


def rule(name, shape):
    """The standard deviation and offset of a parameter of the backbone."""
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if ".ln_" in f".{name}":
        return (0.1, 1.0) if name.endswith("weight") else (0.01, 0.0)
    if name.endswith("bias"):
        return 0.01, 0.0
    fixed = {
        "token_embedding.weight": 0.02,
        "positional_embedding": 0.01,
        "visual.class_embedding": 0.1,
        "visual.positional_embedding": 0.1,
        "visual.proj": shape[0] ** -0.5 if shape else 0,
        "text_projection": shape[0] ** -0.5 if shape else 0,
        "visual.conv1.weight": 0.5 * fan_in**-0.5,
    }
    if name in fixed:
        return fixed[name], 0.0
    factors = {"in_proj_weight": 1.5, "out_proj.weight": 0.5, "c_fc.weight": 1.0, "c_proj.weight": 0.5}
    return next(f for end, f in factors.items() if name.endswith(end)) * fan_in**-0.5, 0.0


def _value(name, shape):
    if name == "logit_scale":
        return torch.tensor(np.log(1 / 0.07), dtype=torch.float32)
    value = fill(name, shape, *rule(name, shape))
    if name in ("visual.proj", "text_projection"):
        value[:, :32] *= 4
    return value


@cache
def _filled():
    """The model of this process, and its weights as filled: what training moves is put back from them."""
    with torch.device("meta"):
        model = open_clip.CLIP(
            embed_dim=512,
            quick_gelu=True,
            vision_cfg={"image_size": 32, "patch_size": 16, "width": 768, "layers": 12},
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
        )
    model.visual.preprocess_cfg = {**open_clip.transform.PreprocessCfg().__dict__, "size": 32}
    model.to_empty(device="cpu")
    model.attn_mask = torch.full((77, 77), float("-inf")).triu(
        1
    )  # no parameter, and as good as lost on the meta device
    weights = {name: _value(name, tuple(p.shape)) for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model, weights


def filled_backbone(execution):
    """The golden backbone, as filled: one model a process, so that only one can be in use."""
    model, weights = _filled()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])
                parameter.grad = None
    return Backbone(model, _tokenizer(), execution=execution)


@cache
def _tokenizer():
    return open_clip.get_tokenizer("ViT-B-16")
