"""Cross-dataset transfer (Zhou et al., CoCoOp, CVPR 2022): train on all classes of one dataset, test on others as they are.

One training answers two questions: its runs also test the source's variants, which `domain_generalization` reads. The average
is over the targets; the source's own accuracy is shown beside it.
"""

from harness.suite import Suite, Task, Test
from suites.base2new import PUBLISHED

SOURCE, DEMO_SOURCE = "imagenet", "demo-shapes"
TARGETS = {
    "published": tuple(name for name in PUBLISHED if name != SOURCE),
    "demo": ("demo-letters", "demo-numbers", "demo-textures", "demo-scenes", "demo-digits"),
}
VARIANTS = {
    "published": ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
    "demo": ("demo-shapes-v2", "demo-shapes-sketch", "demo-shapes-a", "demo-shapes-r"),
}


def _task(source: str, group: str) -> Task:
    return Task(source, tests=tuple(Test(name) for name in (source, *TARGETS[group], *VARIANTS[group])))


SUITE = Suite(
    name="cross-dataset",
    question="What is left of an adaptation on other datasets, with other classes?",
    setting="transfer",
    tasks={"published": (_task(SOURCE, "published"),), "demo": (_task(DEMO_SOURCE, "demo"),)},
    shots=(16,),
    seeds=(1, 2, 3),
    methods=("zero_shot", "full_finetuning", "coop", "clip_adapter", "skip_tuning"),
    targets=TARGETS,
)
