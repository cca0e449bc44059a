"""The backbone of the golden vectors, filled by its rule (tests/methods/parity/README.md)."""

import zlib

import numpy as np
import open_clip
import pytest
import torch

from harness.clip.backbone import Backbone


def fill(name, shape, std, offset=0.0):
    """`offset + std * standard_normal(shape)` from PCG64 seeded by the name's CRC-32, float64, cast to float32."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return torch.from_numpy((offset + std * generator.standard_normal(shape)).astype(np.float32))


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


def filled_state(model):
    state = {}
    for name, parameter in model.named_parameters():
        if name == "logit_scale":
            state[name] = torch.tensor(np.log(1 / 0.07), dtype=torch.float32)
            continue
        std, offset = rule(name, tuple(parameter.shape))
        value = fill(name, tuple(parameter.shape), std, offset)
        if name in ("visual.proj", "text_projection"):
            value[:, :32] *= 4
        state[name] = value
    return state


@pytest.fixture(scope="session")
def parity_clip():
    """The open_clip model of the golden vectors, and its state as filled."""
    model = open_clip.CLIP(
        embed_dim=512,
        quick_gelu=True,
        vision_cfg={"image_size": 32, "patch_size": 16, "width": 768, "layers": 12},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    )
    model.visual.preprocess_cfg = {**open_clip.transform.PreprocessCfg().__dict__, "size": 32}
    return model, filled_state(model)


@pytest.fixture(params=["reference", "fast"])
def parity_backbone(request, parity_clip):
    """The golden backbone, as filled, in both executions."""
    model, state = parity_clip
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])
            parameter.grad = None
    return Backbone(model, open_clip.get_tokenizer("ViT-B-16"), execution=request.param)


@pytest.fixture(scope="session")
def filled():
    """The fill rule, for images and for the methods' own parameters."""
    return fill
