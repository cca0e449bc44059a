"""How a suite's progress looks: live bars in a terminal, plain lines in a log, and plain lines where the bars break."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from harness.plan import PlannedRun
from harness.records import RunRecord
from harness.runs.events import EpochEnded, Event, Phase, PhaseStarted, TestEnded

_REDRAW_SECONDS = 1 / 8
"""Epochs may pass quicker than a terminal draws."""


def summary(record: RunRecord) -> str:
    """One run in one line: ``coop on demo-digits, 16 shots, seed 1: base 71.2 %, new 50.4 %, train 3.1 s``."""
    key = record.key
    name = f"{key.method} on {key.dataset}, {key.shots} shot{'s' * (key.shots > 1)}, seed {key.seed}"
    name += ", reference execution" if key.execution == "reference" else ""
    if record.status != "ok":
        return f"{name}: {record.status.replace('_', ' ')}: {record.reason or 'for no known reason'}"
    own = f"{key.dataset}/"
    figures = [f"{test.removeprefix(own)} {r.accuracy_percent:.1f} %" for test, r in record.accuracy.items()]
    if "train" in record.windows:
        figures.append(f"train {record.windows['train'].seconds:.1f} s")
    if key.simulated:
        figures.append(_simulated_peak(record))
    return f"{name}: {', '.join(figures) or 'done'}"


def _simulated_peak(record: RunRecord) -> str:
    """The highest peak of live tensors on the device, of the run's own execution."""
    found = record.profile.simulated.get(record.key.execution) if record.profile else None
    phases = found.peak_bytes.values() if found else ()
    peaks = [sum(size for category, size in sizes.items() if category != "host") for sizes in phases]
    return f"simulated peak {max(peaks) / (1 << 20):,.1f} MiB" if peaks else "simulated"


def _doing(phase: Phase) -> str:
    match phase:
        case "setup":
            return "loading"
        case "train":
            return "training"
        case "test":
            return "testing"
        case "memory":
            return "counting memory"
        case "analysis":
            return "analysing"
        case "profile":
            return "profiling a step"
        case "simulation":
            return "simulating"
    assert_never(phase)


class Eta:
    """Remaining seconds, from how long finished runs of the same method took, else of any method."""

    def __init__(self, methods: Sequence[str]) -> None:
        self._left = Counter(methods)
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def ended(self, method: str, seconds: float) -> None:
        self.done_elsewhere(method)
        self._seconds[method].append(seconds)

    def done_elsewhere(self, method: str) -> None:
        self._left[method] -= 1

    def seconds(self) -> float | None:
        known = [s for values in self._seconds.values() for s in values]
        if not known:
            return None
        return sum(count * statistics.fmean(self._seconds.get(method) or known) for method, count in self._left.items())


class _Tally:
    """Where a suite stands: the runs in hand, those done, of how many, and the time left; every display reads the same one."""

    def __init__(self, methods: Sequence[str]) -> None:
        self.done, self.total = 0, len(methods)
        self._eta, self._at_once = Eta(methods), 1
        self._in_hand: dict[int, tuple[str, float]] = {}

    def started(self, number: int, method: str) -> None:
        self._in_hand[number] = method, time.monotonic()
        self._at_once = max(self._at_once, len(self._in_hand))

    def ended(self, number: int) -> None:
        method, start = self._in_hand.pop(number)
        self._eta.ended(method, time.monotonic() - start)
        self.done += 1

    def dropped(self, number: int) -> None:
        del self._in_hand[number]

    def done_elsewhere(self, method: str) -> None:
        self._eta.done_elsewhere(method)
        self.done += 1

    def left(self) -> str:
        """``about 2 min 3 s left``, or nothing while no run has told, or none is left."""
        seconds = self._eta.seconds()
        return f"about {duration(seconds / self._at_once)} left" if seconds else ""


class _Lines:
    """One line per finished run, for logs and pipes."""

    def __init__(self, console: Console, tally: _Tally) -> None:
        self._console, self._tally = console, tally

    def open(self) -> None:
        """The datasets are read next."""

    def close(self) -> None:
        """Nothing to clean up."""

    def started(self, number: int, run: PlannedRun) -> None:
        """A log names a run when it is over."""

    def event(self, number: int, event: Event) -> None:
        """Epochs are too many for a log."""

    def ended(self, number: int, record: RunRecord) -> None:
        """A run is over and its record written."""
        left = self._tally.left()
        say(self._console, f"[{self._tally.done}/{self._tally.total}] {summary(record)}{f' ({left})' if left else ''}")

    def dropped(self, number: int) -> None:
        """A run is another's."""

    def done_elsewhere(self) -> None:
        """The process that did it has said it."""


@dataclass
class _InHand:
    """A run as the bars show it: what it is, what it does, and since when it trains."""

    title: str
    doing: str = "starting"
    train_start: float = 0.0


class _Bars(_Lines):
    """A line for each run in hand with its epoch, loss and images/s, and the suite with the time left, below the lines.

    Drawn when something happens, in the caller's thread: what goes wrong with it is raised there.
    """

    def __init__(self, console: Console, tally: _Tally) -> None:
        super().__init__(console, tally)
        self._suite = Progress(
            TextColumn("[bold]suite"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            console=console,
        )
        self._task = self._suite.add_task("suite", total=tally.total, completed=tally.done, eta="")
        self._text = Text("Reading the datasets", no_wrap=True, overflow="ellipsis")
        self._runs: dict[int, _InHand] = {}
        self._live = Live(Group(self._text, self._suite), console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def open(self) -> None:
        self._live.start()
        self._draw()

    def close(self) -> None:
        self._live.stop()

    def started(self, number: int, run: PlannedRun) -> None:
        self._runs[number] = _InHand(f"{run.key.method} on {run.key.dataset}, seed {run.key.seed}: ")
        self._show()

    def event(self, number: int, event: Event) -> None:
        """What the run's process tells: its phase, each epoch, each test."""
        run = self._runs[number]
        match event:
            case PhaseStarted(phase):
                if phase == "train":
                    run.train_start = time.monotonic()
                run.doing = _doing(phase)
            case EpochEnded(epoch, epochs, loss, images):
                rate = images / max(time.monotonic() - run.train_start, 1e-9)
                run.doing = f"epoch {epoch}/{epochs}  loss {loss:.3f}  {rate:,.0f} images/s"
                if epoch < epochs and time.monotonic() - self._drawn < _REDRAW_SECONDS:
                    return
            case TestEnded(test, accuracy_percent):
                run.doing = f"{test}: {accuracy_percent:.1f} %"
            case _:
                assert_never(event)
        self._show()

    def ended(self, number: int, record: RunRecord) -> None:
        """A run is over and its record written."""
        del self._runs[number]
        self.done_elsewhere()
        super().ended(number, record)

    def dropped(self, number: int) -> None:
        del self._runs[number]
        self._show()

    def done_elsewhere(self) -> None:
        """A run fewer to do."""
        self._suite.update(self._task, completed=self._tally.done, eta=self._tally.left())
        self._show()

    def _show(self) -> None:
        self._text.plain = "\n".join(f"{run.title}{run.doing}" for run in self._runs.values())
        self._draw()

    def _draw(self) -> None:
        self._live.refresh()
        self._drawn = time.monotonic()


class Display:
    """What a suite shows. Bars that break give way to lines, and say so once: a display ends no suite. Ctrl-C passes."""

    def __init__(self, console: Console, errors: Console) -> None:
        """console: for the progress. errors: for what is doubtful."""
        self._console, self._errors = console, errors
        self._tally = _Tally(())
        self._shown = _Lines(console, self._tally)

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(lambda shown: shown.close())

    def planned(self, runs: Sequence[PlannedRun], todo: Sequence[PlannedRun]) -> None:
        """The runs of the suite, and those of them that are to do."""
        if len(todo) < len(runs):
            say(self._console, f"{len(runs) - len(todo)} of {len(runs)} runs are done already.")
        self._tally = _Tally([run.key.method for run in todo])
        live = bool(todo) and self._console.is_terminal and not self._console.is_dumb_terminal
        self._shown = (_Bars if live else _Lines)(self._console, self._tally)
        self._try(lambda shown: shown.open())

    def note(self, text: str) -> None:
        """What is doubtful."""
        say(self._errors, text)

    def started(self, number: int, run: PlannedRun) -> None:
        """A run begins, the first with number 1; others may be in hand."""
        self._tally.started(number, run.key.method)
        self._try(lambda shown: shown.started(number, run))

    def event(self, number: int, event: Event) -> None:
        """What the run's process tells."""
        self._try(lambda shown: shown.event(number, event))

    def ended(self, number: int, record: RunRecord) -> None:
        """A run is over and its record written."""
        self._tally.ended(number)
        self._try(lambda shown: shown.ended(number, record))

    def dropped(self, number: int) -> None:
        """What a run found is not wanted: another process has taken it over."""
        self._tally.dropped(number)
        self._try(lambda shown: shown.dropped(number))

    def done_elsewhere(self, run: PlannedRun) -> None:
        """Another process has done one of the runs that were to do."""
        self._tally.done_elsewhere(run.key.method)
        self._try(lambda shown: shown.done_elsewhere())

    def _try(self, show: Callable[[_Lines], None]) -> None:
        try:
            show(self._shown)
        except Exception as error:
            if type(self._shown) is _Lines:
                raise  # nothing plainer is left
            broken, self._shown = self._shown, _Lines(self._console, self._tally)
            with suppress(Exception):
                broken.close()
            say(self._console, f"The live display broke ({type(error).__name__}: {error}); plain lines follow.")
            show(self._shown)


def say(console: Console, text: str | Text) -> None:
    """Print a text as it is: wrapped at words on a terminal, one line in a log."""
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def duration(seconds: float) -> str:
    """``2 h 3 min``, ``3 min 4 s`` or ``4 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
