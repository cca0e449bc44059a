"""Nothing of ours runs what it reads: ruff's rules are on, and what it has no rule for is read off the code."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("harness", "methods", "suites", "reports")
RUNS_WHAT_IT_READS = {
    "import pickle; pickle.load(open('a', 'rb'))": "S301",
    "import marshal; marshal.loads(b'')": "S302",
    "eval(input())": "S307",
    "exec(input())": "S102",
    "import yaml; yaml.load('')": "S506",
    "import subprocess; subprocess.run(word, shell=True)": "S602",
    "import os; os.system(word)": "S605",
    "import tarfile; tarfile.open('a').extractall('b')": "S202",
}


def test_the_linter_refuses_what_runs_what_it_reads():
    text = "".join(f"{line}\n" for line in RUNS_WHAT_IT_READS)
    words = [sys.executable, "-m", "ruff", "check", "--output-format=json", "--stdin-filename", "harness/x.py", "-"]
    done = subprocess.run(words, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {fault["location"]["row"]: set() for fault in json.loads(done.stdout)}
    for fault in json.loads(done.stdout):
        found[fault["location"]["row"]].add(fault["code"])
    for row, (line, rule) in enumerate(RUNS_WHAT_IT_READS.items(), 1):
        assert rule in found.get(row, ()), line


def faults(tree):
    """Calls that run or believe what they read, by the line; ruff has no rule for these."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if given.get("allow_pickle") == "True" or given.get("trust_remote_code") == "True":
            yield node.lineno, name
        if name.endswith("torch.load") and given.get("weights_only") != "True":
            yield node.lineno, name
        if name.endswith(("unpack_archive", "extractall")) and "filter" not in given:
            yield node.lineno, name


@pytest.mark.parametrize("call", ["np.load(a, allow_pickle=True)", "torch.load(a)", "torch.load(a, weights_only=False)",
                                  "shutil.unpack_archive(a, b)", "archive.extractall(b)",
                                  "load_dataset(a, trust_remote_code=True)"])  # fmt: skip
def test_a_call_that_believes_a_file_is_found(call):
    assert list(faults(ast.parse(call))) != []


def test_no_call_of_ours_believes_a_file():
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            found += [(path.name, *fault) for fault in faults(ast.parse(text))]
            found += [(path.name, line) for line in text.splitlines() if re.search(r"noqa: S\d", line)]
    assert found == []
