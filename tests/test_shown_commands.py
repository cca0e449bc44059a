"""Every command that README and docs show is executed, in a small variant, or stands in docs/testing.md's table with its reason."""

import glob
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.conftest import PROJECT
from tests.shown_commands import shown, variant
from tests.test_docs_site import site_pages

BESIDE_DOCS = ("README.md", "docs/site/index.md", "CONTRIBUTING.md", "suites/demo/MODEL_CARD.md")
TESTING = (PROJECT / "docs" / "testing.md").read_text()
SECTION = TESTING.partition("## Commands that pages show")[2].partition("\n## ")[0]
ELSEWHERE = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", SECTION, re.MULTILINE)
"""How a command begins that isn't executed here (... is anything), why, and what runs it."""
ACCEPTED = {"data": (0, 1)}
"""Exit codes, where they aren't 0 alone: a check of data ends with 1 where some lack."""
FLOWERS = ("daisy", "iris", "rose", "tulip")
EUROSAT = ("Annual Crop Land", "Forest", "Highway or Road", "River")
BENCHMARK = """
def test_sum(benchmark):
    benchmark(sum, range(9))
    benchmark.extra_info.update(terms=9, exact=["terms"])
"""


@cache
def pages():
    """The text of each page by its path: README, docs and what the site has beside them."""
    paths = [PROJECT / name for name in BESIDE_DOCS] + sorted((PROJECT / "docs").glob("*.md"))
    written = {path.relative_to(PROJECT).as_posix(): path.read_text().replace(SECTION, "") for path in paths}
    return written | {name: text for name, text in site_pages().pages() if name.startswith("methods/")}


def elsewhere(command):
    """The rows of the table that a command is one of."""
    line = " ".join(command.words)
    return [row for row in ELSEWHERE if re.match(re.escape(row[0]).replace(r"\.\.\.", ".*") + r"(?!\S)", line)]


@cache
def commands():
    return [command for name, text in pages().items() for command in shown(name, text)]


def executed():
    return [command for command in commands() if not elsewhere(command)]


PAGE = """
```sh
a && b "c  d"  # e
f \\
  g
# h
```
```console
$ i
j
```
`adaptbench list x`, `adaptbench run`, `nox -s <a>`
"""


def test_commands_are_read_off_a_page():
    assert [each.line for each in shown("page", PAGE)] == ["a", 'b "c  d"', "f    g", "i", "adaptbench list x"]


def test_a_variant_is_the_command_but_small():
    line = "nox -s suite-base2new -- --methods all --seeds 1,2 --pretrained openai --set a=1 --set b=2"
    small = (
        "--methods coop --seeds 1 --set a=1 --set b=2 --datasets demo-digits --shots 1 --steps 1 --backbone demo-clip"
    )
    assert variant(line.split(" ")) == ["adaptbench", "run", "base2new", "--site", "site", *small.split(" ")]
    assert variant(["adaptbench", "data", "check", "folder:PATH"])[-1] == "folder:~/flowers"


def test_the_table_names_what_runs_the_others():
    sessions = re.findall(r'@nox.session\(name="([\w-]+)"\)', (PROJECT / "noxfile.py").read_text())
    for row in ELSEWHERE:
        assert any(row in elsewhere(command) for command in commands()), f"no page shows {row[0]}"
        for place in re.findall(r"`([^`]+)`", row[2]):
            assert (PROJECT / place).exists() or place.removeprefix("nox -s ") in sessions, place
    said = re.search(r"\d+ of \d+ commands", SECTION)
    assert said[0] == f"{len(executed())} of {len(commands())} commands", "Write the numbers into docs/testing.md."


def write_image(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (60 * (shade % 4), 30 * (shade // 4 % 8), shade)).save(path)


def furnish(home, here):
    """A user's home and folder, with what the pages name."""
    for label, name in enumerate(FLOWERS):
        for number in range(8):
            write_image(home / "flowers" / name / f"{number}.png", 8 * label + number)
    write_image(home / "photos" / "a.jpg", 200)
    parts = {"train": [], "val": [], "test": []}
    for label, name in enumerate(EUROSAT):
        for number, part in enumerate(("train", "train", "val", "test")):
            path = f"{name}/{number}.jpg"
            write_image(home / "data" / "eurosat" / "2750" / path, 40 * label + number)
            parts[part].append((path, label, name))
    (home / "data" / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(parts))
    for place in ("new-photos/a.jpg", "more/one.jpg"):
        write_image(here / place, 100)
    experiments, own = pages()["docs/experiments.md"], pages()["docs/own-method.md"]
    (here / "experiment.yaml").write_text(re.search(r"^```yaml\n(.*?)^```", experiments, re.MULTILINE | re.DOTALL)[1])
    for name, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", own, re.MULTILINE | re.DOTALL):
        (here / name).write_text(text)
    (here / "my_package").mkdir()
    (here / "my_package" / "mine.py").write_text((here / "residual.py").read_text().replace("Residual(", "MyMethod("))
    (here / "tests" / "benchmarks").mkdir(parents=True)
    (here / "tests" / "benchmarks" / "test_sum.py").write_text(BENCHMARK)
    (here / "pyproject.toml").write_text('[project]\nname = "mine"\n')


@pytest.fixture
def type_in(tmp_path, monkeypatch, adaptbench_here, cache_folder):
    """`type_in(command)`: it is executed in the user's folder; what was amiss, or nothing."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    furnish(home, here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ADAPTBENCH_CACHE", str(cache_folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), str(PROJECT / "harness" / "api")]))
    monkeypatch.delenv("ADAPTBENCH_DATA_ROOT", raising=False)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr("harness.validation.checks.BLOCKS", 2)
    known = set(sys.modules)

    def execute(command):
        if command.source:
            given = subprocess.run(["bash", "-c", command.source], capture_output=True, check=True).stdout
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        words = command.words
        if words[0] == "python":
            done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
            return done.stderr if done.returncode else ""
        words = [found for word in variant(words) for found in as_a_shell(word)]
        for word in words:
            if re.match(r"(before|after|other-machine)/results$", word) and not Path(word).exists():
                shutil.copytree("results", word)
        if words[1] == "gate" and not Path("tests/benchmarks/baseline.json").exists():
            assert adaptbench_here("gate", "--update").returncode == 0

        try:
            done = adaptbench_here(*words[1:])
        except Exception as error:
            return f"{command.page}: {shlex.join(words)}: {error!r}"
        made = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-o", "--site")]
        if command.target:
            Path(command.target).write_text(done.stdout)
        if done.returncode not in ACCEPTED.get(words[1], (0,)) or not all(Path(each).exists() for each in made):
            return f"{command.page}: {shlex.join(words)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return ""

    yield execute
    for process in psutil.Process().children():
        if "worker" in process.cmdline():
            process.wait(timeout=300)
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(here)):
            del sys.modules[name]


def as_a_shell(word):
    """What a shell makes of a word: `~` is the home, and a pattern what it matches; RECORD.json is a record that is there."""
    word = os.path.expanduser(word)
    if word.endswith("RECORD.json"):
        return sorted(glob.glob(word.replace("RECORD", "*")))[:1]
    return sorted(glob.glob(word)) or [word] if "*" in word else [word]


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings(
    "ignore:subprocess .* is still running:ResourceWarning"
)  # workers that a page's executor starts
def test_every_command_is_executed(type_in):
    """Page by page, in one folder: what a page asks for by name, an earlier one may have made."""
    amiss = [said for command in executed() if (said := type_in(command))]
    assert not amiss, "\n\n".join(amiss)
