"""Reading images, and the split files that name them. Pillow loads with the first image: planning stays instant."""

from __future__ import annotations

import json
import os
import re
import reprlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.files import read_regular, require_regular
from harness.suite import Item, Splits

if TYPE_CHECKING:
    from PIL.Image import Image

PARTS = ("train", "val", "test")
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")
"""What images may be, in Pillow's words: no format that runs another program, as EPS does."""
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"
)  # fmt: skip
"""How files of these formats are called."""
MOST_IMAGE_PIXELS = 89_478_485
"""In RGB, a quarter of a GiB: a file of some hundred bytes may decode to any size."""
PIXELS_VARIABLE = "ADAPTBENCH_MOST_IMAGE_PIXELS"
"""The environment variable that raises, or lowers, how many pixels an image may have."""
MOST_NAME_CHARACTERS = 200
"""A class name has to fit a prompt of 77 tokens; the longest of the published ones has 54 characters."""
MOST_LABEL = 10**6
"""Lists of a million classes are none of images."""
PUBLISHED_SPLITS = "folder splits/ of the GitHub repository linzhiqiu/cross_modal_adaptation"
"""Where the split files are found when their Google Drive links fail."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no path of a list and no class name has: control characters, and halves of a surrogate pair."""


def open_image(source: Path | BytesIO, name: str | None = None, upright: bool = False) -> Image:
    """An image file wholly decoded, in RGB; `name` is what an error calls it, if not by its path.

    `upright` turns it as its EXIF orientation says, and lays what is transparent on white. The published evaluations do neither,
    and so is it read without: transparent pixels keep the colour that is stored beneath. Raises DataError if the file is missing,
    no regular file, of another format than `FORMATS`, too large, or can't be decoded to its end.
    """
    from PIL import Image, UnidentifiedImageError

    name = f"the image {name}" if name else f"the image '{source}'"
    limit = _most_pixels()
    Image.MAX_IMAGE_PIXELS = limit
    try:
        if isinstance(source, Path):
            require_regular(source)
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > limit:
                raise Image.DecompressionBombError(f"{image.width * image.height} pixels, and the limit is {limit}")
            return to_rgb(image, name, upright)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name} can't be read: it is larger than images usually are ({error}).",
            f"If it is what it should be, raise the limit: {PIXELS_VARIABLE}=PIXELS, with the number that is named.",
        ) from error
    except FileNotFoundError:
        raise DataError(
            f"there is no {name[4:]}.", "Complete the copy of the dataset and repeat the command."
        ) from None
    except UnidentifiedImageError:
        raise DataError(
            f"{name} can't be read: it is none of {', '.join(FORMATS)}{_beginning(source)}.",
            "If it should be one, unpack or download it again; of another format, convert it. Then repeat the command.",
        ) from None
    except Exception as error:  # OSError, SyntaxError, struct.error: whatever the parser of the file's format raises
        if isinstance(error, OSError) and error.errno is not None:
            what = f"{name} can't be read: {error.strerror}."
            raise DataError(what, "Have it be a file that you may read, or take it out of the dataset.") from error
        raise DataError(
            f"{name} can't be read: {error}.",
            "It is damaged or was cut short; delete it and unpack or download it again, then repeat the command.",
        ) from error


def _most_pixels() -> int:
    wanted = os.environ.get(PIXELS_VARIABLE, "")
    if wanted and not wanted.isdecimal():
        raise DataError(
            f"{PIXELS_VARIABLE}={wanted} is no number of pixels.", f"For example: {PIXELS_VARIABLE}=200000000"
        )
    return int(wanted or MOST_IMAGE_PIXELS)


def to_rgb(image: Image, name: str, upright: bool = False) -> Image:
    """An image in RGB, `upright` as `open_image` has it; 16 bits of grey become 8.

    Raises DataError, by `name`, for pixels without a known range.
    """
    from PIL import Image, ImageOps

    if upright:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        import numpy as np

        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(
            f"{name} has pixels of 32 bits (Pillow's mode {image.mode}), and nothing says what is black and what is white.",
            "Convert it to 8 or 16 bits.",
        )
    if upright and image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def _beginning(source: Path | BytesIO) -> str:
    """How a file begins that is no image, where that says what it is."""
    with source.open("rb") if isinstance(source, Path) else source as file:
        file.seek(0)
        start = file.read(32)
    if not start:
        return ", it is empty"
    return f", it begins with {start[:16].decode(errors='backslashreplace')!r}" if start[:1] in b"<{%V" else ""


@dataclass(frozen=True)
class ImageFolder:
    """The `Splits.open` of images named by their path below `image_folder`; `upright` as `open_image` has it."""

    image_folder: Path
    upright: bool = False

    def __call__(self, image: str) -> Image:
        return open_image(self.image_folder / image, upright=self.upright)

    def stamp(self, image: str) -> str:
        """Size and time of change of an image's file; empty where there is none."""
        try:
            found = (self.image_folder / image).stat()
        except OSError:
            return ""
        return f"{found.st_size}-{found.st_mtime_ns}"

    def size(self, image: str) -> int:
        """Bytes of an image's file."""
        return (self.image_folder / image).stat().st_size

    def content(self, image: str, most_bytes: int | None = None) -> bytes:
        """An image's file, or its first bytes."""
        with (self.image_folder / image).open("rb") as file:
            return file.read() if most_bytes is None else file.read(most_bytes)


def read_split_file(path: Path, image_folder: Path) -> Splits:
    """Read a published split file, one JSON object: lists `train`, `val` and `test` of ``[path, label, class name]``.

    Paths are relative to `image_folder` (CoOp's DATASETS.md gives both for each dataset). The order of the items
    matters: the k-shot draw is made by position.

    Raises DataError if the file is missing or not of that form, or if images are missing (see `require_images`).
    """
    document = _parse(path)
    lists = {part: _items(path, part, document.get(part)) for part in PARTS}
    _require_unique(path, lists)
    splits = Splits(train=lists["train"], val=lists["val"], test=lists["test"], open=ImageFolder(image_folder))
    require_images(splits, image_folder)
    return splits


def require_images(splits: Splits, image_folder: Path) -> None:
    """Raise DataError unless the folder and every image of the lists are there."""
    if not image_folder.is_dir():
        raise DataError(f"there is no image folder '{image_folder}'.", "Unpack the dataset's images to that place.")
    missing = _missing(splits, image_folder)
    if missing:
        listed = len({item.image for items in (splits.train, splits.val, splits.test) for item in items})
        raise DataError(
            f"images are missing below '{image_folder}': of {listed} listed, {len(missing)} are not there, such as "
            f"{', '.join(map(repr, missing[:3]))}.",
            "Complete the copy, and keep the folders and file names of the dataset's own archive.",
        )


def _missing(splits: Splits, image_folder: Path) -> list[str]:
    """Keys of images that are in a list and not on the disk, by a listing of each folder rather than a look at each file."""
    present: dict[str, set[str]] = {}
    missing = []
    for image in dict.fromkeys(item.image for items in (splits.train, splits.val, splits.test) for item in items):
        folder, _, name = image.rpartition("/")
        if folder not in present:
            try:
                present[folder] = set(os.listdir(image_folder / folder))
            except OSError:
                present[folder] = set()
        if name not in present[folder]:
            missing.append(image)
    return missing


def _parse(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_regular(path), object_pairs_hook=_each_once)
    except FileNotFoundError:
        raise DataError(
            f"there is no split file '{path}'.",
            f"Put the published {path.name} there; it is in the {PUBLISHED_SPLITS}. AdaptBench never makes a split of "
            "its own: figures on it could not be compared with any others.",
        ) from None
    except OSError as error:
        raise DataError(
            f"the split file '{path}' can't be read: {error.strerror}.", "Put the published one there."
        ) from error
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8 or not JSON
        raise _broken(path, f"is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise _broken(path, f"holds a {type(document).__name__}, not an object with the keys {', '.join(PARTS)}")
    return document


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)[:200]!r} stands twice in one object")
    return dict(pairs)


def _items(path: Path, part: str, rows: object) -> tuple[Item, ...]:
    if rows is None:
        raise _broken(path, f"has no '{part}'; it needs {', '.join(PARTS)}")
    if not isinstance(rows, list) or not rows:
        raise _broken(path, f"'{part}' is {reprlib.repr(rows)}, not a list of at least one item")
    return tuple(_item(path, f"item {number} of '{part}'", row) for number, row in enumerate(rows))


def _item(path: Path, where: str, row: object) -> Item:
    if not isinstance(row, list) or len(row) != 3:
        raise _broken(path, f"{where} is {reprlib.repr(row)}, not [path, label, class name]")
    image, label, classname = row
    if not isinstance(image, str) or not image or UNPRINTABLE.search(image):
        raise _broken(path, f"{where} has {reprlib.repr(image)} for a path")
    if leaves_the_folder(image):
        raise _broken(path, f"{where} leads out of the image folder: {reprlib.repr(image)}")
    if type(label) is not int or not 0 <= label <= MOST_LABEL:  # a bool is an int, and no label
        raise _broken(path, f"{where} has the label {reprlib.repr(label)}, not a whole number from 0 to {MOST_LABEL}")
    if not isinstance(classname, str) or not classname.strip() or UNPRINTABLE.search(classname):
        raise _broken(path, f"{where} has {reprlib.repr(classname)} for a class name")
    if len(classname) > MOST_NAME_CHARACTERS:
        raise _broken(path, f"{where} has a class name of {len(classname)} characters, over {MOST_NAME_CHARACTERS}")
    return Item(image, label, classname)


def leaves_the_folder(image: str) -> bool:
    """Whether a path of a list leads out of the folder that it starts at."""
    windows = PureWindowsPath(image)  # knows both kinds of slash, and drives
    return bool(windows.anchor) or ".." in windows.parts


def _require_unique(path: Path, lists: dict[str, tuple[Item, ...]]) -> None:
    seen: dict[str, str] = {}
    for part, items in lists.items():
        for item in items:
            image = os.path.normpath(item.image)
            if image in seen:
                raise _broken(path, f"lists '{item.image}' twice, in '{seen[image]}' and in '{part}'")
            seen[image] = part


def _broken(path: Path, what: str) -> DataError:
    return DataError(
        f"the split file '{path}': {what}.",
        'It needs lists train, val and test of items such as ["banded/banded_0133.jpg", 0, "banded"]. If it is a '
        f"published one, get it again: it is in the {PUBLISHED_SPLITS}.",
    )
