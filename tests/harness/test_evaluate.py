"""Top-1 accuracy, counted on classifiers made by hand."""

import pytest
import torch
from PIL import Image

from harness.data.image_set import ImageSet
from harness.method import AdaptedModel, Read
from harness.suite import Item
from harness.training.evaluate import evaluate

WANTED = [0, 1, 2, 2, 1, 0, 1]


class Answers(AdaptedModel):
    """Class `round(red / 80)` of flat images: what an image says is chosen by its colour."""

    reads = (Read("pixels"),)

    def __init__(self, backbone, answers=None):
        super().__init__(backbone)
        self.classifier_calls = 0
        self.grad_modes = set()

    def classifier(self):
        self.classifier_calls += 1
        return torch.eye(3)

    def logits(self, images, classifier):
        self.grad_modes.add(torch.is_grad_enabled())
        pixels = self.backbone.pixels
        red = (images[:, 0].mean(dim=(1, 2)) * pixels.std[0] + pixels.mean[0]) * 255
        return classifier[(red / 80).round().long()]


@pytest.fixture
def images(tiny_backbone):
    answers = [0, 1, 2, 0, 1, 1, 1]  # numbers 3 and 5 are wrong
    items = [Item(str(i), label, "abc"[label]) for i, label in enumerate(WANTED)]

    def open_image(key):
        return Image.new("RGB", (40, 40), (80 * answers[int(key)], 0, 0))

    return ImageSet(items, open_image, tiny_backbone().pixels, seed=1)


@pytest.mark.parametrize("execution", ["fast", "reference"])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_counts_are_right_whatever_the_batches(tiny_backbone, images, execution, batch_size):
    model = Answers(tiny_backbone(execution))
    found = evaluate(model, images, batch_size=batch_size, precision="fp32")
    record = found.score(["a", "b", "c"])
    assert (record.correct, record.images, record.classes) == (5, 7, 3)
    assert record.accuracy_percent == 500 / 7
    assert record.confusion == ((0, 0, 1), (0, 1, 1), (1, 1, 3), (2, 0, 1), (2, 2, 1))
    assert record.class_accuracy_percent == (50.0, 100.0, 50.0)
    assert found.logits.tolist() == [1.0] * 7
    assert model.grad_modes == {False}
    batches = -(-7 // batch_size)
    assert model.classifier_calls == (1 if execution == "fast" else batches)


def test_a_memory_pass_stops_after_its_batches(tiny_backbone, images):
    found = evaluate(Answers(tiny_backbone()), images, batch_size=3, precision="fp32", maximum_batches=1)
    assert (found.correct, len(found.labels)) == (3, 3)


def test_a_class_without_images_has_no_accuracy(tiny_backbone, images):
    record = evaluate(Answers(tiny_backbone()), images, batch_size=7, precision="fp32").score("abcd")
    assert record.class_accuracy_percent == (50.0, 100.0, 50.0, None)
