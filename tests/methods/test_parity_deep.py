"""The methods with deep prompts, low-rank updates and caches against golden vectors computed with their authors' code.

As in `test_parity`: both executions, and every key of every case accounted for.
"""

import dataclasses
import itertools
import json
import zlib

import numpy as np
import open_clip
import pytest
import torch
from golden import (
    Case,
    check_gradients,
    check_inference,
    check_training,
    close,
    ids_without_padding,
    inference,
    norm,
    stage_inputs,
)
from torch.nn import functional as F

from harness.method import Batch
from harness.recipe import Recipe
from harness.training.schedule import learning_rate
from methods.clip_lora import ClipLora
from methods.coprompt import CoPrompt
from methods.maple import MaPLe
from methods.promptsrc import PromptSRC
from methods.promptsrc.model import gaussian_weights
from methods.tip_adapter import TipAdapter, TipAdapterF
from methods.zero_shot import ZeroShot


def entries(tensor):
    """As the golden files sample a tensor: its norm and five entries."""
    n = tensor.numel()
    return torch.cat([norm(tensor)[None], tensor.detach().double().flatten()[[0, n // 5, n // 2, 3 * n // 4, n - 1]]])


def fill_extras(case, own):
    """Give a model's own parameters, by role, the values of a case; all of them."""
    extras = case.take("extras")
    assert set(extras) <= set(own)
    with torch.no_grad():
        for role, described in extras.items():
            if "init" in described:  # by words, as the model has done
                assert list(own[role].shape) == described["shape"]
                close(norm(own[role]), described["norm"])
                close(own[role].flatten()[:3], described["first3"])
            else:
                own[role].copy_(case.parameter(described, role))
    return set(extras)


def coupled_roles(prefix, model):
    roles = {
        f"{prefix}.ctx": model.context,
        f"{prefix}.proj.weight": model.projection.weight,
        f"{prefix}.proj.bias": model.projection.bias,
    }
    for i, (prompt, coupling) in enumerate(zip(model.deep_text, model.deep_maps, strict=True), start=1):
        roles |= {
            f"{prefix}.text.{i}": prompt,
            f"{prefix}.map.{i}.weight": coupling.weight,
            f"{prefix}.map.{i}.bias": coupling.bias,
        }
    return roles


class TestMaPLe:
    file_prefix, files = "maple", ("maple",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        method = MaPLe(prompt_depth=case.take("depth"), context_length=case.take("n_ctx"))
        model = method.adapt(parity_backbone)
        own = coupled_roles("maple", model)
        assert fill_extras(case, own) == own.keys()
        for depth, expected in case.take("image_prompts").items():
            close(entries(model.image_prompts()[int(depth)]), expected)
        check_inference(case, model, lambda m: m._tokens)
        inputs = stage_inputs(model, case.images())
        close(model.logits(inputs, model.classifier()), case.take("logits"))
        check_training(case, model, inputs, torch.tensor(case.take("labels")), own)
        case.done()


@pytest.fixture(scope="module")
def teachers():
    """PromptSRC's of the golden backbone, by execution and classes: 80 texts a class, the same in every case."""
    return {}


class TestPromptSRC:
    file_prefix, files = "promptsrc", ("promptsrc",)

    def test_case(self, parity_case, parity_backbone, filled, teachers):
        case = Case(parity_case, filled)
        weights = case.take("weights")
        method = PromptSRC(
            prompt_depth=case.take("depth"),
            teacher_templates=80,
            text_weight=weights.pop("text"),
            image_weight=weights.pop("image"),
            logit_weight=weights.pop("logits"),
        )
        assert not weights
        model = method.adapt(parity_backbone)
        own = {"promptsrc.ctx": model.context}
        own |= {f"promptsrc.text.{i}": p for i, p in enumerate(model.deep_text, start=1)}
        own |= {f"promptsrc.image.{i}": p for i, p in enumerate(model.image)}
        assert fill_extras(case, own) == own.keys()
        check_inference(case, model, lambda m: m._tokens)
        key = parity_backbone.text.fast, case.classes.names
        if key not in teachers:
            with torch.no_grad():
                teachers[key] = model.mean_template_features()
        model.mean_template_features = lambda: teachers[key]
        model.prepare(None, None)
        with torch.no_grad():
            means = torch.stack([entries(row) for row in model.mean_template_features()])
            close(means, case.take("teacher_text_features_before_normalisation"))
        images = case.images()
        with torch.no_grad():
            inputs = (stage_inputs(model, images), parity_backbone.image.encode(images))
            scale = parity_backbone.logit_scale
            teacher = scale * F.normalize(inputs[1], dim=-1) @ model.teacher.T
        close(teacher.log_softmax(-1), case.take("teacher_log_probabilities"))
        labels = torch.tensor(case.take("labels"))
        close(model.logits(inputs[0], model.classifier()), case.take("logits"))
        terms = model.loss_terms(Batch(inputs, labels))
        for name, expected in case.take("loss_terms").items():
            close(terms.pop(name), expected)
        assert not terms
        assert case.take("loss_terms_note")
        check_training(case, model, inputs, labels, own)
        case.done()


class TestPromptSRCAveraging:
    def load(self, parity_dir):
        path = parity_dir / "promptsrc.json"
        if not path.exists():
            pytest.skip("this folder has no promptsrc.json")
        return json.loads(path.read_text())

    def test_the_weight_of_each_epoch(self, parity_dir):
        for row in self.load(parity_dir)["gaussian_weights"]:
            ours = gaussian_weights(row["epochs"], row["mean"], row["std"])
            assert ours == pytest.approx(row["weights"], rel=1e-5)

    def test_the_average(self, parity_dir, filled, tiny_backbone):
        described = self.load(parity_dir)["aggregation"]
        method = PromptSRC(prompt_depth=1, averaging_mean=described["mean"], averaging_std=described["std"])
        model = method.adapt(tiny_backbone())
        model.context = torch.nn.Parameter(torch.empty(4, 8))
        for epoch in range(described["epochs"]):
            with torch.no_grad():
                model.context.copy_(filled(f"A/promptsrc/epoch.{epoch + 1}", (4, 8), 1.0))
            model.end_epoch(epoch, described["epochs"])
        model.finish(None, None)
        close(model.context, described["result"])

    def test_the_teachers_templates(self, parity_dir, parity_backbone):
        path = parity_dir / "prompts.json"
        if not path.exists():
            pytest.skip("this folder has no prompts.json")
        prompts = json.loads(path.read_text())
        described = prompts["promptsrc_teacher_templates"]
        name = prompts["classname"].replace("_", " ")
        texts = [template(name) for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
        assert len(texts) == described["count"]
        assert texts[:3] == described["first_three"]
        assert texts[-3:] == described["last_three"]
        ids = ids_without_padding(parity_backbone.text.tokenize(texts))
        assert [len(row) for row in ids] == described["lengths_of_token_ids"]
        assert sum(itertools.chain(*ids)) == described["sum_of_all_token_ids"]


class TestCoPrompt:
    file_prefix, files = "coprompt", ("coprompt",)

    def test_case(self, parity_case, parity_backbone, filled, tmp_path):
        case = Case(parity_case, filled)
        sentences = case.take("sentences")
        path = tmp_path / "sentences.json"
        path.write_text(json.dumps(dict(zip(case.classes.names, sentences, strict=True))))
        ratios = case.take("adapter_ratios")
        method = CoPrompt(
            prompt_depth=case.take("depth"),
            context_length=case.take("n_ctx"),
            consistency_weight=case.take("lambda"),
            image_ratio=ratios.pop("image"),
            text_ratio=ratios.pop("text"),
            descriptions=str(path),
        )
        assert not ratios
        model = method.adapt(parity_backbone)
        own = coupled_roles("coprompt", model)
        for tower in ("image", "text"):
            adapter = getattr(model, f"{tower}_adapter")
            own[f"coprompt.adapter_{tower}.fc1.weight"] = adapter.down.weight
            own[f"coprompt.adapter_{tower}.fc2.weight"] = adapter.up.weight
        assert fill_extras(case, own) == own.keys()
        for depth, expected in case.take("image_prompts").items():
            close(entries(model.image_prompts()[int(depth)]), expected)
        check_inference(case, model, lambda m: m._tokens)
        model.prepare(None, None)
        number = case.take("sentence_index")
        model.draw = lambda: number
        wording = model.wordings()[number]
        assert wording == [row[number] for row in sentences]
        assert ids_without_padding(parity_backbone.text.tokenize(wording)) == case.take("sentence_token_ids")
        with torch.no_grad():
            frozen = parity_backbone.image.encode(case.images("images_second_view"))
        inputs = (stage_inputs(model, case.images()), frozen)
        labels = torch.tensor(case.take("labels"))
        close(model.logits(inputs[0], model.classifier()), case.take("logits"))
        terms = model.loss_terms(Batch(inputs, labels))
        for name, expected in case.take("loss_terms").items():
            close(terms.pop(name), expected)
        assert not terms
        check_training(case, model, inputs, labels, own)
        case.done()


class TestClipLora:
    file_prefix, files = "lora", ("lora",)

    def test_case(self, parity_case, parity_backbone, filled, one_thread):
        # Adam turns an entry whose gradient is rounding into a whole step: sums in the order of two threads, as ever so far
        torch.set_num_threads(2)
        case = Case(parity_case, filled)
        assert case.take("dropout").startswith("set to 0")
        method = ClipLora(rank=case.take("rank"), alpha=case.take("alpha"), dropout=0.0)
        model = method.adapt(parity_backbone)
        own = {
            f"lora.{tower}.{i}.{projection}.{letter}": getattr(block, letter.lower())[number]
            for tower, blocks in model.updates.items()
            for i, block in enumerate(blocks)
            for number, projection in enumerate("qkv")
            for letter in "AB"
        }
        std_of_b = case.take("std_of_B")
        assert "width ** -0.5" in case.take("std_of_A")
        described = case._case["extras"]
        assert described.keys() <= own.keys()
        with torch.no_grad():
            for role, parameter in own.items():
                std = std_of_b if role.endswith("B") else parameter.shape[1] ** -0.5
                parameter.copy_(filled(role, tuple(parameter.shape), std))
        fill_extras(case, own)  # those that the file describes in full are as filled
        assert model.updates["text"][0]._scaling == pytest.approx(case.take("scaling"))
        assert float(model._scale) == case.take("scale")
        assert parity_backbone.prompts(method.template, case.classes.names) == case.take("prompts")
        test_images = check_inference(case, model, lambda m: m._tokens)
        zero_shot = ZeroShot().adapt(parity_backbone)
        zero_shot.set_classes(type(case.classes)(case.classes.names, {"clip": method.template}))
        with torch.no_grad():
            plain = model._scale / parity_backbone.logit_scale * inference(zero_shot, test_images)
        close(plain, case.take("zero_shot_test_logits"))
        inputs = stage_inputs(model, case.images())
        close(model.logits(inputs, model.classifier()), case.take("logits"))
        rates = case._case["learning_rates"]
        recipe = ClipLora.recipes["default"]
        recipe = Recipe(
            iterations=len(rates),
            learning_rate=recipe.learning_rate,
            schedule_step=recipe.schedule_step,
            minimum_learning_rate=recipe.minimum_learning_rate,
        )
        ours = [learning_rate(recipe, recipe.learning_rate, 0, i, len(rates)) for i in range(len(rates))]
        assert ours == pytest.approx(rates, rel=1e-6)
        assert "minimum 1e-6" in case.take("schedule")
        check_training(case, model, inputs, torch.tensor(case.take("labels")), own)
        close(inference(model, test_images), case.take("test_logits_after_steps"))
        case.done()


class Source:
    """An `ImageSource` of given pixels, one tensor for each augmented view; the last stands for the test view."""

    def __init__(self, backbone, views, labels):
        self.backbone, self.views, self.labels = backbone, views, torch.tensor(labels)

    @torch.no_grad()
    def read(self, stage, epoch=None):
        assert stage == "features"
        return self.backbone.image.encode(self.views[-1 if epoch is None else epoch])


def normal(key, shape):
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    return generator.standard_normal(shape)


def clustered(described, tag, labels):
    """The images of a tag, near the centre of their class."""
    prefix = f"images/{described['case']}"
    centres = np.stack([normal(f"{prefix}/center.{label}", (3, 32, 32)) for label in labels])
    own = normal(f"{prefix}/{tag}", (len(labels), 3, 32, 32))
    return torch.from_numpy((0.9 * centres + 0.45 * own).astype(np.float32))


class TestTipAdapter:
    file_prefix, files = "tip_adapter", ("tip_adapter",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        train, val, test = self.sources(case, parity_backbone)
        search, init = case.take("search"), case.take("init")
        beta_maximum, alpha_maximum = search.pop("scale_beta_alpha")
        assert search.pop("steps_beta_alpha") == [200, 20]
        method = TipAdapterF(
            alpha=init["alpha"],
            beta=init["beta"],
            alpha_maximum=alpha_maximum,
            beta_maximum=beta_maximum,
            views=len(train.views),
            templates=tuple(case.take("templates")),
        )
        tokens = parity_backbone.text.tokenize(parity_backbone.prompts(method.templates[0], case.classes.names))
        assert ids_without_padding(tokens) == case.take("token_ids")
        model = TipAdapter(**dataclasses.asdict(method)).adapt(parity_backbone)
        model.set_classes(case.classes)
        self.check_training_free(case, model, train, val, test, search)
        tuned = method.adapt(parity_backbone)
        tuned.set_classes(case.classes)
        self.check_fine_tuned(case.take("fine_tuned"), tuned, train, val, test)
        case.done()

    def sources(self, case, backbone):
        described = case.take("images")
        assert "0.9 * normal" in described.pop("rule")
        labels = {part: described.pop(f"{part}_labels") for part in ("train", "val", "test")}
        views = [clustered(described, f"train.view{i}", labels["train"]) for i in range(described.pop("views"))]
        val, test = (clustered(described, part, labels[part]) for part in ("val", "test"))
        described.pop("case")
        expected = [described.pop(key) for key in ("train_view0_norm", "val_norm", "test_norm")]
        assert not described
        close(torch.stack([norm(images) for images in (views[0], val, test)]), expected)
        return (
            Source(backbone, views, labels["train"]),
            Source(backbone, [val], labels["val"]),
            Source(backbone, [test], labels["test"]),
        )

    def check_training_free(self, case, model, train, val, test, search):
        val_features, test_features = val.read("features"), test.read("features")
        accuracies = {"val": case.take("val_accuracy_percent"), "test": case.take("test_accuracy_percent")}

        def percent(logits, source):
            return 100 * float((logits.argmax(dim=-1) == source.labels).double().mean())

        classifier = model.classifier()
        close(torch.stack([entries(row) for row in classifier]), case.take("classifier_columns"))
        assert float(model._scale) == case.take("scale")
        for part, source, features in (("val", val, val_features), ("test", test, test_features)):
            plain = model.logits(features, classifier)  # the cache is empty yet
            close(plain, case.take(f"zero_shot_{part}_logits"))
            assert percent(plain, source) == pytest.approx(accuracies[part].pop("zero_shot"))
        model.prepare(train, val)
        close(torch.stack([entries(key) for key in model.keys]), case.take("cache_keys"))
        initial = model.logits(val_features, classifier)
        close(initial, case.take("val_logits_at_init"))
        assert percent(initial, val) == pytest.approx(accuracies["val"].pop("init"))
        model.finish(train, val)
        assert model.beta == pytest.approx(search.pop("best_beta"))
        assert model.alpha == pytest.approx(search.pop("best_alpha"))
        best = model.logits(test_features, classifier)
        close(best, case.take("test_logits_at_best"))
        assert percent(best, test) == pytest.approx(accuracies["test"].pop("best"))
        assert not search
        assert not any(accuracies.values())

    def check_fine_tuned(self, described, model, train, val, test):
        model.prepare(train, val)
        assert "not re-normalised" in described.pop("note")
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count == described.pop("trainable_parameters") == model.keys.numel()
        rates = described.pop("learning_rates")
        recipe = TipAdapterF.recipes["default"]
        recipe = dataclasses.replace(recipe, epochs=described.pop("epochs"))
        per_epoch = described.pop("batches_per_epoch")
        ours = [learning_rate(recipe, recipe.learning_rate, i // per_epoch, i, len(rates)) for i in range(len(rates))]
        assert ours == pytest.approx(rates, rel=1e-6)
        settings = described.pop("optimizer")
        assert settings.pop("name") == "AdamW"
        assert (recipe.learning_rate, recipe.epsilon, recipe.weight_decay) == (
            settings["lr"],
            settings["eps"],
            settings["weight_decay"],
        )
        optimizer = torch.optim.AdamW(model.parameter_groups()["all"], **settings)
        half = len(train.labels) // 2
        losses, keys_of_epoch = [], []
        for step, rate in enumerate(rates):
            epoch, part = divmod(step, per_epoch)
            chosen = slice(part * half, (part + 1) * half)
            batch = Batch((train.read("features", epoch)[chosen],), train.labels[chosen])
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss = model.loss(batch)
            losses.append(float(loss.detach()))
            loss.backward()
            if step == 0:
                close(loss, described.pop("loss"))
                close(model.logits(batch.images, model._text), described.pop("logits"))
                ours = {"tip_adapter.keys": model.keys}
                check_gradients(Holder(described), ours)
                before = model.keys.detach().clone()
            optimizer.step()
            if step == 0:
                length, moved = described.pop("after_one_step")["tip_adapter.keys"]
                close(norm(model.keys), length)
                close(norm(model.keys - before), moved)
            if part == per_epoch - 1:
                with torch.no_grad():
                    logits = model.logits(test.read("features"), model._text)
                close(logits, described["test_logits_after_epoch"].pop(str(epoch)))
                keys_of_epoch.append((int((logits.argmax(dim=-1) == test.labels).sum()), model.keys.detach().clone()))
        close(torch.tensor(losses), described.pop("losses_over_steps"))
        assert not described.pop("test_logits_after_epoch")
        close(entries(model.keys), described.pop("keys_after_training"))
        # the authors' choice of the epoch, by test accuracy, which the model itself never sees
        with torch.no_grad():
            model.keys.copy_(max(keys_of_epoch, key=lambda pair: pair[0])[1])
        model.search()
        after = described.pop("search_after_training")
        assert model.beta == pytest.approx(after["best_beta"])
        assert model.alpha == pytest.approx(after["best_alpha"])
        assert not described


class Holder:
    """A part of a case, for checks that take from a case."""

    def __init__(self, part):
        self.take = part.pop
