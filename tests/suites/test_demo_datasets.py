"""The demo datasets: enough images of every class, kept in one checked file, and none of them in the corpus."""

import gzip
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError
from harness.suite import Dataset, Folders, Item, Splits
from suites.demo import real, store
from suites.demo.corpus import batch, corpus_bank
from suites.demo.datasets import (
    DATASETS,
    DIGITS,
    FASHION,
    SCENES,
    SHAPES,
    SHAPES_A,
    SHAPES_R,
    SHAPES_SKETCH,
    SHAPES_V2,
)
from suites.demo.generated import DRAWING, GENERATED, generate

TRAINABLE = [d for d in DATASETS if d.name in GENERATED and not d.name.startswith("demo-shapes-")]


@pytest.fixture(scope="module")
def folders(cache_folder: Path) -> Folders:
    return Folders(data_root=None, cache=cache_folder)


def per_class(items: Sequence[Item]) -> tuple[int, int, int]:
    """How many classes, and the fewest and most images of one."""
    counts = Counter(item.label for item in items).values()
    return len(counts), min(counts, default=0), max(counts, default=0)


def imported_by(code: str) -> list[str]:
    """The modules that a process has after this code."""
    code = f"{code}; import sys; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_name_of_a_datasets_file_is_known_without_torch() -> None:
    assert "torch" not in imported_by("from suites.demo import generated as g; [*map(g.fingerprint, g.GENERATED)]")


def test_all_modules_that_draw_are_in_the_name_of_a_datasets_file() -> None:
    used = imported_by("import suites.demo.generated, suites.demo.render")
    drawing = {name.removeprefix("suites.demo.") for name in used if name.startswith("suites.demo.")}
    assert drawing - {"store"} == set(DRAWING)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int, int]]:
    """Generated datasets have two, one and three images per class: the whole ones take seconds to draw. The true counts."""
    counts = {name: generated.counts for name, generated in GENERATED.items()}
    for name, generated in GENERATED.items():
        monkeypatch.setitem(GENERATED, name, replace(generated, counts=(2, 1, 3)))
    return counts


@pytest.mark.parametrize("dataset", TRAINABLE, ids=lambda d: d.name)
def test_a_dataset_has_the_counts_of_its_recipe_which_are_enough(
    dataset: Dataset, few: dict[str, tuple[int, int, int]], tmp_path: Path
) -> None:
    assert all(count >= least for count, least in zip(few[dataset.name], (24, 4, 50), strict=True))
    splits = dataset.read(Folders(data_root=None, cache=tmp_path))
    classes = len(GENERATED[dataset.name].classes)
    assert classes >= 10
    assert [per_class(part) for part in (splits.train, splits.val, splits.test)] == [(classes, n, n) for n in (2, 1, 3)]
    check_items(splits)


@pytest.mark.parametrize(
    "dataset", [*(pytest.param(d, marks=pytest.mark.long) for d in TRAINABLE), DIGITS], ids=lambda d: d.name
)
def test_every_class_has_enough_images(dataset: Dataset, folders: Folders) -> None:
    splits = dataset.read(folders)
    classes, train, _ = per_class(splits.train)
    assert classes >= 10
    assert train >= 24
    assert per_class(splits.val)[:2] >= (classes, 4)
    assert per_class(splits.test)[:2] >= (classes, 50)
    check_items(splits)


def check_items(splits: Splits) -> None:
    keys = [item.image for part in (splits.train, splits.val, splits.test) for item in part]
    assert len(keys) == len(set(keys))
    assert splits.open(splits.test[0].image).mode == "RGB"
    assert {item.label: item.classname for item in splits.train} == {item.label: item.classname for item in splits.test}


@pytest.mark.long
@pytest.mark.parametrize("dataset", [SHAPES_V2, SHAPES_SKETCH, SHAPES_A, SHAPES_R], ids=lambda d: d.name)
def test_the_variants_test_the_classes_of_the_shapes(dataset: Dataset, folders: Folders) -> None:
    names = {item.label: item.classname for item in SHAPES.read(folders).test}
    splits = dataset.read(folders)
    assert {item.label: item.classname for item in splits.test} == names
    assert per_class(splits.test) == (len(names), 50, 50)
    assert splits.train == splits.val == ()


@pytest.mark.usefixtures("few")
def test_a_dataset_is_the_same_every_time() -> None:
    assert generate("demo-scenes").sha256() == generate("demo-scenes").sha256()


@pytest.mark.long
def test_no_image_occurs_twice_or_in_the_corpus(folders: Folders) -> None:
    corpus = {
        image.numpy().tobytes()
        for k in (0, 600, 1100, 1101, 1999)
        for image in batch(k, 192, corpus_bank())[0].permute(0, 2, 3, 1)
    }
    drawn = [
        splits.open(item.image).tobytes()
        for splits in (d.read(folders) for d in DATASETS if d.name in GENERATED)
        for part in (splits.train, splits.val, splits.test)
        for item in part
    ]
    assert len(set(drawn)) == len(drawn)
    assert corpus.isdisjoint(drawn)


def test_exemplars_of_the_datasets_are_not_those_of_the_corpus() -> None:
    from suites.demo.bank import make_bank

    keys = ("object fish", "object square")
    corpus, ours = corpus_bank(), make_bank("dataset bank", keys, 0.03)
    known = {corpus.masks[row].numpy().tobytes() for key in keys for row in corpus.rows[key]}
    assert known.isdisjoint(mask.numpy().tobytes() for mask in ours.masks)


def one_file(folder: Path) -> Path:
    (path,) = (folder / "demo").iterdir()
    return path


@pytest.mark.usefixtures("few")
def test_a_broken_cache_file_is_made_again(tmp_path: Path) -> None:
    folders = Folders(data_root=None, cache=tmp_path)
    first = SCENES.read(folders)
    path = one_file(tmp_path)
    whole, middle = path.read_bytes(), path.stat().st_size // 2
    for broken in (whole[: len(whole) // 2], b"", whole[:middle] + b"\xff\x00\xff\x00" + whole[middle + 4 :]):
        path.write_bytes(broken)
        assert store.load(path) is None
        again = SCENES.read(folders)
        assert one_file(tmp_path) == path
        assert store.load(path) is not None
        assert again.open(again.test[5].image).tobytes() == first.open(first.test[5].image).tobytes()


@pytest.mark.usefixtures("few")
def test_a_good_cache_file_is_used_as_it_is(tmp_path: Path) -> None:
    folders = Folders(data_root=None, cache=tmp_path)
    SCENES.read(folders)
    written = one_file(tmp_path).stat().st_mtime_ns
    SCENES.read(folders)
    assert one_file(tmp_path).stat().st_mtime_ns == written


def test_of_those_who_want_a_file_at_the_same_time_one_makes_it(tmp_path: Path) -> None:
    made, both_are_here = [], threading.Barrier(2)

    def make() -> store.Pictures:
        made.append(threading.get_ident())
        return store.Pictures(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, int), np.zeros(1, int))

    def read(_: int) -> store.Pictures:
        both_are_here.wait()
        return store.cached(tmp_path / "a.npz", make)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(read, range(2))
    assert len(made) == 1
    assert first.sha256() == second.sha256()


def test_an_unknown_key_is_told(folders: Folders) -> None:
    with pytest.raises(DataError, match="no image 'nowhere'"):
        DIGITS.read(folders).open("nowhere")


def test_importing_the_descriptions_is_light() -> None:
    code = "import sys, json, suites.demo, suites.demo.datasets; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not {"torch", "numpy", "sklearn", "PIL"} & set(loaded)


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Fashion-MNIST in a data root: 500 training images and 2 test images per class, of one grey each."""
    monkeypatch.setattr(real, "DEBIAN_FOLDER", tmp_path / "debian")
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for part, n in (("train", 500), ("t10k", 2)):
        labels = np.tile(np.arange(10, dtype=np.uint8), n)
        images = np.broadcast_to((labels * 20)[:, None, None], (len(labels), 28, 28)).astype(np.uint8)
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{part}-{what}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))
    return tmp_path


def test_fashion_mnist_is_read_from_the_data_root(fashion: Path) -> None:
    splits = FASHION.read(Folders(data_root=fashion, cache=fashion))
    assert [per_class(part) for part in (splits.train, splits.val, splits.test)] == [
        (10, 400, 400),
        (10, 100, 100),
        (10, 2, 2),
    ]
    item = splits.test[13]
    assert item.classname == "Dress"
    assert splits.open(item.image).getpixel((20, 20)) == (60, 60, 60)


def test_a_missing_fashion_mnist_names_the_package_and_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "DEBIAN_FOLDER", tmp_path / "debian")
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist") as caught:
        FASHION.read(Folders(data_root=tmp_path, cache=tmp_path))
    assert str(tmp_path / "FashionMNIST" / "raw") in caught.value.what


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"\0\0\x09\x01rest"), gzip.compress(b"\0\0\x08\x03\0\0\0\x05")],
    ids=["empty", "not gzip", "of other numbers", "cut off"],  # gzip's bytes hold the time of day
)
def test_a_broken_fashion_mnist_is_told(fashion: Path, content: bytes) -> None:
    path = fashion / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="broken"):
        FASHION.read(Folders(data_root=fashion, cache=fashion))
