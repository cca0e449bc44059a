"""The table of attack files: each made by code, each to be refused or neutralised by name.

An attack is a function of a folder that it may write to. It makes its file there and has it read by the reader that a user's
command would take. `AT` is a place outside, which holds a secret, and which nothing may read or change.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.records import to_json

DEEP = 100_000
ESCAPED = os.path.join(tempfile.gettempdir(), "adaptbench-escaped")
TERMINAL = "\x1b]0;owned\x07\x1b[2J\u202e"


@dataclass(frozen=True)
class Attack:
    """`act(folder)` ends in an error that a user can put right and that says `named`, or returns what is harmless."""

    kind: str
    name: str
    act: Callable[[Path], object]
    named: str


ATTACKS: list[Attack] = []


def attack(kind: str, name: str, named: str, act: Callable[[Path], object]) -> None:
    ATTACKS.append(Attack(kind, name, act, named))


# Checkpoints: whatever a pickle would run, in every container that one comes in.


class Runs:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def gadgets() -> Iterator[tuple[str, object]]:
    import subprocess

    yield "os.system", Runs(os.system, "touch executed")
    yield "eval", Runs(eval, "open('executed', 'w')")
    yield "exec", Runs(exec, "open('executed', 'w')")
    yield "subprocess", Runs(subprocess.Popen, ["touch", "executed"])
    yield "open", Runs(open, "executed", "w")
    yield "import", Runs(__import__, "os")


def plain_pickle(path, value):
    path.write_bytes(pickle.dumps(value, protocol=0))


def second_protocol(path, value):
    path.write_bytes(pickle.dumps(value, protocol=2))


def torch_zip(path, value):
    import torch

    torch.save(value, path)


def torch_legacy(path, value):
    import torch

    torch.save(value, path, _use_new_zipfile_serialization=False)


def torch_tar(path, value):
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(value, protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def read_checkpoint(path):
    from harness.clip.checkpoint import read

    return read(path)


def pickled(write, suffix, value):
    def act(folder):
        path = folder / f"weights{suffix}"
        write(path, {"state_dict": value})
        return read_checkpoint(path)

    return act


for write, suffix in (
    (plain_pickle, ".pkl"),
    (second_protocol, ".bin"),
    (torch_zip, ".pt"),
    (torch_legacy, ".pth"),
    (torch_tar, ".ckpt"),
):
    for gadget, value in gadgets():
        attack("pickles", f"{write.__name__}, {gadget}", "weights", pickled(write, suffix, value))
attack(
    "pickles",
    "a pickle called .safetensors",
    "weights.safetensors",
    pickled(plain_pickle, ".safetensors", Runs(os.getcwd)),
)


# safetensors whose header lies.

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def safetensors(header, data=bytes(8), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()

    def act(folder):
        path = folder / "lies.safetensors"
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
        return read_checkpoint(path)

    return act


for name, act in {
    "a header longer than the file": safetensors({"w": F32}, length=1 << 20),
    "a header of 2^63 bytes": safetensors({"w": F32}, length=1 << 63),
    "a header of 100 MB claimed": safetensors({"w": F32}, length=100_000_001),
    "a header that is no JSON": safetensors(b"{" * 64),
    "a header that is a list": safetensors([1, 2]),
    "a header nested deeply": safetensors(b"[" * DEEP + b"]" * DEEP),
    "a header not in UTF-8": safetensors(b'{"\xff\xfe": {}}'),
    "a name twice": safetensors(b'{"w":%b,"w":%b}' % ((json.dumps(F32).encode(),) * 2)),
    "offsets beyond the end": safetensors({"w": {**F32, "data_offsets": [0, 1 << 40]}}),
    "offsets backwards": safetensors({"w": {**F32, "data_offsets": [8, 0]}}),
    "negative offsets": safetensors({"w": {**F32, "data_offsets": [-8, 0]}}),
    "overlapping tensors": safetensors({"a": F32, "b": F32}),
    "a hole before the data": safetensors({"w": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "more shape than data": safetensors({"w": {**F32, "shape": [1 << 40]}}),
    "a shape that overflows": safetensors({"w": {**F32, "shape": [1 << 62, 1 << 62]}}),
    "a shape of 400 digits": safetensors(b'{"w":{"dtype":"F32","shape":[%b],"data_offsets":[0,8]}}' % (b"9" * 400)),
    "an unknown dtype": safetensors({"w": {**F32, "dtype": "PICKLE"}}),
    "metadata that is no text": safetensors({"w": F32, "__metadata__": {"a": [1]}}),
    "no tensors": safetensors({}, b""),
    "trailing data": safetensors({"w": F32}, bytes(64)),
}.items():
    attack("safetensors", name, "lies.safetensors", act)


def content(file, data, read=read_checkpoint):
    def act(folder):
        path = folder / file
        path.write_bytes(data)
        return read(path)

    return act


def deflated_zip(path, count_bytes):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data/0", "w", force_zip64=True) as file,
    ):
        for _ in range(count_bytes >> 20):
            file.write(bytes(1 << 20))


def checkpoint_bomb(folder):
    deflated_zip(folder / "bomb.pt", 64 << 20)
    return read_checkpoint(folder / "bomb.pt")


def fifo(read, file):
    def act(folder):
        os.mkfifo(folder / file)
        return read(folder / file)

    return act


def device(read, file):
    def act(folder):
        (folder / file).symlink_to("/dev/zero")
        return read(folder / file)

    return act


attack("checkpoints", "empty", "empty.pt", content("empty.pt", b""))
attack("checkpoints", "a few bytes", "few.pt", content("few.pt", b"\x80\x02"))
attack("checkpoints", "an empty .safetensors", "empty.safetensors", content("empty.safetensors", b""))
attack("checkpoints", "a zip that is none", "zip.pt", content("zip.pt", b"PK\x03\x04" + bytes(64)))
attack("checkpoints", "a zip that unpacks to 64 MiB", "unpacks to 64 MiB", checkpoint_bomb)
attack("checkpoints", "a pipe", "pipe.pt", fifo(read_checkpoint, "pipe.pt"))
attack("checkpoints", "a pipe called .safetensors", "pipe.safetensors", fifo(read_checkpoint, "pipe.safetensors"))
attack("checkpoints", "a device", "zero.pt", device(read_checkpoint, "zero.pt"))


# Images.


def open_image(path):
    from harness.data.split_files import open_image

    return open_image(path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *more):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(touch executed) (w) file\n%%EOF\n"
for name, file, data in (
    ("EPS as PNG", "eps.png", EPS),
    ("EPS in a TIFF's name", "eps.tiff", EPS),
    ("DOS EPS", "dos.jpg", b"\xc5\xd0\xd3\xc6" + bytes(28) + EPS),
    ("PDF as JPEG", "pdf.jpg", b"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript>>>>"),
    ("SVG as PNG", "svg.png", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
    ("HTML as PNG", "html.png", b"<html><script>alert(1)</script>"),
    ("WMF as PNG", "wmf.png", b"\xd7\xcd\xc6\x9a\0\0" + bytes(64)),
    ("ICNS as PNG", "icns.png", b"icns" + bytes(64)),
    ("FITS as PNG", "fits.png", b"SIMPLE  =                    T" + bytes(64)),
    ("PSD as PNG", "psd.png", b"8BPS\0\x01" + bytes(64)),
    ("a pickle as PNG", "pickle.png", pickle.dumps(Runs(os.system, "touch executed"))),
    ("2 billion pixels", "wide.png", png(50_000, 50_000)),
    ("2^31 by 2^31 pixels", "huge.png", png(2**31 - 1, 2**31 - 1)),
    ("no pixels", "none.png", png(0, 0)),
    ("text that inflates to 100 MB", "text.png", png(9, 9, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20))))),
    ("a profile that inflates to 100 MB", "icc.png", png(9, 9, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100 << 20))))),
    ("a chunk longer than the file", "chunk.png", b"\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIDAT"),
    ("a cut JPEG", "cut.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
    ("a TIFF of loops", "loop.tiff", b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0100, 4, 1, 9) + struct.pack("<I", 8)),
    ("a BMP of negative size", "negative.bmp",
     b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, -9, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0)),
    ("a PPM of 10^12 pixels", "many.ppm", b"P6 1000000 1000000 255\n"),
    ("empty", "empty.png", b""),
):  # fmt: skip
    attack("images", name, file, content(file, data, open_image))
attack("images", "a pipe", "pipe.png", fifo(open_image, "pipe.png"))
attack("images", "a device", "zero.png", device(open_image, "zero.png"))


def strip(folder):
    """1 x 200,000 pixels, decoded to the size that a backbone takes."""
    from PIL import Image

    from harness.data.image_set import centre_square

    Image.new("L", (1, 200_000)).save(folder / "strip.png")
    return centre_square(open_image(folder / "strip.png"), 224, Image.Resampling.BICUBIC).size


attack("images", "1 x 200,000 pixels", "(224, 224)", strip)


# Lists of images: split files, CSV, names of classes.

OUTSIDE = (
    "../secret.png",
    "a/../../secret.png",
    "/etc/passwd",
    "..\\secret.png",
    "C:\\secret.png",
    "C:secret.png",
    "\\\\host\\share\\a.png",
    "//host/a.png",
)
UNFIT = {"a null byte": "a\0.png", "terminal codes": f"{TERMINAL}.png", "a lone surrogate": "\ud800.png"}


def read_split(folder, text):
    from harness.data.split_files import read_split_file

    path = folder / "split.json"
    path.write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
    return read_split_file(path, folder)


def split_of(image="a.png", label=0, name="cat"):
    return {part: [[image if part == "test" else f"{part}.png", label, name]] for part in ("train", "val", "test")}


def split_file(text):
    return lambda folder: read_split(folder, text)


for image in OUTSIDE:
    attack("split files", f"the image {image}", "leads out of the image folder", split_file(split_of(image)))
for name, image in UNFIT.items():
    attack("split files", f"{name} in a path", "for a path", split_file(split_of(image)))
    attack("split files", f"{name} in a class", "for a class name", split_file(split_of(name=image)))
for name, text, named in (
    ("one image in train and test", split_of("./train.png"), "twice"),
    ("the same through cat/./0.png", {**split_of(), "train": [["cat/0.png", 0, "a"]], "test": [["cat/./0.png", 0, "a"]]}, "twice"),
    ("a label of 400 digits", json.dumps(split_of()).replace("0", "9" * 400, 1).encode(), "split.json"),
    ("a label of 5,000 digits", json.dumps(split_of()).replace("0", "9" * 5000, 1).encode(), "is not JSON"),
    ("a label that is NaN", b'{"train": [["a", NaN, "b"]], "val": [], "test": []}', "label"),
    ("a label that is negative", split_of(label=-1), "label"),
    ("a label that is true", split_of(label=True), "label"),
    ("deep JSON", b"[" * DEEP + b"]" * DEEP, "is not JSON"),
    ("a list twice", b'{"train": [["a", 0, "b"]], "train": [["c", 0, "b"]], "val": [], "test": []}', "twice"),
    ("not UTF-8", b'{"train": "\xff"}', "is not JSON"),
    ("a class name of 10,000 characters", split_of(name="x" * 10_000), "10000 characters"),
    ("empty", b"", "is not JSON"),
):  # fmt: skip
    attack("split files", name, named, split_file(text))


def read_csv(folder):
    from suites.datasets.csv_lists import read_rows

    return read_rows("list.csv", folder / "list.csv")


def csv_file(text):
    def act(folder):
        (folder / "list.csv").write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return read_csv(folder)

    return act


for image in OUTSIDE:
    attack("CSV", f"the image {image}", "list.csv, line 2", csv_file(f'image,label\n"{image}",a\n'))
for name, image in UNFIT.items():
    attack("CSV", f"{name} in a path", "list.csv, line 2", csv_file(f"image,label\n{image},a\n"))
    attack("CSV", f"{name} in a class", "list.csv, line 2", csv_file(f"image,label\na.png,{image}\n"))
for name, text, named in (
    ("the same image through cat/./0.png", "image,label,split\ncat/0.png,a,train\ncat/./0.png,a,test\n", "line 3"),
    ("a field of 200,000 characters", f"image,label\n{'x' * 200_000},a\n", "line 2"),
    ("a quote without end", 'image,label\n"a.png,a\n', "line 2"),
    ("not UTF-8", b"image,label\n\xff,a\n", "line 2"),
    ("columns twice", "image,image,label\n", "columns"),
    ("empty", "", "is empty"),
):
    attack("CSV", name, named, csv_file(text))
attack("CSV", "a pipe", "list.csv", lambda folder: (os.mkfifo(folder / "list.csv"), read_csv(folder)))
attack("CSV", "a device", "list.csv", lambda folder: ((folder / "list.csv").symlink_to("/dev/zero"), read_csv(folder)))


def class_names(file, text):
    def act(folder):
        from harness.data.class_names import read_class_names

        (folder / file).write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return read_class_names(str(folder / file))

    return act


for name, file, text in (
    ("terminal codes", "names.txt", f"n01 {TERMINAL}"),
    ("deep JSON", "names.json", "[" * DEEP + "]" * DEEP),
    ("a code twice", "names.json", '{"a": "b", "a": "c"}'),
    ("numbers of 5,000 digits", "names.json", '{"a": %s}' % ("9" * 5000)),
    ("a lone surrogate", "names.json", '{"a": "\\ud800"}'),
    ("not UTF-8", "names.txt", b"n01 \xff"),
    ("a null byte", "names.csv", "label,name\na,b\0c\n"),
):
    attack("class names", name, file, class_names(file, text))


# Data sets of others.


def parquet(path):
    def act(folder):
        import pyarrow as pa

        from suites.datasets.hosted import _places

        column = pa.chunked_array([pa.array([{"bytes": None, "path": path.format(folder=folder)}])])
        return _places(column, (str(folder / "dataset"),), "hf:d, split 'train'")

    return act


for path in (
    "/etc/passwd",
    "{folder}/dataset/../secret.png",
    "{folder}/dataset2/a.png",
    "secret.png",
    "http://127.0.0.1:9/a.png",
    "s3://a/b.png",
    "zip://a.png::http://127.0.0.1:9/b.zip",
    "file:///etc/passwd",
):
    attack("parquet", f"the path {path}", "outside of the dataset", parquet(path))


def executed_data_set(folder):
    from suites.datasets.hosted import read_torchvision

    return read_torchvision("LSUN", {}, folder)


attack("data sets that run", "torchvision:LSUN", "LSUN", executed_data_set)


# Archives.


def archive(file, *members, mode="w"):
    """A tar of (name, type, link, content)."""

    def act(folder):
        from suites.datasets.unpacking import unpack

        with tarfile.open(folder / file, mode) as made:
            for name, kind, link, data in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.size = kind, link, len(data)
                made.addfile(member, io.BytesIO(data))
        return unpacked(unpack, folder, file)

    return act


def unpacked(unpack, folder, file):
    from harness.errors import DataError
    from suites.datasets.unpacking import FAULTS

    (folder / "into").mkdir()
    try:
        return unpack(folder / file, folder / "into")
    except FAULTS as error:  # as `fetching` words it
        raise DataError(f"{file} can't be unpacked: {error}.") from error


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
LONG = "/".join(["d" * 247] * 16)
for name, members in {
    "../": [("../secret.txt", FILE, "", b"x")],
    "an absolute name": [(ESCAPED, FILE, "", b"x")],
    "a/../../": [("a/../../secret.txt", FILE, "", b"x")],
    "backslashes": [("..\\secret.txt", FILE, "", b"x")],
    "a link outside": [("a", LINK, "../secret.txt", b"")],
    "a file through a link": [("a", LINK, "..", b""), ("a/secret.txt", FILE, "", b"x")],
    "a hard link outside": [("a", HARD, "../secret.txt", b"")],
    "a link over a long name (CVE-2025-4517)": [
        (LONG, tarfile.DIRTYPE, "", b""), ("a", LINK, LONG, b""), ("b", LINK, f"a/{'../' * 17}", b""),
        ("b/secret.txt", FILE, "", b"x")],
    "a device": [("a", tarfile.CHRTYPE, "", b"")],
    "a pipe": [("a", tarfile.FIFOTYPE, "", b"")],
}.items():  # fmt: skip
    attack("tar", name, "a.tar can't be unpacked", archive("a.tar", *members))


def tar_bomb(folder):
    from suites.datasets.unpacking import unpack

    with tarfile.open(folder / "a.tar.gz", "w:gz") as made:
        member = tarfile.TarInfo("zeros")
        member.size = 80 << 20
        made.addfile(member, io.BytesIO(bytes(80 << 20)))
    return unpacked(unpack, folder, "a.tar.gz")


def tar_headers(folder):
    """A name of 160 MiB."""
    import gzip

    from suites.datasets.unpacking import unpack

    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 160 << 20
    with gzip.open(folder / "a.tar.gz", "wb", 1) as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(160):
            file.write(b"x" * (1 << 20))
    return unpacked(unpack, folder, "a.tar.gz")


attack("tar", "80 MiB of zeros", "unpacks to more than", tar_bomb)
attack("tar", "a name of 160 MiB", "unpacks to more than", tar_headers)


def cut_tar(folder):
    (folder / "a.tar.gz").write_bytes(b"\x1f\x8b\x08\0")
    return _unpack_now(folder, "a.tar.gz")


attack("tar", "cut short", "a.tar.gz can't be unpacked", cut_tar)


def _unpack_now(folder, file):
    from suites.datasets.unpacking import unpack

    return unpacked(unpack, folder, file)


def zipped(*members, change=lambda data: data):
    def act(folder):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            for name, mode, data in members:
                info = zipfile.ZipInfo(name)
                info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
                made.writestr(info, data)
        (folder / "a.zip").write_bytes(change(buffer.getvalue()))
        return _unpack_now(folder, "a.zip")

    return act


def encrypted(data):
    changed = bytearray(data)
    changed[6] |= 1
    changed[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


for name, act in {
    "../": zipped(("../secret.txt", 0, b"x")),
    "an absolute name": zipped((ESCAPED, 0, b"x")),
    "a drive": zipped(("C:/escaped", 0, b"x")),
    "a link": zipped(("a", 0o120777, b"../secret.txt")),
    "encrypted": zipped(("a", 0, b"x"), change=encrypted),
    "80 MiB of zeros": zipped(("a", 0, bytes(80 << 20))),
    "cut short": zipped(("a", 0, b"x"), change=lambda data: data[:40]),
    "a wrong checksum": zipped(("a", 0, b"x" * 99), change=lambda data: data.replace(data[14:18], b"abcd")),
}.items():
    attack("zip", name, "a.zip can't be unpacked", act)


# Records.


def record_file(change):
    def act(folder):
        from harness.records import from_json

        return from_json(change(record_data()), "results/a.json")

    return act


def record_data():
    import runpy

    if not _MADE:
        made = runpy.run_path(str(Path(__file__).parents[1] / "reports" / "conftest.py"))["make_record"]()
        _MADE.append(to_json(made))
    return _MADE[0]


_MADE: list[bytes] = []


def swapped(old, new):
    def change(data):
        assert old in data, old
        return data.replace(old, new, 1)

    return record_file(change)


def tested(**fields):
    def change(data):
        document = json.loads(data)
        document["accuracy"]["digits/base"].update(fields)
        return json.dumps(document).encode()

    return record_file(change)


for name, act in {
    "a key twice": swapped(b'"status": "ok"', b'"status": "failed", "status": "ok"'),
    "deep JSON": swapped(b'"settings": {}', b'"settings": ' + b"[" * DEEP + b"]" * DEEP),
    "a number of 400 digits": swapped(b'"total_seconds": 13.0', b'"total_seconds": ' + b"9" * 400),
    "an integer of 400 digits": swapped(b'"cpu_count": 2', b'"cpu_count": ' + b"9" * 400),
    "an integer of 5,000 digits": swapped(b'"cpu_count": 2', b'"cpu_count": ' + b"9" * 5000),
    "NaN": swapped(b'"total_seconds": 13.0', b'"total_seconds": NaN'),
    "Infinity": swapped(b'"total_seconds": 13.0', b'"total_seconds": Infinity'),
    "1e308": swapped(b'"total_seconds": 13.0', b'"total_seconds": 1e308'),
    "5e-324": swapped(b'"learning_rate": 0.002', b'"learning_rate": 1e999'),
    "a negative time": swapped(b'"total_seconds": 13.0', b'"total_seconds": -1'),
    "a billion classes": tested(classes=10**9, class_names=["a"]),
    "100 % with 0 correct": tested(accuracy_percent=100.0, correct=0),
    "more correct than images": tested(correct=10**9, images=1),
    "101 %": tested(accuracy_percent=101.0),
    "a confusion beyond the classes": tested(confusion=[[99, 99, 1]]),
    "a test of another run": swapped(b'"accuracy": {\n  "digits/base"', b'"accuracy": {\n  "../../x"'),
    "a field that is none": swapped(b'"status": "ok"', b'"status": "ok", "__class__": {}'),
    "a status that is none": swapped(b'"status": "ok"', b'"status": "<b>ok</b>"'),
    "a lone surrogate": swapped(b'"demo-clip"', b'"\xed\xa0\x80"'),
    "an escaped lone surrogate": swapped(b'"demo-clip"', b'"\\ud800"'),
    "a later schema": swapped(b'"schema_version": 1', b'"schema_version": 99'),
    "not UTF-8": swapped(b'"demo-clip"', b'"\xff"'),
    "cut short": record_file(lambda data: data[: len(data) // 2]),
    "a list": record_file(lambda data: b"[" + data + b"]"),
    "empty": record_file(lambda data: b""),
}.items():
    attack("records", name, "results/a.json", act)


def at_the_place_of(make):
    def act(folder):
        from harness.records import from_json
        from harness.runs.store import Store

        store = Store(folder)
        record = from_json(record_data(), "made")
        path = store.path(record.key)
        path.parent.mkdir(parents=True)
        make(folder, path, record)
        return store.find(record.key)

    return act


def another_run(folder, path, record):
    path.write_bytes(to_json(replace(record, key=replace(record.key, seed=7))))


def linked(folder, path, record):
    (folder.parent / "record.json").write_bytes(to_json(record))
    path.symlink_to(folder.parent / "record.json")


attack("records", "another run's at its place", "another run", at_the_place_of(another_run))
attack("records", "a link to one outside", ".json", at_the_place_of(linked))
attack("records", "a pipe", ".json", at_the_place_of(lambda folder, path, record: os.mkfifo(path)))
attack(
    "records",
    "one of 64 MiB",
    ".json",
    at_the_place_of(lambda folder, path, record: path.write_bytes(record_data() + b" " * (64 << 20))),
)


# What the command line names.


def planned(**request):
    def act(folder):
        from harness.plan import Request, plan

        return plan(
            Request(**{"suite": "base2new", "methods": ["coop"], "datasets": ["demo-digits"], **request}), "demo"
        )

    return act


for name, act in {
    "--methods os:system": planned(methods=["os:system"]),
    "--methods builtins:exec": planned(methods=["builtins:exec"]),
    "--methods subprocess:Popen": planned(methods=["subprocess:Popen"]),
    "--datasets os:getcwd": planned(datasets=["os:getcwd"]),
    "--datasets builtins:print": planned(datasets=["builtins:print"]),
    "a suite os:system": planned(suite="os:system"),
    "deep JSON in --set": planned(settings={"context_length": "[" * DEEP}),
    "400 digits in --set": planned(settings={"context_length": "9" * 400}),
    "5,000 digits in --set": planned(settings={"context_length": "9" * 5000}),
    "a template that reads attributes": planned(template="{0.__class__}"),
    "a template that reads globals": planned(template="{0.__init__.__globals__}"),
    "a template of a billion blanks": planned(template="{:1000000000}"),
    "a method's name of terminal codes": planned(methods=[TERMINAL]),
}.items():
    attack("the command line", name, "", act)


# Outputs: what lies at their place is replaced, never followed.


def planted(file):
    def act(folder):
        from harness.files import write_atomically

        (folder.parent / "target").write_bytes(b"theirs")
        (folder / file).symlink_to(folder.parent / "target")
        write_atomically(folder / file, b"ours")
        assert not (folder / file).is_symlink()
        return (folder.parent / "target").read_bytes()

    return act


for file in ("page.css", "page.js", "index.html", "images.part", "record.json"):
    attack("planted links", file, "b'theirs'", planted(file))
