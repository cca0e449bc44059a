"""Ablations of Skip Tuning (Wu et al., CVPR 2025): its three hyper-parameters, one at a time, and either skip switched off.

The grids are the authors'. On datasets of 100 base classes and more their grid of the top ratio says little, since at most
`maximum_top` classes count as top; a ratio of 1 has no such limit.
"""

from harness.suite import ANY, Suite, Task, Test
from suites.base2new import PUBLISHED

GRIDS = {
    "start_layer": (2, 4, 6, 8, 10),
    "top_ratio": (1.0, 0.9, 0.7, 0.5, 0.3, 0.1),
    "decay": (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
}
"""The paper's omega, r and lambda; the default of each is in its grid, and is run once."""

SWITCHES = (
    {"layer_skip": "false"},
    {"class_skip": "false"},
    {"layer_skip": "false", "class_skip": "false"},
)

SUITE = Suite(
    name="ablation",
    question="Which part of Skip Tuning buys its accuracy, and which its speed?",
    setting="base-to-new",
    groups={"published": PUBLISHED, "demo": ("demo-scenes",)},
    each=Task(dataset=ANY, classes="base", tests=(Test(ANY, "base"), Test(ANY, "new"))),
    shots=(16,),
    seeds=(1, 2, 3),
    methods=("skip_tuning",),
    variants={"skip_tuning": (*({name: str(value)} for name, values in GRIDS.items() for value in values), *SWITCHES)},
)
