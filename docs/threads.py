"""Training steps with two threads against one, in turns: python -m docs.threads [BACKBONE ...], a table of cost.md.

Without a name, CLIPs of five widths with random weights. It wants two cores with nothing beside, and takes minutes.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import open_clip
import torch

from harness.clip.backbone import Backbone, load
from harness.meters.environment import wait_briefly
from harness.method import Classes
from harness.plan import Request, plan
from harness.probes.simulate import class_names
from harness.probes.speedup import workload

WIDTHS = (64, 128, 192, 256, 384, 448, 512)
BATCHES = {"coop": 32, "full_finetuning": 4, "skip_tuning": 4}
TURNS = 8


def main() -> None:
    """Print a row for each backbone: by method, the median of the turns' ratios."""
    if "OMP_WAIT_POLICY" not in os.environ:
        wait_briefly()  # as runs do, whose torch reads it when it is imported
        os.execv(sys.executable, [sys.executable, "-m", "docs.threads", *sys.argv[1:]])
    logging.getLogger().setLevel(logging.CRITICAL)  # open_clip warns that random weights are random
    print("|", " | ".join(["backbone", *(f"{method}, batch {size}" for method, size in BATCHES.items())]), "|")
    print("|---" * (1 + len(BATCHES)) + "|")
    for name, backbone, classes in backbones(sys.argv[1:]):
        found = (ratio(backbone, method, classes) for method in BATCHES)
        print("|", " | ".join([name, *(f"{each:.2f}" for each in found)]), "|", flush=True)


def backbones(names: list[str]) -> Iterator[tuple[str, Backbone, int]]:
    """Each with its name, and the number of classes that it is tried on."""
    for name in names:
        yield name, load(name, "random"), 50
    for width in () if names else WIDTHS:
        yield f"width {width}", Backbone(clip(width), open_clip.get_tokenizer("ViT-B-16"), execution="fast"), 10


def clip(width: int) -> open_clip.CLIP:
    """Eight blocks a tower, 65 image tokens."""
    tower = {"width": width, "layers": 8}
    vision = {**tower, "image_size": 64, "patch_size": 8, "head_width": 32}
    text = {**tower, "context_length": 77, "vocab_size": 49408, "heads": width // 32}
    model = open_clip.CLIP(embed_dim=width, quick_gelu=True, vision_cfg=vision, text_cfg=text)
    model.visual.preprocess_cfg = {**open_clip.transform.PreprocessCfg().__dict__, "size": 64}
    return model


def ratio(backbone: Backbone, method: str, classes: int) -> float:
    """The time of a step with two threads over that with one."""
    (run,) = plan(Request(suite="cost", methods=[method], executions=["fast"]), "published")
    key = replace(run.key, recipe=replace(run.key.recipe, batch_size=BATCHES[method]))
    step = workload(backbone, key, Classes(class_names(classes), {"clip": "a photo of a {}."}), "step", "fast")
    step()
    return statistics.median(seconds(step, 2) / seconds(step, 1) for _ in range(TURNS))


def seconds(step: Callable[[], object], threads: int) -> float:
    """Of one step with so many threads."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
