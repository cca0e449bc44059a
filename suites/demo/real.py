"""The real images of the demo group: scikit-learn's scanned digits, and Fashion-MNIST where its files are at hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from harness.errors import DataError
from suites.demo.store import Pictures

DIGIT_NAMES = tuple("0123456789")
DIGITS_SIDE = 48
TRAIN, VAL = 88, 36
"""Digits a class for training and validation; the rest, 50 to 59, is for testing."""
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def digits() -> Pictures:
    """scikit-learn's `load_digits`, white on black, 8x8 enlarged to 36x36 by Lanczos inside a border of 6.

    Parts are taken in the file's order: writers of the later samples don't occur in the earlier ones' forms.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.argsort(source.target, kind="stable")
    labels = source.target[order].astype(np.int64)
    images = np.zeros((len(labels), DIGITS_SIDE, DIGITS_SIDE, 3), np.uint8)
    for row, scan in enumerate(source.images[order]):
        grey = Image.fromarray((scan * 255 / 16).round().astype(np.uint8)).resize((36, 36), Image.Resampling.LANCZOS)
        images[row, 6:42, 6:42] = np.asarray(grey)[:, :, None]
    rank = np.concatenate([np.arange(n) for n in np.bincount(labels)])
    parts = np.where(rank < TRAIN, 0, np.where(rank < TRAIN + VAL, 1, 2))
    return Pictures(images, labels, parts)


def fashion_mnist(data_root: Path | None) -> Pictures:
    """Fashion-MNIST from Debian's package or torchvision's folder: 28x28 enlarged to 56x56.

    Training images are the file's first 400 a class, validation the next 100; all 10,000 test images are for testing.
    """
    folder = _fashion_folder(data_root)
    train, train_labels = (_idx(folder, f"train-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    test, test_labels = (_idx(folder, f"t10k-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    first = [np.flatnonzero(train_labels == c)[:500] for c in range(len(FASHION_NAMES))]
    kept = np.concatenate([rows[:400] for rows in first] + [rows[400:] for rows in first])
    parts = np.concatenate([np.repeat([0, 1], [len(kept) * 4 // 5, len(kept) // 5]), np.full(len(test), 2)])
    grey = np.concatenate([train[kept], test])
    labels = np.concatenate([train_labels[kept], test_labels]).astype(np.int64)
    large = np.stack([np.asarray(Image.fromarray(g).resize((56, 56), Image.Resampling.BICUBIC)) for g in grey])
    return Pictures(np.repeat(large[..., None], 3, axis=3), labels, parts)


def _fashion_folder(data_root: Path | None) -> Path:
    folders = [DEBIAN_FOLDER]
    if data_root is not None:
        folders = [data_root / "fashion-mnist", data_root / "FashionMNIST" / "raw", *folders]
    for folder in folders:
        if any((folder / f"train-images-idx3-ubyte{end}").exists() for end in ("", ".gz")):
            return folder
    raise DataError(
        f"demo-fashion needs the files of Fashion-MNIST, which are in none of: {', '.join(map(str, folders))}",
        "Install Debian's package: apt install dataset-fashion-mnist. Or put the four idx files, gzipped or not, into "
        "fashion-mnist/ below the data root and pass --data-root.",
    )


def _idx(folder: Path, name: str) -> np.ndarray:
    """An IDX file of bytes, gzipped or not: (n, 28, 28) or (n,) uint8."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise DataError(
            f"{folder / name} is missing, with or without .gz", "All four files of Fashion-MNIST belong together."
        )
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        dims = data[3]
        shape = np.frombuffer(data, ">u4", count=dims, offset=4)
        if data[:3] != b"\0\0\x08":
            raise ValueError("not an IDX file of bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} is broken: {error}", "Install or copy it again; its SHA-256 is in Debian's package."
        ) from error
