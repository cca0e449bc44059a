"""From an empty folder to one's own method in the report beside two others, with docs/own-method.md alone."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.runs.runner import execute
from harness.runs.store import Store

PAGE = (Path(__file__).parents[1] / "docs" / "own-method.md").read_text()
ADAPTER = re.search(r"```python\n# adapter\.py\n(.*?)```", PAGE, re.DOTALL).group(1)
WALK = re.search(r"<!-- walk -->\n```sh\n(.*?)```", PAGE, re.DOTALL).group(1)
ROWS = ("zero_shot", "clip_adapter", "my_adapter:MyAdapter")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty one, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("my_adapter", None)


def write_the_method(folder):
    """What the user writes into the file that `new` began: the page's adapter, under the name asked for."""
    text = ADAPTER.replace("class Adapter(", "class MyAdapter(")
    assert len(text.splitlines()) <= 40
    (folder / "my_adapter.py").write_text(text)


def rows(report):
    """The names of methods that head a row of the page."""
    return {name for name in ROWS if re.search(rf"<t[hd][^>]*>(<[^>]*>)*{re.escape(name)}\b", report)}


@pytest.mark.usefixtures("one_thread")
def test_what_new_writes_runs_as_it_is_and_what_replaces_it_stands_in_the_report(
    folder, adaptbench_here, job, monkeypatch, capsys
):
    monkeypatch.setattr("harness.validation.checks.BLOCKS", 2)
    assert adaptbench_here("new", "method", "my_adapter").returncode == 0
    quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    assert pytest.main(["tests", "--benchmark-disable", "-k", "contract", *quiet]) == 0  # the others take long
    assert "1 passed, 2 deselected" in capsys.readouterr().out
    write_the_method(folder)
    sys.modules.pop("my_adapter")
    assert adaptbench_here("validate", "my_adapter.py:MyAdapter").returncode == 0
    store = Store(folder / "results")
    for method in ("zero_shot", "clip_adapter", "my_adapter.py:MyAdapter"):
        record = execute(job(method, shots=2))
        assert record.status == "ok", record.reason
        store.write(record)
    assert adaptbench_here("report", "results").returncode == 0
    assert rows((folder / "site" / "index.html").read_text()) == set(ROWS)


@pytest.mark.long
def test_the_walk_of_the_page_in_real_processes(folder, adaptbench, record_property):
    """The page's own commands, as they stand there; its seconds are printed, and compared with nothing."""
    script = Path(sys.executable).with_name("adaptbench")
    started = time.perf_counter()
    commands = [
        shlex.split(line.partition("#")[0]) for line in WALK.strip().splitlines() if line.startswith("adaptbench")
    ]
    assert len(commands) == 4
    tested = [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", "tests"]
    for number, words in enumerate(commands):
        done = adaptbench(*words[1:], cwd=folder, python=(str(script),) if script.exists() else ("-m", "harness"))
        assert done.returncode == 0, done.stdout + done.stderr
        if number == 0:
            write_the_method(folder)
    seconds = time.perf_counter() - started
    record_property("walk_seconds", seconds)
    print(f"{len(commands)} commands, {seconds:.0f} s")
    assert rows((folder / "site" / "index.html").read_text()) == set(ROWS)
    assert "3 passed" in subprocess.run(tested, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("words", "what", "advice"),
    [
        (["method", "My-Method"], "'My-Method' is no name for a file", "adaptbench new method my_method"),
        (["method", "class"], "'class' is no name for a file", "adaptbench new method my_method"),
        (["suite", "torch"], "'torch' is the name of a module that is installed", "adaptbench new suite my_torch"),
        (["metod", "mine"], "there is no kind 'metod'", "Did you mean 'method'?"),
        (["method", "taken"], "tests/test_taken.py would be overwritten", "Nothing was written"),
    ],
)
def test_new_refuses_what_can_not_be_meant(folder, adaptbench_here, words, what, advice):
    (folder / "tests").mkdir()
    (folder / "tests" / "test_taken.py").write_text("mine")
    done = adaptbench_here("new", *words)
    assert done.returncode == 2
    assert what in done.stderr
    assert advice in done.stderr
    assert [path.name for path in folder.rglob("*.py")] == ["test_taken.py"]
    assert (folder / "tests" / "test_taken.py").read_text() == "mine"
