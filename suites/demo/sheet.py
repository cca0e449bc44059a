"""A contact sheet of the demo world, for human eyes: ``python -m suites.demo.sheet docs/images/demo-world.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from suites.demo import real
from suites.demo.corpus import STAGES, batch, corpus_bank
from suites.demo.generated import GENERATED, generate

COLUMNS, MARGIN = 12, 140


def rows() -> list[tuple[str, np.ndarray]]:
    """Two rows of the corpus a stage, then one row of test images a dataset: a name and (48, 48 * COLUMNS, 3) uint8 each."""
    pictures = []
    for stage in STAGES:
        images = batch(stage.first + 1, 2 * COLUMNS, corpus_bank())[0].permute(0, 2, 3, 1).numpy()
        pictures += [(f"corpus, batch {stage.first + 1}", images[:COLUMNS]), ("", images[COLUMNS:])]
    for name, made in [*((name, generate(name)) for name in GENERATED), ("demo-digits", real.digits())]:
        test = np.flatnonzero(made.parts == 2)
        pictures.append((name, made.images[test[np.linspace(0, len(test) - 1, COLUMNS).astype(int)]]))
    return [(name, np.concatenate(list(row), axis=1)) for name, row in pictures]


def sheet() -> Image.Image:
    """The rows, each beside its name."""
    named = rows()
    side = named[0][1].shape[0]
    image = Image.new("RGB", (MARGIN + side * COLUMNS, side * len(named)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for number, (name, row) in enumerate(named):
        image.paste(Image.fromarray(row), (MARGIN, number * side))
        draw.text((MARGIN - 8, number * side + side // 2), name, "black", font, anchor="rm")
    return image


def main() -> None:
    """Write the sheet as a PNG of 256 colours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    args = parser.parse_args()
    args.path.parent.mkdir(parents=True, exist_ok=True)
    sheet().quantize(256, dither=Image.Dither.NONE).save(args.path, optimize=True)


if __name__ == "__main__":
    main()
