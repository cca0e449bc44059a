"""The checks of what stands in the files beside the towers' cases: fill, prompts, schedules, selection, batches, averages."""

import itertools
import random
import re
from collections import Counter
from functools import cache

import numpy as np
import open_clip
import pytest
import torch

from golden.backbone import fill, rule
from golden.case import FILL, LOGITS, PROBABILITY, RATE, dataset
from golden.towers import selection_fields, top_of
from golden.training import check_fill, published
from harness import plugins
from harness.errors import ConfigError
from harness.recipe import Recipe
from harness.training.schedule import learning_rate
from methods.promptsrc import PromptSRC
from methods.promptsrc.model import PromptSRCModel, gaussian_weights
from methods.skip_tuning.model import epoch_batches, reserve_probabilities, select_classes


def check_parameters(case, backbone):
    state = dict(backbone.model.named_parameters())
    case.check("count", sum(value.numel() for value in state.values()))
    for name, value in state.items():
        path = "parameters", name
        case.check((*path, "shape"), list(value.shape))
        if case.has(*path, "value"):
            case.check((*path, "value"), value, FILL)
            continue
        std, offset = rule(name, tuple(value.shape))
        case.check((*path, "std"), std, RATE)
        case.check((*path, "offset"), offset, RATE)
        check_fill(case, path, value)


LISTS = {
    "zero_shot (list A)": "clip",
    "clip_adapter": "clip",
    "full fine-tuning and skip tuning (list B)": "fine-tuning",
    "kgcoop and dept reference": "kgcoop",
    "coprompt": "kgcoop",
    "prograd teacher": "prograd",
    "tcp reference": "tcp-reference",
    "tcp prompt": "tcp-prompt",
}
"""The authors' lists of prompts, and ours."""


def check_prompt_lists(case, backbone):
    name = case.given("classname")
    for title in case.keys("prompts"):
        for each in case.keys("prompts", title):
            prompts = backbone.prompts(
                dataset(each).templates.get(LISTS[title]) or dataset(each).templates["clip"], (name,)
            )
            (ids,) = backbone.text.tokenize(prompts).ids
            case.check(("prompts", title, each), [*prompts, ids])
    for number in case.keys("strings"):
        (ids,) = backbone.text.tokenize([case.given("strings", number, "text")]).ids
        case.check(("strings", number, "token_ids"), ids)
    check_long_text(case, backbone)
    check_teacher_templates(case, backbone, name)


def check_long_text(case, backbone):
    """The authors' code stops at a text that is longer than the context, and so does ours, by its own error."""
    with pytest.raises(ConfigError):
        backbone.text.tokenize(["word " * 100])
    case.check("text_longer_than_the_context", "RuntimeError")


def check_teacher_templates(case, backbone, name):
    texts = [template(name.replace("_", " ")) for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    ids = backbone.text.tokenize(texts).ids
    facts = {
        "count": len(texts),
        "first_three": texts[:3],
        "last_three": texts[-3:],
        "lengths_of_token_ids": [len(row) for row in ids],
        "sum_of_all_token_ids": sum(itertools.chain(*ids)),
    }
    case.check_all("promptsrc_teacher_templates", facts)


def check_epoch_schedules(case, backbone):
    """Schedules that a published recipe has keep the period of that recipe, also where they end before it shows."""
    for number in case.keys("schedules"):
        path = "schedules", number
        recipe = Recipe(
            epochs=case.given(*path, "epochs"),
            learning_rate=case.look(*path, "learning_rates")[0],
            warmup_epochs=case.given(*path, "warmup_epochs"),
            warmup_learning_rate=case.given(*path, "warmup_learning_rate"),
            schedule_period_epochs=case.given(*path, "period_epochs"),
        )
        if not recipe.warmup_epochs:
            case.check((*path, "warmup_learning_rate"), None)
        period = recipe.schedule_period_epochs
        periods = {row.schedule_period_epochs or row.epochs for row in _recipes_like(recipe)} or {period}
        case.check((*path, "period_epochs"), period if period in periods else min(periods))
        for group, base in enumerate(case.given(*path, "learning_rates")):
            rates = [learning_rate(recipe, base, epoch, 0, 1) for epoch in range(recipe.epochs)]
            case.check((*path, "per_epoch", f"group {group}"), rates)


@cache
def _all_published():
    return [row for name in plugins.names("method") for row in published(plugins.load("method", name)())]


def _recipes_like(recipe):
    keys = "epochs", "learning_rate", "warmup_epochs", "warmup_learning_rate"
    return [row for row in _all_published() if all(getattr(row, key) == getattr(recipe, key) for key in keys)]


def check_iteration_schedules(case, backbone):
    for number in case.keys("per_iteration"):
        path = "per_iteration", number
        rate, iterations = case.given(*path, "learning_rate"), case.given(*path, "iterations")
        recipe = Recipe(
            iterations=iterations,
            learning_rate=rate,
            schedule_step="iteration",
            minimum_learning_rate=case.given(*path, "minimum"),
        )
        rates = [learning_rate(recipe, rate, 0, i, iterations) for i in case.given(*path, "at_iteration")]
        case.check((*path, "values"), rates, RATE)


def check_selection(case, backbone):
    if case.has("similarity", "values"):
        similarity = torch.tensor(case.given("similarity", "values"))
    else:
        similarity = fill(*(case.given("similarity", key) for key in ("key", "shape", "std")))
    labels = torch.tensor(case.given("labels"))
    classes = similarity.shape[1]
    assert len(labels) == len(similarity)
    fields = selection_fields(case, classes)
    top = top_of(classes, **fields)
    case.check("n_top", top)
    mask = case.given("reserve_mask_over_ranks")
    if mask is None:
        assert top == classes
        case.check("trap", False)
        case.check("kept_classes", list(range(classes)))
        case.check("relabelled", labels.tolist())
        return
    assert len(mask) == classes
    assert set(mask) <= {0, 1}
    mask = torch.tensor(mask, dtype=torch.bool)
    # what the released code does in its traps is ours on request; by default no class of the batch is lost
    kept, relabelled = select_classes(similarity, labels, mask, keep_labels=False)
    case.check("trap", kept[relabelled].tolist() != labels.tolist() or classes - top == 1)
    case.check("kept_classes", kept.tolist())
    case.check("relabelled", relabelled.tolist())
    kept, relabelled = select_classes(similarity, labels, mask)
    assert torch.equal(kept[relabelled], labels), f"{case.name} loses a class of the batch"


TAILS = {r"tail"}, {r"tail_first_\d+", r"tail_every_\d+th", r"tail_last_\d+"}


def check_reserve_probability(case, backbone):
    """A row has all of the probabilities of its tail, or the first, every so many-th and the last."""
    for number in case.keys("reserve_probability"):
        path = "reserve_probability", number
        classes = case.given(*path, "classes")
        top = top_of(classes)
        case.check((*path, "n_top"), top)
        p = reserve_probabilities(classes, top, case.given(*path, "lambda"))
        assert torch.all(p[:top] == 1)
        case.check((*path, "sum"), float(p.sum()), RATE)
        tails = [key for key in case.keys(*path) if key.startswith("tail")]
        assert any(all(any(map(re.compile(each).fullmatch, tails)) for each in form) for form in TAILS)
        for key in tails:
            case.check((*path, key), _part_of(p[top:], key), PROBABILITY)


def _part_of(tail, key):
    if key == "tail":
        return tail
    how, count = re.fullmatch(r"tail_(first|last|every)_(\d+)(?:th)?", key).groups()
    return {"first": tail[: int(count)], "last": tail[-int(count) :], "every": tail[:: int(count)]}[how]


def check_batches(case, backbone):
    for number in case.keys("batch_statistics"):
        path = "batch_statistics", number
        shots, classes = case.given(*path, "shots"), case.given(*path, "classes")
        size = case.given(*path, "batch_size")
        labels = [c for c in range(classes) for _ in range(shots)]
        epochs = [
            list(epoch_batches(labels, size, random.Random(seed)))
            for seed in range(case.look(*path, "epochs_simulated"))
        ]
        for key, value in _batch_facts(labels, epochs, shots, size).items():
            case.check((*path, key), value)
        distinct = [[len({labels[i] for i in batch}) for batch in batches] for batches in epochs]
        where = *path, "distinct_labels_per_batch"
        case.check((*where, "min"), min(map(min, distinct)))
        case.check((*where, "max"), max(map(max, distinct)))
        _check_mean(case, where, distinct)
        classes_in_order = [[labels[batch[0]] for batch in batches] for batches in epochs]
        pairs = [[a == b for a, b in itertools.pairwise(order)] for order in classes_in_order]
        for key, same in (
            ("probability_that_consecutive_batches_share_the_class", pairs),
            ("probability_that_the_last_two_batches_share_the_class", [each[-1:] for each in pairs]),
        ):
            if case.has(*path, key):
                _check_mean(case, (*path, key), same)


def _batch_facts(labels, epochs, shots, size):
    used = [Counter(itertools.chain.from_iterable(batches)) for batches in epochs]
    (per_epoch,) = {len(batches) for batches in epochs}
    (unused,) = {len(labels) - len(each) for each in used}
    one_class = all(len({labels[i] for i in batch}) == 1 for batch in epochs[0]) and shots >= size
    facts = {
        "images": len(labels),
        "mode": "one class per batch" if one_class else "mixed",
        "batches_per_epoch": per_epoch,
        "unused_images_per_epoch": unused,
        "every_image_used_at_most_once": all(max(each.values()) == 1 for each in used),
    }
    if one_class:
        left = {count for each in used for count in (Counter(labels) - Counter(labels[i] for i in each)).values()}
        facts["unused_images_per_class"] = sorted(left) or [0]
    return facts


def _check_mean(case, path, samples):
    """Two simulations of one thing: means within four standard errors of the difference, errors alike within a tenth."""
    means = np.array([np.mean(epoch) for epoch in samples])
    error = means.std() / len(means) ** 0.5
    case.check((*path, "standard_error"), error, lambda expected, size: 0.1 * np.abs(expected))
    case.check((*path, "mean"), means.mean(), lambda expected, size: np.array(4 * 2**0.5 * error))


def check_gaussian_weights(case, backbone):
    for number in case.keys("gaussian_weights"):
        path = "gaussian_weights", number
        ours = gaussian_weights(*(case.given(*path, key) for key in ("epochs", "mean", "std")))
        case.check((*path, "weights"), ours, lambda expected, size: 1e-5 * np.abs(expected))


def check_aggregation(case, backbone):
    """The tensors of the epochs, named in words, and their weighted sum."""
    words = case.given("aggregation", "tensors")
    first, last, shape, std = re.fullmatch(r"(\S+) \.\.\. (\S+), shape \((.+)\), std (\S+)", words).groups()
    epochs, mean = case.given("aggregation", "epochs"), case.given("aggregation", "mean")
    prefix = first.removesuffix("1")
    assert last == f"{prefix}{epochs}"
    shape = [int(side) for side in shape.split(",")]
    method = PromptSRC(prompt_depth=1, averaging_mean=mean, averaging_std=case.given("aggregation", "std"))
    model = PromptSRCModel(backbone, method)
    model.context = torch.nn.Parameter(torch.empty(shape))
    for epoch in range(epochs):
        with torch.no_grad():
            model.context.copy_(fill(f"{prefix}{epoch + 1}", shape, float(std)))
        model.end_epoch(epoch, epochs)
    model.finish(None, None)
    case.check(("aggregation", "result"), model.context, LOGITS)


def check_tables(case, backbone):
    """What a file holds beside its cases."""
    for key, check in TABLES.items():
        if case.has(key):
            check(case, backbone)


TABLES = {
    "parameters": check_parameters,
    "prompts": check_prompt_lists,
    "schedules": check_epoch_schedules,
    "per_iteration": check_iteration_schedules,
    "reserve_probability": check_reserve_probability,
    "batch_statistics": check_batches,
    "gaussian_weights": check_gaussian_weights,
    "aggregation": check_aggregation,
}
"""Each table by the key of the file that holds it."""
