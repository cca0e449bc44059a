"""The GitHub action: its shell lines, run by a real bash, with stand-ins for the gate (minutes) and for GitHub's command."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from harness.gate.command import gate
from harness.gate.markdown import MARKER

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / ".github/actions/gate/action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
PYTHON = """#!{python}
import pathlib, sys
pathlib.Path("arguments").write_text("\\n".join(sys.argv[1:]))
if "{says}":
    pathlib.Path(sys.argv[sys.argv.index("--summary") + 1]).write_text("{says}")
sys.exit({code})
"""
GH = """#!{python}
import os, pathlib, sys
with open("calls", "a") as file:
    print(*sys.argv[1:], sep="\\n", file=file)
if "--paginate" in sys.argv:
    print(os.environ.get("OWN", ""))
elif sys.argv[1:3] == ["api", "user"]:
    print(os.environ["LOGIN"]) if "LOGIN" in os.environ else sys.exit(1)
elif "FORBIDDEN" in os.environ:
    sys.exit(1)
"""


def options():
    app = typer.Typer()
    app.command()(gate)
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def step(name, folder, **environment):
    """Runs a step as GitHub runs bash; `environment` is what its ``env`` would be."""
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "GITHUB_REPOSITORY": "a/b",
                 "RUNNER_TEMP": str(folder), "GITHUB_STEP_SUMMARY": str(folder / "step-summary"),
                 "GITHUB_OUTPUT": str(folder / "output")}  # fmt: skip
    assert set(STEPS[name]["env"]) <= {*environment, "GH_TOKEN"}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]]
    return subprocess.run(command, cwd=folder, env=variables | environment, capture_output=True, text=True)


def run_gate(folder, code=0, says="table", **environment):
    python = executable(folder / "python", PYTHON.format(python=sys.executable, code=code, says=says))
    inputs = {
        "TESTS": "some tests",
        "BASE": "",
        "THRESHOLDS": "5%",
        "BUDGET": "180",
        "ONLY": "",
        "INSTALL": "-e .[dev]",
        "PYTHON": python,
    } | environment
    done = step("Gate", folder, **inputs)
    assert done.returncode == 0, done.stderr
    return (folder / "arguments").read_text().splitlines(), dict(
        line.split("=") for line in (folder / "output").read_text().split()
    )


def test_the_inputs_become_options_that_the_command_has(tmp_path):
    install = "-e .[dev] adaptbench[gate]"
    arguments, _ = run_gate(
        tmp_path, BASE="v1", THRESHOLDS="5%\ntest_step[coop]=10%\n", ONLY="not slow", INSTALL=install
    )
    assert arguments[:8] == ["-m", "harness", "gate", "some tests", "--budget", "180", "--install", install]
    assert arguments[8:12] == ["--summary", str(tmp_path / "adaptbench-gate.md"), "--base", "v1"]
    assert arguments[12:] == ["--only", "not slow", "--threshold", "5%", "--threshold", "test_step[coop]=10%"]
    assert {a for a in arguments if a.startswith("--")} <= options()
    written = set(re.findall(r"(?<=\s|\()--[a-z-]+", STEPS["Gate"]["run"]))
    assert written == {"--budget", "--install", "--summary", "--base", "--only", "--threshold"}


def test_each_documented_set_up_gives_the_base_what_head_has():
    text = (ROOT / "docs/gate.md").read_text()
    github, gitlab = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    *_, head, action = github["jobs"]["gate"]["steps"]
    assert set(action["with"]) <= set(ACTION["inputs"])
    pip, gate_line = gitlab["gate"]["script"]
    words = shlex.split(gate_line)
    for installed, base in ((head["run"], action["with"]["install"]), (pip, words[words.index("--install") + 1])):
        assert shlex.split(installed) == ["pip", "install", *shlex.split(base)]


def test_documented_commands_have_options_that_the_command_has():
    lines = [line for line in (ROOT / "docs/gate.md").read_text().splitlines() if "adaptbench gate " in line]
    assert lines
    assert {option for line in lines for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", line)} <= options()


def test_a_pull_request_is_measured_against_where_it_left_its_base(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(tmp_path)]

    def do(*words):
        return subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()

    do("init", "-q", "-b", "main")
    do("commit", "-q", "--allow-empty", "-m", "base")
    base = do("rev-parse", "HEAD")
    do("commit", "-q", "--allow-empty", "-m", "newer")
    do("update-ref", "refs/remotes/origin/main", "HEAD")
    do("checkout", "-q", "-b", "mine", base)
    do("commit", "-q", "--allow-empty", "-m", "head")
    arguments, _ = run_gate(tmp_path, GITHUB_BASE_REF="main")
    assert arguments[arguments.index("--base") + 1] == base


@pytest.mark.parametrize("code", [0, 2, 3, 4])
def test_the_verdict_is_shown_and_its_exit_code_is_the_jobs(tmp_path, code):
    _, output = run_gate(tmp_path, code)
    assert (tmp_path / "step-summary").read_text() == "table"
    assert output == {"exit-code": str(code), "summary": str(tmp_path / "adaptbench-gate.md")}
    assert step("Verdict", tmp_path, CODE=output["exit-code"]).returncode == code


def test_a_gate_that_never_came_to_a_verdict_says_so(tmp_path):
    (tmp_path / "adaptbench-gate.md").write_text("of an earlier gate")
    _, output = run_gate(tmp_path, code=2, says="")
    text = (tmp_path / "step-summary").read_text()
    assert text.startswith(f"{MARKER}\n")
    assert "exit code 2" in text
    assert Path(output["summary"]).read_text() == text


@pytest.mark.parametrize(
    ("token", "mine"), [({}, '.user.type == "Bot"'), ({"LOGIN": "octocat"}, '.user.login == "octocat"')]
)
@pytest.mark.parametrize(
    ("own", "method", "place"), [("", "POST", "issues/7/comments"), ("123", "PATCH", "issues/comments/123")]
)
def test_one_comment_is_written_and_then_renewed(tmp_path, own, method, place, token, mine):
    executable(tmp_path / "gh", GH.format(python=sys.executable))
    done = step("Comment", tmp_path, NUMBER="7", SUMMARY="table.md", OWN=own, **token)
    assert (done.returncode, done.stdout) == (0, "")
    calls = (tmp_path / "calls").read_text()
    assert f"select({mine})\n" in calls
    assert f'startswith("{MARKER}")' in calls
    assert calls.endswith(f"api\n--silent\n--method\n{method}\nrepos/a/b/{place}\n-F\nbody=@table.md\n")


def test_a_comment_that_may_not_be_written_is_a_warning(tmp_path):
    executable(tmp_path / "gh", GH.format(python=sys.executable))
    done = step("Comment", tmp_path, NUMBER="7", SUMMARY="table.md", FORBIDDEN="1")
    assert done.returncode == 0
    assert done.stdout.startswith("::warning::")


def test_no_input_reaches_the_shell_but_by_the_environment():
    assert not [name for name, step in STEPS.items() if "${{" in step["run"]]
    assert STEPS["Comment"]["if"].endswith("head.repo.full_name == github.repository")


def test_the_workflow_asks_for_no_more_than_it_needs_and_gives_inputs_that_exist():
    workflow = yaml.safe_load((ROOT / ".github/workflows/gate.yml").read_text())
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    steps = workflow["jobs"]["gate"]["steps"]
    (own,) = [step for step in steps if step.get("uses") == "./.github/actions/gate"]
    assert set(own["with"]) <= set(ACTION["inputs"])
    assert steps[0]["with"] == {"fetch-depth": 0}
