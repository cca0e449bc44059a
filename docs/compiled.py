"""What torch's compiler would give: ``python -m docs.compiled``, figures of speed.md.

The demo backbone's image tower, forward and backward, a batch of 8, one thread: as the fast execution computes it, as open_clip's
module has it, and that module compiled. Processor time, the median of 15; two minutes. Needs a C++ compiler.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from torch import Tensor

from harness.clip.backbone import load

BATCH, TURNS = 8, 15


def main() -> None:
    """Print milliseconds of each, and the seconds that compiling takes."""
    torch.set_num_threads(1)
    backbone = load("demo-clip", None, hashed=False).requires_grad_(True)
    pixels = torch.randn(BATCH, 3, backbone.pixels.size, backbone.pixels.size)
    visual = backbone.model.visual

    def milliseconds(tower: Callable[[Tensor], Tensor]) -> float:
        taken = []
        for _ in range(TURNS):
            start = time.thread_time()
            tower(pixels).sum().backward()
            taken.append(time.thread_time() - start)
            backbone.zero_grad()
        return 1e3 * statistics.median(taken)

    with tempfile.TemporaryDirectory() as cache, patch.dict("os.environ", TORCHINDUCTOR_CACHE_DIR=cache):
        start = _processor_seconds()
        compiled = torch.compile(visual)
        compiled(pixels).sum().backward()
        print(f"compiling: {_processor_seconds() - start:.0f} s")
        towers = {"fast execution": backbone.image.encode, "open_clip": visual, "compiled": compiled}
        for name, tower in towers.items():
            print(f"{name}: {milliseconds(tower):.1f} ms")


def _processor_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
