"""How a suite's progress looks: live bars in a terminal, plain lines in a log."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from harness.plan import PlannedRun
from harness.records import RunRecord

_PHASES = {
    "setup": "loading",
    "train": "training",
    "test": "testing",
    "memory": "counting memory",
    "analysis": "analysing",
}


def summary(record: RunRecord) -> str:
    """One run in one line: ``coop on demo-digits, 16 shots, seed 1: base 71.2 %, new 50.4 %, train 3.1 s``."""
    key = record.key
    name = f"{key.method} on {key.dataset}, {key.shots} shots, seed {key.seed}"
    name += ", reference execution" if key.execution == "reference" else ""
    if record.status != "ok":
        return f"{name}: {record.status.replace('_', ' ')}: {record.reason}"
    own = f"{key.dataset}/"
    figures = [f"{test.removeprefix(own)} {r.accuracy_percent:.1f} %" for test, r in record.accuracy.items()]
    figures.append(f"train {record.windows['train'].seconds:.1f} s")
    return f"{name}: {', '.join(figures)}"


class Eta:
    """Remaining seconds, from how long finished runs of the same method took, else of any method."""

    def __init__(self, methods: list[str]) -> None:
        self._left = list(methods)
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def ended(self, seconds: float) -> None:
        self._seconds[self._left.pop(0)].append(seconds)

    def seconds(self) -> float | None:
        known = [s for values in self._seconds.values() for s in values]
        if not known:
            return None
        return sum(statistics.fmean(self._seconds.get(method) or known) for method in self._left)


class Lines:
    """One line a finished run, for logs and pipes."""

    def __init__(self, console: Console, total: int, methods: list[str]) -> None:
        self._console, self._total, self._number = console, total, 0
        self._eta, self._start = Eta(methods), 0.0

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, text: str) -> None:
        """A message beside the progress."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, number: int, run: PlannedRun) -> None:
        """A run begins."""
        self._number, self._start = number, time.monotonic()

    def event(self, event: dict[str, Any]) -> None:
        """Epochs are too many for a log."""

    def ended(self, record: RunRecord) -> None:
        """A run is over and its record written."""
        self._eta.ended(time.monotonic() - self._start)
        left = self._eta.seconds()
        eta = f" (about {_duration(left)} left)" if left else ""
        self.note(f"[{self._number}/{self._total}] {summary(record)}{eta}")


class Bars(Lines):
    """The run in hand with its epoch, loss and images/s, and the suite with the time left."""

    def __init__(self, console: Console, total: int, methods: list[str]) -> None:
        super().__init__(console, total, methods)
        self._suite = Progress(
            TextColumn("[bold]suite"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            console=console,
        )
        self._task = self._suite.add_task("suite", total=total, eta="")
        self._text = Text()
        self._title = ""
        self._live = Live(Group(self._text, self._suite), console=console, refresh_per_second=8, transient=True)
        self._train_start = 0.0

    def __enter__(self) -> Bars:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def started(self, number: int, run: PlannedRun) -> None:
        """A run begins."""
        super().started(number, run)
        self._title = f"{run.key.method} on {run.key.dataset}, seed {run.key.seed}"
        self._show("starting")

    def event(self, event: dict[str, Any]) -> None:
        """What the run's process tells: its phase, each epoch, each test."""
        if event["kind"] == "phase":
            if event["phase"] == "train":
                self._train_start = time.monotonic()
            self._show(_PHASES[event["phase"]])
        elif event["kind"] == "epoch":
            rate = event["images"] / max(time.monotonic() - self._train_start, 1e-9)
            self._show(f"epoch {event['epoch']}/{event['epochs']}  loss {event['loss']:.3f}  {rate:,.0f} images/s")
        elif event["kind"] == "test":
            self._show(f"{event['test']}: {event['accuracy_percent']:.1f} %")

    def ended(self, record: RunRecord) -> None:
        """A run is over and its record written."""
        super().ended(record)
        left = self._eta.seconds()
        self._suite.update(self._task, advance=1, eta="" if left is None else f"about {_duration(left)} left")

    def _show(self, doing: str) -> None:
        self._text.plain = f"{self._title}: {doing}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
