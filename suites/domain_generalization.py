"""Domain generalisation (Zhou et al., CoCoOp, CVPR 2022): train on one dataset, test on its classes in other domains.

The models are those of `cross_dataset`: whichever suite runs first trains them and takes every test of both.
"""

from dataclasses import replace

from suites import cross_dataset

SUITE = replace(
    cross_dataset.SUITE,
    name="domain-generalization",
    question="What is left of an adaptation when the same classes look different?",
    shares_runs_of=cross_dataset.SUITE.name,
    targets=cross_dataset.VARIANTS,
)
