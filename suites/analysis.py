"""Analysis (after Wu et al., Skip Tuning, CVPR 2025): where in the towers training acts, and along which paths its gradient flows.

Feature sensitivity of every block, gradient dependence on every class, length and width of the gradient flow; what these words
mean is in `harness.probes.analysis`.
"""

from harness.suite import ANY, Suite, Task, Test
from suites.base2new import PUBLISHED

SUITE = Suite(
    name="analysis",
    question="Which blocks does training change, and how far does its gradient reach?",
    setting="base-to-new",
    groups={"published": PUBLISHED, "demo": ("demo-letters",)},
    each=Task(dataset=ANY, classes="base", tests=(Test(ANY, "base"), Test(ANY, "new"))),
    shots=(16,),
    seeds=(1,),
    analyse=True,
)
