"""The command estimate: rows, categories, the verdict, and what can't be estimated."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.meters.flops import FlopCount


@pytest.mark.usefixtures("tinyworld")
def test_every_execution_and_class_count_is_a_row(adaptbench_here):
    """Thirty-two simulations, shared between processes where there are cores for it."""
    counts = range(4, 12)
    words = "zero_shot,kgcoop --recipes cost --backbone tiny-clip --classes 4,5,6,7,8,9,10,11 --execution reference,fast --json"
    done = adaptbench_here("estimate", *words.split())
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(r["method"], r["classes"], r["execution"]) for r in rows} == {
        (method, classes, execution)
        for method in ("zero_shot", "kgcoop")
        for classes in counts
        for execution in ("reference", "fast")
    }
    by = {(r["method"], r["classes"], r["execution"]): r for r in rows}
    assert by["kgcoop", 9, "fast"]["step_flops"] < by["kgcoop", 9, "reference"]["step_flops"]
    assert by["kgcoop", 4, "reference"]["step_flops"] < by["kgcoop", 9, "reference"]["step_flops"]
    assert by["zero_shot", 4, "fast"]["step_flops"] is None
    assert by["kgcoop", 9, "fast"]["batch_size"] == 32  # 128 in the published recipes
    peaks = by["kgcoop", 9, "reference"]["peaks"]["train"]["category_bytes"]
    assert sum(peaks.values()) - peaks.get("host", 0) == by["kgcoop", 9, "reference"]["peaks"]["train"]["total_bytes"]


@pytest.mark.parametrize(("size", "verdict"), [("80GiB", "fits"), ("1MiB", "does not fit")])
@pytest.mark.usefixtures("tinyworld")
def test_the_verdict_is_a_sentence(adaptbench_here, size, verdict):
    done = adaptbench_here("estimate", "coop", "--backbone", "tiny-clip", "--classes", "4", "--fits", size)
    assert done.returncode == 0
    assert verdict in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("coop --fits much", "--fits"),
        ("coop --classes some", "--classes"),
        ("cop", "Did you mean 'coop'"),
        ("coop --batch-size 4 --set batch_size=8", "--batch-size 4 and --set batch_size=8"),
        ("coop --optimizer sgd --set optimizer=adam", "--optimizer sgd and --set optimizer=adam"),
        ("coop --backbone ViT-B-61", "ViT-B-16"),
    ],
)
def test_what_cannot_be_estimated_is_advised(adaptbench_here, words, said):
    done = adaptbench_here("estimate", *words.split())
    assert done.returncode == 2
    assert said in done.stderr


def test_flops_are_those_of_torchs_own_counter(tiny_backbone):
    """Forward and backward of both towers; the light counter against the one with a table of modules."""
    backbone = tiny_backbone("reference")
    backbone.model.requires_grad_(True).train()

    def work():
        images = backbone.image.encode(torch.zeros(2, 3, 32, 32))
        texts = backbone.text.encode(backbone.text.tokenize(["a dog.", "a cat."]))
        (images @ texts.T).sum().backward()

    with FlopCounterMode(display=False) as torchs:
        work()
    with FlopCount(lambda: "here") as ours:
        work()
    assert ours.by_phase["here"] == torchs.get_total_flops() > 0
