"""Attention of packed texts over all rows under a mask, or over each text's own, padded: ``python -m docs.attention_forms``.

Prints, by rows and width, the processor time of a block, forward and backward, in the first form over that in the second, on one
thread. The quickest of five turns counts; all take three minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from torch import Tensor

from harness.clip.blocks import run_block
from harness.clip.library import open_clip
from harness.clip.text_batches import Layout, PackedRows

SHARED = 5
OWN = (3, 4, 5)
TEXTS = (5, 13, 25, 50, 100, 200)
HEADS = {128: 4, 256: 4, 512: 8}
TURNS = 5


def ratio(width: int, texts: int) -> tuple[int, float]:
    """The rows, and the time of the form over all of them over that of the padded one."""
    transformer = open_clip.transformer
    block = transformer.ResidualAttentionBlock(width, HEADS[width], act_layer=transformer.QuickGELU)
    block.requires_grad_(False)
    lengths = tuple(OWN[i % len(OWN)] for i in range(texts))
    x = torch.randn(SHARED + sum(lengths), width, requires_grad=True)
    gradient = torch.randn_like(x)
    steps = min(40, max(2, 20_000_000 // (len(x) * width**2)))

    def seconds(most_dense_rows: int) -> float:
        rows = PackedRows(Layout(SHARED, lengths, x.device))
        with patch("harness.clip.text_batches.MOST_DENSE_ROWS", most_dense_rows):
            return _seconds(lambda: torch.autograd.grad(run_block(block, x, rows, lean=True), x, gradient), steps)

    return len(x), seconds(len(x)) / seconds(0)


def _seconds(work: Callable[[], tuple[Tensor, ...]], steps: int) -> float:
    work()
    turns = []
    for _ in range(TURNS):
        began = time.thread_time()
        for _ in range(steps):
            work()
        turns.append(time.thread_time() - began)
    return min(turns)


def main() -> None:
    """Print a row for each number of texts."""
    torch.set_num_threads(1)
    print("| rows | " + " | ".join(f"width {width}" for width in HEADS) + " |")
    print("|---" * (1 + len(HEADS)) + "|")
    for texts in TEXTS:
        found = [ratio(width, texts) for width in HEADS]
        print(f"| {found[0][0]} | " + " | ".join(f"{value:.2f}" for _, value in found) + " |", flush=True)


if __name__ == "__main__":
    main()
