"""What every registered method promises, and what the cards of the first five say of their arithmetic.

All on a CLIP of 12 + 12 blocks with random weights and flat-colour images: the defaults of every method fit it.
"""

import dataclasses
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from harness import plugins
from harness.method import Classes, cosine_logits
from harness.recipe import Recipe
from harness.validation.checks import CHECKS, HALVES, Trial, weights
from harness.validation.source import Source
from harness.validation.tiny import SHOTS, World, short_recipe
from harness.validation.watch import Watch
from methods.clip_adapter import ClipAdapter
from methods.coop import CoOp
from methods.full_finetuning import FullFinetuning
from methods.skip_tuning import SkipTuning
from methods.zero_shot import ZeroShot

METHODS = plugins.names("method")
EACH_METHOD = pytest.mark.parametrize("name", METHODS, scope="module")  # one after the other: they share a training
TEMPLATES = {
    "clip": "a photo of a {}.",
    "fine-tuning": "a bad photo of a {} square.",
    "prograd": "a type of colour, a photo of a {}.",  # a teacher equal to its student leaves a gradient of mere rounding
}
PROBES = ("linear_probe", "lp_plus_plus", "tip_adapter", "tip_adapter_f")
WIDTH, JOINT, DEPTH = 32, 32, 12


@pytest.fixture
def world(tiny_backbone):
    def make(execution="fast", dtype=torch.float32, seed=1):
        return World(tiny_backbone(execution, dtype, layers=DEPTH), TEMPLATES, seed)

    return make


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def step(model, batch):
    """Loss and gradients of a batch, as the loop takes them."""
    for parameter in model.parameters():
        parameter.grad = None
    loss = model.backward(batch, torch.amp.GradScaler("cpu", enabled=False))
    return loss, gradients(model)


@pytest.fixture(scope="module")
def trial(name):
    """A method's trial, whose training in the fast execution all checks share. Tests aim its model at other classes."""
    kind = plugins.load("method", name)
    return Trial(name, kind, Source(kind.__module__, Path(import_module(kind.__module__).__file__)), TEMPLATES)


@EACH_METHOD
class TestEveryMethod:
    @pytest.mark.parametrize("check", CHECKS)
    def test_it_passes_the_contract_test(self, name, trial, check):
        with Watch(name, trial.source) as watch:
            CHECKS[check](trial)
        assert not watch.found

    def test_its_recipes_are_rows_with_a_default(self, name):
        kind = plugins.load("method", name)
        assert "default" in kind.recipes
        assert all(isinstance(recipe, Recipe) for recipe in kind.recipes.values())
        own = {field.name for field in dataclasses.fields(kind)}
        for recipe in kind.recipes.values():
            assert set(recipe.settings) <= own
            assert not recipe.trains or recipe.learning_rate is not None
        assert kind.family
        assert kind.__doc__

    def test_it_tells_when_its_answers_are_zero_shots(self, name, trial):
        """A probe has no weights for classes that it never saw: there it must say so, and be zero-shot but for the scale."""
        world, model = trial.trained.world, trial.trained.model
        told = {}
        for half in HALVES:
            model.set_classes(world.classes(half))
            told[half] = model.answers_zero_shot
        assert told == {"base": False, "new": name in PROBES, "all": name == "linear_probe"}
        if told["new"]:
            ours, theirs = (world.logits(m, world.classes("new")) for m in (model, world.adapt(ZeroShot())))
            centred = [x - x.mean(dim=1, keepdim=True) for x in (ours, theirs)]
            torch.testing.assert_close(*(x / x.norm(dim=1, keepdim=True) for x in centred), rtol=1e-3, atol=1e-4)

    def test_its_groups_hold_what_it_trains_once_each(self, name, world):
        method = plugins.load("method", name)()
        model = world().adapt(method)
        grouped = [id(p) for group in model.parameter_groups().values() for p in group]
        assert len(grouped) == len(set(grouped))
        assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}
        for recipe in method.recipes.values():
            assert set(recipe.learning_rates) <= set(model.parameter_groups())

    def test_fast_and_reference_give_the_same_losses_and_accuracies(self, name, world, trial):
        reference, trained = world("reference"), trial.trained
        model = reference.adapt(trial.method)
        log = reference.train(model, short_recipe(trial.kind))
        assert trained.log.epoch_losses == pytest.approx(log.epoch_losses, rel=1e-5)
        for half in HALVES:
            assert trained.world.answers(trained.model, half).correct == reference.answers(model, half).correct


def tower_parameters(blocks):
    """Blocks, final LayerNorm and projection of one tower."""
    return blocks * (12 * WIDTH**2 + 13 * WIDTH) + 2 * WIDTH + WIDTH * JOINT


COUNTS = {  # in the words of each card; D = W = E = 32, three classes, six images
    "zero_shot": 0,
    "linear_probe": (JOINT + 1) * 3,
    "lp_plus_plus": (JOINT + 2) * 3,
    "full_finetuning": 2 * tower_parameters(DEPTH),
    "skip_tuning": 2 * tower_parameters(DEPTH - 6),
    "coop": 16 * WIDTH,
    "cocoop": 4 * WIDTH + (JOINT * 2 + 2) + (2 * WIDTH + WIDTH),
    "kgcoop": 4 * WIDTH,
    "prograd": 4 * WIDTH,
    "maple": 9 * (2 * WIDTH + WIDTH * WIDTH + WIDTH),
    "promptsrc": 9 * 4 * (WIDTH + WIDTH),
    "tcp": 4 * WIDTH + (JOINT * 8 + 8) + (8 * 4 * WIDTH + 4 * WIDTH),
    "dept": 4 * WIDTH + 4 * JOINT + (JOINT + 1) * 3,
    "coprompt": 12 * (4 * WIDTH + WIDTH * WIDTH + WIDTH) + 2 * 2 * JOINT * 8,
    "clip_adapter": 2 * JOINT * JOINT // 4,
    "tip_adapter": 0,
    "tip_adapter_f": JOINT * 3 * SHOTS,
    "clip_lora": DEPTH * 3 * 2 * 2 * (WIDTH + WIDTH),
}


@pytest.mark.parametrize("name", COUNTS)
def test_it_trains_as_many_values_as_its_card_says(name, world):
    world, method = world(), plugins.load("method", name)()
    model = world.adapt(method)
    if name == "tip_adapter_f":  # its weights are made of the training images
        world.train(model, short_recipe(type(method), epochs=0))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == COUNTS[name]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (CoOp(context_length=4), 4 * WIDTH),
        (CoOp(context_length=5, class_specific=True), 3 * 5 * WIDTH),
        (SkipTuning(start_layer=9), 2 * tower_parameters(DEPTH - 9)),
        (SkipTuning(layer_skip=False), 2 * tower_parameters(DEPTH)),
    ],
    ids=str,
)
def test_trainable_parameters_are_as_many_as_the_card_says(method, expected, world):
    model = world().adapt(method)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


@pytest.mark.parametrize(("method", "template"), [(ZeroShot(), "clip"), (FullFinetuning(), "fine-tuning")], ids=str)
def test_step_0_is_open_clips_own_zero_shot(method, template, world):
    import open_clip

    world = world()
    model = world.adapt(method)
    names = world.classes("all").names
    texts = open_clip.get_tokenizer("ViT-B-16")([TEMPLATES[template].format(name) for name in names])
    pixels = torch.stack([world.images("test", "all").pixels(i, None) for i in range(0, 35, 4)])
    clip = world.backbone.model
    with torch.no_grad():
        features = clip.encode_image(pixels, normalize=True) @ clip.encode_text(texts, normalize=True).T
    expected = features * clip.logit_scale.exp()
    torch.testing.assert_close(world.logits(model, world.classes("all")), expected, rtol=1e-5, atol=1e-5)


def test_an_image_that_is_its_text_has_the_whole_scale_for_logit():
    texts = F.normalize(torch.randn(4, 8), dim=-1)
    logits = cosine_logits(torch.tensor(100.0), 3 * texts, texts)
    torch.testing.assert_close(logits.diagonal(), torch.full((4,), 100.0))


class TestFullFinetuning:
    def test_gradients_reach_every_block_and_no_prefix_module(self, world):
        world = world()
        model = world.adapt(FullFinetuning())
        _, grads = step(model, world.batch(model, (0, 2, 4)))
        assert all(float(g.abs().max()) > 0 for g in grads.values())
        prefixes = ("token_embedding", "positional_embedding", "class_embedding", "conv1", "ln_pre", "logit_scale")
        without = {n for n, p in model.named_parameters() if n not in grads}
        assert without == {n for n, _ in model.named_parameters() if any(p in n for p in prefixes)}
        for tower in ("model.transformer", "model.visual.transformer"):
            assert {int(n.split("resblocks.")[1].split(".")[0]) for n in grads if f"{tower}.resblocks" in n} == set(
                range(12)
            )


def test_rows_of_classes_among_trained_ones():
    def rows(names, trained):
        return Classes(tuple(names), TEMPLATES).rows_in(trained)

    assert rows("abc", "bac") == [1, 0, 2]
    assert rows("baa", "baa") == [0, 1, 2]  # two labels may share a name
    assert rows("aab", "baa") == [1, 2, 0]
    assert rows("aa", "ab") == [0, 0]
    assert rows("ax", "ba") == [1, None]
    assert rows("a", ()) == [None]


class TestCoOp:
    def test_words_start_as_zero_shot_with_those_words(self, world):
        world = world()
        plain = Classes(world.classes("all").names, {"clip": "a photo of a {}."})
        zero_shot = world.logits(world.adapt(ZeroShot()), plain)
        for position in ("end",):
            model = world.adapt(CoOp(context_init="a photo of a", class_position=position))
            assert model.length == 4
            torch.testing.assert_close(world.logits(model, plain), zero_shot, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(("position", "template"), [("front", "{} a photo of a."), ("middle", "a photo {} of a.")])
    def test_the_class_name_stands_where_it_should(self, world, position, template):
        world = world()
        names = ("dog", "great white shark", "cat")
        expected = world.logits(world.adapt(ZeroShot()), Classes(names, {"clip": template}))
        model = world.adapt(CoOp(context_init="a photo of a", class_position=position))
        torch.testing.assert_close(world.logits(model, Classes(names, TEMPLATES)), expected, rtol=1e-5, atol=1e-5)

    def test_only_the_context_has_a_gradient(self, world):
        world = world()
        model = world.adapt(CoOp())
        _, grads = step(model, world.batch(model, (0, 2, 4)))
        assert grads.keys() == {"context"}
        assert float(grads["context"].abs().min(dim=1).values.max()) > 0

    def test_the_context_keeps_its_shape_and_place_whatever_the_names(self, world):
        world = world()
        model = world.adapt(CoOp())
        context = model.context
        model.set_classes(Classes(("a very long name of a class", "b"), TEMPLATES))
        assert model.context is context
        assert context.shape == (16, WIDTH)
        assert float(context.detach().std()) == pytest.approx(0.02, rel=0.15)

    def test_class_specific_context_refuses_other_classes(self, world):
        from harness.errors import ConfigError

        world = world()
        model = world.adapt(CoOp(class_specific=True))
        with pytest.raises(ConfigError, match=r"class_specific=false"):
            model.set_classes(world.classes("new"))


class TestClipAdapter:
    def test_ratio_0_is_zero_shot(self, world):
        world = world()
        zero_shot = world.logits(world.adapt(ZeroShot()), world.classes("all"))
        model = world.adapt(ClipAdapter(ratio=0))
        assert torch.equal(world.logits(model, world.classes("all")), zero_shot)
        other = world.logits(world.adapt(ClipAdapter(ratio=0.5)), world.classes("all"))
        assert not torch.allclose(other, zero_shot)

    def test_text_features_carry_no_gradient(self, world):
        world = world()
        model = world.adapt(ClipAdapter())
        model.prepare(None, None)
        assert not model.text_features.requires_grad
        _, grads = step(model, world.batch(model))
        assert grads.keys() == {"down.weight", "up.weight"}


class TestSkipTuning:
    def model(self, world, **fields):
        model = world.adapt(SkipTuning(**fields))
        torch.manual_seed(1)
        model.prepare(None, None)
        model.begin_epoch(0)
        return model

    @pytest.mark.parametrize("omega", [0, 3, 6, 11])
    @pytest.mark.parametrize("execution", ["fast", "reference"])
    def test_with_all_classes_its_loss_and_gradients_are_bitwise_those_of_full_finetuning(
        self, world, omega, execution
    ):
        there, here = world(execution), world(execution)
        finetuned = there.adapt(FullFinetuning())
        skipping = self.model(here, start_layer=omega, top_ratio=1.0)
        indices = (0, 3, 5, 2)
        loss, grads = step(finetuned, there.batch(finetuned, indices))
        ours, our_grads = step(skipping, here.batch(skipping, indices))
        assert torch.equal(ours, loss)
        assert our_grads.keys() <= grads.keys()
        if omega == 0:
            assert our_grads.keys() == grads.keys()
        assert all(torch.equal(our_grads[name], grads[name]) for name in our_grads)

    def test_switches_are_omega_0_and_ratio_1(self, world):
        world = world()
        off = self.model(world, layer_skip=False, class_skip=False)
        assert (off.start, off.top) == (0, 3)
        assert off.mask.all()
        assert not off.caches_images

    def test_a_step_on_the_cache_is_a_step_on_the_image(self, world):
        """The same augmented views, read from the cache of an epoch and run through the tower batch by batch."""
        results = []
        for cached in (True, False):
            here = world()
            model = here.adapt(SkipTuning())
            assert model.caches_images
            model.caches_images = cached
            recipe = dataclasses.replace(short_recipe(SkipTuning), augmentation="random-resized-crop-flip")
            results.append((here.train(model, recipe).epoch_losses, weights(model)))
        (losses, ours), (others, theirs) = results
        assert losses == pytest.approx(others, rel=1e-6)
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)

    def test_nothing_below_omega_changes(self, world):
        world = world()
        model = world.adapt(SkipTuning(start_layer=7))
        before = weights(model)
        world.train(model, short_recipe(SkipTuning))
        changed = {n for n, value in weights(model).items() if not torch.equal(value, before[n])}
        blocks = {int(n.split("resblocks.")[1].split(".")[0]) for n in changed if "resblocks" in n}
        assert blocks == set(range(7, 12))
        rest = {n.removeprefix("backbone.model.") for n in changed if "resblocks" not in n}
        assert rest == {
            "ln_final.weight", "ln_final.bias", "text_projection",
            "visual.ln_post.weight", "visual.ln_post.bias", "visual.proj",
        }  # fmt: skip

    def test_the_mask_is_drawn_once_and_as_many_classes_are_kept_in_every_step(self, world):
        world = world()
        many = Classes(tuple(f"thing {i}" for i in range(24)), TEMPLATES)
        model = world.adapt(SkipTuning())
        model.set_classes(many)
        model.prepare(None, None)
        mask, prototypes = model.mask.clone(), model.prototypes.clone()
        assert model.top == 12
        assert mask[:13].all()  # the first of the tail has probability 1
        assert not mask[-1]  # and the last 0
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        kept_sets = set()
        for epoch in range(2):
            model.begin_epoch(epoch)
            for indices in ((0, 1, 2, 3), (4, 5, 0, 1), (2, 3, 4, 5)):
                batch = world.batch(model, indices)
                tower = model.backbone.image
                features = tower.head(tower.blocks(batch.images, model.start, tower.depth))
                kept, labels = model._select(features, batch.labels)
                assert len(kept) == int(mask.sum())
                assert kept.tolist() == sorted(kept.tolist())
                assert torch.equal(kept[labels], batch.labels)
                kept_sets.add(tuple(kept.tolist()))
                step(model, batch)
                optimizer.step()
            assert torch.equal(model.mask, mask)
            assert torch.equal(model.prototypes, prototypes)
        assert len(kept_sets) > 1  # the classes change though their number doesn't

    def test_the_loss_is_cross_entropy_over_full_finetunings_columns_of_kept_classes(self, world):
        there, here = world(), world()
        many = Classes(tuple(f"thing {i}" for i in range(24)), TEMPLATES)
        finetuned, model = there.adapt(FullFinetuning()), here.adapt(SkipTuning())
        for each in (finetuned, model):
            each.set_classes(many)
        model.prepare(None, None)
        model.begin_epoch(0)
        batch = here.batch(model)
        with torch.no_grad():
            tower = model.backbone.image
            features = tower.head(tower.blocks(batch.images, model.start, tower.depth))
            kept, labels = model._select(features, batch.labels)
            columns = finetuned.logits(there.batch(finetuned).images, finetuned.classifier())[:, kept]
            torch.testing.assert_close(model.loss(batch), F.cross_entropy(columns, labels), rtol=1e-6, atol=1e-6)
        assert len(kept) < 24

    def test_ranking_is_by_the_pretrained_prototypes_and_the_current_image_tower(self, world):
        world = world()
        model = world.adapt(SkipTuning())
        model.set_classes(Classes(tuple(f"thing {i}" for i in range(24)), TEMPLATES))
        model.prepare(None, None)
        model.mask = torch.arange(24) < 5
        model.prototypes = F.normalize(torch.eye(32)[:24], dim=-1)
        features = torch.zeros(2, 32)
        features[0, [3, 7, 20]] = torch.tensor([3.0, 2.0, 1.0])
        features[1, [4, 7]] = torch.tensor([3.0, 2.5])
        kept, labels = model._select(features, torch.tensor([11, 11]))
        assert kept.tolist() == [3, 4, 7, 11, 20]
        assert labels.tolist() == [3, 3]

    @pytest.mark.parametrize(
        ("fields", "advice"),
        [({"start_layer": 12}, "start_layer=6"), ({"start_layer": -1}, "0..11")],
    )
    def test_impossible_settings_advise(self, world, fields, advice):
        from harness.errors import ConfigError

        with pytest.raises(ConfigError, match=advice):
            SkipTuning(**fields).adapt(world().backbone)
