"""What a cached step of CoOp on ViT-B/16 reaches of a matrix product's rate: ``python -m docs.matrix_rate``, a figure of speed.md.

Fast execution, random weights, 50 classes, batch 32, one thread; steps and products take turns, in processor time. Two minutes.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from harness.clip.backbone import load
from harness.clip.products import product
from harness.meters.flops import FlopCount
from harness.method import Classes
from harness.plan import Request, plan
from harness.probes.simulate import class_names
from harness.probes.speedup import workload

CLASSES, BATCH = 50, 32
SIDE = 1536
TURNS = 12


def main() -> None:
    """Print the step's FLOPs, and the median share."""
    logging.getLogger().setLevel(logging.CRITICAL)  # open_clip warns that random weights are random
    torch.set_num_threads(1)
    (run,) = plan(Request(suite="cost", methods=["coop"], executions=["fast"]), "published")
    key = replace(run.key, recipe=replace(run.key.recipe, batch_size=BATCH))
    backbone = load("ViT-B-16-quickgelu", "random", hashed=False)
    step = workload(backbone, key, Classes(class_names(CLASSES), {"clip": "a photo of a {}."}), "step", "fast")
    step()
    with FlopCount(lambda: "step") as flops:
        step()
    matrix = torch.randn(SIDE, SIDE)
    products = {
        "torch's product": lambda: matrix @ matrix,
        "the product of the fast execution": lambda: product(matrix, matrix),
    }
    shares: dict[str, list[float]] = {name: [] for name in products}
    for _ in range(TURNS):
        reached = _rate(flops.by_phase["step"], step)
        for name, multiply in products.items():
            shares[name].append(reached / _rate(2 * SIDE**3, multiply))
    print(f"A step has {flops.by_phase['step'] / 1e9:.1f} GFLOP.")
    for name, found in shares.items():
        print(
            f"It reaches {statistics.median(found):.0%} ({min(found):.0%} to {max(found):.0%}) of the rate of {name}."
        )


def _rate(flops: int, work: Callable[[], object]) -> float:
    """FLOPs a second of processor time."""
    began = time.thread_time()
    work()
    return flops / (time.thread_time() - began)


if __name__ == "__main__":
    main()
