"""Each format, read back by the program it is for where that is here."""

import io
import json
import re
import sys
from dataclasses import replace

import pandas as pd
import pytest

from harness.errors import ConfigError
from harness.records import ProfileRecord, SimulationRecord, from_json, to_json
from reports import __main__ as command
from reports.export.records import FORMATS, as_csv, as_json_lines, as_latex, as_markdown, as_parquet
from reports.export.trackers import TRACKERS, to_tensorboard


@pytest.fixture
def runs(record):
    failed = record("coop", "digits", 2, status="failed", reason='no "memory",\nnone', accuracy={}, windows={})
    return [
        record("zero_shot", base=50.0, new=60.0),
        record("coop", base=80.123456789, epoch_losses=(2.0, 1.0)),
        failed,
    ]


def read_csv(runs):
    return pd.read_csv(io.BytesIO(as_csv(runs)))


def read_parquet(runs):
    pytest.importorskip("pyarrow")
    return pd.read_parquet(io.BytesIO(as_parquet(runs)))


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_a_line_a_run_and_test_in_full_precision(runs, read):
    frame = read(runs)
    assert list(frame["test"].fillna("-")) == ["digits/base", "digits/new", "digits/base", "digits/new", "-"]
    assert frame["accuracy_percent"][2] == 80.123456789
    assert frame["train_seconds"].isna().tolist() == [True, True, False, False, True]
    assert frame["reason"].iloc[4] == 'no "memory",\nnone'


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_every_run_keeps_its_peak_whatever_its_meter(record, gpu, read):
    simulated = record(suite="cost", seed=2, accuracy={}, windows={}, profile=ProfileRecord(
        simulated={"fast": SimulationRecord(peak_bytes={"train": {"weights": 7}}, step_flops=1, test_batch_flops=1)}
    ))  # fmt: skip
    simulated = replace(simulated, key=replace(simulated.key, simulated=True))
    frame = read([record(peak_bytes=5), record(peak_bytes=6, environment=gpu), simulated]).drop_duplicates("peak_meter")
    found = frame.set_index("peak_meter")["train_peak_bytes"].to_dict()
    assert found == {"peak_tensor_bytes": 5, "peak_allocated_bytes": 6, "simulated": 7}


def test_json_lines_are_whole_records(runs):
    lines = as_json_lines(runs).splitlines()
    assert [from_json(line, "line") for line in lines] == runs


def test_markdown_and_latex_hold_the_headline(runs):
    markdown = as_markdown(runs[:2]).decode()
    assert "| Method | Base (%) |" in markdown
    assert "| coop | 80.12 (+30.12) |" in markdown
    latex = as_latex(runs[:2]).decode()
    assert r"coop & \textbf{80.12} {\scriptsize +30.12}" in latex
    assert latex.count("{tabular}") == 2
    assert r"zero\_shot" in latex


def test_what_a_row_averages_and_every_footnote_are_told(record):
    failed = record("coop", "shapes", status="failed", accuracy={}, windows={})
    runs = [*(record("zero_shot", dataset) for dataset in ("digits", "shapes")), record("coop", base=95), failed]
    markdown = as_markdown(runs).decode()
    assert "| coop (1 of 2 datasets)<sup>1</sup> | 95.00 |" in markdown
    assert "| zero\\_shot (reference) | 80.00 |" in markdown
    assert "|\n\n1. Incomplete, so not ranked and not comparable: shapes: seed 1 failed.\n2. " in markdown
    assert "–<sup>3</sup>" in markdown
    assert "\n3. This method trains nothing.\n" in markdown
    latex = as_latex(runs).decode()
    assert "coop (1 of 2 datasets)\\textsuperscript{1} & 95.00 & " in latex
    assert "--\\textsuperscript{3}" in latex
    below = latex.partition("\\end{tabular}\n")[2]
    assert "\\textsuperscript{1} Incomplete, so not ranked" in below
    assert "\\textsuperscript{3} This method trains nothing." in below


def test_latex_compiles(record, compiles):
    failed = record("a_b & c%", "shapes", status="failed", accuracy={}, windows={}, reason="<none> → 3 × 2 | ~^")
    runs = [
        *(record("zero_shot", d) for d in ("digits", "shapes")),
        record("a_b & c%", base=95),
        record("coop"),
        failed,
    ]
    assert compiles(as_latex(runs).decode())


@pytest.mark.parametrize("name", ["a|b", "a_b & c%", "\\input{x}", "line\nbreak", "<script>"])
def test_names_can_not_leave_their_cell(record, name):
    head, _, row = (line.replace("\\|", "") for line in as_markdown([record(name)]).decode().splitlines()[2:5])
    assert row.count("|") == head.count("|")
    lines = [
        line.replace(r"\&", "") for line in as_latex([record(name)]).decode().splitlines() if line.endswith(r" \\")
    ]
    assert len({line.count("&") for line in lines}) == 1
    assert len(lines) == 2
    row = lines[1]
    assert "\\input" not in row


@pytest.mark.parametrize("name", ["a_b & c%", "\\input{x}", "line\nbreak", "<script>", "[a](b)"])
def test_names_in_footnotes_are_text(record, name):
    failed = record("coop", name, status="failed", accuracy={}, windows={})
    runs = [record("coop"), record("zero_shot"), record("zero_shot", name), failed]
    markdown = as_markdown(runs).decode()
    assert [line[:3] for line in markdown.rpartition("|\n\n")[2].splitlines()] == ["1. ", "2. ", "3. "]
    assert "<script" not in markdown.replace("\\<", "")
    assert "[a]" not in markdown.replace("\\[", "")
    below = as_latex(runs).decode().partition("\\end{tabular}")[2]
    assert "\\input" not in below
    assert not re.search(r"(?<!\\)[&%_]", below)


def test_tensorboard_reads_what_was_written(runs, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    to_tensorboard(runs, tmp_path)
    folders = sorted({path.parent for path in tmp_path.rglob("events.*")})
    assert len(folders) == len(runs)
    events = EventAccumulator(str(next(f for f in folders if "coop" in f.as_posix() and "seed1" in f.name)))
    events.Reload()
    read = {tag: [e.value for e in map(_scalar, events.Tensors(tag))] for tag in events.Tags()["tensors"]}
    assert read["accuracy_percent/digits/base"] == [pytest.approx(80.123456789, rel=1e-6)]
    assert read["loss"] == [2.0, 1.0]


def _scalar(event):
    from tensorboard.util.tensor_util import make_ndarray

    return type("Event", (), {"value": float(make_ndarray(event.tensor_proto))})


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "tensorboard.summary"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_tracker_that_is_not_installed_is_advice(runs, tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"not installed\.\nInstall it: pip install {name}$"):
        TRACKERS[name](runs, tmp_path)


def test_the_command_knows_the_format_by_the_files_name(runs, tmp_path, capsys):
    (tmp_path / "results").mkdir()
    for i, run in enumerate(runs):
        (tmp_path / "results" / f"{i}.json").write_bytes(to_json(run))
    for name, start in (
        ("a.csv", b"suite,"),
        ("a.jsonl", b"{"),
        ("a.md", b"## base2new"),
        ("a.tex", b"% \\usepackage"),
    ):
        command.export([tmp_path / "results"], tmp_path / "out" / name)
        assert (tmp_path / "out" / name).read_bytes().startswith(start)
    assert "3 runs as latex" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "a.jsonl").read_text().splitlines()[0])["key"]["method"]
    with pytest.raises(ConfigError, match=r"no format 'xlsx'\.\nAdd --format\. .*Known: csv"):
        command.export([tmp_path / "results"], tmp_path / "a.xlsx")
    assert set(FORMATS) == {"csv", "parquet", "jsonl", "markdown", "latex"}
