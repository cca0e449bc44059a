"""What the cards say of deep prompts, low-rank updates, caches and probes, on a CLIP of 12 + 12 blocks with random weights."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harness.clip.blocks import run_block
from harness.errors import ConfigError
from harness.method import Batch, Classes
from harness.recipe import Recipe
from methods.clip_lora import ClipLora
from methods.coprompt import CoPrompt
from methods.linear_probe import LinearProbe
from methods.linear_probe.model import fit
from methods.lp_plus_plus import LPPlusPlus
from methods.lp_plus_plus.model import blended, descend, step_sizes
from methods.maple import MaPLe
from methods.promptsrc import PromptSRC
from methods.promptsrc.model import gaussian_weights
from methods.tip_adapter import TipAdapter, TipAdapterF
from methods.tip_adapter.model import TipAdapterFModel, TipAdapterModel
from methods.zero_shot import ZeroShot

NAMES = ("dog", "great white shark", "cat", "bird of paradise")
CLASSES = Classes(NAMES, {"clip": "a photo of a {}."})
OTHERS = Classes(("kite", "dog"), {"clip": "a photo of a {}."})
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


class Source:
    """An `ImageSource` of random pixels near a pattern of their class; every epoch adds noise of its own."""

    def __init__(self, backbone, labels=LABELS, seed=3):
        self.backbone, self.labels, self.seed = backbone, labels, seed
        patterns = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        self.pixels = patterns[labels]

    @torch.no_grad()
    def read(self, stage, epoch=None):
        seed = self.seed if epoch is None else 100 + epoch
        noise = torch.randn(self.pixels.shape, generator=torch.Generator().manual_seed(seed))
        pixels = (self.pixels + 0.5 * noise).to(self.backbone.dtype)
        return self.backbone.image.encode(pixels) if stage == "features" else self.backbone.image.embed(pixels)


@pytest.fixture
def make(tiny_backbone):
    """`make(method)`: its model on a new backbone, aimed at the classes; `make.backbone` is the latest."""

    def made(method, execution="fast", dtype=torch.float32, classes=CLASSES):
        torch.manual_seed(1)
        made.backbone = tiny_backbone(execution, dtype, layers=12)
        model = method.adapt(made.backbone)
        model.set_classes(classes)
        return model

    return made


def parameters(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def batch_of(model, labels=LABELS[::2]):
    source = Source(model.backbone, labels)
    return Batch(tuple(source.read(read.stage, read.view) for read in model.reads), labels)


@torch.no_grad()
def scores(model, features_or_tokens):
    return model.logits(features_or_tokens, model.classifier())


def plain_scores(make, stage):
    model = make(ZeroShot())
    source = Source(make.backbone)
    return scores(model, source.read("features")), source.read(stage)


class TestMaPLe:
    @pytest.mark.parametrize(("depth", "length"), [(9, 2), (3, 2), (1, 4), (12, 4)])
    def test_it_trains_as_many_parameters_as_its_formula_says(self, make, depth, length):
        model = make(MaPLe(prompt_depth=depth, context_length=length))
        assert parameters(model) == depth * (length * 32 + 32 * 32 + 32)

    def test_without_vectors_it_is_clip(self, make):
        expected, tokens = plain_scores(make, 0)
        torch.testing.assert_close(scores(make(MaPLe(context_length=0)), tokens), expected, rtol=1e-5, atol=1e-5)

    def test_a_depth_of_1_replaces_nothing(self, make):
        """Its prompts stand at the input of both towers only, and every later block keeps what comes out of the one before."""
        model = make(MaPLe(prompt_depth=1))
        assert (len(model.deep_text), len(model.deep_maps)) == (0, 0)
        tokens = Source(make.backbone).read(0)
        tower = make.backbone.image
        x = torch.cat(
            [tokens, tower._visual.ln_pre(model.projection(model.context)).expand(len(tokens), -1, -1)], dim=1
        )
        for block in tower.resblocks:
            x = block(x)
        expected = tower._visual.ln_post(x[:, 0]) @ tower._visual.proj
        torch.testing.assert_close(model.image_features(tokens), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("execution", ["fast", "reference"])
    def test_prompts_follow_the_image_in_every_block(self, make, execution, monkeypatch):
        lengths = []

        def watched(block, x, rows, **how):
            lengths.append(x.shape[1])
            return run_block(block, x, rows, **how)

        model = make(MaPLe(), execution)
        batch = batch_of(model)
        monkeypatch.setattr("harness.clip.image_tower.run_block", watched)
        model.loss(batch)
        assert lengths == [17 + 2] * 12

    def test_gradients_reach_every_prompt_through_both_towers(self, make):
        model = make(MaPLe())
        batch = batch_of(model)
        own = [model.context, *model.deep_text]
        image = torch.autograd.grad(model.image_features(batch.images).sum(), own)
        text = torch.autograd.grad(model.text_features().square().sum(), own)
        assert all(float(g.abs().max()) > 0 for g in (*image, *text))

    def test_deep_maps_start_as_clones_and_part_in_training(self, make):
        model = make(MaPLe())
        first, *others = model.deep_maps
        assert all(torch.equal(first.weight, other.weight) for other in others)
        assert not torch.equal(first.weight, model.projection.weight)
        model.loss(batch_of(model)).backward()
        assert not torch.equal(first.weight.grad, others[0].weight.grad)

    def test_words_beyond_the_vectors_stay(self, make):
        model = make(MaPLe())
        assert model._tokens.ids[0][1:5] == (320, 1125, 539, 320)
        assert torch.equal(model.context, model.backbone.model.token_embedding.weight[[320, 1125]])
        longer = make(MaPLe(context_length=6))
        assert longer._tokens.ids[0][1:7] == (343,) * 6

    @pytest.mark.parametrize("depth", [0, 13])
    def test_a_depth_the_towers_lack_advises(self, make, depth):
        with pytest.raises(ConfigError, match=r"1\.\.12"):
            make(MaPLe(prompt_depth=depth))


class TestPromptSRC:
    def test_it_trains_as_many_parameters_as_its_formula_says(self, make):
        assert parameters(make(PromptSRC())) == 9 * 4 * (32 + 32)

    def test_a_narrow_gaussian_takes_one_epoch(self):
        assert gaussian_weights(6, 4, 1e-3) == [0, 0, 0, 1, 0, 0]
        for how in ((20, 15, 1), (50, 30, 30), (3, 100, 1)):
            assert sum(gaussian_weights(*how)) == pytest.approx(1)

    def test_prompts_are_averaged_and_nothing_else(self, make):
        model = make(PromptSRC(averaging_mean=2.0, averaging_std=1e-3))
        frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
        model.prepare(None, None)
        kept = []
        for epoch in range(3):
            with torch.no_grad():
                for prompt in (model.context, *model.deep_text, *model.image):
                    prompt.add_(1.0)
            kept.append(model.context.detach().clone())
            model.end_epoch(epoch, 3)
        model.finish(None, None)
        assert torch.equal(model.context, kept[1])
        assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)

    def test_terms_vanish_when_the_student_is_the_teacher(self, make, monkeypatch):
        model = make(PromptSRC())
        model.prepare(None, None)
        batch = batch_of(model)
        monkeypatch.setattr(model, "classifier", lambda: model.teacher)
        monkeypatch.setattr(model, "image_features", lambda images: batch.inputs[1])
        terms = model.loss_terms(batch)
        for name in ("text_l1", "image_l1", "logits_kl"):
            assert float(terms[name]) == pytest.approx(0, abs=1e-6)

    def test_the_divergence_is_from_the_teacher(self, make):
        model = make(PromptSRC())
        model.prepare(None, None)
        batch = batch_of(model)
        with torch.no_grad():
            logits = scores(model, batch.images)
            teacher = model.backbone.logit_scale * F.normalize(batch.inputs[1], dim=-1) @ model.teacher.T
            p = teacher.softmax(-1)
            expected = (p * (teacher.log_softmax(-1) - logits.log_softmax(-1))).sum() / logits.numel()
            torch.testing.assert_close(model.loss_terms(batch)["logits_kl"], expected)


class TestCoPrompt:
    def test_it_trains_as_many_parameters_as_its_formula_says(self, make):
        assert parameters(make(CoPrompt())) == 12 * (4 * 32 + 32 * 32 + 32) + 2 * 2 * 32 * 8

    def test_without_weight_and_adapters_it_is_maple(self, make):
        shape = {"prompt_depth": 3, "context_length": 2}
        ours = make(CoPrompt(**shape, consistency_weight=0, image_ratio=0, text_ratio=0))
        ours.prepare(None, None)
        batch = batch_of(ours)
        maple = make(MaPLe(**shape))
        maple.load_state_dict(ours.state_dict(), strict=False)
        assert torch.equal(ours.loss(batch), maple.loss(Batch(batch.inputs[:1], batch.labels)))

    def test_a_sentence_is_drawn_in_every_step_and_the_teacher_has_no_gradient(self, make):
        model = make(CoPrompt())
        model.prepare(None, None)
        assert model.teachers.shape == (80, 4, 32)
        assert not model.teachers.requires_grad
        assert len({model.draw() for _ in range(50)}) > 20

    def test_a_datasets_own_descriptions_come_before_imagenets_templates(self, make):
        from suites.demo.datasets import DATASETS, DIGITS

        for dataset in DATASETS:
            own = [each for title, each in dataset.templates.items() if title.startswith("description")]
            model = make(CoPrompt(), classes=Classes(("3", "7"), dataset.templates))
            assert model.wordings() == [[each.format("3"), each.format("7")] for each in own]
            assert len(own) == 5
        assert DIGITS.templates["description 1"] == "the number {}."

    def test_of_a_folder_it_reads_the_file_that_names_every_class(self, make, tmp_path):
        """The authors' folder has one file a dataset."""
        (tmp_path / "dogs_prompt.json").write_text(json.dumps({"dog": ["a dog."], "cat": ["a cat."]}))
        (tmp_path / "ours_prompt.json").write_text(json.dumps({n.replace(" ", "_"): [f"{n}!", f"{n}?"] for n in NAMES}))
        model = make(CoPrompt(descriptions=str(tmp_path)))
        assert model.wordings() == [[f"{n}!" for n in NAMES], [f"{n}?" for n in NAMES]]
        (tmp_path / "none").mkdir()
        with pytest.raises(ConfigError, match="no JSON file"):
            make(CoPrompt(descriptions=str(tmp_path / "none"))).wordings()

    @pytest.mark.parametrize(
        ("content", "advice"),
        [
            (None, "JSON object"),
            ("[1]", "JSON object"),
            ('{"dog": ["a dog."]}', "Give every class a list"),
            (json.dumps({name: ["x"] * (1 + i % 2) for i, name in enumerate(NAMES)}), "equally many"),
        ],
    )
    def test_unusable_descriptions_advise(self, make, tmp_path, content, advice):
        path = tmp_path / "sentences.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=advice):
            make(CoPrompt(descriptions=str(path))).prepare(None, None)


class TestClipLora:
    def test_it_trains_as_many_parameters_as_its_formula_says(self, make):
        assert parameters(make(ClipLora(rank=3))) == 12 * 3 * 3 * 2 * (32 + 32)

    def test_step_0_is_zero_shot_at_scale_100(self, make):
        expected, tokens = plain_scores(make, 0)
        model = make(ClipLora())
        torch.testing.assert_close(
            scores(model, tokens) * model.backbone.logit_scale / 100, expected, rtol=1e-5, atol=1e-4
        )

    def test_at_zero_b_only_b_has_a_gradient(self, make):
        model = make(ClipLora())
        model.loss(batch_of(model)).backward()
        for blocks in model.updates.values():
            for block in blocks:
                assert all(float(a.grad.abs().max()) == 0 for a in block.a)
                assert any(float(b.grad.abs().max()) > 0 for b in block.b)
        a = model.updates["text"][3].a[0]
        before = a.detach().clone()
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=1e-2).step()
        torch.testing.assert_close(a, before * (1 - 0.1 * 1e-2))  # the decay alone

    def test_adding_the_update_is_merging_it(self, make):
        model = make(ClipLora(), dtype=torch.float64)
        tokens = Source(model.backbone).read(0)
        with torch.no_grad():
            for blocks in model.updates.values():
                for block in blocks:
                    for b in block.b:
                        b.normal_(std=0.1)
            added = scores(model, tokens)
            plain = ZeroShot().adapt(model.backbone)
            towers = {"text": model.backbone.text, "image": model.backbone.image}
            for name, blocks in model.updates.items():
                for update, block in zip(blocks, towers[name].resblocks, strict=True):
                    merged = torch.cat([b @ a for a, b in zip(update.a, update.b, strict=True)])
                    block.attn.in_proj_weight += update._scaling * merged
            plain.set_classes(CLASSES)
            merged_scores = scores(plain, towers["image"].head(towers["image"].blocks(tokens, 0, 12)))
        ratio = 100 / model.backbone.logit_scale
        torch.testing.assert_close(added, ratio * merged_scores, rtol=1e-6, atol=1e-5)

    def test_dropout_is_on_in_training_only_and_the_same_in_both_executions(self, make):
        losses = []
        for execution in ("fast", "reference"):
            model = make(ClipLora(), execution, torch.float64)
            with torch.no_grad():
                for blocks in model.updates.values():
                    for block in blocks:
                        for b in block.b:
                            b.copy_(torch.linspace(-0.2, 0.2, b.numel()).view_as(b))
            batch = batch_of(model)
            torch.manual_seed(5)
            losses.append(float(model.loss(batch).detach()))
            assert float(model.loss(batch).detach()) != losses[-1]
            assert torch.equal(scores(model, batch.images), scores(model, batch.images))
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)

    def test_its_length_is_500_iterations_a_shot_whatever_the_classes(self):
        recipe = ClipLora.recipes["default"]
        assert recipe.trains
        assert [recipe.for_shots(k).iterations for k in (1, 4, 16)] == [500, 2000, 8000]
        assert Recipe(iterations=7, iterations_per_shot=500).for_shots(4).iterations == 7
        assert Recipe(epochs=2).for_shots(4) == Recipe(epochs=2)


class TestTipAdapter:
    def filled(self, make, method):
        model = make(method)
        train, val = Source(make.backbone), Source(make.backbone, LABELS[1::2], seed=8)
        model.prepare(train, val)
        return model, train, val

    def test_alpha_0_is_zero_shot_at_scale_100(self, make):
        expected, features = plain_scores(make, "features")
        model, *_ = self.filled(make, TipAdapter(alpha=0.0))
        ratio = 100 / model.backbone.logit_scale
        torch.testing.assert_close(scores(model, features), ratio * expected, rtol=1e-5, atol=1e-4)

    def test_a_sharp_cache_answers_only_to_its_keys(self, make):
        model, train, _ = self.filled(make, TipAdapter(beta=1e7, views=1))
        assert float(model._cache_logits(train.read("features"), model.beta).max()) == 0
        same = model._cache_logits(train.read("features", 0).double(), 1e4)
        assert torch.equal(same.argmax(dim=-1), train.labels)

    def test_keys_are_normalised_means_of_unnormalised_views(self, make):
        model, train, _ = self.filled(make, TipAdapter(views=3))
        views = torch.stack([train.read("features", i) for i in range(3)])
        torch.testing.assert_close(model.keys, F.normalize(views.mean(dim=0), dim=-1))

    def test_steps_see_views_that_the_cache_has_not(self):
        """The cache reads the first view of as many epochs; a step's is another draw of its epoch."""
        (cached,), (trained,) = TipAdapterModel.reads, TipAdapterFModel.reads
        assert (cached.stage, trained.stage) == ("features", "features")
        assert cached.view == 0 != trained.view

    def test_untrained_keys_are_the_cache(self, make):
        plain, train, val = self.filled(make, TipAdapter())
        trained, *_ = self.filled(make, TipAdapterF())
        assert parameters(plain) == 0
        assert parameters(trained) == len(LABELS) * 32
        for model in (plain, trained):
            model.finish(train, val)
        assert (plain.alpha, plain.beta) == (trained.alpha, trained.beta)
        features = val.read("features")
        assert torch.equal(scores(plain, features), scores(trained, features))

    def test_the_best_epoch_on_validation_images_is_kept(self, make):
        model, train, val = self.filled(make, TipAdapterF())
        good = model.keys.detach().clone()
        model.end_epoch(0, 2)
        with torch.no_grad():
            model.keys.copy_(-good)
        model.end_epoch(1, 2)
        model.finish(train, val)
        assert torch.equal(model.keys, good)

    def test_classes_without_images_are_scored_by_their_text(self, make):
        model, _, val = self.filled(make, TipAdapter())
        features = val.read("features")
        known = scores(model, features)
        model.set_classes(OTHERS)
        mixed = scores(model, features)
        torch.testing.assert_close(mixed[:, 1], known[:, 0])
        torch.testing.assert_close(mixed[:, 0], (100 * F.normalize(features, dim=-1) @ model.classifier().T)[:, 0])

    def test_without_validation_images_the_first_values_stay(self, make):
        model = make(TipAdapter())
        train = Source(make.backbone)
        model.prepare(train, Source(make.backbone, LABELS[:0]))
        model.finish(train, None)
        assert (model.alpha, model.beta) == (1.17, 1.0)


class TestLinearProbe:
    def test_it_is_scikit_learns_regression(self, make):
        from sklearn.linear_model import LogisticRegression

        model = make(LinearProbe())
        train = Source(make.backbone)
        model.prepare(train, Source(make.backbone, LABELS[:0]))
        features = train.read("features")
        regression = LogisticRegression(C=1.0, max_iter=1000).fit(features.double().numpy(), LABELS.numpy())
        expected = regression.decision_function(features.double().numpy())
        torch.testing.assert_close(scores(model, features).double(), torch.as_tensor(expected), rtol=1e-4, atol=1e-4)
        assert parameters(model) == 4 * 33

    def test_two_classes_have_a_row_each(self):
        generator = np.random.default_rng(1)
        labels = np.array([0, 1] * 10)
        features = generator.normal(size=(20, 3)) + 2 * labels[:, None]
        weight, bias = fit(features, labels, features, labels, LinearProbe())
        assert weight.shape == (2, 3)
        assert ((features @ weight.T + bias).argmax(axis=1) == labels).mean() > 0.9

    def test_a_list_with_an_unknown_class_is_answered_as_zero_shot(self, make):
        model = make(LinearProbe())
        source = Source(make.backbone)
        model.prepare(source, source)
        features = source.read("features")
        probe = scores(model, features)
        model.set_classes(Classes(("cat", "dog"), CLASSES.templates))
        torch.testing.assert_close(scores(model, features), probe[:, [2, 0]], rtol=1e-5, atol=1e-5)
        model.set_classes(OTHERS)
        zero_shot = ZeroShot().adapt(make.backbone)
        zero_shot.set_classes(OTHERS)
        assert torch.equal(scores(model, features), scores(zero_shot, features))


class TestLPPlusPlus:
    def data(self, make):
        model = make(LPPlusPlus())
        images = F.normalize(Source(make.backbone).read("features"), dim=-1)
        return model, images, model.classifier()

    def test_it_trains_as_many_parameters_as_its_formula_says(self, make):
        model = make(LPPlusPlus())
        source = Source(make.backbone)
        model.prepare(source, source)
        assert parameters(model) == 4 * (32 + 2)

    def test_alpha_100_alone_is_zero_shot(self, make):
        _, images, text = self.data(make)
        weights = torch.zeros(4, 32), torch.zeros(4), torch.full((4,), 100.0)
        torch.testing.assert_close(blended(images, text, weights), 100 * images @ text.T)

    def test_it_starts_from_sums_of_features(self, make):
        model, images, text = self.data(make)
        weight, bias, alpha = model._start(images, LABELS, text)
        torch.testing.assert_close(weight[1], images[2] + images[3])
        agreement = (images * text[LABELS]).sum(dim=-1).mean()
        torch.testing.assert_close(alpha, (250 * agreement).expand(4))
        assert float(bias.abs().max()) <= 32**-0.5

    @pytest.mark.parametrize("as_released", [False, True])
    def test_steps_are_gradient_descent_that_torch_would_take(self, make, as_released):
        model, images, text = self.data(make)
        start = model._start(images, LABELS, text)
        method = LPPlusPlus(steps=21, as_released=as_released)
        *_, ours = descend(images, LABELS, text, start, method)
        weight, bias, alpha = (torch.nn.Parameter(each.clone()) for each in start)
        rate, alpha_rate = step_sizes(images, text)
        optimizer = torch.optim.SGD([weight, bias], lr=rate, momentum=0.9)
        for step in range(1, 22):
            optimizer.zero_grad()
            if not as_released:
                alpha.grad = None
            F.cross_entropy(blended(images, text, (weight, bias, alpha)), LABELS).backward()
            optimizer.step()
            if step % 10 == 0:
                alpha.data -= alpha_rate * alpha.grad
        for theirs, mine in zip((weight, bias, alpha), ours, strict=True):
            torch.testing.assert_close(mine, theirs.detach(), rtol=1e-3, atol=1e-4)

    def test_without_momentum_the_loss_falls_in_every_step(self, make):
        model, images, text = self.data(make)
        start = model._start(images, LABELS, text)
        steps = descend(images, LABELS, text, start, LPPlusPlus(steps=30, momentum=0.0))
        losses = [float(F.cross_entropy(blended(images, text, weights), LABELS)) for weights in (start, *steps)]
        assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(losses))
        assert losses[-1] < losses[0]
