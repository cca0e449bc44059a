"""Where recipes come from: the authors' repositories, at the commits that were read, and the configuration files of one pattern.

Cards write a source as a repository's key, a file and a line (``C configs/trainers/CoOp/vit_b16.yaml:18``), or as ``ours: `` and
the reason; `cited` puts repository and commit for the key.
"""

from __future__ import annotations

from collections.abc import Mapping

REPOSITORIES: Mapping[str, str] = {
    "C": "KaiyangZhou/CoOp@ff61507",
    "CA": "gaopengcuhk/CLIP-Adapter@08d07f8",
    "CP": "ShuvenduRoy/CoPrompt@a2a6c12",
    "D": "KaiyangZhou/Dassl.pytorch@c61a1b5",
    "DP": "Koorye/DePT@d4ff416",
    "G": "BeierZhu/Prompt-align@1b76203",
    "K": "htyao89/KgCoOp@c43ccc3",
    "L": "MaxZanella/CLIP-LoRA@358f0d7",
    "LP": "FereshteShakeri/FewShot-CLIP-Strong-Baseline@f81054f",
    "M": "muzairkhattak/multimodal-prompt-learning@69bce21",
    "P": "muzairkhattak/PromptSRC@bb95c77",
    "S": "Koorye/SkipTuning@8c4636e",
    "T": "htyao89/Textual-based_Class-aware_prompt_tuning@bd97bec",
    "TA": "gaopengcuhk/Tip-Adapter@d0e2d6f",
}
TWO_RUNS = "ours: it runs the slips of released code on request"
SAME_RESULT = "ours: it bounds memory and changes no result"
NO_TRAINING = "ours: nothing is trained"
DEMO = {"*": "ours: the demo datasets and their backbone are ours; docs/demo-recipes.md says how rates were chosen"}

DASSL: Mapping[str, str] = {
    "momentum": "D dassl/config/defaults.py:154",
    "weight_decay": "D dassl/config/defaults.py:153",
    "crop_scale_minimum": "D dassl/config/defaults.py:40",
    "schedule_step": "D dassl/engine/trainer.py:214",
    "minimum_learning_rate": "D dassl/optim/lr_scheduler.py:129",
}
"""What the configurations of the CoOp line of work leave to the library they share."""

_LINES = {
    "batch_size": 3,
    "test_batch_size": 5,
    "augmentation": 13,
    "optimizer": 16,
    "learning_rate": 17,
    "epochs": 18,
    "schedule": 19,
    "warmup_epochs": 20,
    "warmup_learning_rate": 22,
}


def configuration(file: str, later: int = 0, views: int = 0) -> dict[str, str]:
    """The lines of a configuration of the CoOp line of work: they all begin alike.

    `later` lines stand before its first; `views` lines, on the number of views, after that of the test's batch size.
    """
    inside = {"batch_size": later, "test_batch_size": later}
    return {**DASSL, **{name: f"{file}:{line + inside.get(name, later + views)}" for name, line in _LINES.items()}}


def cited(sources: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
    """The same with repositories and commits in full."""
    return {row: {name: _in_full(source) for name, source in own.items()} for row, own in sources.items()}


def _in_full(source: str) -> str:
    if source.startswith("ours: "):
        return source
    places = [place.partition(" ") for place in source.split(", ")]
    return ", ".join(f"{REPOSITORIES[key]} {place}" for key, _, place in places)
