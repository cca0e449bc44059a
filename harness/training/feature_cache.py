"""Final image features of a frozen tower, kept on disk: computed once for all methods, seeds and class lists that read them.

An image's feature is known by its key and its stamp, which changes when the file does. Files hold features of one dataset under one
backbone; whoever computes some adds a file of its own, so that runs at the same time lose each other's nothing. How long each took
is kept too, so that a run that reuses it can say what it was spared.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.clip.backbone import Backbone
from harness.data.image_set import ImageSet
from harness.files import replacing, require_regular
from harness.meters.gpu import name_of
from harness.training.reading import advance, autocast, extraction_batch_size

_FORMAT = 1


@dataclass(frozen=True)
class Features:
    """Features (N, E) of images in order, how many were there already, and the seconds those had taken."""

    values: Tensor
    reused: int
    reused_seconds: float


class FeatureCache:
    """The features of a dataset's images: ``cache.read(images)``. `stamp` gives the state of an image's content, by key."""

    def __init__(
        self, folder: Path, dataset: str, stamp: Callable[[str], str], backbone: Backbone, precision: str
    ) -> None:
        self._stamp, self._backbone, self._precision = stamp, backbone, precision
        device = backbone.device
        identity = {
            "format": _FORMAT,
            "dataset": dataset,
            "weights": backbone.weights_sha256,
            "pixels": asdict(backbone.pixels),
            "precision": precision,
            "torch": torch.__version__,
            "device": name_of(device) if device.type == "cuda" else "cpu",
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = folder
        self._stem = f"{''.join(c if c.isalnum() else '-' for c in dataset)}-{digest}"

    def read(self, images: ImageSet) -> Features:
        """Features of all images in order; the missing ones are computed now, and kept."""
        names = [f"{item.image}@{self._stamp(item.image)}" for item in images.items]
        known, values, seconds = self._load()
        rows = {
            name: row for row, name in reversed(list(enumerate(known)))
        }  # of those that two runs computed, the first
        here = [rows[name] for name in names if name in rows]
        missing = [i for i, name in enumerate(names) if name not in rows]
        if missing:
            new, new_seconds = self._extract(images, missing)
            self._save([names[i] for i in missing], new, new_seconds)
            rows |= {names[i]: len(known) + number for number, i in enumerate(missing)}
            values, seconds = torch.cat([values.to(new.dtype), new]), torch.cat([seconds, new_seconds])
        chosen = values[[rows[name] for name in names]].to(self._backbone.device)
        return Features(chosen, reused=len(here), reused_seconds=float(seconds[here].sum()))

    @torch.no_grad()
    def _extract(self, images: ImageSet, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Features (M, E) of some images, and the seconds (M,) of each: an equal share of its batch's, decoding included."""
        device = self._backbone.device
        parts, seconds = [], []
        size = extraction_batch_size(self._backbone)
        lists = [indices[i : i + size] for i in range(0, len(indices), size)]
        started = time.perf_counter()
        with autocast(self._precision, device):
            for chosen, pixels in images.batches(lists, epoch=None, device=device):
                parts.append(advance(self._backbone, pixels, "features").cpu())
                now = time.perf_counter()
                seconds += [(now - started) / len(chosen)] * len(chosen)
                started = now
        return torch.cat(parts), torch.tensor(seconds)

    def _load(self) -> tuple[list[str], Tensor, Tensor]:
        """Names, features and seconds of all usable files; none where there is none."""
        names: list[str] = []
        values: list[Tensor] = []
        seconds: list[Tensor] = []
        for path in sorted(self._folder.glob(f"{self._stem}*.safetensors")):
            try:
                require_regular(path)
                with safe_open(path, "pt") as file:
                    found = json.loads(file.metadata()["images"])
                    tensors = file.get_tensor("features"), file.get_tensor("seconds")
                if not self._can_be(found, *tensors):
                    continue
            except (OSError, SafetensorError, KeyError, TypeError, ValueError):
                continue
            names += found
            values.append(tensors[0])
            seconds.append(tensors[1])
        if not names:
            return [], torch.empty(0), torch.empty(0)
        return names, torch.cat(values), torch.cat(seconds)

    def _can_be(self, names: Any, values: Tensor, seconds: Tensor) -> bool:
        """Whether a file holds a row of finite numbers, as wide as this backbone's features, and a time for each image."""
        shapes = values.shape == (len(names), self._backbone.embed_width) and seconds.shape == (len(names),)
        known = isinstance(names, list) and all(isinstance(name, str) for name in names)
        numbers = values.is_floating_point() and bool(values.isfinite().all() and seconds.isfinite().all())
        return known and shapes and numbers and bool((seconds >= 0).all())

    def _save(self, names: list[str], values: Tensor, seconds: Tensor) -> None:
        """In one go, to a file of its own. A folder that can't be written costs the next run time, no more."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._folder / f"{self._stem}-{secrets.token_hex(8)}.safetensors") as part:
                save_file({"features": values, "seconds": seconds}, part, metadata={"images": json.dumps(names)})
        except (OSError, SafetensorError) as error:
            warnings.warn(f"image features can't be kept for other runs: {error}", UserWarning, stacklevel=2)
