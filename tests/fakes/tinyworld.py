"""A plug-in for tests: a backbone of two blocks a tower, flat-colour images, and methods that misbehave. No torch here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.recipe import Recipe
from harness.suite import ANY, BackboneFiles, Dataset, Suite, Task, Test
from harness.validation import colours

COLOUR_VALUES, splits, open_image = colours.COLOURS, colours.colours, colours.open_colour


def read(folders):
    return splits()


COLOURS = Dataset(
    name="tiny-colours", title="Flat colours", group="tiny", templates={"clip": "a photo of a {} square."}, read=read
)
BROKEN = Dataset(
    name="tiny-broken",
    title="Can't be read",
    group="tiny",
    templates={"clip": "{}"},
    read=lambda folders: {}["no such list"],
)
BACKBONE = BackboneFiles(
    name="tiny-clip",
    config=Path(__file__).with_name("tiny-clip.json"),
    weights=Path(os.environ.get("TINYWORLD", ".")) / "tiny-clip.safetensors",
)
SUITE = Suite(
    name="tiny",
    question="Is anything amiss?",
    groups={"tiny": ("tiny-colours",)},
    each=Task(dataset=ANY, classes="base", tests=(Test(ANY, "base"), Test(ANY, "new"))),
    shots=(4,),
    seeds=(1,),
)


def in_turn(order):
    """An executor: its workers do their work here, one after the other."""
    from harness.cli.worker import worker_

    for _ in range(order.workers.count):
        worker_(order.path)
    return f"{order.workers.count} workers have done {order.runs} runs."


@dataclass(frozen=True)
class Scripted:
    """Notes every call of the harness in `tinyworld_models.CALLS`."""

    temperature: float = 2.0
    note: bool = True

    recipes: ClassVar[Mapping[str, Recipe]] = {"default": Recipe(epochs=2, batch_size=4, learning_rate=1e-2)}

    def adapt(self, backbone):
        from tinyworld_models import ScriptedModel

        return ScriptedModel(backbone, self)


@dataclass(frozen=True)
class Misbehaving:
    """Does what `how` says in the first step of its second epoch."""

    how: str = "nothing"

    recipes: ClassVar[Mapping[str, Recipe]] = {"default": Recipe(epochs=3, batch_size=4, learning_rate=1e-2)}

    def adapt(self, backbone):
        from tinyworld_models import MisbehavingModel

        return MisbehavingModel(backbone, self.how)


@dataclass(frozen=True)
class Exits(Misbehaving):
    how: str = "exit"


@dataclass(frozen=True)
class Killed(Misbehaving):
    how: str = "kill"


@dataclass(frozen=True)
class Segfaults(Misbehaving):
    how: str = "segfault"


@dataclass(frozen=True)
class Hangs(Misbehaving):
    how: str = "hang"


@dataclass(frozen=True)
class Diverges(Misbehaving):
    how: str = "diverge"


@dataclass(frozen=True)
class OutOfMemory(Misbehaving):
    how: str = "out of memory"


@dataclass(frozen=True)
class HoldsTheLock(Misbehaving):
    how: str = "hold the lock"


@dataclass(frozen=True)
class IgnoresTerm(Misbehaving):
    how: str = "ignore TERM"


@dataclass(frozen=True)
class NoHostMemory(Misbehaving):
    how: str = "no host memory"


@dataclass(frozen=True)
class SystemExits(Misbehaving):
    how: str = "sys.exit"


@dataclass(frozen=True)
class Interrupts(Misbehaving):
    how: str = "interrupt"


@dataclass(frozen=True)
class HasABug(Misbehaving):
    how: str = "bug"


@dataclass(frozen=True)
class LosesTheGradient(Misbehaving):
    how: str = "no gradient"


@dataclass(frozen=True)
class ChangesFrozenWeights(Misbehaving):
    how: str = "frozen"


@dataclass(frozen=True)
class ChangesDefaults(Misbehaving):
    how: str = "defaults"


@dataclass(frozen=True)
class ReturnsAVector(Misbehaving):
    how: str = "vector"


@dataclass(frozen=True)
class Chatters(Misbehaving):
    how: str = "chatter"


@dataclass(frozen=True)
class Leaks(Misbehaving):
    how: str = "leak"


@dataclass(frozen=True)
class LeavesAProcess(Misbehaving):
    how: str = "leave a process"


@dataclass(frozen=True)
class Abandons(Misbehaving):
    how: str = "abandon a process"


@dataclass(frozen=True)
class FillsTheDisk(Misbehaving):
    how: str = "fill the disk"


@dataclass(frozen=True)
class Seeds(Misbehaving):
    how: str = "seeds"
