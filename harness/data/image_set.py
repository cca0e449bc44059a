"""Images as tensors: decoding, the train and test transforms, and batches. Pixels depend on (seed, epoch, view, image) only.

For a GPU, threads decode and transform, bytes are sent, and the GPU normalises them: bit for bit the same
pixels, since every operation is rounded as IEEE 754 has it. On a CPU the threads normalise too.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.clip.backbone import Pixels
from harness.data.randaugment import rand_augment
from harness.meters.environment import cgroup_processors
from harness.meters.gpu import calls_of
from harness.suite import Item

DECODED_BUDGET_BYTES = 2 << 30
"""Decoded training images are kept up to this size, so that few-shot sets are decoded once."""
IMAGES_AHEAD = 4
"""So many images a thread are under way at least, beside those of the batch that is used: small batches leave no thread idle."""
CPU = torch.device("cpu")


class ImageSet:
    """A list of items, and how to turn any of them into normalised pixels (3, S, S), float32.

    `augmentation` "random-resized-crop-flip" is the train transform of the CoOp line of work (crop of `crop_scale_minimum` to
    1 of the area, aspect 3/4 to 4/3, flip with p = 0.5); "resize-randaugment" is CoPrompt's (S x S without keeping the aspect,
    then RandAugment); "none" is the test transform, the backbone's own.
    The random draws are keyed by seed, epoch, view and the image's key: whoever asks for an image in an epoch, in whatever
    order and from whatever thread, sees the same pixels. `keep_decoded` is how the fast execution avoids decoding twice.
    """

    def __init__(
        self,
        items: Sequence[Item],
        open_image: Callable[[str], Image.Image],
        pixels: Pixels,
        *,
        seed: int,
        augmentation: str = "none",
        crop_scale_minimum: float = 0.08,
        keep_decoded: bool = False,
    ) -> None:
        self.items = tuple(items)
        self.labels = torch.tensor([item.label for item in self.items], dtype=torch.long)
        self.augmentation = augmentation
        self._open = open_image
        self._pixels = pixels
        self._seed = seed
        self._crop_scale_minimum = crop_scale_minimum
        self._mean = torch.tensor(pixels.mean).view(3, 1, 1)
        self._std = torch.tensor(pixels.std).view(3, 1, 1)
        self._constants: dict[torch.device, tuple[Tensor, ...]] = {}
        self._interpolation = Image.Resampling[pixels.interpolation.upper()]
        self._decoded: dict[int, Image.Image] | None = {} if keep_decoded else None
        self._decoded_bytes = 0

    def __len__(self) -> int:
        return len(self.items)

    def pixels(self, index: int, epoch: int | None = 0, view: int = 0) -> Tensor:
        """Normalised pixels (3, S, S) of one image as that epoch and view see it; epoch None is the test transform."""
        return self._normalised(self._bytes(index, epoch, view).float())

    def _bytes(self, index: int, epoch: int | None, view: int) -> Tensor:
        """(3, S, S), uint8."""
        image = self._image(index)
        if self.augmentation == "none" or epoch is None:
            image = self._test_view(image)
        else:
            key = f"{self._seed}/{epoch}/{view}/{self.items[index].image}"
            rng = random.Random(
                int.from_bytes(hashlib.sha256(key.encode(errors="surrogateescape")).digest()[:8], "big")
            )
            image = self._augmented(image, rng)
        return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)

    def _normalised(self, values: Tensor) -> Tensor:
        """Pixels (..., 3, S, S) in the place of bytes as float32, on whatever device."""
        device = values.device
        if (
            device not in self._constants
        ):  # tensors all three: a GPU divides by a number as it multiplies by its inverse
            self._constants[device] = tuple(t.to(device) for t in (torch.tensor(255.0), self._mean, self._std))
        most, mean, std = self._constants[device]
        return values.div_(most).sub_(mean).div_(std)

    def batches(
        self,
        indices: Iterator[Sequence[int]] | Sequence[Sequence[int]],
        epoch: int | None = 0,
        view: int = 0,
        device: torch.device = CPU,
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """For every list of indices: (the list, pixels (len, 3, S, S) on the device). Threads decode ahead."""
        on_cpu = device.type == "cpu"
        threads = decoding_threads(device)
        read = self.pixels if on_cpu else self._bytes
        with ThreadPoolExecutor(threads) as pool:
            asked: deque[tuple[Sequence[int], list[Future[Tensor]]]] = deque()
            lists = iter(indices)
            while True:
                while len(asked) < 2 or sum(len(batch) for batch, _ in list(asked)[1:]) < IMAGES_AHEAD * threads:
                    batch = next(lists, None)
                    if batch is None:
                        break
                    asked.append((batch, [pool.submit(read, i, epoch, view) for i in batch]))
                if not asked:
                    return
                batch, futures = asked.popleft()
                stacked = torch.stack([future.result() for future in futures])
                del futures
                yield batch, stacked if on_cpu else self._normalised(calls_of(device).sent(stacked).float())

    def in_order(
        self, batch_size: int, epoch: int | None = 0, view: int = 0, device: torch.device = CPU
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """All images in order, in batches; nothing is dropped."""
        starts = range(0, len(self), batch_size)
        return self.batches([range(s, min(s + batch_size, len(self))) for s in starts], epoch, view, device)

    def _image(self, index: int) -> Image.Image:
        if self._decoded is None:
            return self._open(self.items[index].image)
        image = self._decoded.get(index)
        if image is None:
            image = self._open(self.items[index].image)
            size = image.width * image.height * 3
            if self._decoded_bytes + size <= DECODED_BUDGET_BYTES:
                self._decoded[index] = image
                self._decoded_bytes += size
        return image

    def _test_view(self, image: Image.Image) -> Image.Image:
        if self._pixels.resize_mode == "squash":
            return self._squashed(image)
        return centre_square(image, self._pixels.size, self._interpolation)

    def _augmented(self, image: Image.Image, rng: random.Random) -> Image.Image:
        if self.augmentation == "resize-randaugment":
            return rand_augment(self._squashed(image), rng)
        image = self._random_resized_crop(image, rng)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image

    def _squashed(self, image: Image.Image) -> Image.Image:
        """S x S, whatever the aspect was."""
        return image.resize((self._pixels.size, self._pixels.size), self._interpolation)

    def _random_resized_crop(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """torchvision's RandomResizedCrop: ten tries for a crop that fits, else the largest central one of allowed aspect."""
        width, height = image.size
        ratio_low, ratio_high = 3 / 4, 4 / 3
        for _ in range(10):
            area = width * height * rng.uniform(self._crop_scale_minimum, 1)
            aspect = math.exp(rng.uniform(math.log(ratio_low), math.log(ratio_high)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = rng.randint(0, width - w), rng.randint(0, height - h)
                break
        else:
            w = min(width, round(height * ratio_high))
            h = min(height, round(width / ratio_low))
            left, top = (width - w) // 2, (height - h) // 2
        size = (self._pixels.size, self._pixels.size)
        return image.resize(size, self._interpolation, box=(left, top, left + w, top + h))


def decoding_threads(device: torch.device) -> int:
    """As many as there are processors that this process may use, also within a container.

    A GPU leaves them idle, a CPU's arithmetic shares up to eight.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8 if device.type == "cpu" else 32, usable, math.ceil(cgroup_processors() or usable))


def centre_square(image: Image.Image, size: int, interpolation: Image.Resampling) -> Image.Image:
    """The shorter side to `size`, then the central square: torchvision's Resize(size) and CenterCrop(size).

    Of a strip longer than 100 times its width, the middle is all that is resized: the whole would take gigabytes.
    """
    image = _middle(image, 100 * min(image.size))
    width, height = image.size
    if min(width, height) != size:
        scale = size / min(width, height)
        new = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
        image = image.resize(new, interpolation) if scale != 1 else image
    width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _middle(image: Image.Image, longest: int) -> Image.Image:
    width, height = image.size
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, width - left, height - top)) if left or top else image
