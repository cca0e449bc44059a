"""Zero-shot accuracy of demo-clip on the demo group: ``python -m suites.demo.zeroshot``.

A check of the backbone and its datasets against one another, loaded by open_clip's own code; suites measure with the
harness instead.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from harness.errors import DataError
from harness.suite import Dataset, Folders
from suites.demo import BACKBONE
from suites.demo.datasets import DATASETS


def load(weights: Path = BACKBONE.weights) -> tuple[Any, Any]:
    """demo-clip and its test transform."""
    open_clip.add_model_config(BACKBONE.config)
    model, _, transform = open_clip.create_model_and_transforms(BACKBONE.name, pretrained=str(weights))
    return model.eval(), transform


@torch.no_grad()
def accuracies(model: Any, transform: Any, dataset: Dataset, folders: Folders) -> dict[str, float]:
    """Top-1 in percent on the test images of all classes, and of the base and new halves, each half among its own classes."""
    test = dataset.read(folders)
    names = dict(sorted({item.label: item.classname for item in test.test}.items()))
    prompts = open_clip.tokenize([dataset.template("clip").format(name) for name in names.values()])
    text = model.encode_text(prompts, normalize=True)
    images = torch.stack([transform(test.open(item.image)) for item in test.test])
    features = torch.cat([model.encode_image(chunk, normalize=True) for chunk in images.split(256)])
    labels = torch.tensor([item.label for item in test.test])
    half = (len(names) + 1) // 2
    ranges = {"all": (0, len(names)), "base": (0, half), "new": (half, len(names))}
    result = {}
    for subset, (first, last) in ranges.items():
        rows = (labels >= first) & (labels < last)
        guesses = (features[rows] @ text[first:last].T).argmax(dim=1) + first
        result[subset] = float(np.mean((guesses == labels[rows]).numpy()) * 100)
    return result


def main() -> None:
    """Print one line a dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=BACKBONE.weights)
    parser.add_argument("--cache", type=Path, help="keep the generated datasets here (default: nowhere)")
    parser.add_argument("--data-root", type=Path, help="where Fashion-MNIST may lie")
    args = parser.parse_args()
    model, transform = load(args.weights)
    with tempfile.TemporaryDirectory() as temporary:
        folders = Folders(data_root=args.data_root, cache=args.cache or Path(temporary))
        for dataset in DATASETS:
            try:
                found = accuracies(model, transform, dataset, folders)
            except DataError as error:
                print(f"{dataset.name:20} {error.what}")
                continue
            print(f"{dataset.name:20} " + "  ".join(f"{subset} {value:5.1f} %" for subset, value in found.items()))


if __name__ == "__main__":
    main()
