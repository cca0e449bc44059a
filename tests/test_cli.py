"""The command as a user meets it: real processes, one clear message an error, exit codes as documented."""

import json
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import typer
from PIL import Image
from rich.text import Text

from harness.__main__ import command_line
from harness.plan import Request, plan
from harness.records import from_json
from harness.runs.identity import identified
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending

TABLES = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["entry-points"]


def output(process):
    return " ".join((process.stdout + process.stderr).split())


class TestHelp:
    def test_the_command_alone_and_help_show_the_commands_and_exit_codes(self, adaptbench, adaptbench_here):
        for words, run in (([], adaptbench_here), (["--help"], adaptbench), (["-h"], adaptbench_here)):
            process = run(*words)
            assert process.returncode in (0, 2)
            text = output(process)
            assert all(f" {name} " in text for name in ("list", "plan", "run", "report"))
            assert "0 all well, 1 some run failed, 2 bad usage, 130 interrupted" in text
        assert process.returncode == 0

    def test_run_explains_every_option(self, adaptbench_here):
        process = adaptbench_here("run", "--help")
        assert process.returncode == 0
        options = (
            "methods datasets seeds shots backbone pretrained data-root results device precision execution steps template "
            "set predictions retry-failed time-limit site cache"
        )
        text = output(process)
        assert all(f"--{option} " in text for option in options.split())

    def test_no_word_of_a_help_is_taken_for_markup(self):
        """As rich takes what stands in brackets: the defaults were gone."""
        whole = typer.main.get_command(command_line())
        commands = [whole, *whole.commands.values()]
        parameters = [parameter for command in commands for parameter in command.params]
        helps = [parameter.help for parameter in parameters if getattr(parameter, "help", None)]
        assert len(helps) > 50
        assert [Text.from_markup(text).plain for text in helps] == helps

    def test_defaults_in_words_are_shown(self, adaptbench_here):
        text = " ".join(adaptbench_here("run", "--help").stdout.replace("│", " ").split())
        assert "[default: (demo; published with --data-root)]" in text

    @pytest.mark.parametrize("command", ["list", "plan", "report"])
    def test_the_other_commands_have_help_too(self, adaptbench_here, command):
        process = adaptbench_here(command, "--help")
        assert process.returncode == 0
        assert "Usage:" in process.stdout


class TestList:
    def test_all_kinds(self, adaptbench_here):
        process = adaptbench_here("list")
        assert process.returncode == 0
        words = set(process.stdout.split())
        about = {line.split()[0]: line.split()[1:] for line in process.stdout.splitlines() if line.split()}
        for kind in ("methods", "suites", "datasets", "backbones"):
            assert kind in words
            assert all(about[name] for name in TABLES[f"adaptbench.{kind}"])
        assert "arXiv:2412.11509" in process.stdout

    def test_one_kind(self, adaptbench_here):
        process = adaptbench_here("list", "suites")
        assert "base2new" in process.stdout
        assert "skip_tuning" not in process.stdout

    def test_an_installed_plug_in_is_listed(self, adaptbench_here, tinyworld):
        words = set(adaptbench_here("list").stdout.split())
        assert {"tiny", "tiny-clip", "tiny-colours", "scripted"} <= words


class TestPlan:
    def test_json(self, adaptbench_here):
        process = adaptbench_here("plan", "base2new", "--json", "--datasets", "published")
        assert process.returncode == 0
        rows = json.loads(process.stdout)
        assert len(rows) == 165
        assert {(row["recipe_row"], row["recipe"]["epochs"]) for row in rows if row["method"] == "skip_tuning"} == {
            ("default", 20), ("imagenet", 5), ("sun397", 5), ("food101", 5)
        }  # fmt: skip

    def test_a_data_root_makes_published_datasets_the_default(self, adaptbench_here, tmp_path):
        rows = json.loads(adaptbench_here("plan", "base2new", "--json", "--data-root", tmp_path).stdout)
        assert "imagenet" in {row["dataset"] for row in rows}

    def test_a_table(self, adaptbench):
        process = adaptbench(
            "plan", "base2new", "--methods", "coop", "--set", "epochs=3", environment={"COLUMNS": "300"}
        )
        assert process.returncode == 0
        assert "3 epochs, batch 32, sgd 0.005" in process.stdout
        assert process.stdout.rstrip().endswith("9 runs.")

    def test_plug_ins_by_module_and_attribute(self, adaptbench_here, tinyworld):
        process = adaptbench_here(
            "plan", "tinyworld:SUITE", "--methods", "tinyworld:Scripted", "--datasets", "tinyworld:COLOURS", "--json"
        )
        (row,) = json.loads(process.stdout)
        assert (row["suite"], row["method"], row["dataset"]) == ("tiny", "tinyworld:Scripted", "tinyworld:COLOURS")

    @pytest.mark.parametrize(
        ("spec", "where"),
        [("mine:Mine", "."), ("mine.py:Mine", "."), ("deeper/mine.py:Mine", ".."), ("{folder}/mine.py:Mine", "/")],
    )
    def test_a_plug_in_beside_the_user_works_without_being_installed(
        self, adaptbench_here, tmp_path, monkeypatch, spec, where
    ):
        folder = tmp_path / "deeper"
        for package in ("", "methods", "harness", "reports", "suites"):  # as a user may have, and none of ours
            (folder / package).mkdir(parents=True, exist_ok=True)
            (folder / package / "__init__.py").write_text("raise ImportError('not this one')\n")
        (folder / "mine.py").write_text(MINE)
        monkeypatch.setattr("sys.path", list(sys.path))
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        monkeypatch.chdir(folder / where)
        process = adaptbench_here(
            "plan", "base2new", "--methods", spec.format(folder=folder), "--datasets", "demo-digits", "--json",
            "--set", "depth=5",
        )  # fmt: skip
        rows = json.loads(process.stdout)
        assert [(row["method"], row["seed"], row["settings"], row["recipe"]["epochs"]) for row in rows] == [
            ("mine:Mine", seed, {"depth": 5}, 4) for seed in (1, 2, 3)
        ]
        monkeypatch.delitem(sys.modules, "mine")

    def test_packages_of_the_users_before_ours_on_the_path_stand_in_for_none_of_ours(self, adaptbench, tmp_path):
        for package in ("methods", "reports", "suites"):
            (tmp_path / package).mkdir()
            (tmp_path / package / "__init__.py").write_text("raise ImportError('not this one')\n")
        process = adaptbench("report", "nowhere", plugins=(tmp_path,))
        assert process.returncode == 2
        assert "there is no results folder nowhere" in process.stderr
        assert "Warning" not in process.stderr

    @pytest.mark.parametrize("shape", ["a package", "a module"])
    def test_a_harness_of_the_users_before_ours_on_the_path_is_named(self, adaptbench, tmp_path, shape):
        if shape == "a module":
            (tmp_path / "harness.py").touch()
        else:
            (tmp_path / "harness").mkdir()
            (tmp_path / "harness" / "__init__.py").touch()
        start = "import sys; sys.path.insert(0, sys.argv.pop(1)); import adaptbench_command as c; c.main()"
        process = adaptbench(tmp_path, "list", python=("-c", start))
        assert (process.returncode, process.stdout) == (2, "")
        assert f"{tmp_path / 'harness'}" in process.stderr
        assert "Give that folder another name" in process.stderr

    def test_an_import_of_a_package_that_ours_stands_in_for_is_explained(self, adaptbench_here, tmp_path, monkeypatch):
        (tmp_path / "theirs.py").write_text("from methods.helper import help\n")
        monkeypatch.setattr("sys.path", list(sys.path))
        monkeypatch.chdir(tmp_path)
        process = adaptbench_here("plan", "base2new", "--methods", "theirs.py:Mine")
        assert process.returncode == 2
        assert "No module named 'methods.helper' (theirs.py:1" in output(process)
        assert "'methods' is a package of AdaptBench" in output(process)
        assert "give it another name" in output(process)


MINE = """
from dataclasses import dataclass
from harness.recipe import Recipe


@dataclass(frozen=True)
class Mine:
    depth: int = 3
    recipes = {"default": Recipe(epochs=4, learning_rate=0.1)}

    def adapt(self, backbone): ...
"""
EMPTY = ("methods", "datasets", "seeds", "shots", "backbone", "pretrained", "execution", "template")
FILES = {"syntax.py": "class :", "bug.py": "1 / 0", "json.py": "", "two-words.py": "", "methods/mine.py": ""}
"""What a user's folder holds beside these commands."""
USAGE = [
    (["plan", "base2knew"], "no suite 'base2knew'", "Did you mean 'base2new'"),
    (["plan", "base2new", "--methods", "coop,skip_tunin"], "no method 'skip_tunin'", "Did you mean 'skip_tuning'"),
    (["plan", "base2new", "--methods", "nowhere:X"], "can't be imported from 'nowhere'", "install its package"),
    (["plan", "base2new", "--methods", "nowhere.py:X"], "there is no file nowhere.py", "as seen from this folder"),
    (["plan", "base2new", "--methods", "syntax.py:X"], "invalid syntax (syntax.py, line 1)", "Mend the module."),
    (
        ["plan", "base2new", "--methods", "bug.py:X"],
        "ZeroDivisionError: division by zero (bug.py:1",
        "Mend the module.",
    ),
    (["plan", "base2new", "--methods", "json.py:X"], "json.py is shadowed: the module 'json' is", "Rename the file."),
    (["plan", "base2new", "--methods", "two-words.py:X"], "'two-words' is no name of a module", "Rename the file."),
    (
        ["plan", "base2new", "--methods", "methods.mine:X"],
        "No module named 'methods.mine'",
        "methods/mine.py:ATTRIBUTE",
    ),
    (["plan", "base2new", "--datasets", "eurosta"], "no dataset or group 'eurosta'", "Did you mean 'eurosat'"),
    (["plan", "base2new", "--precision", "fp8"], "--precision fp8 is unknown", "fp16-pure"),
    (["plan", "base2new", "--execution", "fats"], "--execution fats is unknown", "Did you mean 'fast'"),
    (["plan", "base2new", "--seeds", "0"], "--seeds 0", "--seeds 1,2,3"),
    *((["plan", "base2new", f"--{option}="], f"--{option} is empty", f"leave --{option} out") for option in EMPTY),
    (["plan", "base2new", "--methods", "coop,,maple"], "--methods coop,,maple has an empty part", "one,two"),
    (
        ["run", "base2new", "--datasets", "demo-digits", "--cache", "json.py"],
        "can't be kept in",
        "--cache DIR or ADAPTBENCH_CACHE",
    ),
    (["gate", "--base", ""], "--base is empty", "leave --base out"),
    (["gate", "--only", " "], "--only is empty", "leave --only out"),
    (["plan", "base2new", "--seeds", "1,two"], "'two' is no whole number from 1 to 4294967295", "--seeds 1,2,3"),
    (["plan", "base2new", "--shots", "-4"], "--shots -4", "--shots 1,2,3"),
    (["plan", "base2new", "--set", "epochs"], "--set epochs is no KEY=VALUE", "--set epochs=5"),
    (["plan", "base2new", "--set", "epoch=3"], "--set epoch: no selected method", "Did you mean 'epochs'"),
    (["plan", "base2new", "--set", "epochs=many"], "--set epochs=many", "valid integer"),
    (["plan", "base2new", "--set", "maple.epochs=3"], "no selected method 'maple'", "Known: "),
    (["plan", "few-shot", "--datasets", "folder:nowhere"], "there is no such folder", "one folder a class"),
    (["plan", "few-shot", "--datasets", "csv:nowhere.csv"], "csv:nowhere.csv can't be read", '"image" and "label"'),
    (["plan", "few-shot", "--template", "a photo"], "--template 'a photo'", "a photo of a {}."),
    (["plan", "cost", "--execution", "fast,slow"], "--execution slow is unknown", "Known: fast, reference"),
    (["plan", "cost", "--steps", "0"], "--steps", "greater than or equal to 1"),
    (["plan", "cross-dataset", "--datasets", "eurosat"], "has no task on 'eurosat'", "imagenet"),
    (["data", "check", "eurosta"], "'eurosta' is no published dataset", "Did you mean 'eurosat'"),
    (["run", "base2new", "--device", "gpu"], "--device gpu is not a device", "cuda:N"),
    (["run", "base2new", "--datasets", "eurosat"], "--data-root", "--data-root"),
    (["list", "sweets"], "nothing to list by the name 'sweets'", "suites"),
    (["report", "nowhere"], "there is no results folder nowhere", "adaptbench run"),
    (["plan"], "Missing argument", "plan -h"),
    (["plan", "base2new", "--seed", "1"], "No such option", "--seeds"),
    (["rum"], "No such command", "-h"),
    (["run", "base2new", "--time-limit", "soon"], "--time-limit", "valid number"),
]


@pytest.mark.parametrize(("words", "what", "advice"), USAGE, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_usage_is_one_message_with_the_next_step(adaptbench_here, words, what, advice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    process = adaptbench_here(*words)
    assert process.returncode == 2, output(process)
    assert what in output(process)
    assert advice in output(process)
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) <= 12


def test_a_broken_plug_in_is_named_and_not_traced(adaptbench, tmp_path):
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    process = adaptbench("plan", "base2new", "--methods", "broken:X", cwd=tmp_path)
    assert process.returncode == 2
    assert "'broken:X' can't be imported from 'broken': No module named 'no_such_package'" in output(process)


def test_the_others_are_listed_beside_a_broken_plug_in(adaptbench_here, tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("import no_such_package\n")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    tables = ("methods", "suites", "datasets", "backbones")
    (info / "entry_points.txt").write_text(
        "".join(f"[adaptbench.{table}]\nbroken_{table} = broken_plugin:X\n" for table in (*tables, "commands"))
    )
    monkeypatch.syspath_prepend(tmp_path)
    process = adaptbench_here("list")
    assert process.returncode == 0
    for table in tables:
        assert f"Warning: the {table[:-1]} 'broken_{table}' can't be imported" in process.stderr
    assert all(name in process.stdout for name in ("skip_tuning", "few-shot", "demo-digits", "demo-clip"))
    process = adaptbench_here("--help")
    assert "Warning: the command 'broken_commands' can't be imported" in process.stderr
    assert all(name in process.stdout for name in ("export-model", "report", "data"))
    process = adaptbench_here("broken_commands")
    assert process.returncode == 2
    assert "the command 'broken_commands' can't be imported" in process.stderr


def test_results_that_can_not_be_written_are_refused_before_anything_runs(adaptbench_here, tmp_path):
    (tmp_path / "results").write_text("a file")
    process = adaptbench_here("run", "base2new", "--datasets", "demo-digits", "--results", tmp_path / "results")
    assert process.returncode == 2
    assert "can't be written" in output(process)
    assert "--results DIR" in output(process)
    assert (tmp_path / "results").read_text() == "a file"


@pytest.fixture
def pictures(tmp_path):
    """A folder of 3 classes of 6 images, without a split."""
    for shade, name in enumerate(("red_panda", "tiger", "zebra")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(6):
            colour = (90 * shade, 40 * number, 100)
            Image.new("RGB", (50, 40), colour).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def test_one_command_benchmarks_a_folder_of_images(tiny_adaptbench, tinyworld, pictures, tmp_path):
    words = [
        "run", "few-shot", "--datasets", f"folder:{pictures}", "--template", "a drawing of a {}.", "--methods",
        "clip_adapter", "--shots", "2", "--seeds", "1", "--set", "epochs=1", "--backbone", "tiny-clip", "--device", "cpu",
        "--results", tmp_path / "results", "--predictions",
    ]  # fmt: skip
    process = tiny_adaptbench(*words)
    assert process.returncode == 0, output(process)
    (path,) = (tmp_path / "results").rglob("*.json")
    record = from_json(path.read_bytes(), path.name)
    assert record.status == "ok", record.reason
    assert record.key.dataset.startswith("folder:pictures@")
    assert record.key.template == "a drawing of a {}."
    assert "ordered by SHA-256 of the path, 50 % train" in record.split_rule
    assert str(tmp_path) not in path.read_text()
    (test,) = record.accuracy.values()
    assert (test.class_names, test.images, record.train_image_count, record.validation.images) == (
        ("red_panda", "tiger", "zebra"), 6, 6, 3,
    )  # fmt: skip
    check_predictions(path.with_suffix(".parquet"), record)
    assert "folder:pictures" in record.command
    assert left_to_do(pictures, tmp_path / "results") == 0
    path.with_suffix(".parquet").unlink()
    assert left_to_do(pictures, tmp_path / "results") == 1


def left_to_do(pictures, results):
    """How many runs the same command would do again."""
    request = Request(
        suite="few-shot", datasets=[f"folder:{pictures}"], template="a drawing of a {}.", methods=["clip_adapter"],
        shots=[2], seeds=[1], settings={"epochs": "1"}, backbone="tiny-clip",
    )  # fmt: skip
    runs = identified(plan(request, "demo"), Store(results), "cpu", print)
    todo, *_ = pending(runs, Store(results), RunOptions(results=results, predictions=True), print)
    return len(todo)


def check_predictions(path, record):
    from pyarrow import parquet

    ((name, test),) = record.accuracy.items()
    rows = parquet.read_table(path).to_pylist()
    assert {row["dataset"] for row in rows} == {row["test"] for row in rows} == {name}
    assert Counter((row["label"], row["predicted"]) for row in rows) == {(t, p): n for t, p, n in test.confusion}
    assert all(row["image"].startswith(test.class_names[row["label"]]) for row in rows)
    assert all(isinstance(row["logit"], float) for row in rows)


CLASSES = ("Annual Crop Land", "Forest", "River", "Sea or Lake")


@pytest.fixture
def eurosat(tmp_path):
    """A --data-root with a tiny EuroSAT: 4 classes of 2 training, 1 validation and 1 test image."""
    home = tmp_path / "data" / "eurosat"
    lists = {"train": [], "val": [], "test": []}
    for label, name in enumerate(CLASSES):
        folder = name.replace(" ", "")
        (home / "2750" / folder).mkdir(parents=True)
        for number, part in enumerate(("train", "train", "val", "test")):
            path = f"{folder}/{folder}_{number}.jpg"
            Image.effect_noise((40, 40), 60).convert("RGB").save(home / "2750" / path)
            lists[part].append([path, label, name])
    (home / "split_zhou_EuroSAT.json").write_text(json.dumps(lists))
    return home


def run_eurosat(adaptbench, home, backbone="tiny-clip"):
    return adaptbench(
        "run", "base2new", "--datasets", "eurosat", "--methods", "zero_shot", "--seeds", "1", "--shots", "1",
        "--data-root", home.parent, "--results", home.parent / "results", "--backbone", backbone, "--device", "cpu",
    )  # fmt: skip


def test_a_missing_data_root_is_said(adaptbench_here, tmp_path):
    process = adaptbench_here("run", "base2new", "--data-root", tmp_path / "nowhere", "--results", tmp_path / "results")
    assert process.returncode == 2, output(process)
    assert "nowhere" in output(process)


def test_an_incomplete_copy_is_said(adaptbench_here, tinyworld, eurosat):
    (eurosat / "split_zhou_EuroSAT.json").unlink()
    process = run_eurosat(adaptbench_here, eurosat)
    assert process.returncode == 2
    assert "there is no split file" in output(process)
    assert "cross_modal_adaptation" in output(process)


@pytest.mark.parametrize(
    "content", [b"", b'{"train": [', b"[1, 2]", b'{"train": [["a.jpg", "x", "y"]], "val": [], "test": []}']
)
def test_a_corrupt_split_file_is_refused_before_anything_runs(adaptbench_here, tinyworld, eurosat, content):
    (eurosat / "split_zhou_EuroSAT.json").write_bytes(content)
    process = run_eurosat(adaptbench_here, eurosat)
    assert process.returncode == 2
    assert "split_zhou_EuroSAT.json" in output(process)
    assert "get it again" in output(process)
    assert not list((eurosat.parent / "results").rglob("*.json"))


@pytest.mark.usefixtures("tinyworld")
def test_an_unknown_backbone_is_refused_before_anything_runs(adaptbench_here, eurosat):
    process = run_eurosat(adaptbench_here, eurosat, "tiny-clop")
    assert process.returncode == 2, output(process)
    assert "no backbone 'tiny-clop'" in output(process)
    assert "Did you mean 'tiny-clip'" in output(process)
    assert not list((eurosat.parent / "results").rglob("*.json"))


def test_a_corrupt_image_is_a_failed_row(tiny_adaptbench, eurosat):
    image = eurosat / "2750" / "Forest" / "Forest_3.jpg"
    image.write_bytes(image.read_bytes()[:500])
    process = run_eurosat(tiny_adaptbench, eurosat)
    assert process.returncode == 1, output(process)
    assert "Forest_3.jpg" in output(process)
    (path,) = (eurosat.parent / "results").rglob("*.json")
    record = from_json(path.read_bytes(), path.name)
    assert record.status == "failed"
    assert any("not the published file" in warning for warning in record.warnings)
    assert output(process).count("split_zhou_EuroSAT.json is not the published file") == 1
    assert "can't be read" in record.reason
    assert "download it again" in record.reason


def test_no_word_of_the_environment_ends_a_suite(tiny_adaptbench, tiny_weights, tmp_path):
    """Names that the terminal's encoding lacks, a temporary folder too deep for sockets, a backend that isn't installed."""
    deep = tmp_path / "a-rather-long-name-of-a-temporary-folder-that-leaves-sockets-no-room" / "and-more"
    deep.mkdir(parents=True)
    for name in ("花", "木", "山", "川"):
        (tmp_path / "花園" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (60 * number, 20, 30)).save(tmp_path / "花園" / name / f"{number}.png")
    process = tiny_adaptbench(
        "run", "few-shot", "--datasets", f"folder:{tmp_path / '花園'}", "--methods", "zero_shot", "--shots", "1",
        "--seeds", "1", "--backbone", "tiny-clip", "--device", "cpu", "--results", tmp_path / "results",
        "--site", tmp_path / "site", environment={
            "PYTHONIOENCODING": "ascii", "TMPDIR": str(deep), "MPLBACKEND": "module://nowhere.backend",
            "TINYWORLD": str(tiny_weights),
        },
    )  # fmt: skip
    assert process.returncode == 0, output(process)
    assert "\\u82b1\\u5712" in process.stdout
    assert "1 of 1 runs ok" in process.stdout
    assert "花園" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


class TestCompletion:
    """What a shell is told when the Tab key is pressed, as Typer's script for fish asks."""

    @pytest.fixture
    def complete(self, adaptbench_here, monkeypatch):
        def run(words):
            monkeypatch.setenv("_ADAPTBENCH_COMPLETE", "complete_fish")
            monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
            monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"adaptbench {words}")
            return [line.partition("\t")[0] for line in adaptbench_here().stdout.splitlines() if line]

        return run

    @pytest.mark.parametrize(
        ("words", "completed"),
        [
            ("ru", ["run"]),
            ("run ba", ["base2new"]),
            ("run base2new --methods skip", ["skip_tuning"]),
            ("run base2new --methods coop,co", ["coop,cocoop", "coop,coprompt"]),
            ("run base2new --datasets demo-d,demo-te", ["demo-d,demo-textures"]),
            ("run base2new --datasets tor", ["torchvision:"]),
            ("run base2new --backbone ViT-B-32-quick", ["ViT-B-32-quickgelu"]),
            ("run base2new --backbone demo", ["demo-clip"]),
            ("plan base2new --precision fp1", ["fp16", "fp16-pure"]),
            ("plan base2new --execution fast,", ["fast,reference"]),
            ("plan base2new --recipes re", ["released"]),
            ("run base2new --methods skip_tuning --set warm", ["warmup_epochs=", "warmup_learning_rate="]),
            ("run base2new --methods skip_tuning --set start", ["start_layer="]),
            ("run base2new --methods zero_shot --set start", []),
            ("run base2new --methods coop --set coop.class_p", ["coop.class_position="]),
            ("run base2new --set coop.class_position=m", ["coop.class_position=middle"]),
            ("list met", ["methods"]),
            ("list methods skip", ["skip_tuning"]),
            ("estimate skip", ["skip_tuning"]),
            ("speedup coop --part t", ["text"]),
        ],
    )  # fmt: skip
    def test_names_settings_and_choices(self, words, completed, complete):
        assert sorted(complete(words)) == sorted(completed)

    def test_a_broken_plug_in_takes_nothing_from_the_others(self, complete, monkeypatch, tmp_path):
        (tmp_path / "broken.py").write_text("1 / 0")
        monkeypatch.chdir(tmp_path)
        assert complete("run base2new --methods broken.py:Mine,coop --set class_p") == ["class_position="]
