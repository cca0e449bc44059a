"""Small copies of the published datasets: folders and names of CoOp's DATASETS.md, 16 x 16 images of one colour."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from suites.datasets.checksums import digest, names_digest
from suites.datasets.downloads import SOURCES

# Per class: label, class name, and its images: 2 to train on, 1 to validate with, 1 to test with.
Rows = list[tuple[int, str, list[str]]]


def numbered(pattern: str, numbers: Iterable[int] = range(1, 5)) -> list[str]:
    return [pattern.format(number) for number in numbers]


# folder: (image folder, split file, classes in the order of their first image)
SPLIT_FILES: dict[str, tuple[str, str, Rows]] = {
    "caltech-101": (
        "101_ObjectCategories",
        "split_zhou_Caltech101.json",
        [
            (0, "face", numbered("Faces/image_{:04}.jpg")),
            (1, "leopard", numbered("Leopards/image_{:04}.jpg")),
            (2, "accordion", numbered("accordion/image_{:04}.jpg")),
        ],
    ),
    "oxford_pets": (
        "images",
        "split_zhou_OxfordPets.json",
        [
            (0, "abyssinian", numbered("Abyssinian_{}.jpg")),
            (1, "american_bulldog", numbered("american_bulldog_{}.jpg")),
            (2, "beagle", numbered("beagle_{}.jpg")),
        ],
    ),
    "stanford_cars": (
        ".",
        "split_zhou_StanfordCars.json",
        [
            (
                1,
                "2012 Ram C/V Cargo Van Minivan",
                [*numbered("cars_train/{:05}.jpg", (4, 5, 6)), "cars_test/00002.jpg"],
            ),
            (0, "2000 AM General Hummer SUV", [*numbered("cars_train/{:05}.jpg", (1, 2, 3)), "cars_test/00001.jpg"]),
            (2, "2012 Volvo C30 Hatchback", [*numbered("cars_train/{:05}.jpg", (7, 8, 9)), "cars_test/00003.jpg"]),
        ],
    ),
    "oxford_flowers": (
        "jpg",
        "split_zhou_OxfordFlowers.json",
        [
            (2, "canterbury bells", numbered("image_{:05}.jpg", range(1, 5))),
            (0, "pink primrose", numbered("image_{:05}.jpg", range(5, 9))),
            (1, "hard-leaved pocket orchid", numbered("image_{:05}.jpg", range(9, 13))),
        ],
    ),
    "food-101": (
        "images",
        "split_zhou_Food101.json",
        [
            (0, "apple_pie", numbered("apple_pie/{}.jpg")),
            (1, "baby_back_ribs", numbered("baby_back_ribs/{}.jpg")),
            (2, "waffles", numbered("waffles/{}.jpg")),
        ],
    ),
    "sun397": (
        "SUN397",
        "split_zhou_SUN397.json",
        [
            (0, "abbey", numbered("a/abbey/sun_a{}.jpg")),
            (1, "outdoor apartment_building", numbered("a/apartment_building/outdoor/sun_b{}.jpg")),
            (2, "indoor ice_skating_rink", numbered("i/ice_skating_rink/indoor/sun_c{}.jpg")),
        ],
    ),
    "dtd": (
        "images",
        "split_zhou_DescribableTextures.json",
        [
            (0, "banded", numbered("banded/banded_{:04}.jpg")),
            (1, "matted", numbered("matted/matted_{:04}.jpg")),
            (2, "polka-dotted", numbered("polka-dotted/polka-dotted_{:04}.jpg")),
        ],
    ),
    "eurosat": (
        "2750",
        "split_zhou_EuroSAT.json",
        [
            (0, "Annual Crop Land", numbered("AnnualCrop/AnnualCrop_{}.jpg")),
            (1, "Forest", numbered("Forest/Forest_{}.jpg")),
            (2, "Sea or Lake", numbered("SeaLake/SeaLake_{}.jpg")),
        ],
    ),
    "ucf101": (
        "UCF-101-midframes",
        "split_zhou_UCF101.json",
        [
            (0, "Hammering", numbered("Hammering/v_Hammering_g{:02}_c01.jpg")),
            (1, "Hammer_Throw", numbered("Hammer_Throw/v_HammerThrow_g{:02}_c01.jpg")),
            (2, "Handstand_Pushups", numbered("Handstand_Pushups/v_HandStandPushups_g{:02}_c01.jpg")),
        ],
    ),
}
AIRCRAFT = ("707-320", "Cessna 172", "F-16A/B")
WNIDS = {
    "n01443537": "goldfish",
    "n01440764": "tench",
    "n01484850": "great white shark",
}  # not sorted, as a user's may be
A_FILE = "0.00{}_digital clock _ digital clock_0.865662.jpg"


def save_image(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (40 * shade, 200 - 10 * shade, 90)).save(path, "JPEG")


def write_classnames(home: Path, names: dict[str, str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "classnames.txt").write_text("".join(f"{wnid} {name}\n" for wnid, name in names.items()))


def write_split_file_dataset(home: Path, images: str, split_file: str, rows: Rows) -> None:
    lists: dict[str, list[tuple[str, int, str]]] = {"train": [], "val": [], "test": []}
    for label, classname, paths in rows:
        for part, path in zip(("train", "train", "val", "test"), paths, strict=True):
            lists[part].append((path, label, classname))
            save_image(home / images / path, label)
    (home / split_file).write_text(json.dumps(lists, indent=4))


def write_aircraft(home: Path) -> None:
    images = iter(range(817494, 900000))
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        lines = [f"{next(images):07} {variant}\n" for variant in AIRCRAFT for _ in range(count)]
        for line in lines:
            save_image(home / "images" / f"{line[:7]}.jpg", AIRCRAFT.index(line[8:].strip()))
        (home / f"images_variant_{part}.txt").write_text("".join(lines))
    (home / "variants.txt").write_text("".join(f"{variant}\n" for variant in AIRCRAFT))


def write_imagenet_family(root: Path) -> None:
    home = root / "imagenet"
    write_classnames(home, WNIDS)
    for shade, wnid in enumerate(WNIDS):
        for number in (10, 9, 1):
            save_image(home / "images" / "train" / wnid / f"{wnid}_{number}.JPEG", shade)
        save_image(home / "images" / "val" / wnid / f"ILSVRC2012_val_0000000{shade}.JPEG", shade)
        for number in range(4):
            save_image(root / "imagenet-sketch" / "images" / wnid / f"sketch_{number}.JPEG", shade)
            save_image(root / "imagenet-adversarial" / "imagenet-a" / wnid / A_FILE.format(number), shade)
            save_image(root / "imagenet-rendition" / "imagenet-r" / wnid / f"art_{number}.jpg", shade)
    write_classnames(root / "imagenet-sketch", WNIDS)
    for folder, images in (("imagenet-adversarial", "imagenet-a"), ("imagenet-rendition", "imagenet-r")):
        write_classnames(root / folder, {"n01000000": "not there", **WNIDS, "n02000000": "not there either"})
        (root / folder / images / "README.txt").write_text("about\n")
    below = root / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
    for number in range(11):  # 10, so that an order by string would show
        save_image(below / str(number) / "a.jpeg", number % 6)
    write_classnames(root / "imagenetv2", {f"n{number:08}": f"class  {number}" for number in range(11)})


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """A --data-root that holds every dataset of the catalogue; its split files and lists of names count as the published ones."""
    root = tmp_path / "data"
    for folder, (images, split_file, rows) in SPLIT_FILES.items():
        write_split_file_dataset(root / folder, images, split_file, rows)
    for stray in ("BACKGROUND_Google", "Faces_easy"):
        save_image(root / "caltech-101" / "101_ObjectCategories" / stray / "image_0001.jpg", 5)
    (root / "dtd" / "images" / "banded" / ".directory").write_text("hidden\n")
    write_aircraft(root / "fgvc_aircraft")
    write_imagenet_family(root)
    for name, source in SOURCES.items():
        downloads = tuple(
            d if d.member else replace(d, checksum=digest(root / d.gives, "sha256")) for d in source.downloads
        )
        classnames = source.classnames and names_digest(root / source.folder / "classnames.txt")
        monkeypatch.setitem(SOURCES, name, replace(source, downloads=downloads, classnames=classnames))
    return root
