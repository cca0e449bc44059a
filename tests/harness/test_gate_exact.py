"""Exact figures against figures worked out by hand, and equal to the byte however often they are taken."""

from dataclasses import asdict

import pytest
import torch

from harness.errors import ConfigError
from harness.gate.figures import CLASSES, count, run_key, work
from harness.meters.memory_tracker import SavedBytes
from harness.method import Classes
from harness.probes.simulate import class_names, simulate

pytestmark = pytest.mark.usefixtures("tinyworld", "one_thread")
BATCH, TEST_IMAGES, WIDTH = 4, 100, 32  # of `gated` on the tiny backbone
ACTIVATION_BYTES = BATCH * WIDTH * 4


def figures(method, part="train", **settings):
    texts = {name: str(value) for name, value in settings.items()}
    return count(run_key(method, "tiny-clip", "fast", texts), part)[1]


class TestByHand:
    def test_a_training_step(self):
        found = figures("gated:Squares")
        assert found.trainable_parameters == WIDTH
        assert found.flops == 2 * (2 * BATCH * WIDTH * CLASSES)  # logits, and the gradient of what they are of
        softmax, labels, total_weight = BATCH * CLASSES * 4, BATCH * 8, 4
        assert found.saved_activation_bytes == 2 * ACTIVATION_BYTES + softmax + labels + total_weight

    def test_an_evaluation_step_keeps_nothing(self):
        found = figures("gated:Squares", "evaluate")
        assert found.saved_activation_bytes == 0
        assert found.flops > 100 * 2 * WIDTH * CLASSES  # the image tower on 100 images, too

    @pytest.mark.parametrize("trial", range(3))
    def test_a_copied_activation_is_seen_every_time(self, trial):
        before, after = (figures("gated:Squares", copies=copies) for copies in (0, 1))
        assert after.saved_activation_bytes - before.saved_activation_bytes == ACTIVATION_BYTES
        assert after.peak_tensor_bytes - before.peak_tensor_bytes == ACTIVATION_BYTES
        assert after.allocated_bytes - before.allocated_bytes == ACTIVATION_BYTES
        assert (after.flops, after.trainable_parameters) == (before.flops, before.trainable_parameters)

    def test_a_copy_that_is_freed_before_the_peak_is_seen_too(self):
        before, after = (asdict(figures("gated:Squares", "evaluate", copies=copies)) for copies in (0, 1))
        assert after.pop("allocated_bytes") - before.pop("allocated_bytes") == TEST_IMAGES * WIDTH * 4
        assert after == before

    @pytest.mark.parametrize("part", ["train", "evaluate"])
    def test_no_figure_depends_on_threads(self, part):
        torch.set_num_threads(1)
        alone = figures("coop", part)
        torch.set_num_threads(2)
        assert figures("coop", part) == alone


@pytest.mark.parametrize("method", ["coop", "full_finetuning"])
def test_a_steps_flops_are_those_that_simulation_finds(method):
    key = run_key(method, "tiny-clip", "fast", {"batch_size": "4"})
    simulated = simulate(key, Classes(class_names(CLASSES), {"clip": "a photo of a {}."}))
    found = count(key, "train")[1]
    assert (found.flops, found.trainable_parameters) == (simulated.step_flops, simulated.trainable_parameters)


def test_both_executions_can_be_gated():
    fast, reference = (
        count(run_key("coop", "tiny-clip", execution, {}), "train")[1] for execution in ("fast", "reference")
    )
    assert fast.flops < reference.flops
    assert fast.saved_activation_bytes < reference.saved_activation_bytes


def test_a_part_that_a_method_lacks():
    key = run_key("zero_shot", "tiny-clip", "fast", {})
    with pytest.raises(ConfigError, match="trains in no steps") as error:
        work(key, "train")
    assert 'part="evaluate"' in error.value.advice
    with pytest.raises(ConfigError, match="no part 'test'"):
        work(key, "test")


def test_saved_bytes_count_a_storage_once_while_it_lives():
    """Two backward passes: the second's activations may come to lie where the first's were."""
    x = torch.randn(1000, requires_grad=True)
    with SavedBytes([x]) as saved:
        for _ in range(3):
            y = x.exp()  # keeps y
            (y * y).sum().backward()  # keeps y again
            del y
    assert saved.total_bytes == 3 * 4000
