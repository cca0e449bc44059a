"""Experiments as files: mistakes are told with their line, the command line overrides, and what was asked is kept."""

import json
import re
import shutil

import pytest
import yaml

from docs import mistakes
from harness.cli import experiment
from harness.cli.commands import command
from harness.cli.experiment import experiment_model, keep, read, schema
from harness.cli.options import names
from harness.plan import Request, plan
from tests.conftest import PROJECT

GOOD = """\
suite: base2new
methods: [coop, zero_shot]
datasets:
  - demo-digits
seeds: 1
set:
  epochs: 3
"""

MISTAKES = [  # what the file has, the line that is told, the value that is named, and what is right
    ("", None, "no option", "suite: base2new"),
    ("- base2new", None, "no option", "suite: base2new"),
    ("methods: [coop]", None, "no suite", "suite: base2new"),
    ("suite: [a", 1, "expected", "suite: base2new"),
    ("suite: base2new\n\tmethods: coop", 2, "cannot start any token", "suite: base2new"),
    ("suite: base2new\nsuite: cost", 2, "'suite'", "Leave one of them out"),
    ("suite: &a base2new\nmethods: *a", 1, "&", "quotes"),
    ("suite: !!python/object/apply:os.system [ls]", 1, "!", "quotes"),
    ("suite: base2new\nsots: [4]", 2, "'sots'", "'shots'"),
    ("suite: base2new\nagain: true", 2, "'again'", "Known"),
    ("suite: base2new\nclass_names: a.txt", 2, "'class_names'", "'class-names'"),
    ("suite: {a: b}", 1, "suite", "valid string"),
    ("suite: base2knew", 1, "base2knew", "Did you mean 'base2new'"),
    ("suite: base2new\nmethods:\n  - coop\n  - skip_tunin", 4, "skip_tunin", "Did you mean 'skip_tuning'"),
    ("suite: base2new\nmethods: coop, maple, cop", 2, "cop", "Did you mean 'coop'"),
    ("suite: base2new\nmethods: []", 2, "methods", "at least 1 item"),
    ("suite: base2new\n\n# four\ndatasets: demo-digit", 4, "demo-digit", "Did you mean 'demo-digits'"),
    ("suite: base2new\ndatasets: [no]", 2, "'no'", "Known"),
    ("suite: base2new\nseeds: [1, two]", 2, "'two'", "integer"),
    ("suite: base2new\nseeds: [0]", 2, "'0'", "greater than or equal to 1"),
    ("suite: base2new\nseeds:\n- 1\n- 4294967296", 4, "4294967296", "4294967295"),
    ("suite: base2new\nshots: 1.5", 2, "'1.5'", "integer"),
    ("suite: base2new\nsteps: 0", 2, "'0'", "greater than or equal to 1"),
    ("suite: base2new\nsteps: [1]", 2, "steps", "integer"),
    ("suite: base2new\nbackbone: demo-clap", 2, "demo-clap", "demo-clip"),
    ("suite: base2new\nrecipes: relased", 2, "relased", "released"),
    ("suite: base2new\nprecision: fp61", 2, "fp61", "fp16"),
    ("suite: base2new\nexecution: [fast, fats]", 2, "fats", "fast"),
    ("suite: base2new\ntemplate: a photo", 2, "a photo", "{}"),
    ("suite: base2new\nset:\n  epochs: 3\n  eopchs: 3", 4, "eopchs", "epochs"),
    ("suite: base2new\nmethods: coop\nset:\n  coop:\n    context_lenght: 4", 5, "context_lenght", "context_length"),
    ("suite: base2new\nmethods: coop\nset:\n  epochs: many", 4, "many", "epochs"),
    ("suite: base2new\nset: epochs=3", 2, "'epochs=3'", "dictionary"),
    ("suite: base2new\nsave: maybe", 2, "'maybe'", "boolean"),
    ("suite: base2new\njobs: 0", 2, "'0'", "greater than or equal to 1"),
    ("suite: base2new\nclass-names: nowhere.txt\ndatasets: 'folder:.'", 2, "nowhere.txt", "a line for each class"),
]


@pytest.mark.parametrize(("text", "line", "value", "right"), MISTAKES)
def test_a_mistake_is_told_with_its_line(adaptbench_here, tmp_path, monkeypatch, text, line, value, right):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    process = adaptbench_here("plan", "mine.yaml")
    said = " ".join(process.stderr.split())
    assert process.returncode == 2, said
    assert said.startswith(f"Error: mine.yaml:{line}: " if line else "Error: mine.yaml "), said
    assert value in said
    assert right in said
    assert process.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"suite: caf\xe9", "no YAML"),
        (b"[" * 10_000, "within 4 others"),
        (b"#" * (1 << 17), "longer than"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(adaptbench_here, tmp_path, content, told):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    process = adaptbench_here("run", path)
    assert process.returncode == 2
    assert "mine.yaml" in process.stderr
    assert told in process.stderr


def test_the_page_of_mistakes_has_each_with_its_message():
    page = mistakes.PAGE.read_text()
    for text, line, value, right in MISTAKES:
        (row,) = re.findall(rf"^\| {re.escape(mistakes.cell(text))} \| (.*) \|$", page, re.MULTILINE)
        assert row.startswith(f"Error: mine.yaml:{line}: " if line else "Error: mine.yaml "), row
        assert mistakes.plain(value) in row
        assert mistakes.plain(right) in row


def test_the_command_line_overrides_the_file_and_settings_one_by_one(adaptbench_here, tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(GOOD + "  coop: {context_init: '', context_length: 8}\nresults: elsewhere")
    words = ("--methods", "coop", "--seeds", "2,3", "--set", "coop.context_length=6", "--json")
    runs = json.loads(adaptbench_here_json(adaptbench_here, "plan", path, *words))
    assert [(run["method"], run["seed"]) for run in runs] == [("coop", 2), ("coop", 3)]
    assert {run["dataset"] for run in runs} == {"demo-digits"}
    assert runs[0]["settings"]["context_length"] == 6
    assert runs[0]["recipe"]["epochs"] == 3


def adaptbench_here_json(adaptbench_here, *words):
    process = adaptbench_here(*words)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_run_keeps_its_experiment_which_asks_for_the_same_runs(adaptbench_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(GOOD)
    words = ["mine.yaml", "--methods", "coop,clip_adapter", "--simulate", "--shots", "2", "--quiet"]
    parameters = command("run").make_context("run", words).params
    request = Request(
        suite="base2new", methods=["coop", "clip_adapter"], datasets=["demo-digits"], seeds=[1], shots=[2]
    )
    kept = keep(parameters, plan(request, "demo"), tmp_path / "results")
    assert yaml.safe_load(kept.read_text()) == {
        "suite": "base2new",
        "methods": ["coop", "clip_adapter"],
        "seeds": [1],
        "shots": [2],
        "execution": ["fast"],
        "datasets": ["demo-digits"],
        "backbone": "demo-clip",
        "set": {"epochs": "3"},
        "simulate": True,
        "quiet": True,
    }
    shutil.copy(kept, "again.yaml")
    again = adaptbench_here("run", "again.yaml", "--dry-run")
    assert "2 of 2 runs are left" in again.stdout, again.stderr
    assert read(kept).values == read(tmp_path / "again.yaml").values


def test_the_schema_for_editors_is_that_of_the_options():
    assert (PROJECT / "docs" / "experiment.schema.json").read_text(encoding="utf-8") == schema()
    properties = json.loads(schema())["properties"]
    assert set(properties) == set(experiment_model().model_fields)
    assert all(each["description"] for each in properties.values())


def test_what_several_values_of_an_option_are_is_the_command_lines(tmp_path):
    """A name with a comma stands alone in a list, and comes through whole."""
    path = tmp_path / "mine.yaml"
    path.write_text('suite: base2new\ndatasets: ["folder:a,b", demo-digits]')
    (word,) = [w for w in read(path).words(_Command(), {}) if w.startswith("--datasets=")]
    assert names("datasets", word.partition("=")[2]) == ["folder:a,b", "demo-digits"]


class _Command:
    """A command with one option."""

    class _Datasets:
        opts, name, multiple, is_flag, param_type_name = ("--datasets",), "datasets", False, False, "option"

    params = (_Datasets,)


def test_the_options_that_take_several_say_so():
    several = {name for name, option in experiment._options().items() if "omma-separated" in option.help}
    assert several == set(experiment.LISTS)
