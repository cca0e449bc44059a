"""Cost: a few steps of each method at full size, with random weights on random images; needs no download and says no accuracy.

Recipes are those behind the cost columns of Skip Tuning (each method's batch size and optimiser). In both executions, side by
side: how much of a method's advantage remains when its rivals are implemented well?
"""

from harness.suite import ANY, Suite, Task, Test

SUITE = Suite(
    name="cost",
    question="What do a training step and a test cost, in time and memory, at the size of ViT-B/16?",
    setting="base-to-new",
    groups={"published": ("random-images",), "demo": ("random-images",)},
    each=Task(dataset=ANY, tests=(Test(ANY),)),
    shots=(2,),
    seeds=(1,),
    methods=("full_finetuning", "coop", "skip_tuning"),
    recipes="cost",
    executions=("reference", "fast"),
    backbone="ViT-B-16-quickgelu",
    pretrained="random",
    steps=6,
    profile=True,
)
