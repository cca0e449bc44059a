import hashlib
import json
import random
from collections.abc import Iterable
from itertools import chain, product, repeat
from pathlib import Path

import pytest

from harness.data.few_shot import classnames, few_shot, held_out, subset
from harness.errors import ConfigError, DataError
from harness.suite import Item, Splits

# Images per class in label order, all lists in ascending blocks, as datasets with a split file by rule have them:
# round(0.5 n), round(0.2 n) and the rest of n images, or 80/20 of 50; aircraft's own splits of 100 images per class.
EUROSAT_IMAGES = (3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000)
COUNTS = {
    "eurosat": tuple([round(share * n) for n in EUROSAT_IMAGES] for share in (0.5, 0.2, 0.3)),
    "food101": ([500] * 101, [200] * 101, [300] * 101),
    "sun397": ([40] * 397, [10] * 397, [50] * 397),
    "dtd": ([60] * 47, [24] * 47, [36] * 47),
    "fgvc_aircraft": tuple([33 + (c % 3 == part) for c in range(100)] for part in range(3)),
}
# The published lists and draws (MIT, repository linzhiqiu/cross_modal_adaptation, folders splits/ and indices/) of ten datasets:
# the labels of train and val in the order of the list, "label*count" for a run of one label; and for every "shots/seed" the
# first 12 hexadecimal digits of the SHA-256 of the drawn positions, joined by commas, of train and of val.
PUBLISHED = json.loads((Path(__file__).parent / "published_draws.json").read_text())
EUROSAT_DRAWS_OF_1 = {
    1: (
        [275, 2665, 3129, 5022, 5991, 7507, 8920, 10217, 11527, 12429],
        [96, 1099, 1229, 2257, 2727, 2999, 3421, 3702, 4656, 5256],
    ),
    2: (
        [115, 1687, 3173, 5239, 6096, 7753, 8631, 9765, 11990, 12434],
        [36, 1195, 1362, 2020, 2626, 3001, 3611, 4221, 4786, 5180],
    ),
    3: (
        [487, 2713, 4114, 4767, 6507, 7937, 9236, 10220, 11939, 12134],
        [13, 1080, 1465, 2082, 2419, 2898, 3567, 4181, 4576, 5362],
    ),
}


def items(labels: Iterable[int], prefix: str = "") -> tuple[Item, ...]:
    """Items that are named by their position."""
    return tuple(Item(f"{prefix}{position}", label, f"class {label}") for position, label in enumerate(labels))


def no_image(image):
    raise AssertionError("nothing here opens an image")


def splits(train=(), val=(), test=()) -> Splits:
    return Splits(train=items(train), val=items(val, "val"), test=items(test, "test"), open=no_image)


def like(name: str) -> Splits:
    return splits(*(chain.from_iterable(map(repeat, range(len(counts)), counts)) for counts in COUNTS[name]))


def positions(drawn: tuple[Item, ...]) -> list[int]:
    return [int(item.image.removeprefix("val")) for item in drawn]


def digest(drawn: tuple[Item, ...]) -> str:
    return hashlib.sha256(",".join(map(str, positions(drawn))).encode()).hexdigest()[:12]


def labels(runs: str) -> Iterable[int]:
    for run in runs.split():
        label, _, count = run.partition("*")
        yield from repeat(int(label), int(count or 1))


def test_there_are_a_hundred_and_fifty_published_draws():
    assert sum(len(dataset["draws"]) for dataset in PUBLISHED.values()) == 150


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_draw_is_reproduced(name):
    whole = splits(labels(PUBLISHED[name]["train"]), labels(PUBLISHED[name]["val"]))
    drawn = {}
    for shots, seed in product((1, 2, 4, 8, 16), (1, 2, 3)):
        draw = few_shot(whole, shots, seed)
        drawn[f"{shots}/{seed}"] = f"{digest(draw.train)} {digest(draw.val)}"
    assert drawn == PUBLISHED[name]["draws"]


@pytest.mark.parametrize("name", COUNTS)
def test_lists_made_by_rule_have_the_published_labels(name):
    whole = like(name)
    for part in ("train", "val"):
        assert [item.label for item in getattr(whole, part)] == list(labels(PUBLISHED[name][part]))


@pytest.mark.parametrize("seed", EUROSAT_DRAWS_OF_1)
def test_one_shot_is_the_published_one(seed):
    drawn = few_shot(like("eurosat"), 1, seed)
    assert (positions(drawn.train), positions(drawn.val)) == EUROSAT_DRAWS_OF_1[seed]


def test_classes_are_drawn_in_order_of_first_appearance():
    drawn = few_shot(splits(train=[3, 1, 1, 3, 2, 2, 3], val=[2, 1, 3]), 2, 1)
    assert [item.label for item in drawn.train] == [3, 3, 1, 1, 2, 2]
    assert [item.label for item in drawn.val] == [2, 1, 3]


@pytest.mark.parametrize(("shots", "val_images"), [(1, 1), (2, 2), (4, 4), (8, 4), (16, 4)])
def test_val_has_at_most_four_images_a_class_and_test_stays_whole(shots, val_images):
    whole = like("dtd")
    drawn = few_shot(whole, shots, 1)
    assert (len(drawn.train), len(drawn.val)) == (47 * shots, 47 * val_images)
    assert drawn.test == whole.test


def test_a_class_with_fewer_images_keeps_all_of_them_and_uses_no_random_number():
    whole = splits(train=[0, 0, 1, 1, 1, 1])
    assert positions(few_shot(whole, 3, 1).train)[:2] == [0, 1]
    assert positions(few_shot(whole, 3, 1).train)[2:] == random.Random(1).sample([2, 3, 4, 5], 3)


def test_a_class_with_just_enough_images_is_drawn_in_random_order():
    assert positions(few_shot(splits(train=[0] * 5), 5, 1).train) == random.Random(1).sample(range(5), 5) != [*range(5)]


def test_a_draw_neither_reads_nor_moves_the_global_generator():
    state = random.getstate()
    assert few_shot(like("dtd"), 4, 2) == few_shot(like("dtd"), 4, 2)
    assert random.getstate() == state


def test_a_val_list_that_is_the_test_list_is_not_drawn_from():
    test = items([0, 1] * 9, "test")
    drawn = few_shot(Splits(train=items([0, 1] * 9), val=test, test=test, open=no_image), 2, 1)
    assert len(drawn.train) == 4
    assert drawn.val == drawn.test == test


@pytest.mark.parametrize(("shots", "seed"), [(0, 1), (-1, 1), (16, 0), (16, -1)])
def test_shots_and_seeds_start_at_one(shots, seed):
    with pytest.raises(ConfigError, match=r"1 or more|start at 1"):
        few_shot(splits(train=[0, 1]), shots, seed)


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(DataError, match="no training images"):
        few_shot(splits(test=[0, 1]), 1, 1)


# classes, of them base and new, by the published tables
@pytest.mark.parametrize(
    ("classes", "base", "new"),
    [
        (3, 2, 1),
        (2, 1, 1),
        (1000, 500, 500),  # imagenet
        (100, 50, 50),  # caltech101, fgvc_aircraft
        (37, 19, 18),  # oxford_pets
        (196, 98, 98),  # stanford_cars
        (102, 51, 51),  # oxford_flowers
        (101, 51, 50),  # food101, ucf101
        (397, 199, 198),  # sun397
        (47, 24, 23),  # dtd
        (10, 5, 5),  # eurosat
    ],
)
def test_the_larger_half_of_the_classes_is_base(classes, base, new):
    whole = splits(*[range(classes)] * 3)
    assert classnames(subset(whole, "base")) == classnames(whole)[:base]
    assert classnames(subset(whole, "new")) == classnames(whole)[base:]
    assert len(classnames(subset(whole, "new"))) == new


@pytest.mark.parametrize(
    ("name", "base", "new"),
    [
        ("eurosat", (7000, 2800, 4200), (6500, 2600, 3900)),
        ("food101", (25500, 10200, 15300), (25000, 10000, 15000)),
        ("sun397", (7960, 1990, 9950), (7920, 1980, 9900)),
        ("dtd", (1440, 576, 864), (1380, 552, 828)),
        ("fgvc_aircraft", (1667, 1667, 1666), (1667, 1666, 1667)),
    ],
)
def test_the_halves_have_the_published_numbers_of_images(name, base, new):
    halves = [subset(like(name), half) for half in ("base", "new")]
    assert [(len(half.train), len(half.val), len(half.test)) for half in halves] == [base, new]


def test_labels_are_renumbered_from_zero_in_ascending_order():
    whole = splits(train=[7, 2, 5, 7], val=[5], test=[2, 7])
    everything = subset(whole, "all")
    assert [item.label for item in everything.train] == [2, 0, 1, 2]
    assert [item.label for item in (*everything.val, *everything.test)] == [1, 0, 2]
    assert classnames(everything) == ("class 2", "class 5", "class 7")
    new = subset(whole, "new")
    assert [(item.image, item.label, item.classname) for item in new.train] == [
        ("0", 0, "class 7"),
        ("3", 0, "class 7"),
    ]
    assert (new.val, [item.image for item in new.test]) == ((), ["test1"])


def test_all_classes_in_order_are_left_as_they_are():
    whole = like("dtd")
    assert subset(whole, "all") == whole


def test_a_base_half_trains_on_the_images_that_the_full_draw_has():
    drawn = few_shot(like("eurosat"), 16, 1)
    assert positions(subset(drawn, "base").train) == positions(drawn.train)[: 5 * 16]


def test_a_dataset_for_tests_only_is_numbered_by_its_test_list():
    whole = splits(test=[4, 9, 4])
    assert classnames(whole) == ("class 4", "class 9")
    assert [item.label for item in subset(whole, "all").test] == [0, 1, 0]
    assert classnames(subset(whole, "new")) == ("class 9",)


@pytest.mark.parametrize("half", ["base", "new"])
@pytest.mark.parametrize("labels", [[], [3, 3]])
def test_fewer_than_two_classes_have_no_halves(labels, half):
    with pytest.raises(DataError, match=r"can't be halved(.|\n)*Take all classes"):
        subset(splits(train=labels), half)


def test_a_class_that_is_not_trained_on_is_named():
    with pytest.raises(DataError, match=r"'test1' is of the class 'class 2' \(label 2\)"):
        subset(splits(train=[0, 1], test=[0, 2]), "all")


def test_a_label_with_two_names_is_named():
    train = (Item("a.jpg", 0, "cat"), Item("b.jpg", 1, "dog"))
    broken = Splits(train=train, val=(), test=(Item("c.jpg", 1, "wolf"),), open=no_image)
    for read in (lambda: subset(broken, "all"), lambda: classnames([*broken.train, *broken.test])):
        with pytest.raises(DataError, match=r"label 1 has two class names, 'dog' and 'wolf'"):
            read()


def test_two_labels_may_share_a_name():
    assert classnames([Item("a", 0, "missile"), Item("b", 1, "missile")]) == ("missile", "missile")


def test_held_out_images_are_training_images_that_the_draw_left_over():
    whole = splits(train=[0] * 6 + [1] * 20 + [2] * 4)
    drawn = few_shot(whole, 4, seed=1)
    kept = held_out(whole, drawn, 4, seed=1)
    assert {item.image for item in kept}.isdisjoint(item.image for item in drawn.train)
    assert [sum(item.label == label for item in kept) for label in (0, 1, 2)] == [2, 4, 0]
    assert kept == held_out(whole, drawn, 4, seed=1)
    assert len(held_out(whole, few_shot(whole, 1, seed=1), 1, seed=1)) == 3
