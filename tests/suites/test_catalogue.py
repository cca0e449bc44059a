import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from golden.tables import LISTS

from harness.data.few_shot import classnames, few_shot, subset
from harness.errors import DataError
from harness.suite import Dataset, Folders
from suites.datasets import catalogue

HERE = Path(__file__)
DATASETS = {d.name: d for d in vars(catalogue).values() if isinstance(d, Dataset)}
FOLDERS = {
    "imagenet": "imagenet",
    "caltech101": "caltech-101",
    "oxford_pets": "oxford_pets",
    "stanford_cars": "stanford_cars",
    "oxford_flowers": "oxford_flowers",
    "food101": "food-101",
    "fgvc_aircraft": "fgvc_aircraft",
    "sun397": "sun397",
    "dtd": "dtd",
    "eurosat": "eurosat",
    "ucf101": "ucf101",
    "imagenetv2": "imagenetv2",
    "imagenet_sketch": "imagenet-sketch",
    "imagenet_a": "imagenet-adversarial",
    "imagenet_r": "imagenet-rendition",
}
TEST_ONLY = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
TRAINED_ON = tuple(name for name in FOLDERS if name not in TEST_ONLY)
CLASSES = {  # of the small copies: two base classes, one new
    "imagenet": ("tench", "goldfish", "great white shark"),
    "caltech101": ("face", "leopard", "accordion"),
    "oxford_pets": ("abyssinian", "american_bulldog", "beagle"),
    "stanford_cars": ("2000 AM General Hummer SUV", "2012 Ram C/V Cargo Van Minivan", "2012 Volvo C30 Hatchback"),
    "oxford_flowers": ("pink primrose", "hard-leaved pocket orchid", "canterbury bells"),
    "food101": ("apple_pie", "baby_back_ribs", "waffles"),
    "fgvc_aircraft": ("707-320", "Cessna 172", "F-16A/B"),
    "sun397": ("abbey", "outdoor apartment_building", "indoor ice_skating_rink"),
    "dtd": ("banded", "matted", "polka-dotted"),
    "eurosat": ("Annual Crop Land", "Forest", "Sea or Lake"),
    "ucf101": ("Hammering", "Hammer_Throw", "Handstand_Pushups"),
    "imagenetv2": tuple(f"class {number}" for number in range(11)),
    "imagenet_sketch": ("tench", "goldfish", "great white shark"),
    "imagenet_a": ("tench", "goldfish", "great white shark"),
    "imagenet_r": ("tench", "goldfish", "great white shark"),
}
# What the released code makes of the class "red_panda"; its lists and ours, its data sets and ours.
PROMPTS = json.loads((HERE.parents[1] / "methods" / "parity" / "prompts.json").read_text(encoding="utf-8"))["prompts"]
REGISTERED = {
    "ImageNet": "imagenet",
    "Caltech101": "caltech101",
    "OxfordPets": "oxford_pets",
    "StanfordCars": "stanford_cars",
    "OxfordFlowers": "oxford_flowers",
    "Food101": "food101",
    "FGVCAircraft": "fgvc_aircraft",
    "SUN397": "sun397",
    "DescribableTextures": "dtd",
    "EuroSAT": "eurosat",
    "UCF101": "ucf101",
    "ImageNetV2": "imagenetv2",
    "ImageNetSketch": "imagenet_sketch",
    "ImageNetA": "imagenet_a",
    "ImageNetR": "imagenet_r",
}


@pytest.fixture
def read(data_root, tmp_path):
    return lambda name: DATASETS[name].read(Folders(data_root, tmp_path / "cache"))


@pytest.fixture
def failure(read):
    """The whole text of the DataError that reading a dataset raises."""

    def text(name):
        with pytest.raises(DataError) as caught:
            read(name)
        assert caught.value.advice
        return str(caught.value)

    return text


def test_the_catalogue_has_the_fifteen_published_datasets():
    assert list(DATASETS) == list(FOLDERS)
    assert {d.group for d in DATASETS.values()} == {"published"}
    assert len({d.title for d in DATASETS.values()}) == 15


def test_the_table_of_datasets_calls_them_by_their_names():
    project = tomllib.loads((HERE.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = project["entry-points"]["adaptbench.datasets"]
    listed = {
        key: value.removeprefix("suites.datasets.catalogue:")
        for key, value in table.items()
        if "suites.datasets.catalogue:" in value
    }
    assert {key: getattr(catalogue, attribute).name for key, attribute in listed.items()} == {
        key: key for key in listed
    }
    assert set(TRAINED_ON) <= set(listed)


def test_importing_the_catalogue_is_light():
    heavy = "{'torch', 'PIL', 'scipy', 'numpy', 'pandas'}"
    program = f"import sys, suites.datasets.catalogue; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=HERE.parents[2], check=False).returncode == 0


@pytest.mark.parametrize("released", LISTS)
def test_prompts_are_those_of_the_released_code(released):
    expected = {REGISTERED[key]: text for key, (text, _) in PROMPTS[released].items()}
    assert {n: d.template(LISTS[released]).format("red panda") for n, d in DATASETS.items()} == expected


def test_every_template_has_one_place_for_the_name_and_differs_from_the_usual_one():
    for dataset in DATASETS.values():
        others = [template for key, template in dataset.templates.items() if key != "clip"]
        assert dataset.templates["clip"] not in others
        assert all(template.count("{}") == 1 for template in dataset.templates.values())
        assert {name for name in dataset.templates if not name.startswith("ensemble ")} <= set(LISTS.values())


@pytest.mark.parametrize("name", TRAINED_ON)
def test_a_dataset_is_read_from_the_published_layout(read, name):
    whole = read(name)
    train = 9 if name == "imagenet" else 6
    assert (len(whole.train), len(whole.val), len(whole.test)) == (train, 3, 3)
    assert classnames(whole) == CLASSES[name]
    assert {item.label for item in whole.test} == {0, 1, 2}
    for item in (*whole.train, *whole.val, *whole.test):
        assert CLASSES[name][item.label] == item.classname
        image = whole.open(item.image)
        assert (image.mode, image.size) == ("RGB", (16, 16))


@pytest.mark.parametrize("name", TRAINED_ON)
def test_three_classes_are_two_base_and_one_new(read, name):
    drawn = few_shot(read(name), 1, 1)
    base, new = subset(drawn, "base"), subset(drawn, "new")
    assert (classnames(base), classnames(new)) == (CLASSES[name][:2], CLASSES[name][2:])
    assert (len(base.train), len(base.test), len(new.train), len(new.test)) == (2, 2, 1, 1)


@pytest.mark.parametrize("name", TEST_ONLY)
def test_a_test_set_is_read_from_the_published_layout(read, name):
    whole = read(name)
    assert (whole.train, whole.val) == ((), ())
    assert len(whole.test) == (11 if name == "imagenetv2" else 12)
    assert classnames(whole) == CLASSES[name]
    assert sorted({item.label for item in whole.test}) == list(range(len(CLASSES[name])))
    assert {whole.open(item.image).size for item in whole.test} == {(16, 16)}


def test_flowers_and_cars_keep_the_order_of_their_split_files(read):
    assert [item.label for item in read("oxford_flowers").train] == [2, 2, 0, 0, 1, 1]
    assert [item.label for item in few_shot(read("stanford_cars"), 1, 1).train] == [1, 0, 2]


def test_imagenet_is_sorted_and_validates_on_its_test_list(read):
    whole = read("imagenet")
    assert [item.image for item in whole.train[:3]] == [f"train/n01440764/n01440764_{n}.JPEG" for n in (1, 10, 9)]
    assert whole.val == whole.test == few_shot(whole, 1, 1).val


def test_hidden_files_and_other_files_are_no_images(read, data_root):
    folder = data_root / "imagenet" / "images" / "train"
    for stray in (".DS_Store", "n01440764/._n01440764_1.JPEG", "n01440764/Thumbs.db"):
        (folder / stray).write_bytes(b"")
    (folder / ".cache").mkdir()
    assert len(read("imagenet").train) == 9


@pytest.mark.parametrize("name", FOLDERS)
def test_without_a_data_root_the_error_says_what_to_give(name, tmp_path):
    with pytest.raises(DataError, match=rf"no --data-root was given(.|\n)*{FOLDERS[name]}/(.|\n)*to hold .+\."):
        DATASETS[name].read(Folders(None, tmp_path))


@pytest.mark.parametrize("name", FOLDERS)
def test_an_absent_folder_is_named_with_the_layout(failure, data_root, name):
    shutil.rmtree(data_root / FOLDERS[name])
    text = failure(name)
    assert f"no folder '{data_root / FOLDERS[name]}'" in text
    assert "DATASETS.md" in text


@pytest.mark.parametrize("name", [n for n in TRAINED_ON if n not in ("imagenet", "fgvc_aircraft")])
def test_an_absent_split_file_is_named_with_its_source(failure, data_root, name):
    (split_file,) = (data_root / FOLDERS[name]).glob("split_zhou_*.json")
    split_file.unlink()
    text = failure(name)
    assert str(split_file) in text
    assert "cross_modal_adaptation" in text


@pytest.mark.parametrize(
    ("name", "images"),
    [("caltech101", "101_ObjectCategories"), ("stanford_cars", "cars_test"), ("fgvc_aircraft", "images")],
)
def test_absent_images_are_noticed(failure, data_root, name, images):
    shutil.rmtree(data_root / FOLDERS[name] / images)
    assert images in failure(name)


@pytest.mark.parametrize("flat", [True, False])
def test_an_unsorted_imagenet_val_folder_gets_the_step_that_sorts_it(failure, data_root, flat):
    val = data_root / "imagenet" / "images" / "val"
    shutil.rmtree(val)
    val.mkdir()
    if flat:
        (val / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    assert "valprep" in failure("imagenet")


def test_imagenet_val_and_train_need_images_of_every_class(failure, data_root):
    images = data_root / "imagenet" / "images"
    shutil.rmtree(images / "val" / "n01440764")
    assert "val' has no images for 1 of 3 classes, such as 'n01440764'" in failure("imagenet")
    for image in (images / "train" / "n01443537").iterdir():
        image.unlink()
    (images / "val" / "n01440764").mkdir()
    assert "no images for 1 of 3 classes" in failure("imagenet")
    shutil.rmtree(images / "val")
    assert "can't be listed" in failure("imagenet")


@pytest.mark.parametrize(
    ("name", "image_folder"),
    [
        ("imagenet", "imagenet/images/train"),
        ("imagenetv2", "imagenetv2/imagenetv2-matched-frequency-format-val"),
        ("imagenet_sketch", "imagenet-sketch/images"),
        ("imagenet_r", "imagenet-rendition/imagenet-r"),
    ],
)
def test_a_folder_that_is_no_class_is_named(failure, data_root, name, image_folder):
    (data_root / image_folder / "n09999999").mkdir()
    text = failure(name)
    assert "'n09999999'" in text
    assert "classnames.txt" in text


@pytest.mark.filterwarnings("ignore:.*not the published file")
@pytest.mark.parametrize(
    ("name", "images"),
    [("imagenet_a", "imagenet-adversarial/imagenet-a"), ("imagenet_r", "imagenet-rendition/imagenet-r")],
)
def test_a_test_set_with_fewer_classes_than_published_is_no_easier_one(read, failure, data_root, name, images):
    wnids = [f"n{number:08}" for number in range(1000)]
    (data_root / images).with_name("classnames.txt").write_text("".join(f"{wnid} thing\n" for wnid in wnids))
    shutil.rmtree(data_root / images)
    for wnid in wnids[::5]:
        (data_root / images / wnid).mkdir(parents=True)
        (data_root / images / wnid / "0.jpg").touch()
    assert len(classnames(read(name))) == 200
    shutil.rmtree(data_root / images / wnids[500])
    assert "has 199 class folders, and 200 are published" in failure(name)


def test_an_empty_test_set_is_an_error(failure, data_root):
    for wnid in ("n01440764", "n01443537", "n01484850"):
        shutil.rmtree(data_root / "imagenet-adversarial" / "imagenet-a" / wnid)
    assert "has no images" in failure("imagenet_a")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"n01440764\n", "has the line 'n01440764'"),
        (b"n01440764 tench\nn01440764 goldfish\n", "has the line 'n01440764 goldfish'"),
        (b"\n", "is empty"),
        (b"n01440764 \xff\n", "can't be read as text"),
        (None, "there is no"),
    ],
)
def test_a_broken_list_of_names_is_named(failure, data_root, content, what):
    path = data_root / "imagenet" / "classnames.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    text = failure("imagenet")
    assert f"'{path}'" in text
    assert what in text


@pytest.mark.parametrize("line", ["0817494", "0817494 Concorde", "../0817494 707-320", "0817494  707-320"])
def test_a_broken_line_of_the_aircraft_lists_is_named(failure, data_root, line):
    path = data_root / "fgvc_aircraft" / "images_variant_val.txt"
    path.write_text(f"{line}\n")
    text = failure("fgvc_aircraft")
    assert f"'{path}' has the line '{line}'" in text
