"""Images per second: decoding against torch's own loader, extraction and a test against the image tower alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from harness.clip.backbone import Backbone, Pixels, load
from harness.data.image_set import ImageSet, decoding_threads
from harness.data.split_files import ImageFolder
from harness.probes.gpu_evidence.evidence import Figures, Setting
from harness.probes.gpu_evidence.memory import classes_of
from harness.probes.gpu_evidence.speed import figures, in_turns, seconds_of
from harness.records import Precision
from harness.suite import Item
from harness.training.evaluate import evaluate
from harness.training.log import TrainingLog
from harness.training.prepared import build_model
from harness.training.reading import StagedImages, advance, autocast

SIDES = (500, 375)
"""Width and height in pixels of a usual photograph of ImageNet."""
BATCH_SIZE = 32
WORKS = ("test", "extraction")


@contextmanager
def photographs(count: int) -> Iterator[tuple[Path, list[Item]]]:
    """JPEG files whose contents take as long to decode as photographs' do: noise of some pixels' size, quality 90."""
    width, height = SIDES
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            coarse = np.random.default_rng(i).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
            Image.fromarray(coarse).resize(SIDES, Image.Resampling.BICUBIC).save(Path(folder) / f"{i}.jpg", quality=90)
        yield Path(folder), [Item(f"{i}.jpg", i % 2, "ab"[i % 2]) for i in range(count)]


class TheirImages(Dataset[Tensor]):
    """The same files with torchvision's transforms, as published code reads them."""

    def __init__(self, folder: Path, items: list[Item], pixels: Pixels) -> None:
        self._files = [folder / item.image for item in items]
        self._transform = transforms.Compose([
            transforms.Resize(pixels.size, transforms.InterpolationMode(pixels.interpolation)),
            transforms.CenterCrop(pixels.size),
            transforms.ToTensor(),
            transforms.Normalize(pixels.mean, pixels.std),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self._files[index]) as image:
            return self._transform(image.convert("RGB"))


def decoding(setting: Setting) -> Figures:
    """Batches on the device, ours and a DataLoader's in turns: threads here, as many processes there."""
    device, count = torch.device(setting.device), 16 if setting.is_rehearsal else 512
    pixels = Pixels(224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), "bicubic")
    with photographs(count) as (folder, items):
        ours = ImageSet(items, ImageFolder(folder), pixels, seed=1)
        workers = 0 if setting.is_rehearsal else decoding_threads(device)
        theirs = DataLoader(
            TheirImages(folder, items, pixels),
            BATCH_SIZE,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            multiprocessing_context="forkserver" if workers else None,
        )
        found = in_turns(
            lambda: [batch.to(device, non_blocking=True) for batch in theirs],
            lambda: [batch for _, batch in ours.in_order(BATCH_SIZE, None, device=device)],
            setting.pairs,
            device,
        )
    told = figures(found, "loader", "ours")
    loader, own = (count / float(str(told[name])) * 1000 for name in ("loader_ms", "ours_ms"))
    cores = len(os.sched_getaffinity(0))
    return {
        "loader": loader, "ours": own, "ours_a_core": own / cores, "cores": cores, "ratio": told["ratio"],
        "interval": told["interval"],
    }  # fmt: skip


def throughput(setting: Setting, method: str, precision: Precision, work: str) -> Figures:
    """An extraction or a test of a method that reads features, decoding included, against the tower alone."""
    device, count = torch.device(setting.device), 8 if setting.is_rehearsal else 1024
    key = setting.run(method, precision).key
    backbone = load(key.backbone, "random", precision=precision, device=setting.device)
    model = build_model(key, backbone, classes_of(2))
    with photographs(count) as (folder, items):
        images = ImageSet(items, ImageFolder(folder), backbone.pixels, seed=1)
        if work == "extraction":
            seconds = seconds_of(
                device, lambda: StagedImages(backbone, images, precision, TrainingLog()).read("features")
            )
        else:
            seconds = seconds_of(
                device, lambda: evaluate(model, images, batch_size=key.recipe.test_batch_size, precision=precision)
            )
    tower = seconds_of(device, lambda: _tower_alone(backbone, precision, count))
    return {"whole": count / seconds, "tower": count / tower, "busy_percent": 100 * tower / seconds}


@torch.no_grad()
def _tower_alone(backbone: Backbone, precision: Precision, count: int) -> None:
    size = backbone.pixels.size
    pixels = torch.zeros(min(count, backbone.image.at_once), 3, size, size, device=backbone.device)
    with autocast(precision, backbone.device):
        for _ in range(0, count, len(pixels)):
            advance(backbone, pixels, "features")
