"""How many images run at once where no gradient is needed: what a device has room for, and nothing else of the answers."""

from functools import cache

import open_clip
import pytest
import torch

from harness.clip.backbone import Backbone
from harness.clip.image_tower import FEWEST_AT_ONCE, MOST_AT_ONCE, SHARE_OF_DEVICE
from harness.meters.memory_tracker import Ledger, model_tensors
from harness.probes.fake_tensors import Simulation
from harness.training.reading import EXTRACTION_BATCH_SIZE, advance, autocast, extraction_batch_size

GIB = 1 << 30
tokenizer_of = cache(open_clip.get_tokenizer)


@pytest.mark.parametrize(
    ("name", "precision"), [("demo-clip", "fp32"), ("ViT-B-32-quickgelu", "bf16"), ("ViT-B-16-quickgelu", "fp16-pure")]
)
def test_images_at_once_take_at_most_their_share_of_a_device(name, precision):
    """The memory of a pass without a gradient, simulated: what each further image adds."""
    simulation = Simulation()
    backbone = simulation.backbone(name, execution="fast", precision=precision)
    size, peaks = backbone.pixels.size, []
    for images in (8, 16):
        with (
            simulation.fakes,
            Ledger(model_tensors(backbone)) as ledger,
            torch.no_grad(),
            autocast(precision, backbone.device),
        ):
            backbone.image.encode(simulation.empty(images, 3, size, size))
        peaks.append(ledger.peak_bytes)
    an_image = (peaks[1] - peaks[0]) / 8
    for memory_bytes in (GIB, 24 * GIB, 80 * GIB, 139 * GIB):
        backbone.image.fit(memory_bytes, number_bytes=4 if precision == "fp32" else 2)
        taken = backbone.image.at_once
        assert taken & (taken - 1) == 0
        if taken == MOST_AT_ONCE:
            assert taken * an_image < memory_bytes / SHARE_OF_DEVICE
        elif taken > FEWEST_AT_ONCE:
            assert 0.25 < taken * an_image / (memory_bytes / SHARE_OF_DEVICE) < 1
        else:
            assert 2 * taken * an_image > 0.7 * memory_bytes / SHARE_OF_DEVICE


def test_a_tower_runs_as_many_images_at_once_as_fit(make_clip, monkeypatch):
    """The same features; and the tower's copies keep the number."""
    backbone = Backbone(make_clip(), tokenizer_of("ViT-B-16"), execution="fast")
    pixels, sizes, encode = torch.randn(10, 3, 32, 32), [], backbone.image.encode
    whole = advance(backbone, pixels, "features")
    monkeypatch.setattr(backbone.image, "encode", lambda part: sizes.append(len(part)) or encode(part))
    backbone.image.at_once = 4
    torch.testing.assert_close(advance(backbone, pixels, "features"), whole)
    assert sizes == [4, 4, 2]
    assert extraction_batch_size(backbone) == backbone.copied("fast").image.at_once == 4
    assert extraction_batch_size(backbone.running("reference")) == EXTRACTION_BATCH_SIZE


def test_a_cpu_and_a_tower_of_unknown_shape_run_the_fewest(make_clip):
    backbone = Backbone(make_clip(), tokenizer_of("ViT-B-16"), execution="fast")
    backbone.image.fit(80 * GIB, number_bytes=4)
    assert backbone.image.at_once == MOST_AT_ONCE
    backbone.image.fit(None, number_bytes=4)
    assert backbone.image.at_once == FEWEST_AT_ONCE
    resnet = Backbone(make_clip(vision_layers=[1, 1, 1, 1]), tokenizer_of("ViT-B-16"), execution="fast")
    resnet.image.fit(80 * GIB, number_bytes=4)
    assert resnet.image.at_once == FEWEST_AT_ONCE
