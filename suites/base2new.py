"""Base-to-new generalisation (Zhou et al., CoCoOp, CVPR 2022): train on half of the classes, test on either half."""

from harness.suite import ANY, Suite, Task, Test

PUBLISHED = (
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)

SUITE = Suite(
    name="base2new",
    question="Does tuning on half of the classes cost accuracy on the other half?",
    setting="base-to-new",
    groups={"published": PUBLISHED, "demo": ("demo-digits", "demo-letters", "demo-scenes")},
    each=Task(dataset=ANY, classes="base", tests=(Test(ANY, "base"), Test(ANY, "new"))),
    shots=(16,),
    seeds=(1, 2, 3),
    methods=("zero_shot", "full_finetuning", "coop", "clip_adapter", "skip_tuning"),
)
