"""Reading golden vectors: cases that know what of them was checked, and the checks that several methods share."""

import copy

import torch

from harness import plugins
from harness.method import Batch, Classes
from harness.training.reading import advance

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
    torch.testing.assert_close(actual, expected, rtol=0, atol=relative * scale)


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
    return [list(ids) for ids in tokens.ids]


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
    kind = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[described.pop("name")]
    assert not described.pop("nesterov", False)
    assert described.pop("dampening", 0) == 0
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
    return kind([{"params": p, "lr": by_name[name]} for name, p in groups.items()], **described)


def check_training(case, model, inputs, labels, parameters):
    """The loss, its gradients, one optimiser step, and the losses over the first steps on the same batch.

    `inputs` is a tuple for a model with several reads. `learning_rates` are those of the steps, where a case has them.
    """
    batch = Batch(inputs if isinstance(inputs, tuple) else (inputs,), labels)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = model.backward(batch, scaler)
    close(loss, case.take("loss"))
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
    losses = [float(loss)]
    expected = case.take("losses_over_steps")
    rates = case.take("learning_rates", [None] * len(expected))
    for rate in rates[1:]:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate or group["lr"]
        losses.append(float(model.backward(batch, scaler)))
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
