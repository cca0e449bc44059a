import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.few_shot import classnames
from harness.data.split_files import MOST_NAME_CHARACTERS, open_image, read_split_file
from harness.errors import DataError

ROOT = Path(__file__).parents[2]
ROWS = {
    "train": [["cat/1.jpg", 0, "cat"], ["dog/1.jpg", 1, "dog"], ["dog/2.jpg", 1, "dog"]],
    "val": [["cat/2.jpg", 0, "cat"]],
    "test": [["cat/3.jpg", 0, "cat"], ["dog/3.jpg", 1, "dog"]],
}


def jpeg(mode: str = "RGB", side: int = 16) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((side, side), 64).convert(mode).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for image, _, _ in (row for rows in ROWS.values() for row in rows):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(jpeg())
    return folder


@pytest.fixture
def split_file(tmp_path):
    return tmp_path / "split_zhou_Pets.json"


def with_row(*row: object) -> bytes:
    """A split file whose third training item is `row`."""
    return json.dumps({**ROWS, "train": [*ROWS["train"][:2], list(row)]}).encode()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_an_image_opens_in_rgb_whatever_its_mode(tmp_path, mode):
    (tmp_path / "a.jpg").write_bytes(jpeg(mode))
    image = open_image(tmp_path / "a.jpg")
    assert (image.mode, image.size) == ("RGB", (16, 16))


def test_the_content_decides_and_not_the_suffix(tmp_path):
    Image.new("RGBA", (4, 4), (250, 0, 0, 255)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")  # as some images of SUN397 and ImageNet
    assert open_image(tmp_path / "a.jpg").getpixel((0, 0)) == (250, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image at all",
        b"\xff\xd8\xff\xe0" + bytes(64),
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        b"GIF89a" + bytes(3),
        jpeg()[: len(jpeg()) // 2],
        jpeg(side=256)[:-2000],
    ],
    ids=["empty", "text", "jpeg-header", "png-header", "gif-header", "half", "cut"],
)
def test_a_broken_image_is_named_with_the_next_step(tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg' can't be read(.|\n)*download it again"):
        open_image(tmp_path / "broken.jpg")


def test_a_missing_image_is_named_with_the_next_step(tmp_path):
    with pytest.raises(DataError, match=r"no image '.*gone\.jpg'(.|\n)*Complete the copy"):
        open_image(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match="can't be read"):
        open_image(tmp_path)


def test_an_image_of_absurd_size_is_refused_until_the_limit_is_raised(tmp_path, monkeypatch):
    (tmp_path / "large.jpg").write_bytes(jpeg())
    for limit in ("100", "255"):
        monkeypatch.setenv("ADAPTBENCH_MOST_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"(?s)large\.jpg.*256 pixels.*ADAPTBENCH_MOST_IMAGE_PIXELS"):
            open_image(tmp_path / "large.jpg")
    monkeypatch.setenv("ADAPTBENCH_MOST_IMAGE_PIXELS", "200M")
    with pytest.raises(DataError, match="=200M is no number of pixels"):
        open_image(tmp_path / "large.jpg")
    monkeypatch.setenv("ADAPTBENCH_MOST_IMAGE_PIXELS", "256")
    assert open_image(tmp_path / "large.jpg").size == (16, 16)


def test_published_pixels_are_the_authors(tmp_path):
    turned = Image.new("RGB", (4, 2)).getexif()
    turned[0x0112] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("RGBA", (4, 2), (9, 8, 7, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "turned.jpg").size == (4, 2)
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (9, 8, 7)


def test_pipes_are_no_images_and_no_split_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe' can't be read: it is no regular file"):
        open_image(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe' can't be read: it is no regular file"):
        read_split_file(tmp_path / "pipe", tmp_path)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey_are_the_eight_that_they_hold(tmp_path, suffix):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"16.{suffix}")
    eight, sixteen = open_image(tmp_path / "8.png"), open_image(tmp_path / f"16.{suffix}")
    assert np.array_equal(np.asarray(eight), np.asarray(sixteen))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_refused_by_name(tmp_path, kind):
    Image.fromarray(np.ones((4, 4), kind)).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match=r"(?s)deep\.tif' has pixels of 32 bits.*Convert"):
        open_image(tmp_path / "deep.tif")


def test_what_is_no_image_says_how_it_begins(tmp_path):
    for name, content, words in (
        ("page.jpg", b"<html>moved</html>", "it begins with '<html>moved</htm'"),
        ("empty.jpg", b"", "it is empty"),
        ("drawing.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it begins with '%!PS-Adobe-3.0 E'"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="is none of JPEG, PNG") as error:
            open_image(tmp_path / name)
        assert words in error.value.what


def test_an_image_that_may_not_be_read_says_so(tmp_path, held_to_permissions):
    locked = tmp_path / "locked.jpg"
    locked.write_bytes(jpeg())
    locked.chmod(0)
    program = "import sys; from harness.data.split_files import open_image; open_image(sys.argv[1])"
    words = [sys.executable, "-c", program, locked]
    done = subprocess.run(words, cwd=ROOT, preexec_fn=held_to_permissions, capture_output=True, text=True, check=False)
    assert "DataError" in done.stderr
    assert "Permission denied" in done.stderr


def test_importing_loads_no_pillow():
    imports = "import sys, harness.data.split_files, harness.data.few_shot"
    program = f"{imports}; sys.exit(bool({{'PIL', 'numpy', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_a_split_file_is_read_in_its_order(split_file, images):
    split_file.write_text(json.dumps(ROWS, indent=4))
    read = read_split_file(split_file, images)
    assert {part: [[i.image, i.label, i.classname] for i in getattr(read, part)] for part in ROWS} == ROWS
    assert classnames(read) == ("cat", "dog")
    assert read.open("dog/2.jpg").mode == "RGB"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not JSON"),
        (b"{'train': 1}", "is not JSON"),
        (b"\xff\xfe\x00\xd8", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"train": [["a.jpg", ' + b"9" * 5000 + b', "a"]]}', "is not JSON"),
        (json.dumps(ROWS["train"]).encode(), "holds a list, not an object with the keys train, val, test"),
        (json.dumps({"train": ROWS["train"], "test": ROWS["test"]}).encode(), "has no 'val'"),
        (json.dumps({**ROWS, "val": []}).encode(), r"'val' is \[\], not a list of at least one item"),
        (json.dumps({**ROWS, "val": {"cat/1.jpg": 0}}).encode(), "'val' is {.*}, not a list"),
        (json.dumps({**ROWS, "val": ["cat/1.jpg"]}).encode(), "item 0 of 'val' is 'cat/1.jpg', not"),
        (with_row("dog/2.jpg", 1), "item 2 of 'train' is .*, not"),
        (with_row(2, 1, "dog"), "item 2 of 'train' has 2 for a path"),
        (with_row("", 1, "dog"), "item 2 of 'train' has '' for a path"),
        (with_row("dog/\x00.jpg", 1, "dog"), "item 2 of 'train' has .* for a path"),
        (with_row("../secret.jpg", 1, "dog"), r"item 2 of 'train' leads out of the image folder: '\.\./secret\.jpg'"),
        (with_row("dog/../../a.jpg", 1, "dog"), "leads out of the image folder"),
        (with_row("/etc/a.jpg", 1, "dog"), "leads out of the image folder"),
        (with_row("..\\a.jpg", 1, "dog"), "leads out of the image folder"),
        (with_row("C:\\a.jpg", 1, "dog"), "leads out of the image folder"),
        (with_row("dog/2.jpg", "1", "dog"), "item 2 of 'train' has the label '1', not a whole number"),
        (with_row("dog/2.jpg", 1.0, "dog"), r"has the label 1\.0"),
        (with_row("dog/2.jpg", True, "dog"), "has the label True"),
        (with_row("dog/2.jpg", -1, "dog"), "has the label -1"),
        (with_row("dog/2.jpg", 1, None), "has None for a class name"),
        (with_row("dog/2.jpg", 1, " "), "has ' ' for a class name"),
        (with_row("dog/2.jpg", 1, "dog\n"), "for a class name"),
        (with_row("dog/2.jpg", 1, "\ud800"), "for a class name"),
        (with_row("dog/2.jpg", 1, "dog" * 100_000), f"300000 characters, over {MOST_NAME_CHARACTERS}"),
        (with_row("cat/3.jpg", 0, "cat"), r"lists 'cat/3\.jpg' twice, in 'train' and in 'test'"),
    ],
)
def test_a_broken_split_file_is_named_with_the_place_and_the_next_step(split_file, images, content, what):
    split_file.write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        read_split_file(split_file, images)
    assert str(split_file) in str(caught.value)
    assert "get it again" in caught.value.advice
    assert len(str(caught.value)) < 1000


def test_an_absent_split_file_is_asked_for_and_never_made(split_file, images):
    with pytest.raises(DataError) as caught:
        read_split_file(split_file, images)
    assert f"no split file '{split_file}'" in caught.value.what
    assert "linzhiqiu/cross_modal_adaptation" in caught.value.advice
    assert "never makes a split of its own" in caught.value.advice
    assert not split_file.exists()


def test_a_folder_in_place_of_the_split_file_is_an_error(split_file, images):
    split_file.mkdir()
    with pytest.raises(DataError, match="can't be read"):
        read_split_file(split_file, images)


@pytest.mark.parametrize("image", sorted(image for rows in ROWS.values() for image, _, _ in rows))
def test_every_missing_image_is_noticed_before_a_run(split_file, images, image):
    split_file.write_text(json.dumps(ROWS))
    (images / image).unlink()
    with pytest.raises(DataError, match=rf"of 6 listed, 1 are not there, such as '{image}'(.|\n)*Complete"):
        read_split_file(split_file, images)
    with pytest.raises(DataError, match=r"no image folder '.*elsewhere'(.|\n)*Unpack"):
        read_split_file(split_file, images / "elsewhere")


def test_a_path_too_long_for_the_file_system_is_a_missing_image(split_file, images):
    split_file.write_bytes(json.dumps({**ROWS, "val": [["a" * 5000, 0, "cat"]]}).encode())
    with pytest.raises(DataError, match="images are missing"):
        read_split_file(split_file, images)
