"""Every attack file of the table: refused or neutralised by name, nothing outside read or written, nothing run, memory bounded."""

import os
import resource
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch  # noqa: F401  (what it starts and takes is no attack's)
from hostile.attacks import ATTACKS, ESCAPED

from harness.clip import checkpoint  # noqa: F401
from harness.errors import AdaptBenchError
from harness.visible import block

MOST_BYTES = 400 << 20
"""By which no attack makes this process grow."""
LONGEST_MESSAGE = 3000
RUN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")
READ = ("/etc/passwd", "secret")

watched = []
noticed = []


def watch(event, arguments):
    if watched and (event in RUN or (event == "open" and any(word in str(arguments[0]) for word in READ))):
        noticed.append((event, str(arguments[:1])))


sys.addaudithook(watch)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder whose parent holds a secret; what happens outside of it is noticed."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "secret.png").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    noticed.clear()
    yield inside
    assert noticed == []
    assert not (inside / "executed").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"secret.txt", "secret.png", "inside", "target", "record.json"}
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert not os.path.exists(ESCAPED)


def memory_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def ended(attack, folder):
    """What an attack came to: the message that it was refused with, or what harmless thing was read."""
    watched.append(True)
    try:
        return str(attack.act(folder))
    except AdaptBenchError as error:
        return str(error)
    finally:
        watched.clear()


@pytest.mark.parametrize(
    "attack", ATTACKS, ids=lambda attack: f"{attack.kind}: {attack.name}"[:60].encode("unicode_escape").decode()
)
def test_an_attack_is_refused_or_neutralised_by_name(attack, outside):
    before = memory_bytes()
    message = ended(attack, outside)
    assert attack.named in message
    assert block(message) == message
    assert len(message) < LONGEST_MESSAGE
    assert memory_bytes() - before < MOST_BYTES


def test_the_page_has_the_table():
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    kinds = Counter(attack.kind for attack in ATTACKS)
    assert len(ATTACKS) >= 120
    for kind, count in {**kinds, "**all**": len(ATTACKS)}.items():
        assert f"| {kind} | {count} of {count} |" in page
