"""Every method against golden vectors computed with its authors' code, in both executions.

Each test accounts for every key of its case: what is not checked by it, or known to describe the input, fails.
"""

import copy
import itertools
import json
import random
from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from harness import plugins
from harness.method import Batch, Classes, cosine_logits
from harness.recipe import Recipe
from harness.schedule import learning_rate
from harness.train import advance
from methods.clip_adapter import ClipAdapter
from methods.coop import CoOp
from methods.full_finetuning import FullFinetuning
from methods.models.skip_tuning import (
    epoch_batches,
    one_class_batches,
    reserve_probabilities,
    select_classes,
    top_count,
)
from methods.skip_tuning import SkipTuning
from methods.zero_shot import ZeroShot

RELATIVE = 1e-4

DATASETS = {
    "OxfordPets": "oxford_pets",
    "OxfordFlowers": "oxford_flowers",
    "Food101": "food101",
    "StanfordCars": "stanford_cars",
    "DescribableTextures": "dtd",
    "EuroSAT": "eurosat",
    "UCF101": "ucf101",
    "Caltech101": "caltech101",
    "FGVCAircraft": "fgvc_aircraft",
    "SUN397": "sun397",
    "ImageNet": "imagenet",
    "ImageNetV2": "imagenetv2",
    "ImageNetSketch": "imagenet_sketch",
    "ImageNetA": "imagenet_a",
    "ImageNetR": "imagenet_r",
}


def close(actual, expected, relative=RELATIVE):
    """Relative to the largest magnitude of the expected tensor: single entries near zero carry rounding of large sums."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    actual = actual.detach().double()
    assert actual.shape == expected.shape
    scale = max(float(expected.abs().max()), 1e-12) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=relative, atol=relative * scale)


def norm(tensor):
    """In float64: a float32 sum over a large tensor is off by more than the tolerance."""
    return tensor.detach().double().norm()


class Case:
    """A case of a golden file, which knows what of it was checked."""

    def __init__(self, case, filled):
        self._case = copy.deepcopy(case)
        self._fill = filled
        self.name = self.take("case")
        dataset = plugins.load("dataset", DATASETS[self.take("dataset")])
        self.classes = Classes(tuple(self.take("classnames")), dataset.templates)
        self.new_classes = Classes(tuple(self.take("new_classnames", ())), dataset.templates)

    def take(self, key, default=None):
        return self._case.pop(key, default)

    def images(self, key="images"):
        described = self.take(key)
        images = self._fill(described["key"], described["shape"], 1.0)
        close(norm(images), described["norm"])
        close(images.flatten()[:3], described["first3"])
        return images

    def parameter(self, described, role):
        value = self._fill(role, described["shape"], described["std"], described["offset"])
        close(norm(value), described["norm"])
        close(value.flatten()[:3], described["first3"])
        return value

    def done(self):
        assert not self._case, f"keys of {self.name} that no check looked at: {sorted(self._case)}"


def ids_without_padding(tokens):
    return [row[: end + 1].tolist() for row, end in zip(tokens.ids, tokens.eot, strict=True)]


def stage_inputs(model, images):
    with torch.no_grad():
        return advance(model.backbone, images, model.reads[0].stage)


@torch.no_grad()
def inference(model, images):
    return model.logits(stage_inputs(model, images), model.classifier())


def check_gradients(case, parameters, key="gradients"):
    for name, (length, *entries) in case.take(key).items():
        gradient = parameters[name].grad
        n = gradient.numel()
        flat = gradient.flatten()[[0, n // 5, n // 2, 3 * n // 4, n - 1]]
        close(norm(gradient), length)
        torch.testing.assert_close(
            flat.double(), torch.tensor(entries, dtype=torch.float64), rtol=RELATIVE, atol=RELATIVE * length / n**0.5
        )


def optimizer_of(case, model):
    described = case.take("optimizer")
    assert described.pop("name") == "SGD"
    assert not described.pop("nesterov")
    assert described.pop("dampening") == 0
    groups = model.parameter_groups()
    rates = described.pop("group_learning_rates", None)
    if rates:
        by_name = {
            "text": rates[described.pop("group_of_text_tower")],
            "image": rates[described.pop("group_of_image_tower")],
        }
        described.pop("lr")
    else:
        by_name = dict.fromkeys(groups, described.pop("lr"))
    return torch.optim.SGD([{"params": p, "lr": by_name[name]} for name, p in groups.items()], **described)


def check_training(case, model, inputs, labels, parameters):
    """The loss, its gradients, one optimiser step, and the losses over the first steps on the same batch."""
    batch = Batch((inputs,), labels)
    loss = model.loss(batch)
    close(loss, case.take("loss"))
    loss.backward()
    check_gradients(case, parameters)
    trainable = {id(p): p for p in model.parameters() if p.requires_grad}
    assert sum(p.numel() for p in trainable.values()) == case.take("trainable_parameters")
    optimizer = optimizer_of(case, model)
    before = {name: parameters[name].detach().clone() for name in case._case["after_one_step"]}
    optimizer.step()
    for name, (length, step) in case.take("after_one_step").items():
        close(norm(parameters[name]), length)
        # the step of a large tensor is a difference of float32 numbers: its own rounding is up to 6e-8 of the tensor
        rounding = 6e-8 * float(before[name].abs().max()) * before[name].numel() ** 0.5
        torch.testing.assert_close(float(norm(parameters[name] - before[name])), step, rtol=RELATIVE, atol=rounding)
    losses = [float(loss.detach())]
    expected = case.take("losses_over_steps")
    for _ in expected[1:]:
        optimizer.zero_grad()
        loss = model.loss(batch)
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    close(torch.tensor(losses), expected)


def check_inference(case, model, tokens_of):
    """Token ids and logits in inference mode, on the training classes and after aiming at new ones."""
    test_images = case.images("test_images")
    if case.new_classes.names:
        model.set_classes(case.new_classes)
        assert ids_without_padding(tokens_of(model)) == case.take("new_token_ids")
        close(inference(model, test_images), case.take("new_test_logits"))
    model.set_classes(case.classes)
    assert ids_without_padding(tokens_of(model)) == case.take("token_ids")
    close(inference(model, test_images), case.take("test_logits"))
    return test_images


class TestBackbone:
    def test_every_parameter_is_filled_as_the_golden_one(self, parity_clip, parity_dir):
        path = parity_dir / "backbone.json"
        if not path.exists():
            pytest.skip("this folder has no backbone.json")
        expected = json.loads(path.read_text())
        _, state = parity_clip
        described = expected["parameters"]
        assert described.keys() == state.keys()
        assert sum(value.numel() for value in state.values()) == expected["count"]
        for name, value in state.items():
            if "value" in described[name]:
                close(value, described[name]["value"])
                continue
            assert list(value.shape) == described[name]["shape"]
            close(norm(value), described[name]["norm"])
            close(value.flatten()[:3], described[name]["first3"])


class TestZeroShot:
    file_prefix, files = "zero_shot", ("zero_shot",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        template_list = {"A": "clip", "B": "fine-tuning"}[case.take("template_list")]
        model = ZeroShot(template_list=template_list).adapt(parity_backbone)
        model.set_classes(case.classes)
        prompts = parity_backbone.prompts(case.classes.template(template_list), case.classes.names)
        assert prompts == case.take("prompts")
        tokens = parity_backbone.text.tokenize(prompts)
        assert ids_without_padding(tokens) == case.take("token_ids")
        images = case.images()
        with torch.no_grad():
            for features, key in (
                (parity_backbone.image.encode(images), "image_features"),
                (parity_backbone.text.encode(tokens), "text_features"),
            ):
                n = features.shape[1]
                expected = torch.tensor(case.take(key), dtype=torch.float64)
                close(features.norm(dim=-1), expected[:, 0])
                close(features[:, [0, n // 5, n // 2, 3 * n // 4, n - 1]], expected[:, 1:])
        close(inference(model, images), case.take("logits"))
        case.done()


class TestFullFinetuning:
    file_prefix, files = "ft", ("ft",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        assert case.take("extras") == {}
        model = FullFinetuning().adapt(parity_backbone)
        check_inference(case, model, lambda m: m._tokens)
        inputs = stage_inputs(model, case.images())
        close(model.logits(inputs, model.classifier()), case.take("logits"))
        check_training(
            case, model, inputs, torch.tensor(case.take("labels")), dict(parity_backbone.model.named_parameters())
        )
        case.done()


class TestCoOp:
    file_prefix, files = "coop", ("coop",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        context = case.take("context")
        described = case.take("extras")["coop.ctx"]
        model = CoOp(
            context_length=described["shape"][-2],
            context_init=context["words"],
            class_position=context["position"],
            class_specific=context["class_specific"],
        ).adapt(parity_backbone)
        model.set_classes(case.classes)
        if "init" in described:
            close(norm(model.context), described["norm"])
            close(model.context.flatten()[:3], described["first3"])
        else:
            with torch.no_grad():
                model.context.copy_(case.parameter(described, "coop.ctx"))
        check_inference(case, model, lambda m: m._tokens)
        inputs = stage_inputs(model, case.images())
        close(model.logits(inputs, model.classifier()), case.take("logits"))
        check_training(case, model, inputs, torch.tensor(case.take("labels")), {"coop.ctx": model.context})
        case.done()


class TestClipAdapter:
    file_prefix, files = "clip_adapter", ("clip_adapter",)

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        model = ClipAdapter(ratio=case.take("ratio")).adapt(parity_backbone)
        own = {"clip_adapter.fc1.weight": model.down.weight, "clip_adapter.fc2.weight": model.up.weight}
        with torch.no_grad():
            for role, described in case.take("extras").items():
                own[role].copy_(case.parameter(described, role))
        assert parity_backbone.prompts(case.classes.template("clip"), case.classes.names) == case.take("prompts")
        check_inference(
            case,
            model,
            lambda m: m.backbone.text.tokenize(m.backbone.prompts(m._classes.template("clip"), m._classes.names)),
        )
        with torch.no_grad():
            model.prepare(None, None)
        inputs = stage_inputs(model, case.images())
        labels = torch.tensor(case.take("labels"))
        close(model.logits(inputs, model.text_features), case.take("logits"))
        with torch.no_grad():
            encoded_again = F.cross_entropy(model.logits(inputs, model.classifier()), labels)
        close(encoded_again, case.take("loss_when_prompts_are_encoded_every_step"))
        check_training(case, model, inputs, labels, own)
        case.done()


class TestSkipTuning:
    file_prefix, files = "skip_tuning", ("skip_tuning", "skip_tuning_depths")

    def test_case(self, parity_case, parity_backbone, filled):
        case = Case(parity_case, filled)
        method = SkipTuning(
            start_layer=case.take("omega"), top_ratio=case.take("top_ratio"), maximum_top=case.take("max_top")
        )
        assert case.take("configured_epochs") == SkipTuning.recipes["default"].epochs
        model = method.adapt(parity_backbone)
        prompts = parity_backbone.prompts(case.classes.template("fine-tuning"), case.classes.names)
        assert prompts == case.take("prompts")
        test_images = check_inference(case, model, lambda m: m._tokens)
        labels = torch.tensor(case.take("labels"))
        with torch.no_grad():
            inputs = stage_inputs(model, case.images())
            model.prepare(None, None)
            model.begin_epoch(0)
        self.check_caches(case, model, inputs)
        self.check_selection(case, model, inputs, labels)
        check_training(case, model, inputs, labels, dict(parity_backbone.model.named_parameters()))
        model.forget_constants()
        close(inference(model, test_images), case.take("test_logits_after_steps"))
        # the authors hand frozen tensors to the optimiser too, where they have no gradient and stay as they are
        assert case.take("tensors_in_optimizer") == case.take("distinct_tensors_in_optimizer")
        assert case.take("trainable_tensors") == len({id(p) for p in model.parameters() if p.requires_grad})
        case.done()

    def check_caches(self, case, model, inputs):
        hidden, eot = model.text_cache.hidden, model.text_cache.eot
        text = case.take("text_cache")
        close(torch.stack([h[: e + 1].norm() for h, e in zip(hidden, eot, strict=True)]), text["norm_up_to_eot"])
        for class_index, token, channel, value in text["values"]:
            close(hidden[class_index, token, channel], value)
        image = case.take("image_cache")
        close(inputs.flatten(1).norm(dim=1), image["norm"])
        for index, token, channel, value in image["values"]:
            close(inputs[index, token, channel], value, relative=2e-4)
        n = model.prototypes.shape[1]
        expected = torch.tensor(case.take("class_prototypes"), dtype=torch.float64)
        close(model.prototypes.norm(dim=-1), expected[:, 0])
        close(model.prototypes[:, [0, n // 5, n // 2, 3 * n // 4, n - 1]], expected[:, 1:])

    @torch.no_grad()
    def check_selection(self, case, model, inputs, labels):
        tower = model.backbone.image
        features = tower.head(tower.blocks(inputs, model.start, tower.depth))
        close(F.normalize(features, dim=-1) @ model.prototypes.T, case.take("similarity_to_prototypes"))
        assert model.top == case.take("n_top")
        mask = case.take("reserve_mask_over_ranks")
        if mask is not None:
            model.mask = torch.tensor(mask, dtype=torch.bool)
        kept, relabelled = model._select(features, labels)
        kept_list = list(range(len(model.prototypes))) if kept is None else kept.tolist()
        assert kept_list == case.take("kept_classes")
        assert relabelled.tolist() == case.take("relabelled") == case.take("loss_labels")
        texts = model.text_cache if kept is None else model.text_cache.select(kept)
        classifier = F.normalize(model._upper_text(texts), dim=-1)
        close(cosine_logits(model.backbone.logit_scale, features, classifier), case.take("logits"))


class TestSkipTuningSelection:
    def load(self, parity_dir, name):
        path = parity_dir / name
        if not path.exists():
            pytest.skip(f"this folder has no {name}")
        return json.loads(path.read_text())

    def test_kept_classes_and_labels(self, parity_dir, filled):
        for case in self.load(parity_dir, "skip_tuning_selection.json")["cases"]:
            given = case["similarity"]
            similarity = (
                torch.tensor(given["values"])
                if "values" in given
                else filled(given["key"], given["shape"], given["std"])
            )
            labels = torch.tensor(case["labels"])
            classes = similarity.shape[1]
            method = SkipTuning(top_ratio=case["top_ratio"], maximum_top=case["max_top"])
            assert top_count(classes, method) == case["n_top"], case["case"]
            if case["reserve_mask_over_ranks"] is None:
                assert case["n_top"] == classes
                continue
            mask = torch.tensor(case["reserve_mask_over_ranks"], dtype=torch.bool)
            # what the released code does in its traps is ours on request; by default no class of the batch is lost
            kept, relabelled = select_classes(similarity, labels, mask, keep_labels=not case["trap"])
            assert (kept.tolist(), relabelled.tolist()) == (case["kept_classes"], case["relabelled"]), case["case"]
            kept, relabelled = select_classes(similarity, labels, mask)
            assert kept[relabelled].tolist() == case["labels"], case["case"]

    def test_reserve_probabilities(self, parity_dir):
        for row in self.load(parity_dir, "skip_tuning_selection.json")["reserve_probability"]:
            p = reserve_probabilities(row["classes"], row["n_top"], row["lambda"])
            assert torch.all(p[: row["n_top"]] == 1)
            if "tail" in row:
                tail = torch.tensor(row["tail"], dtype=torch.float64)
                torch.testing.assert_close(p[row["n_top"] :], tail, rtol=1e-4, atol=1e-6)
            assert float(p.sum()) == pytest.approx(row["sum"], rel=1e-5)
            assert row["n_top"] == top_count(row["classes"], SkipTuning())

    def test_batches(self, parity_dir):
        data = self.load(parity_dir, "skip_tuning_batches.json")
        for row in data["batch_statistics"]:
            labels = [c for c in range(row["classes"]) for _ in range(row["shots"])]
            epochs = [list(epoch_batches(labels, row["batch_size"], random.Random(seed))) for seed in range(400)]
            for batches in epochs:
                assert len(batches) == row["batches_per_epoch"]
                used = Counter(itertools.chain.from_iterable(batches))
                assert max(used.values()) == 1
                assert len(labels) - len(used) == row["unused_images_per_epoch"]
            distinct = [len({labels[i] for i in batch}) for batches in epochs for batch in batches]
            expected = row["distinct_labels_per_batch"]
            assert min(distinct) >= expected["min"]
            assert max(distinct) <= expected["max"]
            assert sum(distinct) / len(distinct) == pytest.approx(expected["mean"], abs=0.06)
            share = row.get("probability_that_consecutive_batches_share_the_class")
            if share:
                pairs = [(labels[a[0]], labels[b[0]]) for batches in epochs for a, b in itertools.pairwise(batches)]
                same = sum(a == b for a, b in pairs) / len(pairs)
                assert same == pytest.approx(share["mean"], abs=6 * 0.41 / len(pairs) ** 0.5)

    def test_degenerate_sets_train_on_every_class(self, parity_dir):
        """The authors' code stops in these cases; ours falls back to shuffled batches."""
        self.load(parity_dir, "skip_tuning_batches.json")
        assert sorted(itertools.chain(*epoch_batches([0, 1, 1], 4, random.Random(1)))) == [0, 1, 2]
        labels = [0] * 3 + [1] * 8
        batches = list(epoch_batches(labels, 4, random.Random(1)))
        assert len(batches) == 2
        assert {labels[i] for batch in batches for i in batch} == {0, 1}


class TestSchedules:
    def test_every_published_schedule(self, parity_dir):
        path = parity_dir / "schedules.json"
        if not path.exists():
            pytest.skip("this folder has no schedules.json")
        data = json.loads(path.read_text())
        for row in data["schedules"]:
            recipe = Recipe(
                epochs=row["epochs"],
                learning_rate=row["learning_rates"][0],
                warmup_epochs=row["warmup_epochs"],
                warmup_learning_rate=row["warmup_learning_rate"],
                schedule_period_epochs=row["period_epochs"],
            )
            for group, base in enumerate(row["learning_rates"]):
                rates = [learning_rate(recipe, base, epoch, 0, 1) for epoch in range(row["epochs"])]
                assert rates == pytest.approx(row["per_epoch"][f"group {group}"], rel=1e-6), row["use"]
        for row in data["per_iteration"]:
            recipe = Recipe(
                iterations=row["iterations"],
                learning_rate=row["learning_rate"],
                schedule_step="iteration",
                minimum_learning_rate=row["minimum"],
            )
            rates = [learning_rate(recipe, row["learning_rate"], 0, i, row["iterations"]) for i in row["at_iteration"]]
            assert rates == pytest.approx(row["values"], rel=1e-5), row["use"]


def test_one_class_batches_keep_to_one_class():
    labels = [0] * 9 + [1] * 4 + [2] * 6
    for batch in one_class_batches(labels, 4, random.Random(1)):
        assert len({labels[i] for i in batch}) == 1
