"""The published datasets: folder, split file, and prompt templates. Importing it loads neither torch nor Pillow.

Folders and files are those of CoOp's DATASETS.md. Terms stand here as the datasets' pages state them: check before use.

Template lists, each by the method whose released code has it; a dataset without a row in one takes its "clip" row:

- "clip": zero-shot CLIP and CLIP-Adapter in CoOp's code (list A)
- "fine-tuning": full fine-tuning and Skip Tuning in Skip Tuning's code (list B)
- "kgcoop": the reference prompts of KgCoOp, DePT and CoPrompt
- "prograd": ProGrad's teacher
- "ensemble 1" to "ensemble 7": Tip-Adapter's and LP++'s on ImageNet and its variants, averaged
- "tcp-reference", "tcp-prompt": TCP's frozen reference, and its prompt, whose four X are replaced by what it learns
"""

from __future__ import annotations

from functools import partial

from harness.suite import Dataset
from suites.datasets.readers import (
    read_aircraft,
    read_imagenet,
    read_imagenet_part,
    read_imagenet_sketch,
    read_imagenet_v2,
    read_published_split,
)

ENSEMBLE = {
    f"ensemble {i}": template
    for i, template in enumerate(
        (
            "itap of a {}.",
            "a bad photo of the {}.",
            "a origami {}.",
            "a photo of the large {}.",
            "a {} in a video game.",
            "art of the {}.",
            "a photo of the small {}.",
        ),
        start=1,
    )
}

# Access is gated; non-commercial research and education.
IMAGENET = Dataset(
    name="imagenet",
    title="ImageNet",
    group="published",
    templates={"clip": "a photo of a {}.", **ENSEMBLE},
    read=read_imagenet,
)

# CC BY 4.0. 100 classes: CoOp leaves out the background and Faces_easy.
CALTECH101 = Dataset(
    name="caltech101",
    title="Caltech101",
    group="published",
    templates={"clip": "a photo of a {}.", "fine-tuning": "itap of a {}.", "tcp-prompt": "X X X X {}."},
    read=partial(read_published_split, "caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json"),
)

# CC BY-SA 4.0.
OXFORD_PETS = Dataset(
    name="oxford_pets",
    title="OxfordPets",
    group="published",
    templates={
        "clip": "a photo of a {}, a type of pet.",
        "fine-tuning": "a bad photo of a {}, a type of pet.",
        "prograd": "a type of pet, a photo of a {}.",
        "tcp-prompt": "X X X X {}, a type of pet.",
    },
    read=partial(read_published_split, "oxford_pets", "images", "split_zhou_OxfordPets.json"),
)

# No terms stated; used for research. Its split file's paths start at stanford_cars/; Kaggle's copy has other names.
STANFORD_CARS = Dataset(
    name="stanford_cars",
    title="StanfordCars",
    group="published",
    templates={
        "clip": "a photo of a {}.",
        "fine-tuning": "a photo of the {}, a type of car.",
        "tcp-prompt": "X X X X {}, a type of car",  # no full stop, as released
    },
    read=partial(read_published_split, "stanford_cars", ".", "split_zhou_StanfordCars.json"),
)

# No terms stated.
OXFORD_FLOWERS = Dataset(
    name="oxford_flowers",
    title="Flowers102",
    group="published",
    templates={
        "clip": "a photo of a {}, a type of flower.",
        "fine-tuning": "a close-up photo of a {}.",
        "prograd": "a type of flower, a photo of a {}.",
        "tcp-prompt": "X X X X {}, a type of flower.",
    },
    read=partial(read_published_split, "oxford_flowers", "jpg", "split_zhou_OxfordFlowers.json"),
)

# Images from Foodspotting, not owned by the dataset's authors; scientific fair use only.
FOOD101 = Dataset(
    name="food101",
    title="Food101",
    group="published",
    templates={
        "clip": "a photo of {}, a type of food.",
        "fine-tuning": "a photo of the nice {}.",
        "prograd": "a type of food, a photo of {}.",
        "tcp-reference": "a photo of a {}, a type of food.",
        "tcp-prompt": "X X X X {}, a type of food.",
    },
    read=partial(read_published_split, "food-101", "images", "split_zhou_Food101.json"),
)

# Non-commercial research only; photographers keep their copyright. Its own splits are used: there is no split file.
FGVC_AIRCRAFT = Dataset(
    name="fgvc_aircraft",
    title="FGVCAircraft",
    group="published",
    templates={
        "clip": "a photo of a {}, a type of aircraft.",
        "fine-tuning": "a bright photo of a {}, a type of aircraft.",
        "prograd": "a type of aircraft, a photo of a {}.",
        "tcp-reference": "a photo of an aircraft {}.",
        "tcp-prompt": "X X X X {}, a type of aircraft.",
    },
    read=read_aircraft,
)

# No terms stated.
SUN397 = Dataset(
    name="sun397",
    title="SUN397",
    group="published",
    templates={"clip": "a photo of a {}.", "tcp-prompt": "X X X X {}."},
    read=partial(read_published_split, "sun397", "SUN397", "split_zhou_SUN397.json"),
)

# "For research purposes".
DTD = Dataset(
    name="dtd",
    title="DTD",
    group="published",
    templates={
        "clip": "{} texture.",
        "fine-tuning": "itap of a {}.",
        "kgcoop": "a photo of a {}, a type of texture.",
        "prograd": "a texture of {}.",
        "tcp-reference": "a photo of a {}, a type of texture.",
        "tcp-prompt": "X X X X {} texture.",
    },
    read=partial(read_published_split, "dtd", "images", "split_zhou_DescribableTextures.json"),
)

# MIT. 94 MB, the smallest.
EUROSAT = Dataset(
    name="eurosat",
    title="EuroSAT",
    group="published",
    templates={"clip": "a centered satellite photo of {}.", "tcp-prompt": "X X X X {}."},
    read=partial(read_published_split, "eurosat", "2750", "split_zhou_EuroSAT.json"),
)

# No terms stated. The images are the middle frames that CoOp published, one a video.
UCF101 = Dataset(
    name="ucf101",
    title="UCF101",
    group="published",
    templates={"clip": "a photo of a person doing {}.", "fine-tuning": "a photo of a {}, a type of sport."},
    read=partial(read_published_split, "ucf101", "UCF-101-midframes", "split_zhou_UCF101.json"),
)

# Test images only, for models that were trained on ImageNet; all four are MIT by their repositories.
IMAGENET_V2 = Dataset(
    name="imagenetv2",
    title="ImageNetV2",
    group="published",
    templates={"clip": "a photo of a {}.", **ENSEMBLE},
    read=read_imagenet_v2,
)

IMAGENET_SKETCH = Dataset(
    name="imagenet_sketch",
    title="ImageNet-Sketch",
    group="published",
    templates={"clip": "a photo of a {}.", "fine-tuning": "a sketch of a {}.", **ENSEMBLE},
    read=read_imagenet_sketch,
)

IMAGENET_A = Dataset(
    name="imagenet_a",
    title="ImageNet-A",
    group="published",
    templates={"clip": "a photo of a {}.", "fine-tuning": "a bad photo of a {}.", **ENSEMBLE},
    read=partial(read_imagenet_part, "imagenet-adversarial", "imagenet-a"),
)

IMAGENET_R = Dataset(
    name="imagenet_r",
    title="ImageNet-R",
    group="published",
    templates={"clip": "a photo of a {}.", "fine-tuning": "a rendition of a {}.", **ENSEMBLE},
    read=partial(read_imagenet_part, "imagenet-rendition", "imagenet-r"),
)
