"""A contact sheet of the demo world, for human eyes: ``python -m suites.demo.sheet docs/images/demo-world.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from suites.demo import real
from suites.demo.corpus import STAGES, batch, corpus_bank
from suites.demo.generated import GENERATED, generate

COLUMNS = 12


def rows() -> list[np.ndarray]:
    """Two rows of the corpus a stage, then one row of test images a dataset: (48, 48 * COLUMNS, 3) uint8 each."""
    pictures = []
    for stage in STAGES:
        images = batch(stage.first + 1, 2 * COLUMNS, corpus_bank())[0].permute(0, 2, 3, 1).numpy()
        pictures += [images[:COLUMNS], images[COLUMNS:]]
    for made in [*(generate(name) for name in GENERATED), real.digits()]:
        test = np.flatnonzero(made.parts == 2)
        pictures.append(made.images[test[np.linspace(0, len(test) - 1, COLUMNS).astype(int)]])
    return [np.concatenate(list(row), axis=1) for row in pictures]


def main() -> None:
    """Write the sheet as a PNG of 256 colours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    args = parser.parse_args()
    args.path.parent.mkdir(parents=True, exist_ok=True)
    sheet = Image.fromarray(np.concatenate(rows(), axis=0))
    sheet.quantize(256, dither=Image.Dither.NONE).save(args.path, optimize=True)


if __name__ == "__main__":
    main()
