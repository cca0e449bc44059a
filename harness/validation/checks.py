"""What is checked of a method: each check takes a `Trial`, and raises an AdaptBenchError with the next step where it fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import AdaptBenchError, MethodError
from harness.method import AdaptedModel, Batch, Classes
from harness.protocol import check_method
from harness.saved.state import restore, state_of
from harness.suite import ClassSubset
from harness.training.contract import check_answers, check_frozen, check_model, frozen_digests
from harness.training.log import TrainingLog
from harness.validation.source import Place, Source
from harness.validation.tiny import BLOCKS, TEMPLATES, World, short_recipe, tiny_backbone

HALVES: tuple[ClassSubset, ...] = ("base", "new", "all")
_NO_SETTINGS = ("family", "needs", "trains")
_SHOWN = 3
"""So many names are shown at most."""
_OF_DEVICES = (
    "same device",
    "not on the expected device",
    "on different devices",
    "is on cpu",
    "Cannot copy out of meta tensor",
    "device type tensor to numpy",
)
"""What torch says of tensors that lie apart, or that are fetched from where they lie."""


class BrokenError(MethodError):
    """A failed check; `names` are functions or attributes of the method to look at, `place` the line if it is known."""

    def __init__(self, what: str, advice: str, names: Sequence[str] = (), place: Place | None = None) -> None:
        super().__init__(what, advice)
        self.names, self.place = tuple(names), place


@dataclass
class Trained:
    """A model that was trained in a world: its weights before and after, and what training kept of its images."""

    world: World
    model: AdaptedModel
    before: dict[str, Tensor]
    to_train: set[str]
    log: TrainingLog
    after: dict[str, Tensor]
    logits: Tensor
    holds: list[str]


class UncheckedError(Exception):
    """A check can't be made of this method, and why."""


class Trial:
    """A method to check: what two or more checks need of it is done once, in the fast execution."""

    def __init__(self, name: str, kind: Any, source: Source, templates: Mapping[str, str] = TEMPLATES) -> None:
        self.name, self.kind, self.source, self.templates = name, kind, source, templates
        self.failed: AdaptBenchError | Exception | None = None

    @cached_property
    def method(self) -> Any:
        return self.kind(**self.kind.recipes["default"].settings)

    def world(self, execution: str = "fast", dtype: torch.dtype = torch.float32) -> World:
        """A new one: the same random weights, the same images."""
        return World(tiny_backbone(execution, dtype, layers=BLOCKS), self.templates)

    def model(self, world: World) -> AdaptedModel:
        """A new model there, aimed at the base classes; it keeps the contract as far as one sees without training."""
        torch.manual_seed(1)
        model = self.method.adapt(world.backbone)
        check_model(self.name, model, world.backbone, self.kind.recipes["default"])
        model.set_classes(world.classes("base"))
        return model

    @property
    def trained(self) -> Trained:
        """A model that two epochs have trained. What went wrong the first time is raised again."""
        if self.failed is not None:
            raise self.failed
        try:
            return self._trained
        except Exception as error:
            self.failed = error
            raise

    @cached_property
    def _trained(self) -> Trained:
        world = self.world()
        model = self.model(world)
        before, to_train = weights(model), {n for n, p in model.named_parameters() if p.requires_grad}
        for half in HALVES:
            logits(world, model, half)
        model.set_classes(world.classes("base"))
        _check_unmoved(self, before, model)
        held: set[str] = set()
        with _noting_inputs(model, held):
            log = world.train(model, short_recipe(self.kind))
        holds = sorted(name for name, _ in _tensors(model) if name in held)
        after = weights(model)
        return Trained(world, model, before, to_train, log, after, logits(world, model, "all"), holds)


@contextmanager
def _noting_inputs(model: AdaptedModel, held: set[str]) -> Iterator[None]:
    """After each step, note the attributes of a model that share memory with what the step was given of its images."""
    backward = model.backward

    def noting(batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        loss = backward(batch, scaler)
        given = {each.untyped_storage().data_ptr() for each in batch.inputs}
        held.update(name for name, each in _tensors(model) if each.untyped_storage().data_ptr() in given)
        return loss

    model.backward = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.backward


def _tensors(model: AdaptedModel) -> Iterator[tuple[str, Tensor]]:
    """Tensors in attributes of a model and of its modules, but for the backbone's, with their names: ``seen[2]``."""
    for path, module in model.named_modules():
        if path.partition(".")[0] != "backbone":
            for name, value in vars(module).items():
                if not name.startswith("_") or name not in nn.Module().__dict__:
                    yield from _within(f"{path}.{name}" if path else name, value)


def _within(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, list | tuple | dict):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _within(f"{name}[{key!r}]", each)


def weights(model: AdaptedModel) -> dict[str, Tensor]:
    """Copies of all weights, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def logits(world: World, model: AdaptedModel, half: ClassSubset) -> Tensor:
    """(9, C), with a row for each image and a column for each class, and finite."""
    classes = world.classes(half)
    found = world.logits(model, classes)
    try:
        check_answers(model, found, 9, len(classes.names))
    except MethodError as error:
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != 9:
            raise
        raise BrokenError(error.what, error.advice, ["set_classes", "classifier", "logits"]) from None
    if not bool(torch.isfinite(found).all()):
        raise BrokenError(
            f"the logits of {int((~found.isfinite()).any(dim=1).sum())} of {len(found)} images are not finite.",
            "Look for a division by zero, a logarithm of zero, and a root at zero: F.normalize and torch.log_softmax avoid them.",
            ["logits", "classifier"],
        )
    return found


def settings(trial: Trial) -> None:
    """Its settings have types and defaults, and a record can hold them."""
    for name, line in _untyped(trial):
        raise BrokenError(
            f"'{name}' has no type, so that it is no setting: --set {name}=... is refused, and no record holds it.",
            f"Write {name}: {type(getattr(trial.kind, name)).__name__} = {getattr(trial.kind, name)!r}; "
            f"if it is to be none, call it {name.upper()}.",
            place=line,
        )
    check_method(trial.name, trial.kind)
    method, twin = trial.kind(), trial.kind()
    try:
        same = method == twin and hash(method) == hash(twin)
    except TypeError as error:
        raise BrokenError(f"its settings can't be compared: {error}.", "Use tuples for lists, and no tables.") from None
    if not same:
        raise BrokenError(
            "two of it with the same settings differ.", "Keep nothing beside the settings in it.", ["__eq__"]
        )


def _untyped(trial: Trial) -> Iterator[tuple[str, Place | None]]:
    plain = {name: value for name, value in vars(trial.kind).items() if type(value) in (int, float, bool, str)}
    own = set(getattr(trial.kind, "__annotations__", {})) | {*_NO_SETTINGS}
    for name in plain:
        if name not in own and not name.startswith("_") and not name.isupper():
            yield name, trial.source.place([name])


def starts(trial: Trial) -> None:
    """Its model is one by the contract, and leaves the backbone in evaluation mode."""
    world = trial.world()
    model = trial.model(world)
    if _in_training(model):
        raise BrokenError(
            "it leaves the backbone in training mode, which changes what its layers compute.",
            "Leave out backbone.train() and the whole model's train(); of a module of your own, call self.NAME.train().",
            ["train"],
            _line_that_changes(trial, _in_training),
        )


def _in_training(model: AdaptedModel) -> bool:
    return any(module.training for module in model.backbone.model.modules())


def trains(trial: Trial) -> None:
    """Training moves every weight that it is to, and leaves the frozen ones bit for bit as they were."""
    done = trial.trained
    frozen = done.before.keys() - done.to_train
    changed = sorted(n for n in frozen if not torch.equal(done.after[n], done.before[n]))
    if changed:
        try:
            check_frozen(trial.name, dict.fromkeys(frozen, 0), {name: int(name in changed) for name in frozen})
        except MethodError as error:
            raise BrokenError(error.what, error.advice, ["loss"], _line_that_changes(trial, _frozen)) from None
    if "backbone.model.logit_scale" in done.to_train:
        raise BrokenError(
            "it trains CLIP's logit scale.", "Leave backbone.model.logit_scale frozen: no method here trains it."
        )
    still = sorted(n for n in done.to_train if torch.equal(done.after[n], done.before[n]))
    if short_recipe(trial.kind).trains and still:
        raise BrokenError(
            f"two epochs leave {len(still)} of {len(done.to_train)} weights as they were: {_few(still)}.",
            "Their gradient is zero: look for a factor that starts at zero, and for what comes to nothing in loss.",
        )


def _frozen(model: AdaptedModel) -> Any:
    """All of the backbone's weights: the optimiser's steps, which move the trained ones, are no line of the method."""
    return frozen_digests(model)


def _line_that_changes(trial: Trial, state: Callable[[AdaptedModel], Any]) -> Place | None:
    """The line of the method after which `state` of its model is another, as it is made and trained; None if it is none's."""
    world = trial.world()
    model = _Bare(world.backbone)

    def run() -> None:
        world.train(trial.model(world), short_recipe(trial.kind, epochs=1))

    return trial.source.changing(run, lambda: state(model))


class _Bare(AdaptedModel):
    """A model with nothing but its backbone."""


def repeats(trial: Trial) -> None:
    """The same seed gives bit for bit the same losses, weights and answers."""
    done, world = trial.trained, trial.world()
    torch.manual_seed(2)  # where the other began with 1
    model = trial.model(world)
    log = world.train(model, short_recipe(trial.kind))
    advice = (
        "Draw random numbers by torch's functions alone, which are seeded for each run; let nothing rest on the clock, on the "
        "order of a set, or on what is kept between two models."
    )
    suspects = (
        "Random",
        "SystemRandom",
        "urandom",
        "default_rng",
        "perf_counter",
        "time",
        "seed",
        "Generator",
        "uuid4",
        "count",
    )
    if log.epoch_losses != done.log.epoch_losses:
        raise BrokenError("the same seed gives other losses the second time.", advice, (*suspects, "loss"))
    now = weights(model)
    if other := sorted(n for n, value in done.after.items() if n not in now or not torch.equal(now[n], value)):
        raise BrokenError(f"the same seed gives other weights the second time: {_few(other)}.", advice, suspects)
    if not torch.equal(logits(world, model, "all"), done.logits):
        raise BrokenError("the same seed gives other answers the second time.", advice, (*suspects, "logits"))


def answers(trial: Trial) -> None:
    """Its logits are finite, have a column for each class of the last set_classes, and are the same when asked again."""
    done = trial.trained
    model, world = done.model, done.world
    first = [logits(world, model, half) for half in HALVES]
    again = [logits(world, model, half) for half in HALVES]
    if all(map(torch.equal, first, again)):
        return
    training = [
        name
        for name, module in model.named_modules()
        if module.training and isinstance(module, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm)
    ]
    if training:
        raise BrokenError(
            f"the same images are answered otherwise when asked again: in training mode is still {_few(training)}.",
            "Call its train() in begin_epoch and its eval() in finish; `SimpleMethod` does so of what `trained` returns.",
        )
    raise BrokenError(
        "the same images are answered otherwise when asked again.",
        "Let logits and classifier draw nothing and change nothing.",
        ["rand", "randn", "randn_like", "rand_like", "dropout", "logits", "classifier"],
    )


def follows_classes(trial: Trial) -> None:
    """A class's logits are the same whichever classes stand beside it, in whatever order, and whatever was aimed at before."""
    done = trial.trained
    world, model = done.world, done.model
    everything = logits(world, model, "all")
    base, new = logits(world, model, "base"), logits(world, model, "new")
    if not torch.equal(logits(world, model, "base"), base):
        raise BrokenError(
            "the base classes are answered otherwise once new classes have been aimed at.",
            "Make everything that depends on the classes anew in set_classes, from its argument alone.",
            ["set_classes"],
        )
    _check_unmoved(trial, done.after, model)
    order = [3, 0, 4, 1, 2]
    names = world.classes("all").names
    permuted = world.logits(model, Classes(tuple(names[i] for i in order), trial.templates))
    if not _close(permuted, everything[:, order]):
        raise BrokenError(
            "the columns of its logits aren't the classes in the order of set_classes: other orders give other answers.",
            "Keep the order of classes.names: sort nothing, and make no set of them.",
            ["sorted", "set", "sort", "set_classes"],
        )
    if not _close(new, everything[:, 3:]):
        raise BrokenError(
            "the new classes' logits are others where the base classes stand beside them.",
            "Compute each class's features from that class alone: no mean, no softmax and no whitening over classes.",
            ["class_features", "classifier", "set_classes", "logits"],
        )


def _check_unmoved(trial: Trial, before: Mapping[str, Tensor], model: AdaptedModel) -> None:
    """Nothing but training moved a weight since then; one of another shape was made anew."""
    now = weights(model)
    moved = sorted(n for n in before.keys() & now.keys() if _moved(before[n], now[n]))
    if moved:
        raise BrokenError(
            f"aiming at other classes and answering changes weights: {_few(moved)}. The test's classes would be trained on.",
            "Train in loss alone: set_classes, classifier and logits only read weights.",
            ["set_classes"],
            _line_that_answers_by_changing(trial, moved),
        )


def _line_that_answers_by_changing(trial: Trial, names: Sequence[str]) -> Place | None:
    """The line after which one of these weights of an untrained model is another, as it is aimed and answers."""
    world = trial.world()
    model = trial.model(world)

    def run() -> None:
        for half in HALVES:
            logits(world, model, half)

    return trial.source.changing(run, lambda: [model.get_parameter(name).tolist() for name in names])


def _moved(before: Tensor, now: Tensor) -> bool:
    return before.shape == now.shape and not torch.equal(before, now)


def batch_size(trial: Trial) -> None:
    """The batch size of a test changes no answer."""
    done = trial.trained
    one, *others = (done.world.answers(done.model, "all", size, every=4) for size in (1, 4, 100))
    if not all(torch.equal(each.predicted, one.predicted) and _close(each.logits, one.logits) for each in others):
        raise BrokenError(
            "answers depend on which images share a batch of the test.",
            "Compute each image's row from that image alone: no mean and no normalisation over the batch.",
            ["image_features", "logits"],
        )


def keeps_no_images(trial: Trial) -> None:
    """After training it holds no batch of images."""
    if held := trial.trained.holds:
        raise BrokenError(
            f"after training it still holds images of its batches, in {_few(held)}: memory would grow with every step.",
            "Keep numbers, or a detached copy of what you need. A cache of all images is made in prepare, by train.read.",
            [f".{name.partition('[')[0].rpartition('.')[2]}" for name in held],
        )


def can_be_restored(trial: Trial) -> None:
    """A new model with what it keeps answers to the bit as the trained one."""
    done = trial.trained
    done.model.set_classes(done.world.classes("base"))
    tensors, values = state_of(done.model)
    torch.manual_seed(2)
    world = trial.world()
    again = trial.method.adapt(world.backbone)
    again.set_classes(world.classes("base"))
    restore(again, tensors, json.loads(json.dumps(values)))
    for half in (*HALVES, "new", "base"):
        if not torch.equal(logits(world, again, half), logits(done.world, done.model, half)):
            forgotten = _forgotten(trial, done.model)
            raise BrokenError(
                "a model that is built anew from what is saved answers otherwise"
                + (f": training leaves something in {_few(forgotten)}." if forgotten else "."),
                f"Name in the model's class what its answers rest on beside weights: keeps = ({', '.join(map(repr, forgotten))}"
                f"{',' if len(forgotten) == 1 else ''}).",
                [*(f".{name}" for name in forgotten), "adapt"],
            )


def _forgotten(trial: Trial, model: AdaptedModel) -> list[str]:
    """Attributes that are others than those of a new model, and that nothing keeps."""
    fresh = trial.model(trial.world())
    known = {*model.keeps, "_constants", "backbone", "drop_gradients", "training"}
    known |= {name for name in vars(model) if name.startswith(("_parameters", "_buffers", "_modules"))}
    return [
        name
        for name, value in vars(model).items()
        if name not in known and name in vars(fresh) | {name: None} and _differ(value, vars(fresh).get(name))
    ]


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return not isinstance(other, Tensor) or one.shape != other.shape or not torch.equal(one, other)
    return isinstance(one, int | float | str | bool | tuple | list | None) and one != other


def is_the_same_when_fast(trial: Trial) -> None:
    """The fast and the reference execution are the same mathematics in float64.

    Relative to each tensor, the first step's gradients to 1e-12; those of two epochs, and the logits after them, to 1e-11.
    """
    (fast, fast_logits), (reference, reference_logits) = (_in_float64(trial, each) for each in ("fast", "reference"))
    if fast_logits.dtype != torch.float64:
        raise BrokenError(
            f"on a backbone in float64 its logits are in {str(fast_logits.dtype).removeprefix('torch.')}.",
            "Take types from what you are given: images.dtype, or backbone.dtype.",
            [".float", ".half", "float32", "float16", "bfloat16", "logits"],
        )
    differing = "" if _close(fast_logits, reference_logits, 1e-11) else "logits"
    if len(fast) != len(reference) or bool(fast) != short_recipe(trial.kind).trains:
        differing = "number of steps"
    for number, (ours, theirs) in reversed(list(enumerate(zip(fast, reference, strict=False)))):
        tolerance = 1e-11 if number else 1e-12  # the weights carry the rounding of the steps before
        if ours.keys() != theirs.keys() or not all(_near(ours[n], theirs[n], tolerance) for n in theirs):
            differing = f"loss or gradients in step {number + 1}"
    if differing:
        raise BrokenError(
            f"its {differing}: in the fast execution another than in the reference.",
            "Ask for no `fast`, and put nothing into `constant` that a trained weight has a part in.",
            [".fast", ".constant", "execution", "set_classes"],
        )


def _near(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape == other.shape and float((one - other).abs().max()) <= tolerance * float(other.abs().max())


def _in_float64(trial: Trial, execution: str) -> tuple[list[dict[str, Tensor]], Tensor]:
    """Of each training step the loss and the gradients by name, and the logits after."""
    world = trial.world(execution, torch.float64)
    model = trial.model(world)
    steps: list[dict[str, Tensor]] = []
    backward = model.backward

    def noting(batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        loss = backward(batch, scaler)
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        steps.append({"": loss, **gradients})
        return loss

    model.backward = noting  # type: ignore[method-assign]
    world.train(model, short_recipe(trial.kind))
    return steps, logits(world, model, "all")


def goes_to_the_device(trial: Trial) -> None:
    """Its tensors are on the backbone's device, whichever that is. Unchecked where it needs contents, which tensors lack there."""
    world = trial.world()
    world.backbone.to("meta")
    try:
        model = trial.method.adapt(world.backbone)
        model.to("meta")
        model.set_classes(world.classes("base"))
        read = model.reads[0].stage
        shape = {"pixels": (2, 3, 32, 32), "features": (2, world.backbone.embed_width)}.get(str(read), (2, 17, 32))
        model.logits(torch.empty(shape, device="meta"), model.classifier())
    except Exception as error:
        if any(words in str(error) for words in _OF_DEVICES):
            raise MethodError(
                "it makes a tensor on a device of its own, which a GPU's tensors don't meet.",
                "Make it where the others are: torch.zeros(..., device=self.backbone.device), or texts.new_zeros(...).",
            ) from error
        raise UncheckedError(
            "it reads what its tensors hold, which they don't on the device that stands in for a GPU"
        ) from error


def _close(one: Tensor, other: Tensor, tolerance: float = 1e-4) -> bool:
    return one.shape == other.shape and torch.allclose(one, other.to(one.dtype), rtol=tolerance, atol=tolerance)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


CHECKS: Mapping[str, Callable[[Trial], None]] = {
    "its settings have types and defaults": settings,
    "its model keeps the contract": starts,
    "training moves what it is to move, and nothing else": trains,
    "the same seed gives the same": repeats,
    "answers are finite, a column a class, the same when asked again": answers,
    "answers follow the classes": follows_classes,
    "answers don't depend on the batch": batch_size,
    "it keeps no images": keeps_no_images,
    "a saved model answers alike": can_be_restored,
    "fast and reference are the same mathematics": is_the_same_when_fast,
    "it goes to the backbone's device": goes_to_the_device,
}
"""Each check in words."""
_SOUND = ("training moves what it is to move, and nothing else", "the same seed gives the same")
_STEADY = (*_SOUND, "answers are finite, a column a class, the same when asked again")
RESTS_ON: Mapping[str, tuple[str, ...]] = {
    "answers are finite, a column a class, the same when asked again": _SOUND[:1],
    "answers follow the classes": _STEADY,
    "answers don't depend on the batch": _STEADY,
    "a saved model answers alike": _STEADY,
    "fast and reference are the same mathematics": _STEADY,
}
"""The checks that say nothing once one of these has failed."""
