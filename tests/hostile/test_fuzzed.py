"""Inputs that nobody thought of, for every reader of a user's files: each is read, or refused in a message; nothing else is raised.

Inputs are a valid file with pieces of it replaced, cut, doubled and strewn with what parsers trip over; of JSON and YAML also with
parts of its structure changed. The same ones at every run: hypothesis makes some of them, and makes small what fails; a plain
generator, which takes a tenth of the time, makes the million.
"""

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
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
INPUTS = int(os.environ.get("ADAPTBENCH_FUZZED", "1000000"))
"""Of the long test, to all readers together."""
GUIDED = 10_000
"""Of the other long test, to each reader."""
PLACES = [None, True, -1, 0.5, 10**400, "", "\ud800", "\x1b[31m", "../x", "{0.__class__}", [], {}, [[[[[]]]]], [1, "2"],
          {"a": None}]  # fmt: skip
"""What stands in the place of a part of a structure."""


def image(format, mode="RGB"):
    made = io.BytesIO()
    Image.new(mode, (9, 7), 3).save(made, format)
    return made.getvalue()


def tar():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("a/b.png", "c.txt"):
            member = tarfile.TarInfo(name)
            member.size = 40
            archive.addfile(member, io.BytesIO(bytes(40)))
    return made.getvalue()


def zipped():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a/b.png"), bytes(40), zipfile.ZIP_DEFLATED)
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
    "a.tar": (lambda record: tar(), lambda path: unpacked(path)),
    "a.tar.gz": (lambda record: gzip.compress(tar(), mtime=0), lambda path: unpacked(path)),
}  # fmt: skip


def unpacked(path):
    into = path.parent / "into"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
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


def near(seed, chance):
    """A file near `seed`: pieces of it replaced by tokens, by other pieces, by any bytes, or bits of it turned."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(data))
        end = start + chance.choice((0, 0, 1, 1, 2, 4, 12, len(data)))
        match chance.randrange(4):
            case 0:
                data[start:end] = chance.choice(TOKENS)
            case 1:
                other = chance.randint(0, len(seed))
                data[start:end] = seed[other : other + chance.randint(0, 40)]
            case 2:
                data[start:end] = chance.randbytes(chance.randint(0, 8))
            case 3 if start < len(data):
                data[start] ^= 1 << chance.randrange(8)
    return bytes(data)


def restructured(document, chance):
    """A document with a part of it replaced by what it can't be, by another part, or gone."""
    parts = [document]
    for part in parts:
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    place = chance.choice([part for part in parts if part and isinstance(part, dict | list)])
    at = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
    new = chance.choice(PLACES) if chance.random() < 0.7 else json.loads(json.dumps(chance.choice(parts)))
    if isinstance(place, dict) and chance.random() < 0.2:
        place[chance.choice(("x", "__class__", "", at.upper()))] = new
    elif chance.random() < 0.1:
        del place[at]
    else:
        place[at] = new
    return document


def inputs(file, seed, count):
    """So many files near a valid one, the same each time."""
    chance = random.Random(file)
    structured = file.endswith((".json", ".yaml"))
    document = yaml.safe_load(seed) if structured else None
    for number in range(count):
        if structured and number % 2:
            yield json.dumps(restructured(json.loads(json.dumps(document)), chance)).encode()  # which is YAML, too
        else:
            yield near(seed, chance)


def outcome(reader, path, data):
    path.write_bytes(data)
    try:
        reader(path)
    except AdaptBenchError:
        return REFUSED
    return READ


@pytest.fixture
def inside(tmp_path):
    """The folder of an input, with the images of the split file; nothing may come beside it."""
    folder = tmp_path / "inside"
    for name in ("train", "val", "test"):
        (folder / name).mkdir(parents=True)
        (folder / f"{name}.png").touch()
        (folder / name / "1.png").touch()
    yield folder
    assert {each.name for each in tmp_path.iterdir()} == {folder.name}


@pytest.mark.filterwarnings("ignore")  # of Pillow's on odd files
@pytest.mark.parametrize("file", READERS)
def test_what_nobody_thought_of_is_read_or_refused(file, record, inside):
    valid, reader = READERS[file]
    seed, found = valid(record), set()

    @hypothesis.settings(max_examples=20, derandomize=True, database=None, deadline=None,
                         suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    @hypothesis.given(mutations(seed))
    def one(data):
        found.add(outcome(reader, inside / file, data))

    one()
    assert REFUSED in found


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", READERS)
def test_a_million_inputs_are_read_or_refused(file, record, inside, record_testsuite_property):
    valid, reader = READERS[file]
    counts = {READ: 0, REFUSED: 0}
    for number, data in enumerate(inputs(file, valid(record), -(-INPUTS // len(READERS)))):
        try:
            counts[outcome(reader, inside / file, data)] += 1
        except Exception as error:
            error.add_note(f"input {number} to {file}: {data[:2000]!r}")
            raise
    for name, count in counts.items():
        record_testsuite_property(f"inputs to {file}: {name}", count)
    assert counts[REFUSED] > 0


@pytest.mark.long
@pytest.mark.parametrize("file", READERS)
def test_inputs_that_follow_what_they_reach_are_read_or_refused(file, tmp_path):
    pytest.importorskip("atheris", reason="atheris isn't installed: pip install atheris")
    command = [sys.executable, Path(__file__).with_name("guided.py"), file, GUIDED, tmp_path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {GUIDED} runs" in done.stderr
