"""Pixels: torchvision's test transform exactly, and augmentation that depends on (seed, epoch, view, image) only."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from open_clip.transform import image_transform
from PIL import Image

from harness.clip.backbone import Pixels
from harness.data.image_set import ImageSet, centre_square
from harness.suite import Item

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = [(41, 37), (37, 41), (32, 32), (32, 47), (33, 100), (100, 33), (7, 5), (5, 5), (301, 225), (31, 32)]


def noise(width, height, seed=0):
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def image_set(images, size=32, seed=1, resize_mode="shortest", **how):
    items = [Item(f"image {i}", i % 2, "ab"[i % 2]) for i in range(len(images))]
    images = dict(zip((item.image for item in items), images, strict=True))
    return ImageSet(items, images.__getitem__, Pixels(size, MEAN, STD, "bicubic", resize_mode), seed=seed, **how)


def augmented(count=12, augmentation="random-resized-crop-flip", **how):
    return image_set([noise(60, 45, i) for i in range(count)], augmentation=augmentation, **how)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("side", [32, 48, 33])
def test_the_test_transform_is_open_clips(side, resize_mode):
    theirs = image_transform(side, False, MEAN, STD, resize_mode, "bicubic")
    images = [noise(*size) for size in SIZES]
    ours = image_set(images, side, resize_mode=resize_mode)
    for index, image in enumerate(images):
        assert torch.equal(ours.pixels(index), theirs(image)), image.size


def test_of_a_long_strip_the_middle_is_what_counts():
    strip = Image.new("RGB", (1, 20_000))
    strip.paste((255, 255, 255), (0, 9_900, 1, 10_100))
    assert np.asarray(centre_square(strip, 224, Image.Resampling.BICUBIC)).min() == 255


def test_epoch_none_is_the_test_transform():
    images = [noise(60, 45)]
    plain, random_ = image_set(images), image_set(images, augmentation="random-resized-crop-flip")
    assert torch.equal(random_.pixels(0, None), plain.pixels(0))
    assert not torch.equal(random_.pixels(0, 0), plain.pixels(0))


@pytest.mark.parametrize("augmentation", ["random-resized-crop-flip", "resize-randaugment"])
def test_augmentation_depends_on_seed_epoch_view_and_image_only(augmentation):
    one = augmented(augmentation=augmentation)
    random.seed(5)
    first = one.pixels(3, 2, 1)
    random.seed(6)
    np.random.seed(6)
    torch.manual_seed(6)
    assert torch.equal(augmented(augmentation=augmentation).pixels(3, 2, 1), first)
    assert torch.equal(one.pixels(3, 2, 1), first)
    others = [one.pixels(3, 1, 1), one.pixels(3, 2, 0), one.pixels(4, 2, 1)]
    others.append(augmented(augmentation=augmentation, seed=2).pixels(3, 2, 1))
    assert not any(torch.equal(other, first) for other in others)


def test_augmentation_does_not_depend_on_batches_or_threads():
    images = augmented()
    alone = [images.pixels(i, 4) for i in range(12)]
    orders = [[[0, 1, 2], [3, 4, 5]], [[5, 3], [1], [4, 0, 2]], [[11, 0], [7, 7]]]
    for order in orders:
        for indices, pixels in augmented().batches(order, epoch=4):
            assert all(torch.equal(p, alone[i]) for i, p in zip(indices, pixels, strict=True))
    with ThreadPoolExecutor(8) as pool:
        for i, pixels in enumerate(pool.map(lambda i: images.pixels(i, 4), range(12))):
            assert torch.equal(pixels, alone[i])


@pytest.mark.parametrize("threads", [1, 7])
def test_a_gpu_is_sent_bytes_and_has_the_same_pixels(monkeypatch, threads):
    """Through the calls of a device that isn't there: its memory is the host's."""
    sent = []

    class Calls:
        def sent(self, host):
            sent.append((host.dtype, tuple(host.shape)))
            return host.clone()

    monkeypatch.setattr("harness.data.image_set.calls_of", lambda device: Calls())
    monkeypatch.setattr("harness.data.image_set.decoding_threads", lambda device: threads)
    images = augmented()
    for indices, pixels in images.batches([[0, 3, 1], [2]], 4, 1, torch.device("cuda:0")):
        assert torch.equal(pixels, torch.stack([augmented().pixels(i, 4, 1) for i in indices]))
    assert sent == [(torch.uint8, (3, 3, 32, 32)), (torch.uint8, (1, 3, 32, 32))]


EVERY_BYTE = torch.arange(256, dtype=torch.uint8).repeat(3).view(3, 16, 16)


def test_every_byte_is_normalised_as_torchvision_does():
    ours = image_set([noise(32, 32)])._normalised(EVERY_BYTE.expand(2, 3, 16, 16).float())
    theirs = T.Normalize(MEAN, STD)(EVERY_BYTE.float().div(255))
    assert all(torch.equal(each, theirs) for each in ours)


@pytest.mark.gpu
def test_a_gpu_normalises_every_byte_as_the_cpu_does():
    images = image_set([noise(32, 32)])
    assert torch.equal(images._normalised(EVERY_BYTE.cuda().float()).cpu(), images._normalised(EVERY_BYTE.float()))


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_of_the_cpu():
    for (_, there), (_, here) in zip(
        augmented().in_order(5, 2, device=torch.device("cuda")), augmented().in_order(5, 2), strict=True
    ):
        assert there.device.type == "cuda"
        assert torch.equal(there.cpu(), here)


def test_small_batches_leave_no_thread_idle(monkeypatch):
    """Beside the batch in hand, each thread has its images; of large batches, one is ahead."""
    monkeypatch.setattr("harness.data.image_set.decoding_threads", lambda device: 2)
    images = augmented()
    for size, ahead in ((1, 8), (3, 9), (20, 20)):
        asked = []
        lists = (asked.extend(range(n, n + size)) or [i % 12 for i in range(n, n + size)] for n in range(0, 60, size))
        next(images.batches(lists))
        assert len(asked) == size + ahead


def test_resize_randaugment_squashes_and_then_takes_two_operations(monkeypatch):
    seen = []
    monkeypatch.setattr("harness.data.image_set.rand_augment", lambda image, rng: seen.append(image) or image)
    image = noise(60, 45)
    pixels = image_set([image], augmentation="resize-randaugment").pixels(0, 3)
    assert torch.equal(pixels, image_transform(32, False, MEAN, STD, "squash", "bicubic")(image))
    assert seen == [image.resize((32, 32), Image.Resampling.BICUBIC)]


def test_in_order_drops_nothing():
    seen = [(list(indices), pixels) for indices, pixels in augmented(7).in_order(3, epoch=None)]
    assert [indices for indices, _ in seen] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [tuple(pixels.shape) for _, pixels in seen] == [(3, 3, 32, 32), (3, 3, 32, 32), (1, 3, 32, 32)]


def test_a_broken_image_surfaces_in_the_batch_that_holds_it():
    def open_image(key):
        if key == "bad":
            raise OSError("cut short")
        return noise(40, 40)

    items = [Item(key, 0, "a") for key in ("good", "bad")]
    images = ImageSet(items, open_image, Pixels(32, MEAN, STD, "bicubic"), seed=1)
    batches = images.batches([[0], [1]])
    next(batches)
    with pytest.raises(OSError, match="cut short"):
        next(batches)


@pytest.mark.parametrize(("minimum", "size"), [(0.08, (200, 150)), (0.5, (160, 160))])
def test_crops_have_the_area_aspect_place_and_flips_of_random_resized_crop(minimum, size, monkeypatch):
    """A ramp per axis tells, from the crop's corners, which box was taken and whether it was flipped."""
    boxes = []
    resize = Image.Image.resize
    flips = []
    transpose = Image.Image.transpose
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *a, box, **k: boxes.append(box) or resize(self, *a, box=box, **k)
    )
    monkeypatch.setattr(Image.Image, "transpose", lambda self, how: flips.append(how) or transpose(self, how))
    images = image_set([noise(*size)], augmentation="random-resized-crop-flip", crop_scale_minimum=minimum)
    for epoch in range(1500):
        images.pixels(0, epoch)
    width, height = size
    areas = np.array([(r - l) * (b - t) / (width * height) for l, t, r, b in boxes])  # noqa: E741
    aspects = np.array([(r - l) / (b - t) for l, t, r, b in boxes])  # noqa: E741
    assert all(l >= 0 and t >= 0 and r <= width and b <= height for l, t, r, b in boxes)  # noqa: E741
    assert areas.min() >= minimum * 0.97
    assert areas.min() < minimum + 0.05
    assert areas.max() > 0.9
    assert aspects.min() == pytest.approx(0.75, abs=0.04)
    assert aspects.max() == pytest.approx(4 / 3, abs=0.05)
    theirs = np.array([T.RandomResizedCrop.get_params(noise(*size), (minimum, 1), (3 / 4, 4 / 3)) for _ in range(1500)])
    their_areas = theirs[:, 2] * theirs[:, 3] / (width * height)
    assert areas.mean() == pytest.approx(their_areas.mean(), abs=0.04)
    assert np.median(areas) == pytest.approx(np.median(their_areas), abs=0.06)
    assert np.mean([l for l, *_ in boxes]) == pytest.approx(theirs[:, 1].mean(), rel=0.15)  # noqa: E741
    assert len(flips) / 1500 == pytest.approx(0.5, abs=0.06)


def test_an_image_too_narrow_for_any_crop_gives_the_largest_central_one():
    image = noise(400, 20)
    images = image_set([image], augmentation="random-resized-crop-flip", crop_scale_minimum=0.9)
    expected = image.resize((32, 32), Image.Resampling.BICUBIC, box=(186, 0, 213, 20))
    options = [expected, expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    options = [(T.ToTensor()(option) - mean) / std for option in options]
    assert any(torch.equal(images.pixels(0, 0), option) for option in options)


@pytest.mark.parametrize("augmentation", ["none", "random-resized-crop-flip", "resize-randaugment"])
def test_kept_decoded_images_give_the_same_pixels_and_are_opened_once(augmentation):
    opened = []

    def open_image(key):
        opened.append(key)
        return noise(50, 40, int(key))

    items = [Item(str(i), 0, "a") for i in range(4)]
    kept, fresh = (
        ImageSet(
            items, open_image, Pixels(32, MEAN, STD, "bicubic"), seed=1, augmentation=augmentation, keep_decoded=keep
        )
        for keep in (True, False)
    )
    for epoch in (0, 1):
        for (_, ours), (_, theirs) in zip(kept.in_order(2, epoch), fresh.in_order(2, epoch), strict=True):
            assert torch.equal(ours, theirs)
    assert sorted(opened) == sorted([*"0123"] * 3)  # twice without the cache, once with it


def test_no_more_is_kept_than_the_budget(monkeypatch):
    monkeypatch.setattr("harness.data.image_set.DECODED_BUDGET_BYTES", 2 * 60 * 45 * 3)
    images = augmented(4, keep_decoded=True)
    before = [images.pixels(i, 0) for i in range(4)]
    assert len(images._decoded) == 2
    assert all(torch.equal(images.pixels(i, 0), before[i]) for i in range(4))
