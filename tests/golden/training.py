"""The checks that several methods share: filled tensors, prompts, inference, training."""

import re
from dataclasses import replace

import torch

from golden.backbone import filled
from golden.case import EXACT, FILL, RATE, entries, norm
from harness.method import Batch
from harness.training.loop import build_optimizer
from harness.training.reading import advance
from harness.training.schedule import learning_rate

LATER_STEPS = 2


def images(case, key="images"):
    value = filled(case.given(key, "key"), tuple(case.given(key, "shape")))
    check_fill(case, key, value)
    return value


def check_fill(case, path, value):
    path = path if isinstance(path, tuple) else (path,)
    case.check((*path, "norm"), norm(value), FILL)
    case.check((*path, "first3"), value.flatten()[:3], FILL)


def fill_extras(case, parameters, backbone):
    """Give a model's own parameters, by role, the values of the case; those that start from words must have started so."""
    for role in case.keys("extras"):
        path = "extras", role
        assert role in parameters, f"{case.name} has a tensor {role}; the model's are {', '.join(parameters)}"
        case.check((*path, "shape"), list(parameters[role].shape))
        if case.has(*path, "init"):
            check_fill(case, path, parameters[role])
            start = backbone.text.word_embeddings(_words(case, path))
            assert torch.equal(parameters[role], start[: len(parameters[role])])
            continue
        value = filled(role, tuple(case.look(*path, "shape")), case.given(*path, "std"), case.given(*path, "offset"))
        check_fill(case, path, value)
        with torch.no_grad():
            parameters[role].copy_(value)


def fill_all_extras(case, parameters, backbone):
    fill_extras(case, parameters, backbone)
    assert set(case.keys("extras")) == set(parameters), (
        f"{case.name} leaves some of {', '.join(parameters)} as they are"
    )


def _words(case, path):
    (words,) = re.findall('"(.+)"', case.given(*path, "init"))
    return words


def context_fields(case, role, method):
    """The length of the context of a case, and the words that it starts from."""
    path = "extras", role
    length = case.look(*path, "shape")[-2]
    words = method.context_init
    if case.has(*path, "init"):
        words = _words(case, path)
    elif len(words.split()) != length:
        words = ""
    return {"context_length": length, "context_init": words}


def check_hand_written(case, backbone, template_list, kind, token_ids=True):
    """The prompts of a reference or teacher, for the training classes and, where the case has them, for new ones."""
    prompts = backbone.prompts(case.classes.template(template_list), case.classes.names)
    case.check(f"{kind}_prompts", prompts)
    if token_ids:
        case.check(f"{kind}_token_ids", backbone.text.tokenize(prompts).ids)
    if case.has(f"new_{kind}_prompts"):
        new = backbone.prompts(case.new_classes.template(template_list), case.new_classes.names)
        case.check(f"new_{kind}_prompts", new)


def stage_inputs(model, pixels):
    with torch.no_grad():
        return advance(model.backbone, pixels, model.reads[0].stage)


@torch.no_grad()
def inference(model, pixels):
    return model.logits(stage_inputs(model, pixels), model.classifier())


def own_tokens(model):
    return model._tokens


def check_inference(case, model, tokens_of=own_tokens):
    """Token ids and logits in inference mode, on new classes where the case has them, then on the training classes.

    Returns the test images. The model aims at the training classes afterwards.
    """
    pixels = images(case, "test_images")
    if case.has("new_classnames"):
        model.set_classes(case.new_classes)
        case.check("new_token_ids", tokens_of(model).ids)
    model.set_classes(case.classes)
    case.check("token_ids", tokens_of(model).ids)
    case.check("test_logits", inference(model, pixels))
    if case.has("new_classnames"):
        model.set_classes(case.new_classes)
        case.check("new_test_logits", inference(model, pixels))
        model.set_classes(case.classes)
    return pixels


def labels_of(case):
    return torch.tensor(case.given("labels"))


def check_gradients(case, parameters, key="gradients"):
    """Of every parameter that has a gradient."""
    case.check_all(key, {name: entries(p.grad) for name, p in parameters.items() if p.grad is not None})


def optimizer_facts(optimizer, recipe, names, described):
    """What the files say of an optimiser, of ours. Groups are numbered as `described` numbers them, where it does."""
    first = optimizer.param_groups[0]
    keys = {"SGD": ("momentum", "weight_decay", "dampening", "nesterov")}.get(
        type(optimizer).__name__, ("weight_decay", "betas", "eps")
    )
    for key in keys:
        assert all(group[key] == first[key] for group in optimizer.param_groups)
    facts = {"name": type(optimizer).__name__, "lr": recipe.learning_rate, **{key: first[key] for key in keys}}
    rates = {name: group["lr"] for name, group in zip(names, optimizer.param_groups, strict=True)}
    if set(rates.values()) != {recipe.learning_rate} or "group_learning_rates" in described:
        text, image = described.get("group_of_text_tower"), described.get("group_of_image_tower")
        facts["group_of_text_tower"] = 1 if image == 0 else 0
        facts["group_of_image_tower"] = 1 - facts["group_of_text_tower"]
        by_group = {facts["group_of_text_tower"]: rates["text"], facts["group_of_image_tower"]: rates["image"]}
        assert (text, image) == (facts["group_of_text_tower"], facts["group_of_image_tower"])
        facts["group_learning_rates"] = [by_group[0], by_group[1]]
    return facts


def check_optimizer(case, model, rows, key="optimizer"):
    """The product's own optimiser of the first of some rows of a recipe table that gives what the case says, and that row."""
    described = case.look(*(key if isinstance(key, tuple) else (key,)))
    names = list(model.parameter_groups())
    for row in rows:
        optimizer = build_optimizer(model, row, fused=False)
        facts = optimizer_facts(optimizer, row, names, described)
        if all(_alike(described.get(name), fact) for name, fact in facts.items()):
            break
    else:
        row = rows[0]
        optimizer = build_optimizer(model, row, fused=False)
        facts = optimizer_facts(optimizer, row, names, described)
    for name, fact in facts.items():
        exact = isinstance(fact, str | bool | int)
        case.check((*(key if isinstance(key, tuple) else (key,)), name), fact, EXACT if exact else RATE)
    return optimizer, row


def _alike(expected, ours):
    if isinstance(ours, list | tuple):
        return isinstance(expected, list) and len(expected) == len(ours) and all(map(_alike, expected, ours))
    if isinstance(ours, float):
        return isinstance(expected, float | int) and abs(expected - ours) <= 1e-6 * abs(ours)
    return expected == ours


def published(method):
    """The rows of a method's recipes that are not for the demo, the default first."""
    table = type(method).recipes
    return [table["default"], *(row for key, row in table.items() if "demo" not in key)]


def check_training(case, model, rows, inputs, labels, parameters, step_demand=...):
    """The loss, its gradients, one step of the product's optimiser, and the losses over the first steps on the same batch.

    `inputs` is a tuple for a model with several reads. The step is taken after the warm-up; where a case says `learning_rates`,
    they are those of its steps.
    """
    optimizer, row = check_optimizer(case, model, rows)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    batch = Batch(inputs if isinstance(inputs, tuple) else (inputs,), labels)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = model.backward(batch, scaler)
    case.check("loss", loss)
    check_gradients(case, parameters)
    trainable = {id(p): p for p in model.parameters() if p.requires_grad}
    case.check("trainable_parameters", sum(p.numel() for p in trainable.values()))
    steps = 1 + LATER_STEPS
    if case.has("learning_rates"):
        row = replace(row, iterations=steps, iterations_per_shot=None)
        case.check("learning_rates", [learning_rate(row, base_rates[0], 0, i, steps) for i in range(steps)])
    before = {name: p.detach().clone() for name, p in parameters.items() if p.grad is not None}
    losses = []
    for step in range(steps):
        if step:
            optimizer.zero_grad()
            loss = model.backward(batch, scaler)
        losses.append(float(loss))
        for group, base in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = (
                learning_rate(row, base, row.warmup_epochs, step, steps) if case.has("learning_rates") else base
            )
        optimizer.step()
        if step == 0:
            moved = {name: [norm(parameters[name]), norm(parameters[name] - start)] for name, start in before.items()}
            case.check_all("after_one_step", moved, step_demand)
    case.check("losses_over_steps", losses)
