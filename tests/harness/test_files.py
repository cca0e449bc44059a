"""Files that are there whole or not at all: writers that are killed, disks that fail, links that lie in wait."""

import ast
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.files import put, replacing, sweep, write_atomically

ROOT = Path(__file__).parents[2]

KILLED = """
import sys, time
from pathlib import Path
from harness.files import replacing
with replacing(Path(sys.argv[1])) as part:
    part.write_bytes(b"half of the ne")
    print(part.name, flush=True)
    time.sleep(600)
"""

ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from harness.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_new_file_takes_the_place_of_the_old_one_and_is_read_by_whom_the_umask_lets(path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file_and_is_in_nobodys_way(path):
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as process:
        part = path.with_name(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
    assert part.read_bytes() == b"half of the ne"
    assert part.name.startswith(".")
    assert not part.match("*.json")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    with replacing(path) as begun:
        sweep(path.parent)
        assert sorted(path.parent.iterdir()) == sorted([begun, path]), "a living writer's stays"
        begun.write_bytes(b"newer")
    assert path.read_bytes() == b"newer"


def test_a_disk_that_takes_only_a_part_leaves_the_old_file_and_no_other(path):
    words = [sys.executable, "-c", ON_A_FULL_DISK, path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "OSError\n"
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fails_when_it_is_asked_to_keep_leaves_the_old_file_and_no_other(path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(path):
    def write():
        with replacing(path) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path, target):
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "a.json"
    elsewhere.write_bytes(b"mine")
    path.symlink_to(tmp_path / target)
    write_atomically(path, b"new")
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"
    assert elsewhere.read_bytes() == b"mine"
    assert sorted(tmp_path.iterdir()) == [path, elsewhere]


def test_writers_of_one_file_never_share_a_part(path):
    """Also where process numbers are equal, as in two containers with one folder."""
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_readers_see_the_old_file_or_the_new_one(path):
    contents = [bytes([65 + i]) * 200_000 for i in range(2)]
    write_atomically(path, contents[0])
    done = threading.Event()

    def write():
        for i in range(40):
            write_atomically(path, contents[i % 2], sync=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set() or not seen:
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(contents)


def test_the_longest_name_a_file_can_have_is_written_too(tmp_path):
    path = tmp_path / ("ä" * 127)  # 254 of 255 bytes
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_only_what_can_be_made_again_does_without_the_disks_word(path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    write_atomically(path, b"page", sync=False)
    assert synced == []
    write_atomically(path, b"record")
    part = path.with_name("part")
    part.write_bytes(b"download")
    put(part, path)
    assert [name.parent for name in synced] == [path.parent] * 2
    assert path.read_bytes() == b"download"


def test_no_other_file_replaces_files_by_itself():
    """But for fetching, which moves folders into place."""
    own = {"os.replace", "os.rename", "tempfile.mkstemp", "tempfile.NamedTemporaryFile"}
    found = set()
    for folder in ("harness", "methods", "suites", "reports"):
        for file in (ROOT / folder).rglob("*.py"):
            if own & {
                ast.unparse(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)
            }:
                found.add(file.relative_to(ROOT).as_posix())
    assert found == {"harness/files.py", "suites/datasets/fetching.py"}
