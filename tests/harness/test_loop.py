"""The optimiser, the feed and the loop, on TinyBackbone."""

import dataclasses
import random
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.data.few_shot import classnames, few_shot
from harness.data.image_set import ImageSet
from harness.errors import TrainingError
from harness.method import AdaptedModel, Classes, Read, cosine_logits, shuffled_batches
from harness.recipe import Recipe
from harness.training.log import TrainingLog
from harness.training.loop import build_optimizer, train
from methods.skip_tuning import SkipTuning

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=1e-2)


class Factor(AdaptedModel):
    """The smallest model that trains: a factor on image features."""

    def __init__(self, backbone, reads=AdaptedModel.reads, caches=False):
        super().__init__(backbone)
        self.reads, self.caches_images = reads, caches
        self.factor = nn.Parameter(torch.ones(backbone.embed_width, dtype=backbone.dtype))
        self.batches_seen = []

    def set_classes(self, classes):
        tokens = self.backbone.text.tokenize(self.backbone.prompts(classes.template("clip"), classes.names))
        with torch.no_grad():
            self.text = F.normalize(self.backbone.text.encode(tokens), dim=-1)

    def loss(self, batch):
        self.batches_seen.append(batch)
        return F.cross_entropy(self.logits(batch.images, self.text), batch.labels)

    def logits(self, images, classifier):
        return cosine_logits(self.backbone.logit_scale, images * self.factor, classifier)


@pytest.fixture
def loop(tiny_backbone, tinyworld):
    """`loop(kind, recipe, execution)`: train a model on the flat colours; the model and its log."""
    splits = few_shot(tinyworld.splits(), 4, 1)

    def run(make=Factor, recipe=RECIPE, execution="fast", dtype=torch.float32, items=splits.train, **how):
        backbone = tiny_backbone(execution, dtype)
        model = make(backbone)
        model.set_classes(Classes(classnames(splits), tinyworld.COLOURS.templates))
        images = ImageSet(items, splits.open, backbone.pixels, seed=1, augmentation=recipe.augmentation)
        val = ImageSet(splits.val, splits.open, backbone.pixels, seed=1)
        log = train(model, images, val, recipe, seed=1, execution=execution, precision="fp32", **how)
        return model, log

    run.splits = splits
    return run


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fused_sgd_is_bitwise_the_plain_one(tiny_backbone, momentum):
    """Over several steps with momentum, decay and a rate that changes: what lets the fast execution take the fused one."""
    recipe = dataclasses.replace(RECIPE, momentum=momentum, learning_rates={"image": 3e-3})
    states = []
    for fused in (True, False):
        model = SkipTuning(start_layer=1).adapt(tiny_backbone())
        optimizer = build_optimizer(model, recipe, fused)
        assert bool(optimizer.defaults["fused"]) == fused
        generator = torch.Generator().manual_seed(3)
        for step in range(6):
            for group in optimizer.param_groups:
                group["lr"] *= 1 - 0.1 * step
                for parameter in group["params"]:
                    parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        states.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_groups_have_their_own_rates(tiny_backbone):
    recipe = SkipTuning.recipes["default"]
    model = SkipTuning(start_layer=1).adapt(tiny_backbone())
    optimizer = build_optimizer(model, recipe, fused=True)
    rates = {name: group["lr"] for name, group in zip(model.parameter_groups(), optimizer.param_groups, strict=True)}
    assert rates == {"text": 2e-5, "image": 5e-6}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {5e-4}


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_recipe_names_the_optimiser(tiny_backbone, name, kind):
    recipe = dataclasses.replace(RECIPE, optimizer=name, epsilon=1e-4)
    optimizer = build_optimizer(Factor(tiny_backbone()), recipe, fused=False)
    assert type(optimizer) is kind
    assert optimizer.param_groups[0].get("eps", 1e-4) == 1e-4


def test_the_loop_takes_the_steps_of_a_plain_one(loop, tiny_backbone):
    """Schedule, warm-up, momentum and decay as written out by hand on the batches that the loop gave."""
    recipe = dataclasses.replace(
        RECIPE, epochs=3, warmup_epochs=1, warmup_learning_rate=1e-3, augmentation="none", learning_rate=1e-2
    )
    model, log = loop(recipe=recipe, execution="reference", dtype=torch.float64)
    factor, velocity = torch.ones(32, dtype=torch.float64), None
    losses = []
    for number, batch in enumerate(model.batches_seen):
        factor.requires_grad_()
        loss = F.cross_entropy(
            cosine_logits(model.backbone.logit_scale, batch.images * factor, model.text), batch.labels
        )
        (gradient,) = torch.autograd.grad(loss, factor)
        losses.append(float(loss.detach()))
        rate = [1e-3, 1e-2, 1e-2 * 0.75][number // 5]  # cos(pi / 3) = 1/2
        with torch.no_grad():
            gradient = gradient + 5e-4 * factor
            velocity = gradient if velocity is None else 0.9 * velocity + gradient
            factor = factor - rate * velocity
    assert len(losses) == 15
    torch.testing.assert_close(model.factor.detach(), factor, rtol=1e-12, atol=1e-14)
    assert log.epoch_losses == pytest.approx([sum(losses[i : i + 5]) / 5 for i in (0, 5, 10)], rel=1e-6)
    assert (log.images_seen, len(log.step_seconds)) == (60, 15)


def test_iterations_end_training_in_the_middle_of_an_epoch(loop):
    recipe = dataclasses.replace(RECIPE, epochs=0, iterations=7, schedule_step="iteration")
    seen = []
    model, log = loop(recipe=recipe, progress=lambda done, epochs, log: seen.append((done, epochs)))
    assert len(model.batches_seen) == 7
    assert [len(batch.labels) for batch in model.batches_seen] == [4] * 7
    assert len(log.epoch_losses) == 2
    assert seen == [(1, 2), (2, 2)]


def test_no_training_leaves_an_empty_log(loop):
    _, log = loop(recipe=Recipe())
    assert log == TrainingLog()


@pytest.mark.parametrize("execution", ["fast", "reference"])
@pytest.mark.parametrize("augmentation", ["none", "random-resized-crop-flip"])
@pytest.mark.parametrize("caches", [True, False])
@pytest.mark.parametrize(
    "reads",
    [
        (Read("features"),),
        (Read("pixels"),),
        (Read(0),),
        (Read(1), Read("features")),
        (Read("features", 0), Read("features", 1)),
        (Read("pixels", 1), Read(2, 1), Read("features", 0)),
    ],
    ids=str,
)
def test_reads_are_the_frozen_towers_outputs_of_their_view(loop, execution, augmentation, caches, reads):
    """Whatever is cached: a batch holds what the tower makes of the pixels of that epoch and view."""
    recipe = dataclasses.replace(RECIPE, augmentation=augmentation)
    order = []

    def make(backbone):
        model = Factor(backbone, (Read("features"), *reads), caches)
        plain = model.batches

        def noting(labels, batch_size, rng):
            lists = list(plain(labels, batch_size, rng))
            order.append(lists)
            return iter(lists)

        model.batches = noting
        return model

    model, log = loop(make, recipe, execution)
    backbone, tower = model.backbone, model.backbone.image
    images = ImageSet(loop.splits.train, loop.splits.open, backbone.pixels, seed=1, augmentation=augmentation)
    steps = iter(model.batches_seen)
    for epoch, lists in enumerate(order):
        for indices in lists if epoch < 2 else ():
            batch = next(steps)
            assert batch.labels.tolist() == images.labels[indices].tolist()
            for read, value in zip(model.reads, batch.inputs, strict=True):
                pixels = torch.stack([images.pixels(i, epoch, read.view) for i in indices])
                with torch.no_grad():
                    expected = {
                        "pixels": lambda p: p,
                        "features": tower.encode,
                        0: tower.embed,
                        1: lambda p: tower.blocks(tower.embed(p), 0, 1),
                        2: lambda p: tower.blocks(tower.embed(p), 0, 2),
                    }[read.stage](pixels)
                torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
                assert not value.requires_grad
    assert (log.extract_seconds > 0) == (caches or execution == "fast")


def test_features_are_extracted_once_where_that_is_exact(loop, monkeypatch):
    """Fast without augmentation: one pass for all epochs; with it, or in the reference of a caching method: one an epoch."""
    passes = Counter()
    plain = ImageSet.in_order
    monkeypatch.setattr(ImageSet, "in_order", lambda self, *a: passes.update(["pass"]) or plain(self, *a))
    for augmentation, execution, caches, expected in [
        ("none", "fast", False, 1),
        ("random-resized-crop-flip", "fast", False, 3),
        ("none", "reference", False, 0),
        ("none", "reference", True, 3),
        ("none", "fast", True, 1),
    ]:
        passes.clear()
        recipe = dataclasses.replace(RECIPE, epochs=3, augmentation=augmentation)
        loop(lambda backbone, caches=caches: Factor(backbone, caches=caches), recipe, execution)
        assert passes["pass"] == expected, (augmentation, execution, caches)


def test_a_loss_that_is_not_finite_ends_training_with_advice(loop):
    class Broken(Factor):
        def loss(self, batch):
            loss = super().loss(batch)
            return loss * float("inf") if len(self.batches_seen) == 8 else loss

    with pytest.raises(TrainingError, match=r"step 3 of epoch 2(?s:.*)--set learning_rate"):
        loop(Broken)


def test_no_batch_to_train_on_is_an_error_with_advice(loop):
    class Idle(Factor):
        def batches(self, labels, batch_size, rng):
            return iter(())

    with pytest.raises(TrainingError, match=r"no batch(?s:.*)--shots"):
        loop(Idle)


def test_shuffled_batches_drop_the_incomplete_last_one_unless_it_is_the_only_one():
    def draw(count, seed=1):
        return list(shuffled_batches([0] * count, 4, random.Random(seed)))

    assert [len(batch) for batch in draw(11)] == [4, 4]
    assert len({i for batch in draw(11) for i in batch}) == 8
    assert [sorted(batch) for batch in draw(3)] == [[0, 1, 2]]
    assert draw(11) == draw(11)
    assert draw(11) != draw(11, seed=2)
    left_out = Counter(i for seed in range(300) for i in set(range(11)) - {j for b in draw(11, seed) for j in b})
    assert set(left_out) == set(range(11))


def test_the_reference_holds_a_steps_gradients_until_the_next_forward_pass_is_over(loop):
    """Authors' loops zero them between forward and backward: memory that the fast execution doesn't take."""
    held = {}

    def watching(execution):
        class Watching(Factor):
            def loss(self, batch):
                held.setdefault(execution, []).append(self.factor.grad is not None)
                return super().loss(batch)

        return Watching

    models = {execution: loop(watching(execution), execution=execution)[0] for execution in ("fast", "reference")}
    assert held["fast"] == [False] * len(held["fast"])
    assert held["reference"] == [False, *[True] * (len(held["reference"]) - 1)]
    assert all(model.factor.grad is None for model in models.values())
    torch.testing.assert_close(models["fast"].factor, models["reference"].factor)


def test_a_backward_pass_of_ones_own_that_forgets_old_gradients_gathers_none(loop):
    class Own(Factor):
        def backward(self, batch, scaler):
            loss = self.loss(batch)
            loss.backward()
            return loss.detach()

    torch.testing.assert_close(loop(Own, execution="reference")[0].factor, loop(execution="reference")[0].factor)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("batch_size", [4, 8])
def test_the_device_is_waited_for_once_an_epoch_and_in_no_step(loop, device_calls, epochs, batch_size):
    recipe = dataclasses.replace(RECIPE, epochs=epochs, batch_size=batch_size, augmentation="none")
    _, log = loop(recipe=recipe)
    extractions = 1  # without augmentation, the features hold for all epochs
    steps = epochs * (len(loop.splits.train) // batch_size)
    assert len(log.step_seconds) == steps
    assert Counter(device_calls) == {("mark", "cpu"): 2 * steps, ("synchronise", "cpu"): epochs + extractions}
