"""Inputs that nobody thought of, for every reader of a user's files: each is read, or refused in a message; nothing else is raised.

Inputs are a valid file with pieces of it replaced, cut, doubled and strewn with what parsers trip over. The same ones at every run.
"""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from harness.cli.experiment import read as read_experiment
from harness.clip.checkpoint import read as read_checkpoint
from harness.data.class_names import read_class_names
from harness.data.split_files import open_image, read_split_file
from harness.errors import AdaptBenchError
from harness.records import from_json, to_json
from suites.datasets.csv_lists import read_rows
from suites.datasets.unpacking import FAULTS, unpack

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

TOKENS = [
    b"", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[31m", b"../", b"/etc/passwd", b"{", b"[" * 2000, b"]", b'"',
    b"\\ud800", b"NaN", b"-1", b"1e999", b"9" * 400, b"9" * 5000, b"null", b"true", b"{0.__class__}",
    b"!!python/object/apply:os.getcwd []", b"&a", b"*a",
    b"\n", b",", b"=1+1", b"\xff" * 8,
]  # fmt: skip
READ, REFUSED = "read", "refused"
EXAMPLES = int(os.environ.get("ADAPTBENCH_FUZZED", "20"))
"""Of each reader."""


def image(format, mode="RGB"):
    made = io.BytesIO()
    Image.new(mode, (9, 7), 3).save(made, format)
    return made.getvalue()


def tar(mode):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name in ("a/b.png", "c.txt"):
            member = tarfile.TarInfo(name)
            member.size = 40
            archive.addfile(member, io.BytesIO(bytes(40)))
    return made.getvalue()


def zipped():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.png", bytes(40))
    return made.getvalue()


def safetensors():
    from safetensors.torch import save
    from torch import zeros

    return save({"logit_scale": zeros(1), "w": zeros(2, 2)})


def torch_saved():
    from torch import save, zeros

    made = io.BytesIO()
    save({"logit_scale": zeros(1)}, made)
    return made.getvalue()


SPLIT = json.dumps(
    {part: [[f"{part}.png", 0, "cat"], [f"{part}/1.png", 1, "a dog"]] for part in ("train", "val", "test")}
)
EXPERIMENT = b"suite: base2new\nmethods: [coop, zero_shot]\nseeds: [1, 2]\nset:\n  coop.context_length: 4\n"
READERS = {  # by the file's name: what a valid one holds, and its reader
    "a.json": (lambda record: to_json(record()), lambda path: from_json(path.read_bytes(), "a.json")),
    "split.json": (lambda record: SPLIT.encode(), lambda path: read_split_file(path, path.parent)),
    "list.csv": (lambda record: b"image,label,split\na.png,cat,train\nb.png,dog,test\n", lambda path: read_rows("list.csv", path)),
    "names.txt": (lambda record: b"n01440764 tench\nn01443537 goldfish\n", lambda path: read_class_names(str(path))),
    "names.csv": (lambda record: b"label,name\na,b\nc,d\n", lambda path: read_class_names(str(path))),
    "names.json": (lambda record: b'{"a": "b", "c": ["d", "e"]}', lambda path: read_class_names(str(path))),
    "experiment.yaml": (lambda record: EXPERIMENT, read_experiment),
    "w.safetensors": (lambda record: safetensors(), read_checkpoint),
    "w.pt": (lambda record: torch_saved(), read_checkpoint),
    **{f"i.{format.lower()}": (lambda record, format=format: image(format), open_image)
       for format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")},
    "a.zip": (lambda record: zipped(), lambda path: unpacked(path)),
    "a.tar": (lambda record: tar("w"), lambda path: unpacked(path)),
    "a.tar.gz": (lambda record: tar("w:gz"), lambda path: unpacked(path)),
}  # fmt: skip


def unpacked(path):
    into = path.parent / "into"
    into.mkdir(exist_ok=True)
    try:
        unpack(path, into)
    except FAULTS as error:
        raise AdaptBenchError(str(error)) from error


def mutations(seed):
    """Files near `seed`: up to six pieces of it replaced by tokens, by other pieces or by any bytes."""
    place = st.integers(0, len(seed))
    piece = st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8), st.tuples(place, st.integers(0, 40)))
    edits = st.lists(st.tuples(place, st.integers(0, 12), piece), max_size=6)

    def edited(found):
        data = seed
        for start, length, new in found:
            data = data[:start] + (seed[new[0] : sum(new)] if isinstance(new, tuple) else new) + data[start + length :]
        return data

    return st.one_of(edits.map(edited), st.binary(max_size=200))


def fuzz(file, record, folder, examples):
    """How many of so many inputs were read and how many refused; whatever else is raised fails the test."""
    valid, reader = READERS[file]
    seed, path, counts = valid(record), folder / file, {READ: 0, REFUSED: 0}

    @hypothesis.settings(max_examples=examples, derandomize=True, database=None, deadline=None,
                         suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    @hypothesis.given(mutations(seed))
    def one(data):
        path.write_bytes(data)
        try:
            reader(path)
        except AdaptBenchError:
            counts[REFUSED] += 1
        else:
            counts[READ] += 1

    one()
    assert {each.name for each in folder.parent.iterdir()} == {folder.name}
    return counts


@pytest.mark.filterwarnings("ignore")  # of Pillow's on odd files
@pytest.mark.parametrize("file", READERS)
def test_what_nobody_thought_of_is_read_or_refused(file, record, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    assert fuzz(file, record, folder, EXAMPLES)[REFUSED] > 0


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", READERS)
def test_a_million_inputs_are_read_or_refused(file, record, tmp_path, record_testsuite_property):
    folder = tmp_path / "inside"
    folder.mkdir()
    counts = fuzz(file, record, folder, 1_000_000 // len(READERS) + 1)
    record_testsuite_property(f"inputs of {Path(file).suffix}", sum(counts.values()))
    assert counts[REFUSED] > 0
