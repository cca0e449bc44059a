"""Few-shot learning (Zhou et al., CoOp, IJCV 2022): train on 1 to 16 images of every class, test on the whole test split."""

from harness.suite import ANY, Suite, Task, Test
from suites.base2new import PUBLISHED

SUITE = Suite(
    name="few-shot",
    question="How much does accuracy gain with each further image a class?",
    setting="few-shot",
    groups={"published": PUBLISHED, "demo": ("demo-digits", "demo-scenes")},
    each=Task(dataset=ANY, tests=(Test(ANY),)),
    shots=(1, 2, 4, 8, 16),
    seeds=(1, 2, 3),
    methods=("zero_shot", "coop", "clip_adapter", "tip_adapter_f", "skip_tuning"),
)
