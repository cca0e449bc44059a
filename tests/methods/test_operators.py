"""The operators of a training step, as docs/speed.md has them."""

import re
from pathlib import Path

import pytest
import torch

from harness import plugins
from harness.meters.dispatch_mode import EagerMode
from harness.plan import Request, plan
from harness.runs.findings import Facts
from harness.runs.job import Job
from harness.runs.phases import setup
from harness.suite import Folders
from harness.training.prepared import Steps, first_batch

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
ROW = re.compile(r"^\| (\w+) \| (\d+) \| ([\d,]+) \| (\d+) \|$", re.MULTILINE)
BLOCKS = 12


class Count(EagerMode):
    operators = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operators += 1
        return func(*args, **(kwargs or {}))


def operators(run, cache):
    job = Job(run=run, pretrained=None, folders=Folders(None, cache), device="cpu", threads=1, command="")
    prepared = setup(job, torch.device("cpu"), Facts())
    images = prepared.data.train_images()
    places = first_batch(prepared.model, images.labels.tolist(), run.key)
    step = Steps(prepared.model, prepared.data.train_images(places), run.key)
    with Count() as count:
        step()
    return count.operators


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not torch.__version__.startswith("2.15."), reason="the table was counted with torch 2.15")
def test_a_step_has_the_operators_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.clip.products.mkl_halves_vectors", lambda: False)  # on any processor
    methods = [
        name for name in plugins.names("method") if plugins.load("method", name).__module__.startswith("methods.")
    ]
    request = Request(suite="base2new", methods=methods, seeds=[1], datasets=["demo-digits"])
    found = []
    for run in plan(request, "demo"):
        if run.key.recipe.trains:
            count = operators(run, tmp_path)
            batch = str(run.key.recipe.batch_size)
            found.append((run.key.method, batch, f"{count:,}", f"{count / BLOCKS:.0f}"))
    assert sorted(found) == ROW.findall(PAGE.read_text())
