"""The analysis quantities against their definitions, computed another way; and what every method has of them."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from harness import plugins
from harness.data.few_shot import few_shot, subset
from harness.data.image_set import ImageSet
from harness.method import Classes
from harness.probes import analysis
from harness.recipe import Recipe
from harness.runs.runner import execute
from harness.training.loop import train

DEPTH = 12
CLASSES = Classes(("red", "green", "blue"), {"clip": "a photo of a {}."})
RECIPE = Recipe(epochs=1, batch_size=4, learning_rate=0.05, augmentation="none")
# How many blocks of the image and of the text tower a step's gradient passes.
LENGTHS = {
    "zero_shot": (0, 0), "full_finetuning": (12, 12), "skip_tuning": (6, 6), "coop": (0, 12), "cocoop": (0, 12),
    "kgcoop": (0, 12), "prograd": (0, 12), "maple": (12, 12), "promptsrc": (12, 12), "tcp": (0, 12), "dept": (0, 12),
    "coprompt": (12, 12), "clip_adapter": (0, 0), "tip_adapter": (0, 0), "tip_adapter_f": (0, 0), "clip_lora": (12, 12),
    "linear_probe": (0, 0), "lp_plus_plus": (0, 0),
}  # fmt: skip
SMALL = {"linear_probe": {"search_steps": 1, "maximum_iterations": 20}, "lp_plus_plus": {"steps": 20}}


@pytest.fixture
def world(tiny_backbone, tinyworld):
    """`world(method, execution)`: a new model on three classes, and its training images."""
    drawn = subset(few_shot(tinyworld.splits(), 4, 1), "base")

    def make(method, execution="fast", **settings):
        torch.manual_seed(1)
        backbone = tiny_backbone(execution, layers=DEPTH)
        model = plugins.load("method", method)(**{**SMALL.get(method, {}), **settings}).adapt(backbone)
        model.set_classes(CLASSES)
        sets = [ImageSet(items, drawn.open, backbone.pixels, seed=1) for items in (drawn.train, drawn.val)]
        return model, *sets

    return make


def trained(model, images, val, steps, recipe=RECIPE):
    execution = "fast" if model.backbone.text.fast else "reference"
    train(model, images, val, recipe, seed=1, execution=execution, precision="fp32", maximum_steps=steps)
    return model


@pytest.mark.parametrize("name", ["skip_tuning", "cocoop"])
def test_the_gradient_flow_is_the_same_in_the_reference_execution(world, name):
    model, images, val = world(name, "reference")
    with analysis.gradient_flow(model) as flow:
        trained(model, images, val, 1)
    assert (len(flow.image_blocks), len(flow.text_blocks), flow.texts) == (*LENGTHS[name], 3)


def test_the_width_is_what_class_filtering_leaves(world):
    model, images, val = world("skip_tuning", top_ratio=0.1, decay=0.01)
    with analysis.gradient_flow(model) as flow:
        trained(model, images, val, 1)
    assert flow.texts == 2  # the batch's class, and the first of the tail


@pytest.mark.parametrize("execution", ["fast", "reference"])
def test_shifts_are_distances_of_pooled_tokens(world, execution):
    model, images, val = world("full_finetuning", execution)
    before = analysis.snapshot(model, CLASSES, images, "fp32")
    states = [hidden(model, images)]
    trained(model, images, val, 2)
    after = analysis.snapshot(model, CLASSES, images, "fp32")
    states.append(hidden(model, images))
    for tower, found in (
        ("image", analysis.shift(before.image, after.image)),
        ("text", analysis.shift(before.text, after.text)),
    ):
        expected = [(x - y).norm(dim=-1).mean().item() for x, y in zip(*(s[tower] for s in states), strict=True)]
        assert found == pytest.approx(expected, rel=1e-4)
        assert all(value > 0 for value in found)


@torch.no_grad()
def hidden(model, images):
    """By tower: after every block, the rows at the pooled token, by open_clip's own arithmetic on 77 tokens."""
    clip = model.backbone.model
    x = clip.visual._embeds(torch.stack([images.pixels(i, None) for i in range(len(images))]))
    rows = {"image": [], "text": []}
    for block in clip.visual.transformer.resblocks:
        x = block(x)
        rows["image"].append(x[:, 0])
    tokens = model.backbone.text._tokenizer([f"a photo of a {name}." for name in ("red", "green", "blue")])
    x = clip.token_embedding(tokens) + clip.positional_embedding
    for block in clip.transformer.resblocks:
        x = block(x, attn_mask=clip.attn_mask)
        rows["text"].append(x[torch.arange(3), tokens.argmax(dim=-1)])
    return rows


def test_gradient_shares_are_norms_of_gradients_on_class_features(world):
    model, images, _ = world("zero_shot")
    shares = analysis.snapshot(model, CLASSES, images, "fp32").gradient
    assert shares.shape == (12, 3)
    assert torch.allclose(shares.sum(dim=-1), torch.ones(12))
    with torch.no_grad():
        texts = model.classifier()
        features = F.normalize(
            model.backbone.image.encode(torch.stack([images.pixels(i, None) for i in range(12)])), dim=-1
        )
        logits = model.backbone.logit_scale * features @ texts.T
    # dCE / dt_k = s (p_k - [k = y]) f, and f has length 1
    norms = (logits.softmax(dim=-1) - F.one_hot(images.labels, 3)).abs()
    assert torch.allclose(shares, norms / norms.sum(dim=-1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("name", LENGTHS)
def test_every_method_has_its_gradient_flow_and_a_whole_record_or_reasons(world, name):
    model, images, val = world(name)
    recipe = RECIPE if LENGTHS[name] != (0, 0) else dataclasses.replace(RECIPE, epochs=0)
    after = analysis.snapshot(trained(model, images, val, 2, recipe), CLASSES, images, "fp32")
    fresh, images, val = world(name)
    before = analysis.snapshot(fresh, CLASSES, images, "fp32")
    with analysis.gradient_flow(fresh) as flow:
        trained(fresh, images, val, 1, recipe)
    assert (len(flow.image_blocks), len(flow.text_blocks)) == LENGTHS[name]
    assert flow.texts == (3 if LENGTHS[name][1] else 0)
    if LENGTHS[name] == (6, 6):
        assert flow.text_blocks == flow.image_blocks == set(range(6, 12))
    record, reasons = analysis.compare(fresh, before, after, flow)
    nulls = {f.name for f in dataclasses.fields(record) if getattr(record, f.name) is None}
    assert nulls == set(reasons)
    gradients = {n for n in nulls if "_gradient_" in n}
    assert bool(gradients) == (name == "cocoop")
    assert nulls - gradients <= ({"text_shift"} if name == "linear_probe" else set())
    moved = {"tcp", "coop", "kgcoop", "prograd", "dept"}
    if name in moved:  # the learned prompt moves every block, and no reference beside it dilutes the mean
        assert record.text_shift[0] > 0
        rows = [analysis.snapshot(m, CLASSES, images, "fp32").text for m in (fresh, model)]
        assert all(len(outputs) == 1 for found in rows for outputs in found.values())
    if LENGTHS[name] == (6, 6):
        assert record.image_shift[:6] == (0,) * 6
        assert min(record.image_shift[6:]) > 0


def test_a_tower_without_blocks_is_left_alone_and_said(tiny_backbone, make_clip, world):
    import open_clip

    from harness.clip.backbone import Backbone

    backbone = Backbone(make_clip(vision_layers=[1, 1, 1, 1]), open_clip.get_tokenizer("ViT-B-16"), execution="fast")
    model = plugins.load("method", "zero_shot")().adapt(backbone)
    _, images, _ = world("zero_shot")
    found = analysis.snapshot(model, CLASSES, images, "fp32")
    record, reasons = analysis.compare(model, found, found, analysis.Flow())
    assert (record.image_shift, record.image_blocks_with_gradient) == (None, None)
    assert reasons["image_shift"] == "the blocks of this backbone's image tower can't be looked into"
    assert record.text_shift == (0.0, 0.0)


def test_the_sample_is_random_and_the_same_for_a_seed(tinyworld):
    items = tinyworld.splits().train * 10
    assert len(analysis.sample(items, 1)) == 100
    assert analysis.sample(items, 1) == analysis.sample(items, 1) != analysis.sample(items, 2)


def test_a_run_that_analyses_keeps_it_and_changes_nothing_else(job, one_thread):
    plain = job("coop", settings={"epochs": "2", "batch_size": "4"})
    looked = execute(dataclasses.replace(plain, run=dataclasses.replace(plain.run, analyse=True)))
    unlooked = execute(plain)
    assert looked.status == "ok", looked.reason
    assert unlooked.analysis is None
    assert (looked.analysis.text_blocks_with_gradient, looked.analysis.class_texts_with_gradient) == (2, 3)
    assert (looked.accuracy, looked.epoch_losses) == (unlooked.accuracy, unlooked.epoch_losses)
    assert looked.windows["train"].peak_tensor_bytes == unlooked.windows["train"].peak_tensor_bytes
