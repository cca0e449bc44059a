"""The command that tells the truth on a GPU: rehearsed whole on a CPU, and its page true to its file."""

import re
import subprocess
import sys
import time

import psutil
import pytest
import torch

from harness.clip.backbone import load
from harness.probes.gpu_evidence import evidence
from harness.probes.gpu_evidence.__main__ import PAGE, main, register
from harness.probes.gpu_evidence.evidence import Column, Section, Setting, begin, measure, read
from harness.probes.gpu_evidence.graphs import GraphedBackward
from harness.probes.gpu_evidence.memory import classes_of
from harness.probes.gpu_evidence.page import documents, page
from harness.probes.gpu_evidence.sections import SECTIONS
from harness.training.prepared import build_model
from tests.conftest import PROJECT

REHEARSAL = Setting("cpu", is_rehearsal=True)


def command(*words):
    return [sys.executable, "-m", "harness.probes.gpu_evidence", *map(str, words)]


def test_a_rehearsal_measures_every_cell_once_and_writes_the_page(tmp_path):
    results = tmp_path / "rehearsal.json"
    done = subprocess.run(
        command("--rehearse", "--results", results), cwd=PROJECT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    found = read(results)
    cells = {section.name: set(section.cells(REHEARSAL)) for section in SECTIONS}
    assert {section: set(of) for section, of in found.items()} == cells
    errors = {(s, cell): f["error"] for s, of in found.items() for cell, f in of.items() if "error" in f}
    assert not errors
    assert found["out-of-memory"]["clip_adapter, then zero_shot"]["light"] == "ok"
    tests = found["tests"]["tests marked gpu"]
    assert tests["failed"] == 0
    assert tests["passed" if torch.cuda.is_available() else "skipped"] >= 20
    text = results.with_suffix(".md").read_text()
    assert text == page(SECTIONS, documents([results]), REHEARSAL)
    assert "not yet measured" not in text
    assert not any(evidence.missing(section, REHEARSAL, results) for section in SECTIONS)


def failing():
    raise ValueError("odd")


def section(budget_seconds=60, **cells):
    return Section("s", "S", "Holds.", budget_seconds, (Column("x", "x"),), lambda setting: cells)


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.json"
    begin(path, {"device": "H1000"})
    return path


def in_process(monkeypatch):
    """Cells of this process: a test's own has threads, so that it is not forked."""

    class Process:
        pid = None

        def __init__(self, target, args, daemon):
            self.start = lambda: target(*args)

        def join(self, seconds):
            pass

        def is_alive(self):
            return False

    monkeypatch.setattr(evidence.os, "setsid", lambda: None)
    monkeypatch.setattr(evidence.gc, "freeze", lambda: None)
    monkeypatch.setattr(evidence.multiprocessing, "get_context", lambda kind: evidence)
    monkeypatch.setattr(evidence, "Process", Process, raising=False)


def test_what_is_measured_is_kept_and_what_failed_is_tried_again(results, monkeypatch):
    in_process(monkeypatch)
    told = []
    measure(section(good=lambda: {"x": 1}, bad=failing), REHEARSAL, results, told.append)
    figures = read(results)["s"]
    assert figures["good"]["x"] == 1
    assert figures["bad"]["error"].startswith("ValueError: odd")
    measure(section(good=failing, bad=lambda: {"x": 2}), REHEARSAL, results, told.append)
    assert {name: f["x"] for name, f in read(results)["s"].items()} == {"good": 1, "bad": 2}
    measure(section(good=failing, bad=failing), REHEARSAL, results, told.append)
    assert [line.split(": ")[1][:1] for line in told] == ["2", "1"]


OVERRUN = """
import subprocess, sys, time
from pathlib import Path
from harness.probes.gpu_evidence.evidence import Section, Setting, begin, measure

def forever():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path("child").write_text(str(child.pid))
    time.sleep(1000)

begin(Path("r.json"), {})
measure(Section("s", "S", "Holds.", 1, (), lambda setting: {"quick": dict, "slow": forever}), Setting("cpu"), Path("r.json"), print)
"""


def computes(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_section_that_spends_its_budget_ends_with_what_it_began(tmp_path):
    done = subprocess.run([sys.executable, "-c", OVERRUN], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.stdout.splitlines()[-1] == "  stopped at 1 s; repeat the command to go on", done.stderr
    assert list(read(tmp_path / "r.json")["s"]) == ["quick"]
    child = tmp_path / "child"
    while child.exists() and computes(int(child.read_text())):  # forever, if nobody ended it
        time.sleep(0.01)


def test_a_page_has_an_error_in_its_cell_and_says_what_is_not_measured(results):
    evidence.keep(results, "s", "bad", {"error": "ValueError: a | b"})
    lines = page([section(bad=failing, late=failing)], documents([results]), REHEARSAL).splitlines()
    assert lines[-3:] == ["|---|---|", "| bad | ValueError: a / b |", "| late | not yet measured |"]


def test_figures_of_two_machines_share_no_file(results):
    with pytest.raises(ValueError, match=r"another machine or version \(device\)"):
        begin(results, {"device": "H1"})


def test_the_sections_fit_into_eight_minutes():
    assert sum(section.budget_seconds for section in SECTIONS) <= 480


def test_the_page_in_the_docs_is_made_of_the_file_beside_it():
    kept = PROJECT / "docs" / "gpu-evidence.json"
    text = (PROJECT / PAGE).read_text(encoding="utf-8")
    assert text == page(SECTIONS, documents([kept] if kept.exists() else []), Setting())


def test_a_machine_without_a_gpu_is_told_of_the_rehearsal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.probes.gpu_evidence.__main__.asked_apart", lambda device: "")
    with pytest.raises(SystemExit):
        main(["--results", str(tmp_path / "none.json")])
    assert "no device 'cuda:0' here. With --rehearse" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--sections", "speeed"])
    assert "no section 'speeed'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_checkout_that_is_not_installed_has_its_plug_ins(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.plugins.names", lambda kind: [])
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "there")
    register()
    assert sys.path[-1] == str(tmp_path)
    (about,) = tmp_path.glob("adaptbench-*.dist-info/entry_points.txt")
    assert re.search(
        r"^\[adaptbench.methods\]\nzero_shot = methods.zero_shot:ZeroShot$", about.read_text(), re.MULTILINE
    )


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["coop", "clip_adapter"])
def test_a_graph_leaves_the_gradients_of_launched_operators(method):
    from harness.method import Batch

    key = Setting("cuda:0", is_rehearsal=True).run(method).key
    model = build_model(key, load(key.backbone, "random", device="cuda:0"), classes_of(4))
    batches = [
        Batch((torch.randn(4, model.backbone.embed_width, device="cuda"),), torch.arange(4, device="cuda"))
        for _ in range(3)
    ]
    graph = GraphedBackward(model, batches[0])
    for batch in batches:
        loss = graph(batch).clone()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad(set_to_none=True)
        assert torch.equal(model.backward(batch, torch.amp.GradScaler("cuda", enabled=False)), loss)
        launched = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(torch.equal(a, b) for a, b in zip(gradients, launched, strict=True))
