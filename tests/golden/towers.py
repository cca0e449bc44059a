"""The checks of zero-shot CLIP, of the methods that train the towers, and of CLIP-Adapter."""

import re

import numpy as np
import torch
from torch.nn import functional as F

from golden.backbone import filled
from golden.case import EXACT, LORA_STEP, NORM, RATE, rows
from golden.training import (
    check_inference,
    check_training,
    fill_all_extras,
    fill_extras,
    images,
    inference,
    labels_of,
    published,
    stage_inputs,
)
from harness.method import Classes, cosine_logits
from methods.clip_adapter import ClipAdapter
from methods.clip_lora import ClipLora
from methods.full_finetuning import FullFinetuning
from methods.skip_tuning import SkipTuning
from methods.zero_shot import ZeroShot

TEMPLATE_LISTS = {"A": "clip", "B": "fine-tuning"}


def check_zero_shot(case, backbone):
    template_list = TEMPLATE_LISTS[case.given("template_list")]
    classes = case.classes
    model = ZeroShot(template_list=template_list).adapt(backbone)
    model.set_classes(classes)
    prompts = backbone.prompts(classes.template(template_list), classes.names)
    case.check("prompts", prompts)
    tokens = backbone.text.tokenize(prompts)
    case.check("token_ids", tokens.ids)
    pixels = images(case)
    with torch.no_grad():
        case.check("image_features", rows(backbone.image.encode(pixels)))
        case.check("text_features", rows(backbone.text.encode(tokens)))
    case.check("logits", inference(model, pixels))


def check_full_finetuning(case, backbone):
    if case.has("extras"):
        case.check("extras", {})
    method = FullFinetuning()
    model = method.adapt(backbone)
    if case.has("prompts"):
        case.check("prompts", backbone.prompts(case.classes.template(method.template_list), case.classes.names))
    pixels = images(case)
    check_inference(case, model)
    inputs = stage_inputs(model, pixels)
    case.check("logits", model.logits(inputs, model.classifier()))
    parameters = dict(backbone.model.named_parameters())
    check_training(case, model, published(method), inputs, labels_of(case), parameters)


def check_clip_adapter(case, backbone):
    width, reduced = (case.look("extras", f"clip_adapter.{layer}.weight", "shape")[0] for layer in ("fc2", "fc1"))
    method = ClipAdapter(ratio=case.given("ratio"), reduction=width // reduced)
    model = method.adapt(backbone)
    own = {"clip_adapter.fc1.weight": model.down.weight, "clip_adapter.fc2.weight": model.up.weight}
    fill_all_extras(case, own, backbone)
    prompts = backbone.prompts(case.classes.template(method.template_list), case.classes.names)
    case.check("prompts", prompts)
    pixels = images(case)

    def tokens_of(model):
        return backbone.text.tokenize(
            backbone.prompts(model._classes.template(method.template_list), model._classes.names)
        )

    check_inference(case, model, tokens_of)
    with torch.no_grad():
        model.prepare(None, None)
    inputs, labels = stage_inputs(model, pixels), labels_of(case)
    case.check("logits", model.logits(inputs, model.text_features))
    with torch.no_grad():
        encoded_again = F.cross_entropy(model.logits(inputs, model.classifier()), labels)
    case.check("loss_when_prompts_are_encoded_every_step", encoded_again)
    check_training(case, model, published(method), inputs, labels, own)


def check_skip_tuning(case, backbone):
    classes = case.classes
    method = SkipTuning(start_layer=case.given("omega"), **selection_fields(case, len(classes.names)))
    model = method.adapt(backbone)
    case.check("prompts", backbone.prompts(classes.template(method.template_list), classes.names))
    pixels = images(case)
    test_images = check_inference(case, model)
    labels = labels_of(case)
    with torch.no_grad():
        inputs = stage_inputs(model, pixels)
        model.prepare(None, None)
        model.begin_epoch(0)
    _check_caches(case, model, inputs)
    _check_selection(case, model, inputs, labels)
    epochs = case.given("configured_epochs")
    recipes = [row for row in published(method) if row.epochs == epochs]
    assert recipes, f"{case.name} is configured for {epochs} epochs, as no row of our recipes is"
    check_training(case, model, recipes, inputs, labels, dict(backbone.model.named_parameters()))
    model.forget_constants()
    case.check("test_logits_after_steps", inference(model, test_images))
    case.check("trainable_tensors", len({id(p) for p in model.parameters() if p.requires_grad}))
    # the authors hand frozen tensors to the optimiser too, all but the scale; they have no gradient there and stay as they are
    handed = sum(1 for name, _ in backbone.model.named_parameters() if name != "logit_scale")
    for key in ("tensors_in_optimizer", "distinct_tensors_in_optimizer"):
        if case.has(key):
            case.check(key, handed)


def selection_fields(case, classes):
    """What selects classes. Where the method's default would give the same number of certain classes, it is the default."""
    fields = {"top_ratio": case.given("top_ratio"), "maximum_top": case.given("max_top")}
    for key, field in (("top_ratio", "top_ratio"), ("max_top", "maximum_top")):
        default = {**fields, field: getattr(SkipTuning, field)}
        if top_of(classes, **default) == top_of(classes, **fields):
            case.check(key, getattr(SkipTuning, field))
    return fields


def top_of(classes, **fields):
    from methods.skip_tuning.model import top_count

    return top_count(classes, SkipTuning(**fields))


def _check_caches(case, model, inputs):
    cache = model.text_cache
    hidden = cache.layout.unpack(cache.hidden) if model.backbone.text.fast else cache.hidden
    ends = model._tokens.ends
    norms = torch.stack([h[: end + 1].double().norm() for h, end in zip(hidden, ends, strict=True)])
    case.check(("text_cache", "norm_up_to_eot"), norms)
    sizes = [(end + 1) * hidden[0].shape[1] for end in ends]
    _check_values(case, ("text_cache", "values"), hidden, norms, sizes)
    norms = inputs.double().flatten(1).norm(dim=1)
    case.check(("image_cache", "norm"), norms, NORM)
    _check_values(case, ("image_cache", "values"), inputs, norms, [inputs[0].numel()] * len(inputs))
    case.check("class_prototypes", rows(model.prototypes))


def _check_values(case, path, cache, norms, sizes):
    """Rows [item, token, channel, value]: the places are the file's, the value is an entry of a feature."""

    def ours(row):
        return [*row[:3], float(cache[row[0], row[1], row[2]])]

    def demand(row, size):
        item = int(row[0])
        return 1e-3 * (np.abs(row) + float(norms[item]) / sizes[item] ** 0.5) * [0, 0, 0, 1]

    for number in case.keys(*path):
        case.check((*path, number), ours, demand)


@torch.no_grad()
def _check_selection(case, model, inputs, labels):
    tower = model.backbone.image
    features = tower.head(tower.blocks(inputs, model.start, tower.depth))
    case.check("similarity_to_prototypes", F.normalize(features, dim=-1) @ model.prototypes.T)
    case.check("n_top", model.top)
    mask = case.given("reserve_mask_over_ranks") if case.has("reserve_mask_over_ranks") else None
    if mask is not None:
        assert set(mask) <= {0, 1}
        model.mask = torch.tensor(mask, dtype=torch.bool)
    kept, relabelled = model._select(features, labels)
    case.check("kept_classes", list(range(len(model.prototypes))) if kept is None else kept.tolist())
    case.check("relabelled", relabelled.tolist())
    case.check("loss_labels", relabelled.tolist())
    texts = model.text_cache if kept is None else model.text_cache.select(kept)
    classifier = F.normalize(model._upper_text(texts), dim=-1)
    case.check("logits", cosine_logits(model.backbone.logit_scale, features, classifier))


def check_lora(case, backbone):
    method = ClipLora(rank=case.given("rank"), alpha=case.given("alpha"), dropout=0.0)
    model = method.adapt(backbone)
    own = {
        f"lora.{tower}.{i}.{projection}.{letter}": getattr(block, letter.lower())[number]
        for tower, blocks in model.updates.items()
        for i, block in enumerate(blocks)
        for number, projection in enumerate("qkv")
        for letter in "AB"
    }
    widths = {"text": backbone.text.width, "image": backbone.image.width}
    std_of_b = case.given("std_of_B")
    case.check("std_of_A", "width ** -0.5 (width {text} text, {image} image)".format(**widths))
    with torch.no_grad():
        for role, parameter in own.items():
            shape = tuple(parameter.shape)
            parameter.copy_(filled(role, shape, std_of_b if role.endswith("B") else shape[1] ** -0.5))
    for role in case.keys("extras"):
        std = std_of_b if role.endswith("B") else own[role].shape[1] ** -0.5
        case.check(("extras", role, "std"), std, RATE)
    fill_extras(case, own, backbone)
    case.check("scaling", model.updates["text"][0]._scaling)
    case.check("scale", float(model._scale))
    case.check("prompts", backbone.prompts(method.template, case.classes.names))
    pixels = images(case)
    test_images = check_inference(case, model)
    zero_shot = ZeroShot().adapt(backbone)
    zero_shot.set_classes(Classes(case.classes.names, {"clip": method.template}))
    with torch.no_grad():
        plain = model._scale / backbone.logit_scale * inference(zero_shot, test_images)
    case.check("zero_shot_test_logits", plain)
    inputs = stage_inputs(model, pixels)
    case.check("logits", model.logits(inputs, model.classifier()))
    _check_schedule(case, published(method)[0])
    check_training(case, model, published(method), inputs, labels_of(case), own, LORA_STEP)
    case.check("test_logits_after_steps", inference(model, test_images))


def _check_schedule(case, recipe):
    """The schedule in words, with the numbers that the product's recipe has."""

    def ours(text):
        found = re.search(r"total (\d+) iterations here, minimum (\S+)$", text)
        total, minimum = found.groups() if found else ("", "nan")
        if (total, float(minimum)) != (str(len(rates)), recipe.minimum_learning_rate):
            total, minimum = len(rates), recipe.minimum_learning_rate
        return f"{recipe.schedule} per {recipe.schedule_step}, total {total} iterations here, minimum {minimum}"

    rates = case.look("learning_rates")
    case.check("schedule", ours, EXACT)
