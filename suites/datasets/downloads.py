"""Where the published datasets come from: what can be fetched and checked, and what has to be got by hand.

Addresses and checksums are those that the datasets' homes, torchvision and the split files' repository state; none was tried here.
"""

from __future__ import annotations

from dataclasses import dataclass

_SPLITS = "https://raw.githubusercontent.com/linzhiqiu/cross_modal_adaptation/ac9077ee4e422f768c9b9109551468605e33ec9a/splits/"
_VGG = "https://www.robots.ox.ac.uk/~vgg/data/"
_BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks/"


@dataclass(frozen=True, slots=True)
class Download:
    """A file to fetch: its checksum (``md5:``, ``sha256:`` or ``git:``, git's name of a blob), and what becomes of it.

    `gives` is where it belongs below the data root. Of an archive, that is its `member`; `inner` is an archive in the archive that
    has the member. Where that folder may be there already and hold other things, `parts` are what it needs of the member.
    """

    url: str
    checksum: str
    gives: str
    member: str = ""
    inner: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset's folder, its images in train, validation and test list, the files to fetch, and what is left to do by hand."""

    folder: str
    images: tuple[int, int, int]
    downloads: tuple[Download, ...] = ()
    by_hand: tuple[str, ...] = ()
    wnid_folders: str | None = None
    """Where 1000 folders are called by wnid, so that classnames.txt can be written."""
    classnames: str | None = None
    """The checksum of its classnames.txt, with single spaces and line feeds."""


def _split(name: str, folder: str, checksum: str) -> Download:
    return Download(f"{_SPLITS}split_zhou_{name}.json", checksum, f"{folder}/split_zhou_{name}.json")


CLASSNAMES = "sha256:89e0b642c6697a3a43a06a2bb65f9fefb3ca295ccc5f4ba9ce385f1a3a58c629"

SOURCES = {
    "imagenet": Source(
        folder="imagenet",
        images=(1_281_167, 50_000, 50_000),
        by_hand=(
            "image-net.org asks for an account. Unpack ILSVRC2012_img_train.tar, and the archives in it, to "
            "imagenet/images/train/<wnid>/, and ILSVRC2012_img_val.tar to imagenet/images/val/<wnid>/ (it unpacks flat: "
            "valprep.sh sorts it); classnames.txt is then written by `data prepare imagenet`",
        ),
        wnid_folders="imagenet/images/train",
        classnames=CLASSNAMES,
    ),
    "caltech101": Source(
        folder="caltech-101",
        images=(4_128, 1_649, 2_465),
        downloads=(
            Download(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "md5:3138e1922a9193bfa496528edbbc45d0",
                "caltech-101/101_ObjectCategories",
                member="101_ObjectCategories",
                inner="caltech-101/101_ObjectCategories.tar.gz",
            ),
            _split(
                "Caltech101",
                "caltech-101",
                "sha256:52ce83205ff8ff8a1a18119aad6376120ae35c36e783a984bc560cbf10e73fa5",
            ),
        ),
    ),
    "oxford_pets": Source(
        folder="oxford_pets",
        images=(2_944, 736, 3_669),
        downloads=(
            Download(
                f"{_VGG}pets/data/images.tar.gz",
                "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
                "oxford_pets/images",
                member="images",
            ),
            _split(
                "OxfordPets",
                "oxford_pets",
                "sha256:d7f3ffe65b3919f95132e51422894ae18686b83c331fd8c0adcdc3dc2de6301e",
            ),
        ),
    ),
    "stanford_cars": Source(
        folder="stanford_cars",
        images=(6_509, 1_635, 8_041),
        downloads=(
            _split(
                "StanfordCars",
                "stanford_cars",
                "sha256:40acee7aa65c8e4727a32d90e884b7c3f8960b523422317e163f7af65432959d",
            ),
        ),
        by_hand=(
            "the home page's links are dead since 2023: get cars_train.tgz and cars_test.tgz from a copy that keeps the file "
            "names (00001.jpg and on; Kaggle's does not), and unpack them to stanford_cars/cars_train and .../cars_test",
        ),
    ),
    "oxford_flowers": Source(
        folder="oxford_flowers",
        images=(4_093, 1_633, 2_463),
        downloads=(
            Download(
                f"{_VGG}flowers/102/102flowers.tgz",
                "md5:52808999861908f626f3c1f4e79d11fa",
                "oxford_flowers/jpg",
                member="jpg",
            ),
            _split(
                "OxfordFlowers",
                "oxford_flowers",
                "sha256:2f50c42fc1a17ca13c271cb4269b1347bdb43d2be672e34f74a4e4cbfbcca794",
            ),
        ),
    ),
    "food101": Source(
        folder="food-101",
        images=(50_500, 20_200, 30_300),
        downloads=(
            Download(
                "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                "md5:85eeb15f3717b99a5da872d97d918f87",
                "food-101/images",
                member="food-101/images",
            ),
            _split("Food101", "food-101", "git:39557040ee6501bd32aa8b5dfd75f7941a32f0a7"),
        ),
    ),
    "fgvc_aircraft": Source(
        folder="fgvc_aircraft",
        images=(3_334, 3_333, 3_333),
        downloads=(
            Download(
                f"{_VGG}fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "md5:d4acdd33327262359767eeaa97a4f732",
                "fgvc_aircraft",
                member="fgvc-aircraft-2013b/data",
                parts=("images", "variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test"))),
            ),
        ),
    ),
    "sun397": Source(
        folder="sun397",
        images=(15_880, 3_970, 19_850),
        downloads=(_split("SUN397", "sun397", "git:8d5725db8f70bcf02245665304f863e68f96a24c"),),
        by_hand=(
            "the home page's SUN397.tar.gz (36 GiB, md5 8ca2778205c41d23104230ba66911c7a) is gone since September 2025: from a "
            "copy with the original file names, unpack it to sun397/SUN397/<letter>/<scene>/",
        ),
    ),
    "dtd": Source(
        folder="dtd",
        images=(2_820, 1_128, 1_692),
        downloads=(
            Download(
                f"{_VGG}dtd/download/dtd-r1.0.1.tar.gz",
                "md5:fff73e5086ae6bdbea199a49dfb8a4c1",
                "dtd/images",
                member="dtd/images",
            ),
            _split(
                "DescribableTextures",
                "dtd",
                "sha256:f26ebeccd2b58e68d70f07a0dc39fe49bf7b69024bac34396b954dfd87969c38",
            ),
        ),
    ),
    "eurosat": Source(
        folder="eurosat",
        images=(13_500, 5_400, 8_100),
        downloads=(
            Download(
                "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                "md5:c8fa014336c82ac7804f0398fcb19387",
                "eurosat/2750",
                member="2750",
            ),
            _split("EuroSAT", "eurosat", "sha256:541503a77d0b26b735d85ec7a3e672804fe0aa466c2e5f07da772cc6c0af8ad2"),
        ),
    ),
    "ucf101": Source(
        folder="ucf101",
        images=(7_639, 1_898, 3_783),
        downloads=(
            _split("UCF101", "ucf101", "sha256:d78cb834f7c5792ceaff2c5ee2d7c76a9e4086e48a3a6b01232989d29cbefdd8"),
        ),
        by_hand=(
            "UCF-101-midframes.zip is on Google Drive, linked in CoOp's DATASETS.md: download it in a browser and unpack it to "
            "ucf101/UCF-101-midframes/<Class_Name>/",
        ),
    ),
    "imagenetv2": Source(
        folder="imagenetv2",
        images=(0, 0, 10_000),
        by_hand=(
            "unpack imagenetv2-matched-frequency.tar.gz (dataset vaishaal/ImageNetV2 of the Hugging Face hub) to "
            "imagenetv2/imagenetv2-matched-frequency-format-val/<0 to 999>/",
        ),
        classnames=CLASSNAMES,
    ),
    "imagenet_sketch": Source(
        folder="imagenet-sketch",
        images=(0, 0, 50_889),
        by_hand=(
            "unpack ImageNet-Sketch.zip (GitHub repository HaohanWang/ImageNet-Sketch, or dataset songweig/imagenet_sketch of the "
            "Hugging Face hub) to imagenet-sketch/images/<wnid>/; classnames.txt is then written by `data prepare`",
        ),
        wnid_folders="imagenet-sketch/images",
        classnames=CLASSNAMES,
    ),
    "imagenet_a": Source(
        folder="imagenet-adversarial",
        images=(0, 0, 7_500),
        downloads=(
            Download(
                f"{_BERKELEY}imagenet-a.tar",
                "md5:c3e55429088dc681f30d81f4726b6595",
                "imagenet-adversarial/imagenet-a",
                member="imagenet-a",
            ),
        ),
        classnames=CLASSNAMES,
    ),
    "imagenet_r": Source(
        folder="imagenet-rendition",
        images=(0, 0, 30_000),
        downloads=(
            Download(
                f"{_BERKELEY}imagenet-r.tar",
                "md5:a61312130a589d0ca1a8fca1f2bd3337",
                "imagenet-rendition/imagenet-r",
                member="imagenet-r",
            ),
        ),
        classnames=CLASSNAMES,
    ),
}
