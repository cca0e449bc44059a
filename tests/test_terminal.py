"""The command on a real terminal: every suite and every option of `run`, on pseudo-terminals of several kinds and piped.

A session is one process that runs its commands one after the other, each through the command's own `main`: the fork server with
torch in it starts once a session. OPTIONS says which session runs what; docs/terminal.md shows the same table.
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer.main
from PIL import Image

from harness.__main__ import command_line
from harness.records import from_json

HERE = Path(__file__).parent
SUITES = (
    "base2new", "cross-dataset", "domain-generalization", "few-shot", "cost", "ablation", "analysis"
)  # fmt: skip
OPTIONS = {
    "base2new": "wide",
    "cost": "wide",
    "analysis": "narrow",
    "ablation": "narrow",
    "cross-dataset": "dumb",
    "domain-generalization": "dumb",
    "few-shot": "dumb",
    "--methods": "wide",
    "--datasets": "wide",
    "--seeds": "wide",
    "--shots": "wide",
    "--backbone": "wide",
    "--pretrained": "wide",
    "--data-root": "wide",
    "--results": "wide",
    "--threads": "wide",
    "--device": "wide",
    "--precision": "wide",
    "--execution": "wide",
    "--steps": "wide",
    "--template": "wide",
    "--class-names": "dumb",
    "--set": "wide",
    "--simulate": "wide",
    "--profile": "wide",
    "--predictions": "wide",
    "--save": "wide",
    "--trace": "wide",
    "--retry-failed": "narrow",
    "--time-limit": "wide",
    "--site": "dumb",
    "--recipes": "dumb",
    "--cache": "wide",
    "--jobs": "wide",
    "--share-device": "wide",
    "--again": "wide",
    "--dry-run": "dumb",
    "--limit": "wide",
    "--max-hours": "wide",
    "--quiet": "narrow",
    "--verbose": "dumb",
}
"""A suite or an option of `run`, and the session that runs it on a terminal."""

SMALL = "--backbone tiny-clip --seeds 1 --device cpu --results results --cache cache"
ADAPTER = f"{SMALL} --methods clip_adapter"
COLOURS = "--datasets tiny-colours --shots 2"
CODED = "--datasets folder:coded --class-names names.txt --shots 2"
COST = f"{ADAPTER} --datasets random:5 --steps 1 --execution fast --precision bf16"
SICK = (
    "run tiny --methods tinyworld:Diverges --datasets tiny-colours --backbone tiny-clip --device cpu --results results"
)


@dataclass(frozen=True)
class Session:
    """Commands on a terminal of so many columns, or piped (None), with the exit code of each."""

    columns: int | None
    commands: tuple[tuple[str, int], ...]
    environment: tuple[tuple[str, str], ...] = ()


SESSIONS = {
    "wide": Session(
        80,
        (
            (
                f"run base2new {ADAPTER} {COLOURS} --pretrained random --data-root data --threads 1 --time-limit 200 "
                "--jobs 1 --share-device --again --limit 9 --max-hours 1 --set epochs=1 --template photo:{} --predictions "
                "--save",
                0,
            ),
            (f"run cost {COST} --profile --trace", 0),
            (f"run cost {COST} --simulate", 0),
        ),
    ),
    "narrow": Session(
        40,
        (
            (f"run analysis {ADAPTER} {COLOURS} --steps 1", 0),
            (f"run ablation {SMALL} {COLOURS} --methods skip_tuning --steps 1 --set start_layer=1 --set decay=1", 0),
            (SICK, 1),
            (f"{SICK} --retry-failed --quiet", 1),
        ),
        (("NO_COLOR", "1"),),
    ),
    "dumb": Session(
        80,
        (
            (f"run cross-dataset {ADAPTER} --shots 2 --steps 1", 0),
            (f"run domain-generalization {SMALL} --shots 2 --steps 1 --methods zero_shot", 0),
            (f"run few-shot {ADAPTER} {CODED} --steps 1 --recipes paper --dry-run", 0),
            (f"run few-shot {ADAPTER} {CODED} --steps 1 --verbose --recipes paper --site site", 0),
        ),
        (("TERM", "dumb"),),
    ),
    "piped": Session(
        None,
        (
            (f"run cost {COST} --simulate", 0),
            (SICK, 1),
        ),
    ),
}
MARK = "\x1e"
DRIVER = """
import json, os, sys

def noise(name):
    rng = np.random.default_rng(len(name))
    made = generated.GENERATED[name]
    counts = [min(count, 2) for count in made.counts]
    parts = np.repeat(np.arange(3), [count * len(made.classes) for count in counts])
    labels = np.concatenate([np.tile(np.arange(len(made.classes)), count) for count in counts])
    return Pictures(rng.integers(0, 256, (len(labels), 64, 64, 3), dtype=np.uint8), labels, parts)

if __name__ == "__main__":
    from harness.__main__ import main
    if os.environ["NOISE"]:
        import numpy as np
        from suites.demo import generated
        from suites.demo.store import Pictures
        generated.generate = noise
    codes = []
    for words in json.loads(sys.argv[1]):
        sys.argv = ["adaptbench", *words.split()]
        try:
            main()
        except SystemExit as ended:
            codes.append(ended.code or 0)
        sys.stdout.write("\\x1e")
        sys.stdout.flush()
    with open("codes.json", "w") as file:
        json.dump(codes, file)
"""
"""With NOISE, the demo world's pictures are two a class of noise, quicker than drawn ones; runs find them in the cache."""


def played(session, folder, weights):
    """A session's output by command, as it came, and its exit codes."""
    (folder / "driver.py").write_text(DRIVER)
    (folder / "data").mkdir()
    for shade, code in enumerate(("n01440764", "n01443537")):
        (folder / "coded" / code).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (40, 40), (90 * shade, 40 * number, 9)).save(folder / "coded" / code / f"{number}.png")
    (folder / "names.txt").write_text("n01440764 tench\nn01443537 goldfish\n")
    dropped = {"ADAPTBENCH_DATA_ROOT", "ADAPTBENCH_CACHE", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI"}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in dropped},
        "PYTHONPATH": os.pathsep.join([str(HERE / "fakes"), str(HERE.parent)]),
        "TINYWORLD": str(weights),
        "TERM": "xterm-256color",
        "NOISE": "1" if any("cross-dataset" in words for words, _ in session.commands) else "",
        **dict(session.environment),
    }
    words = [sys.executable, "driver.py", json.dumps([words for words, _ in session.commands])]
    how = {"cwd": folder, "env": environment, "start_new_session": True}
    if session.columns is None:
        out = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=300, **how
        ).stdout
    else:
        out = on_terminal(words, session.columns, **how)
    codes = folder / "codes.json"
    text = out.decode(errors="replace")
    assert codes.exists(), text
    return text.split(MARK), json.loads(codes.read_text())


def on_terminal(words, columns, seconds=300, **how):
    """All bytes that a process writes to a terminal of its own, of 24 lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, **how)
    os.close(theirs)
    out, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # Linux's way to say that nobody has the other end open
                break
            if not read:
                break
            out += read
        else:
            pytest.fail(f"the session takes over {seconds} s: {out.decode(errors='replace')}")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return out


CONTROL = re.compile(r"\x1b\[(?P<count>\d*)[\d;?]*(?P<what>[A-Za-z])")


def screen(text):
    """The lines that stay when all is written, unwrapped: moves up and erasures of lines are done, colours dropped."""
    lines, row, at = [""], 0, 0
    while at < len(text):
        control = CONTROL.match(text, at)
        if control:
            if control["what"] == "A":
                row = max(0, row - int(control["count"] or 1))
            elif control["what"] == "K":
                lines[row] = ""
            at = control.end()
            continue
        character, at = text[at], at + 1
        if character == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif character != "\r":
            lines[row] += character
    return [line.rstrip() for line in lines]


@pytest.fixture(scope="module")
def session(tiny_weights, tmp_path_factory):
    """`session(name)`: its lines by command, exit codes, raw text, records and folder; played once."""
    known = {}

    def play(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            parts, codes = played(SESSIONS[name], folder, tiny_weights)
            records = [from_json(path.read_bytes(), path.name) for path in sorted((folder / "results").rglob("*.json"))]
            known[name] = SimpleNamespace(
                lines=[screen(part) for part in parts], codes=codes, raw=parts, records=records, folder=folder
            )
        return known[name]

    return play


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_ends_well(session, name):
    """Exit codes; no traceback and no broken display; a record per run; and what stays is no wider than the terminal."""
    played, wanted = session(name), SESSIONS[name]
    text = "".join(played.raw)
    assert played.codes == [code for _, code in wanted.commands], text
    assert "Traceback" not in text
    assert "broke" not in text
    for lines, (words, code) in zip(played.lines, wanted.commands, strict=False):
        flat = " ".join(" ".join(lines).split())
        if "--dry-run" in words:
            assert flat.endswith("1 of 1 runs are left."), flat
            continue
        assert re.search(r"\[1/\d+\] ", flat), (words, lines)
        if "--quiet" in words:
            assert not re.search(r"runs ok", flat), flat
            continue
        assert re.search(r"0 of 1 runs ok" if code else r"\b(\d+) of \1 runs ok; records are in results\.", flat), lines
        if wanted.columns:
            assert max(map(len, lines)) <= wanted.columns, lines
    suites = {words.split()[1] for words, _ in wanted.commands}
    shared = {"domain-generalization": "cross-dataset"}
    assert {record.key.suite for record in played.records} == {shared.get(suite, suite) for suite in suites}
    statuses = {record.key.method: record.status for record in played.records}
    assert statuses.pop("tinyworld:Diverges", "diverged") == "diverged"
    assert set(statuses.values()) == {"ok"}


def test_a_terminal_has_bars_and_colours(session):
    raw = "".join(session("wide").raw)
    assert "\x1b[38;5;" in raw or "\x1b[1m" in raw
    for doing in ("loading", "training", "counting memory", "profiling a step", "simulating"):
        assert f": {doing}" in raw


def test_no_color_is_heeded_and_a_dumb_terminal_or_a_pipe_gets_plain_lines(session):
    assert not re.search(r"\x1b\[[\d;]*(3\d|4\d|9\d)[\d;]*m", "".join(session("narrow").raw))
    for name in ("dumb", "piped"):
        assert "\x1b" not in "".join(session(name).raw)


def test_what_the_options_ask_for_is_there(session):
    wide, dumb = session("wide"), session("dumb")
    files = {path.suffix: path for path in (wide.folder / "results").rglob("*") if path.is_file()}
    assert ".parquet" in files
    assert [path for path in (wide.folder / "results").rglob("*trace*") if path.is_file()]
    by_suite = {(record.key.suite, record.key.simulated): record for record in wide.records}
    assert set(by_suite["cost", False].profile.simulated) == {"fast", "reference"}
    assert by_suite["cost", True].windows == {}
    assert "simulated peak" in " ".join(" ".join(wide.lines[2]).split())
    assert by_suite["base2new", False].key.template == "photo:{}"
    assert (dumb.folder / "site" / "index.html").exists()


def test_every_option_and_every_suite_is_run_on_a_terminal():
    run = typer.main.get_command(command_line()).commands["run"]
    here = [parameter for parameter in run.params if getattr(parameter, "rich_help_panel", None) is None]  # no workers
    options = {name for parameter in here for name in parameter.opts if name.startswith("--")} - {"--help"}
    assert set(OPTIONS) == {*options, *SUITES}
    for what, name in OPTIONS.items():
        assert SESSIONS[name].columns
        assert any(what in words.split() for words, _ in SESSIONS[name].commands), what


def test_the_documented_table_is_this_one():
    text = (HERE.parent / "docs" / "terminal.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| `test_a_session_ends_well\[(\w+)\]` \|$", text, re.MULTILINE)
    assert dict(rows) == OPTIONS


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device here is always full")
@pytest.mark.parametrize("words", ["--version", "list methods", "plan base2new"])
def test_output_that_goes_to_a_full_disk_is_one_message(words, tmp_path):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "harness", *words.split()]
        how = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(HERE.parent)}, "stdout": full, "text": True}
        done = subprocess.run(command, stderr=subprocess.PIPE, **how)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: what this command prints can't be written: No space left on device.\n")
        assert subprocess.run(command, stderr=full, **how).returncode == 2
