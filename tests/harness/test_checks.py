"""What is refused of a dataset before a run, and what is said of it."""

import pytest

from harness.data.checks import doubts, leaks, require_classes
from harness.data.split_files import ImageFolder
from harness.errors import DataError
from harness.suite import Dataset, Item, Splits


def dataset(group="user"):
    return Dataset(name="mine", title="Mine", group=group, templates={"clip": "{}"}, read=lambda folders: None)


def splits(*names, images=4):
    items = tuple(Item(f"{name}/{i}", label, name) for label, name in enumerate(names) for i in range(images))
    return Splits(train=items, val=(), test=items, open=None)


@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "emu")])
@pytest.mark.parametrize("part", ["base", "new"])
def test_a_half_of_one_class_is_refused(names, part):
    require_classes(dataset(), splits(*names), {"all"})
    with pytest.raises(DataError, match=rf"'mine' has {len(names)} classes(.|\n)*4 classes or more"):
        require_classes(dataset(), splits(*names), {"all", part})
    require_classes(dataset(), splits("cat", "dog", "emu", "fox"), {part})


@pytest.mark.parametrize(
    ("one", "other"),
    [("ball", "Ball"), ("air_port", "air port"), ("a  b", "A_b"), ("cafe\u0301", "caf\u00e9"), ("same", "same")],
)
def test_names_that_prompts_do_not_tell_apart_are_refused(one, other):
    with pytest.raises(DataError, match=rf"'{one}' and '{other}'(.|\n)*a name of its own"):
        require_classes(dataset(), splits(one, other, "third"), {"all"})
    require_classes(dataset("published"), splits(one, other, "third"), {"all"})  # ImageNet has such a pair


@pytest.mark.parametrize(
    "names",
    [
        ("n02692877", "n09428293", "n03133878"),
        ("1", "02", "13", "47"),
        ("id0001", "id0002", "cat"),
        ("class_0", "class_1"),
        ("0", "1"),
        ("0361596cb6d62aef6a40e4e4182ba699", "23b77f08e4b27ca03b6418656bb36933"),
    ],
)
def test_names_that_are_codes_are_said(names):
    (said,) = doubts(dataset(), splits(*names), 4)
    assert "are codes, of which a text tower knows nothing" in said


def test_a_class_that_is_tested_and_not_trained_on_is_refused():
    known, more = splits("cat", "dog"), splits("cat", "dog", "emu")
    with pytest.raises(DataError, match="is of the class 'emu' \\(label 2\\), which has no training image"):
        require_classes(dataset(), Splits(train=known.train, val=(), test=more.test, open=None), {"all"})


def test_names_that_begin_with_a_number_are_said():
    (said,) = doubts(dataset(), splits("001.Black_footed_Albatross", "002.Laysan_Albatross", "cat"), 4)
    assert "'001.Black_footed_Albatross' begin with a number" in said


def test_words_and_numbers_among_words_are_no_codes():
    assert doubts(dataset(), splits("cat", "dog", "737-800", "A4"), 4) == []
    assert (
        doubts(dataset(), splits("2012 BMW M3 coupe", "Audi A4 sedan", "747-400 freighter", "dead beef cafe"), 4) == []
    )


def test_shots_that_are_not_there_are_said():
    uneven = splits("cat", "dog")
    uneven = Splits(train=uneven.train[:-2], val=(), test=uneven.test, open=None)
    assert doubts(dataset(), uneven, 2) == []
    assert doubts(dataset("published"), uneven, 4) == [
        "mine: 1 of 2 classes have fewer than 4 training images (the smallest has 2); all of them are taken."
    ]


def test_test_images_that_are_trained_on_are_said(tmp_path):
    def item(name, content):
        (tmp_path / name).write_bytes(content)
        return Item(name, 0, "cat")

    start = bytes(5000)
    train = (item("a", b"one"), item("b", start + b"1"), item("c", start + b"2"))
    test = (item("d", b"two"), item("e", start + b"2"), item("f", start + b"3"), item("g", b"one"))
    found = Splits(train=train, val=(), test=test, open=ImageFolder(tmp_path))
    (said,) = leaks(dataset(), found)
    assert said.startswith("mine: 2 of 4 test images are training images too, by content, such as 'g', which is 'a'")
    assert leaks(dataset("published"), found) == []
    assert leaks(dataset(), Splits(train=train, val=(), test=test[:1], open=ImageFolder(tmp_path))) == []
    assert leaks(dataset(), splits("cat", "dog")) == []  # of files that nobody knows
