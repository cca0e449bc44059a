"""Datasets that the command line names: folders, CSV files, torchvision's and Hugging Face's, from real files."""

import gzip
import os
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness import plugins
from harness.data.checks import leaks
from harness.data.few_shot import classnames, subset
from harness.errors import ConfigError, DataError
from harness.plan import Request, plan
from harness.suite import Folders
from suites.datasets import splitting
from suites.datasets.splitting import Row, split

CLASSES = {"red_panda": (200, 40, 30), "Tiger": (230, 150, 20), "zebra": (120, 120, 120)}


def paint(home, classes=CLASSES, count=10):
    for name, colour in classes.items():
        for number in range(count):
            path = home / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 16), tuple(min(255, c + number) for c in colour)).save(path)
    return home


@pytest.fixture
def animals(tmp_path):
    return paint(tmp_path / "animals")


def load(spec):
    return plugins.load("dataset", spec)


def read(spec, tmp_path):
    return load(spec).read(Folders(None, tmp_path / "cache"))


def images(items):
    return [item.image for item in items]


class TestFolder:
    def test_one_folder_a_class_is_split_by_half_a_fifth_and_the_rest(self, animals, tmp_path):
        (animals / "notes.txt").write_text("no class")
        (animals / ".hidden").mkdir()
        splits = read(f"folder:{animals}", tmp_path)
        assert [(len(part), {i.label for i in part}) for part in (splits.train, splits.val, splits.test)] == [
            (15, {0, 1, 2}), (6, {0, 1, 2}), (9, {0, 1, 2}),
        ]  # fmt: skip
        assert {(i.label, i.classname) for i in splits.test} == {(0, "Tiger"), (1, "red_panda"), (2, "zebra")}
        assert splits.rule == splitting.WHOLE
        every = images([*splits.train, *splits.val, *splits.test])
        assert len(set(every)) == 30
        assert splits.open(splits.train[0].image).size == (20, 16)

    def test_a_name_that_leads_to_no_machine_and_follows_the_content(self, animals, tmp_path):
        name = load(f"folder:{animals}").name
        assert name.startswith("folder:animals@")
        assert str(tmp_path) not in name
        moved = tmp_path / "elsewhere" / "animals"
        moved.parent.mkdir()
        shutil.copytree(animals, moved)
        assert load(f"folder:{moved}").name == name
        assert read(f"folder:{moved}", tmp_path).train == read(f"folder:{animals}", tmp_path).train
        Image.new("RGB", (9, 9)).save(moved / "zebra" / "new.png")
        assert load(f"folder:{moved}").name != name

    def test_a_new_image_moves_no_other(self, animals, tmp_path):
        before = read(f"folder:{animals}", tmp_path)
        Image.new("RGB", (9, 9)).save(animals / "zebra" / "new.png")
        after = read(f"folder:{animals}", tmp_path)
        others = [i for i in after.train if i.image != "zebra/new.png"]
        assert len(set(images(before.train)) ^ set(images(others))) <= 1

    def test_folders_of_parts_are_taken_as_they_are(self, tmp_path):
        home = tmp_path / "parted"
        for part, count in (("train", 5), ("Validation", 2), ("test", 3)):
            paint(home / part, count=count)
        splits = read(f"folder:{home}", tmp_path)
        assert (len(splits.train), len(splits.val), len(splits.test), splits.rule) == (15, 6, 9, None)
        assert all(image.startswith("Validation/") for image in images(splits.val))

    def test_what_a_source_lacks_is_made_and_said(self, tmp_path):
        home = tmp_path / "half"
        paint(home / "train", count=5)
        paint(home / "test", count=3)
        splits = read(f"folder:{home}", tmp_path)
        assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 3, 9)
        assert splits.rule == splitting.NO_VALIDATION
        shutil.move(home / "test", home / "val")
        splits = read(f"folder:{home}", tmp_path)
        assert splits.val == splits.test
        assert splits.rule == splitting.NO_TEST

    @pytest.mark.parametrize("layout", ["nothing there", "no classes", "one class"])
    def test_another_layout_is_told_what_would_be_right(self, tmp_path, layout):
        home = tmp_path / "animals"
        if layout != "nothing there":
            home.mkdir()
        if layout == "one class":
            paint(home, {"zebra": (1, 2, 3)})
        with pytest.raises(ConfigError, match=r"(?s)folder:.*one folder a class"):
            load(f"folder:{home}")

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            (("training_set", "test_set"), "'test_set/' is no class"),
            (("val", "test"), "'test', and no 'train' beside it"),
            (("train/train", "test/test"), "'test/test/' is no class"),
        ],
    )
    def test_parts_in_other_places_are_no_classes(self, tmp_path, parts, message):
        home = tmp_path / "parted"
        for part in parts:
            paint(home / part, count=4)
        with pytest.raises(ConfigError, match=rf"(?s){message}.*one folder a class"):
            load(f"folder:{home}")

    def test_every_file_of_a_class_is_read_or_named(self, animals, tmp_path):
        for number, suffix in enumerate((".tif", ".tiff", ".gif", ".JFIF", ".ppm")):
            kind = "JPEG" if suffix == ".JFIF" else None
            Image.new("RGB", (9, 9)).save(animals / "zebra" / f"more-{number}{suffix}", format=kind)
        for name in ("a.heic", "b.heic", "notes", "Thumbs.db", ".DS_Store"):
            (animals / "Tiger" / name).touch()
        (animals / "__MACOSX").mkdir()
        with pytest.warns(
            UserWarning, match=r"^folder:animals: of the class folder 'Tiger/', 2 files .heic, 1 file without"
        ):
            splits = read(f"folder:{animals}", tmp_path)
        every = images([*splits.train, *splits.val, *splits.test])
        assert sum(image.startswith("zebra/more-") for image in every) == 5
        assert all(splits.open(image).mode == "RGB" for image in every)

    @pytest.mark.parametrize("held", [(), ("a.heic", "b.txt")])
    def test_a_class_without_an_image_is_an_error(self, animals, held):
        (animals / "yak").mkdir()
        for name in held:
            (animals / "yak" / name).touch()
        words = "1 file .heic, 1 file .txt" if held else "it is empty"
        with pytest.raises(
            ConfigError, match=rf"(?s)'yak/' holds no image that can be read \({words}\).*move the folder"
        ):
            load(f"folder:{animals}")

    def test_what_is_no_part_beside_parts_is_named(self, tmp_path):
        home = tmp_path / "parted"
        for part in ("train", "val", "dev"):
            paint(home / part, count=2)
        with pytest.raises(ConfigError, match=r"'dev', which is no part"):
            load(f"folder:{home}")
        shutil.rmtree(home / "dev")
        (home / "test").mkdir()
        Image.new("RGB", (9, 9)).save(home / "test" / "0001.png")  # as Kaggle has it: no labels
        with pytest.raises(ConfigError, match=r"'test', which is no part with a folder per class in it"):
            load(f"folder:{home}")

    @pytest.mark.parametrize("place", ["", "train/", "test/"])
    def test_images_in_no_class_folder_are_named(self, tmp_path, place):
        home = tmp_path / "parted"
        paint(home / "train", count=5)
        paint(home / "test", count=3)
        Image.new("RGB", (9, 9)).save(home / place / "loose.png")
        with pytest.warns(
            UserWarning, match=rf"the image '{place}loose\.png' lies in no class folder, and is left out"
        ):
            read(f"folder:{home}", tmp_path)

    def test_a_class_may_be_called_as_a_part_is(self, tmp_path):
        home = paint(tmp_path / "traffic", {"bus": (9, 9, 200), "train": (200, 9, 9), "val": (9, 200, 9)})
        splits = read(f"folder:{home}", tmp_path)
        assert {item.classname for item in splits.test} == {"bus", "train", "val"}

    def test_a_class_too_small_to_divide_is_named(self, tmp_path):
        home = paint(tmp_path / "few", count=3)
        with pytest.raises(DataError, match=r"(?s)'Tiger' has 3 images.*divide them yourself"):
            read(f"folder:{home}", tmp_path)

    def test_a_run_of_it_carries_its_name_template_and_source(self, animals):
        request = Request(
            suite="few-shot", methods=["coop"], datasets=[f"folder:{animals}"], seeds=[1], shots=[2],
            template="a picture of the animal {}.",
        )  # fmt: skip
        (run,) = plan(request, "demo")
        assert run.key.dataset == load(f"folder:{animals}").name
        assert run.key.tests == (run.key.dataset,)
        assert str(animals.parent) not in repr(run.key)
        assert run.dataset(run.key.dataset).template("clip") == "a picture of the animal {}."
        Image.new("RGB", (9, 9)).save(animals / "zebra" / "new.png")
        with pytest.raises(ConfigError, match=r"has changed"):
            run.dataset(run.key.dataset)

    @pytest.mark.parametrize(
        "template", ["a photo", "{} and {}", "a {nice} photo of {}.", "{{}} photo", "a } photo of {}.", "{} {1}"]
    )
    def test_a_template_names_one_place(self, animals, template):
        with pytest.raises(ConfigError, match=r"(?s)--template.*Mark the place"):
            plan(Request(suite="few-shot", datasets=[f"folder:{animals}"], template=template), "demo")

    def test_names_that_are_not_utf_8(self, animals, tmp_path):
        odd = os.fsdecode(os.fsencode(animals / "zebra") + b"/caf\xe9.png")
        (animals / "zebra" / "0.png").rename(odd)
        splits = read(f"folder:{animals}", tmp_path)
        (image,) = (i.image for i in (*splits.train, *splits.val, *splits.test) if "caf" in i.image)
        assert splits.open(image).size == (20, 16)
        animals.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
        (spec,) = (f"folder:{each}" for each in tmp_path.iterdir() if each.name.startswith("caf"))
        assert load(spec).name.startswith(r"folder:caf\udce9@")
        os.rename(f"{spec[7:]}/zebra", os.fsencode(spec[7:]) + b"/z\xe9bre")
        with pytest.raises(ConfigError, match=r"'z\\udce9bre' is not UTF-8(.|\n)*Rename it"):
            load(spec)

    def test_only_files_are_images(self, animals):
        os.mkfifo(animals / "zebra" / "pipe.png")
        with pytest.raises(ConfigError, match=r"pipe\.png' can't be read: it is no regular file"):
            load(f"folder:{animals}")
        (animals / "zebra" / "pipe.png").unlink()
        (animals / "zebra" / "link.png").symlink_to("nowhere.png")
        with pytest.raises(ConfigError, match=r"link\.png' can't be read: No such file"):
            load(f"folder:{animals}")

    def test_pixels_are_upright_and_lie_on_white(self, animals, tmp_path):
        turned = Image.new("RGB", (4, 2), "red").getexif()
        turned[0x0112] = 6
        Image.new("RGB", (4, 2), "red").save(animals / "zebra" / "turned.jpg", exif=turned)
        for mode in ("RGBA", "LA"):
            Image.new("RGBA", (4, 2), (0, 0, 0, 0)).convert(mode).save(animals / "zebra" / f"{mode}.png")
        Image.new("P", (4, 2)).save(animals / "zebra" / "P.gif", transparency=0)
        open_image = read(f"folder:{animals}", tmp_path).open
        assert open_image("zebra/turned.jpg").size == (2, 4)
        for clear in ("RGBA.png", "LA.png", "P.gif"):
            assert open_image(f"zebra/{clear}").getpixel((0, 0)) == (255, 255, 255)


class TestCsv:
    def test_columns_image_label_and_split(self, animals, tmp_path):
        lines = ["image,label,split"]
        parts = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
        lines += [f"{name}/{n}.png,the {name},{parts[n]}" for name in CLASSES for n in range(10)]
        (animals / "list.csv").write_text("\n".join(lines), encoding="utf-8-sig")
        splits = read(f"csv:{animals / 'list.csv'}", tmp_path)
        assert (len(splits.train), len(splits.val), len(splits.test), splits.rule) == (18, 6, 6, None)
        assert splits.train[0].classname == "the red_panda"
        assert load(f"csv:{animals / 'list.csv'}").name.startswith("csv:list@")

    def test_without_a_split_column_one_is_made(self, animals, tmp_path):
        lines = [f"{name}/{n}.png,{name}" for name in CLASSES for n in range(10)]
        (animals / "list.csv").write_text("\n".join(["image,label", *lines]))
        splits = read(f"csv:{animals / 'list.csv'}", tmp_path)
        assert splits.rule == splitting.WHOLE
        assert sorted(images(splits.train)) == sorted(images(read(f"folder:{animals}", tmp_path).train))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            ("# exported today\n\n", "is empty"),
            ("image,label\n\n", "a heading and no line with an image"),
            ("file,class\na.png,b", "line 1: the columns are 'file', 'class'; expected are 'image' and 'label'"),
            ("image,label,Image\na.png,b,c", "line 1: the columns are 'image', 'label', 'Image'"),
            ("# note\nimage,label\n\na.png,b\n\nb.png,", "line 6: image 'b.png', label ''"),
            ("image,label\na.png,b\nb.png,cats, big", "line 3: 3 fields, where the heading has 2"),
            ("image,label\nb.png", "line 2: 1 fields, where the heading has 2"),
            ('image,label\na.png,"b\nb.png,c\n', "line 2: unexpected end of data"),
            ('image,label\na.png,"b\nb.png,c"\n', "line 2: a field goes on in the next line"),
            ('image,label\n"a.png,b\nb.png,"c"\n', "line 2: .* expected after"),
            ("image,label\na\0.png,b", r"line 2: image 'a\\x00.png'"),
            (f"image,label\na.png,{'b' * 201}", "200 characters at most"),
            (b"image,label\na.png,b\nb.png,caf\xe9", r"line 3: b'\\xe9' is not UTF-8"),
            ("image,label\n/etc/a.png,b", "line 2: image '/etc/a.png'"),
            ("image,label\n../a.png,b", "line 2: image"),
            ("image,label\na.png,", "line 2: image 'a.png', label ''"),
            ("image,label,split\na.png,b,fold1", "line 2: the split 'fold1'"),
            ("image,label\na.png,b", "images of 1 classes"),
            ("image,label,split\na.png,b,train\nc.png,d,train\n./a.png,b,test", "'./a.png' is in line 2 and in line 4"),
        ],
    )
    def test_a_wrong_file_is_told_where(self, tmp_path, text, message):
        (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError, match=message):
            load(f"csv:{tmp_path / 'list.csv'}")

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace(",", "\t"),
            lambda text: text.replace(",", ";"),
            lambda text: text.replace("image,label", "Image, Label"),
            lambda text: f"# exported, by hand\n\n{text}\n\n",
            lambda text: text.replace("/", "\\").replace("\n", "\r\n"),
        ],
        ids=["tabs", "semicolons", "capitals and blanks", "comment above", "of Windows"],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_what_spreadsheets_write_is_read(self, animals, tmp_path, change, encoding):
        lines = ["image,label", *(f"{name}/{n}.png,{name}" for name in CLASSES for n in range(10))]
        (animals / "list.csv").write_text(change("\n".join(lines)), encoding=encoding, newline="")
        splits = read(f"csv:{animals / 'list.csv'}", tmp_path)
        assert sorted(images(splits.train)) == sorted(images(read(f"folder:{animals}", tmp_path).train))

    def test_missing_images_are_named(self, tmp_path):
        (tmp_path / "list.csv").write_text("image,label\n" + "\n".join(f"{n}.png,class {n % 2}" for n in range(9)))
        with pytest.raises(DataError, match=r"images are missing"):
            read(f"csv:{tmp_path / 'list.csv'}", tmp_path)


def test_parts_for_some_images_only_are_refused():
    rows = [Row("a", "x", "train"), Row("b", "y", "test"), Row("c", "y", None)]
    with pytest.raises(DataError, match="1 images are in no part"):
        split(rows, Image.open)


def test_a_sources_own_labels_are_kept_and_tell_classes_of_one_name_apart():
    rows = [
        Row(f"{label}/{n}", name, None, label)
        for label, name in ((7, "crane"), (3, "egret"), (9, "crane"))
        for n in range(4)
    ]
    splits = split(rows, Image.open)
    assert classnames(splits) == ("egret", "crane", "crane")
    assert {(i.image[0], i.label) for i in splits.test} == {("3", 3), ("7", 7), ("9", 9)}


class TestTorchvision:
    @pytest.fixture
    def root(self, tmp_path):
        """torchvision's own folder of a Fashion-MNIST of 10 x 4 + 10 x 2 images."""
        raw = tmp_path / "data" / "torchvision" / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 40), ("t10k", 20)):
            pixels = np.arange(count * 784, dtype=np.uint32).astype(np.uint8).tobytes()
            for name, head, body in (
                ("images-idx3", struct.pack(">IIII", 0x803, count, 28, 28), pixels),
                ("labels-idx1", struct.pack(">II", 0x801, count), bytes(i % 10 for i in range(count))),
            ):
                (raw / f"{part}-{name}-ubyte").write_bytes(head + body)
                (raw / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(head + body))
        return tmp_path / "data"

    def test_its_parts_classes_and_images(self, root):
        dataset = load("torchvision:FashionMNIST")
        splits = dataset.read(Folders(root, root))
        assert dataset.name == "torchvision:FashionMNIST"
        assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 10, 20)
        assert classnames(splits) == (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        )  # fmt: skip
        assert {i.classname for i in subset(splits, "base").test} == set(classnames(splits)[:5])
        assert splits.open(splits.test[0].image).mode == "RGB"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("NoSuch", "no dataset 'NoSuch'"),
            ("FakeData", "has no class names"),
            ("UCF101", "(?s)can't be read from its name alone.*has: .*annotation_path"),
            ("LSUN", "runs what a file of the current folder says"),
            ("EMNIST", "(?s)no split for train, val or test.*letters.*EMNIST:split=NAME"),
            ("EMNIST:split=letter", "(?s)refuses its arguments: .*letters"),
            ("EMNIST:root=/", "(?s)no argument 'root' to choose.*split"),
        ],
    )
    def test_what_it_cannot_give(self, root, name, message):
        with pytest.raises(ConfigError, match=message):
            load(f"torchvision:{name}").read(Folders(root, root))

    def test_emnist_has_its_parts_once_its_split_is_chosen(self, root):
        raw = root / "torchvision" / "EMNIST" / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 20), ("test", 10)):
            for name, body in (
                ("images-idx3", struct.pack(">IIII", 0x803, count, 28, 28) + bytes(count * 784)),
                ("labels-idx1", struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count))),
            ):
                (raw / f"emnist-digits-{part}-{name}-ubyte").write_bytes(body)
        dataset = load("torchvision:EMNIST:split=digits")
        splits = dataset.read(Folders(root, root))
        assert dataset.name == "torchvision:EMNIST:split=digits"
        assert (len(splits.train) + len(splits.val), len(splits.test)) == (20, 10)
        assert classnames(splits) == tuple("0123456789")

    def test_parts_by_any_word_and_images_of_sixteen_bits(self, root):
        home = root / "torchvision" / "country211"
        for part, count in (("train", 2), ("valid", 1), ("test", 1)):
            paint(home / part, count=count)
        grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
        Image.fromarray(grey * 257).save(home / "test" / "zebra" / "0.png")
        splits = load("torchvision:Country211").read(Folders(root, root))
        assert (len(splits.train), len(splits.val), len(splits.test), splits.rule) == (6, 3, 3, None)
        assert np.array_equal(np.asarray(splits.open(splits.test[-1].image))[..., 0], grey)

    def test_a_failed_download_says_where_the_files_go(self, root):
        with pytest.raises(DataError, match=r"(?s)StanfordCars is not in .*torchvision"):
            load("torchvision:StanfordCars").read(Folders(root, root))


class TestHuggingFace:
    @pytest.fixture(autouse=True)
    def hub(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))

    def test_a_local_image_folder(self, tmp_path):
        home = tmp_path / "pictures"
        for part, count in (("train", 5), ("test", 3)):
            paint(home / part, count=count)
        dataset = load(f"hf:{home}")
        assert dataset.name.startswith("hf:pictures@")
        splits = dataset.read(Folders(None, tmp_path))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 3, 9)
        assert {i.classname for i in splits.train} == set(CLASSES)
        assert splits.open(splits.test[0].image).size == (20, 16)

    def test_only_files_are_read(self, tmp_path):
        os.mkfifo(paint(tmp_path / "pictures") / "zebra" / "pipe.png")
        with pytest.raises(ConfigError, match=r"pipe\.png' can't be read: it is no regular file"):
            load(f"hf:{tmp_path / 'pictures'}")

    def test_folders_of_one_name_are_told_apart(self, tmp_path):
        one, other = (paint(tmp_path / place / "pictures", count=count) for place, count in (("a", 1), ("b", 2)))
        assert load(f"hf:{one}").name != load(f"hf:{other}").name
        shutil.copytree(one, tmp_path / "c" / "pictures")
        assert load(f"hf:{tmp_path / 'c' / 'pictures'}").name == load(f"hf:{one}").name

    def test_images_whose_labels_are_withheld_are_left_out(self, tmp_path):
        home = tmp_path / "pictures"
        home.mkdir()
        parquet(home / "train.parquet", [1, 0, 1, 0, None, 1, 1, 0, 0, 0])
        parquet(home / "validation.parquet", [0, 1, -1])
        parquet(home / "test.parquet", [-1, -1, -1])
        splits = load(f"hf:{home}").read(Folders(None, tmp_path))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (9, 2, 2)
        assert splits.rule == splitting.NO_TEST
        assert classnames(splits) == ("zebra", "Tiger")
        assert splits.open(splits.test[1].image).getpixel((0, 0)) == (1, 0, 0)

    def test_a_name_of_the_hub_has_no_slash(self):
        assert load("hf:ethz/food101").name == "hf:ethz--food101"
        assert load("hf:a/b:label=x/y:config=c").name == "hf:a--b:config=c:label=x--y"
        with pytest.raises(ConfigError, match=r"(?s)'labels' can't be chosen.*'label'"):
            load("hf:a/b:labels=x")

    @pytest.mark.parametrize(
        ("columns", "choices", "message"),
        [
            (("fine", "coarse"), "", "(?s)several columns of class labels.*fine, coarse: hf:.*:label=fine"),
            (("fine", "coarse"), ":label=image", "(?s)no class labels in the column 'image'.*fine, coarse"),
            (("label",), ":split=dev", "(?s)no split 'dev'.*train"),
            (("label",), ":config=other", "(?s)can't be loaded.*config=NAME"),
        ],
    )
    def test_what_is_not_clear_is_asked(self, tmp_path, columns, choices, message):
        home = tmp_path / "pictures"
        home.mkdir()
        parquet(home / "train.parquet", [1, 0] * 5, columns)
        with pytest.raises((ConfigError, DataError), match=message):
            load(f"hf:{home}{choices}").read(Folders(None, tmp_path))

    def test_what_is_chosen_is_read(self, tmp_path):
        home = tmp_path / "pictures"
        home.mkdir()
        parquet(home / "train.parquet", [1, 0] * 5, ("fine", "coarse"))
        parquet(home / "test.parquet", [1, 0] * 5, ("fine", "coarse"))
        dataset = load(f"hf:{home}:split=test:label=coarse")
        assert dataset.name.startswith("hf:pictures@")
        assert dataset.name.endswith(":label=coarse:split=test")
        assert {image.partition("/")[0] for image in images(dataset.read(Folders(None, tmp_path)).train)} == {"test"}

    def test_a_test_image_that_is_trained_on_is_said(self, tmp_path):
        home = tmp_path / "pictures"
        home.mkdir()
        parquet(home / "train.parquet", [1, 0] * 5)
        parquet(home / "test.parquet", [1, 0])
        dataset = load(f"hf:{home}")
        (said,) = leaks(dataset, dataset.read(Folders(None, tmp_path)))
        assert "1 of 2 test images are training images too" in said  # the other one is to validate on

    def test_null_images_and_splits_of_other_names_are_named(self, tmp_path):
        home = tmp_path / "pictures"
        home.mkdir()
        for word in ("train", "test", "extra"):
            parquet(home / f"{word}.parquet", [1, 0] * 5, nulls=1 if word == "test" else 0)
        (home / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n"
            + "".join(f"  - split: {word}\n    path: {word}.parquet\n" for word in ("train", "test", "extra"))
            + "---\n"
        )
        with pytest.warns(UserWarning, match="left out") as said:
            splits = load(f"hf:{home}").read(Folders(None, tmp_path))
        assert [str(each.message).partition(": ")[2] for each in said] == [
            "left out, since they are neither train, val nor test: the splits extra",
            "1 of 10 images are null and left out, the first is image 0.",
        ]
        assert len(splits.test) == 9

    def test_images_are_those_of_the_dataset_alone(self, tmp_path):
        home = tmp_path / "pictures"
        home.mkdir()
        outside = paint(tmp_path / "outside", {"cat": (1, 2, 3)}, 1) / "cat" / "0.png"
        parquet(home / "train.parquet", [1, 0] * 5)
        inside = pq.read_table(home / "train.parquet")
        for path in (outside, "0.png", "https://example.org/0.png", home / ".." / "outside" / "cat" / "0.png"):
            stored = pa.array([{"bytes": None, "path": str(path)}] * 10, inside.schema.field("image").type)
            pq.write_table(inside.set_column(0, inside.schema.field("image"), stored), home / "train.parquet")
            with pytest.raises(DataError, match="outside of the dataset"):
                load(f"hf:{home}").read(Folders(None, tmp_path))

    def test_pixels_are_scaled_turned_and_on_white(self, tmp_path):
        home = paint(tmp_path / "pictures")
        grey = np.arange(320, dtype=np.uint16).reshape(16, 20) * 200
        Image.fromarray(grey).save(home / "zebra" / "0.png")
        turned = Image.new("RGB", (20, 16)).getexif()
        turned[0x0112] = 6
        Image.new("RGB", (20, 16)).save(home / "zebra" / "1.png", exif=turned)
        Image.new("RGBA", (20, 16)).save(home / "zebra" / "2.png")
        own, theirs = (read(f"{source}:{home}", tmp_path).open for source in ("folder", "hf"))
        for number in range(3):
            expected = np.asarray(own(f"zebra/{number}.png"))
            assert np.array_equal(np.asarray(theirs(f"train/{20 + number:06}")), expected)


def parquet(path, labels, columns=("label",), nulls=0):
    """Images whose red counts them, with these labels of two classes, which are not in the order of their names."""
    import datasets

    classes = datasets.ClassLabel(names=["zebra", "Tiger"])
    features = datasets.Features({"image": datasets.Image(), **dict.fromkeys(columns, classes)})
    pictures = [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(len(labels))]
    pictures[:nulls] = [None] * nulls
    datasets.Dataset.from_dict({"image": pictures, **dict.fromkeys(columns, labels)}, features).to_parquet(path)
