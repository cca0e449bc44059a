"""How a suite's progress looks: live bars in a terminal or a notebook, plain lines in a log, and where the bars break."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean, median
from types import TracebackType
from typing import Any, Literal, assert_never

from rich.console import ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.terminal import Console, say
from harness.plan import PlannedRun
from harness.records import RunRecord
from harness.runs.events import EpochEnded, Event, Phase, PhaseStarted, TestEnded

_REDRAW_SECONDS = 1 / 8
"""Epochs may pass quicker than a terminal draws."""
_NARROWEST_BAR, _WIDEST_BAR = 5, 30
Detail = Literal["usual", "quiet", "steps"]
"""How much is shown: what the terminal has room for, failures alone, or all that runs tell."""


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
        case "saving":
            return "saving the model"
        case "simulation":
            return "simulating"
    assert_never(phase)


Kind = tuple[str, str]
"""A run's method and dataset: runs of one kind take about as long."""


@dataclass
class _Running:
    """A run in hand: its kind, since when, and the part of its training that is over, 0 where that isn't known."""

    kind: Kind
    start: float = field(default_factory=time.monotonic)
    done: float = 0.0


class Eta:
    """The seconds that a suite's runs still take, one after the other, from how long others took."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._left = Counter(kinds)
        self._seconds: dict[Kind, list[float]] = {}

    def ended(self, kind: Kind, seconds: float) -> None:
        self.done_elsewhere(kind)
        self._seconds.setdefault(kind, []).append(seconds)

    def done_elsewhere(self, kind: Kind) -> None:
        self._left[kind] -= 1

    def seconds(self, running: Iterable[tuple[Kind, float, float]] = ()) -> float | None:
        """None while no run has told. `running`: of each run in hand its kind, its seconds so far, and the part that is over."""
        if not self._seconds:
            return None
        left, rest = self._left.copy(), 0.0
        for kind, elapsed_seconds, done in running:
            left[kind] -= 1
            if done > 0 and kind not in self._seconds:
                rest += elapsed_seconds * (1 - done) / done
            else:
                rest += max(0.0, self._expected(kind) - elapsed_seconds)
        return rest + sum(self._expected(kind) * count for kind, count in left.items() if count > 0)

    def _expected(self, kind: Kind) -> float:
        """The mean of the same kind; else of the method on other datasets, by how this one compares with them; else of any."""
        if kind in self._seconds:
            return fmean(self._seconds[kind])
        method, dataset = kind
        own = self._of(method, dataset)
        if not own:
            return median(fmean(values) for values in self._seconds.values())
        others = [(fmean(v), self._of(m, d)) for (m, d), v in self._seconds.items() if d == dataset]
        ratios = [seconds / fmean(elsewhere) for seconds, elsewhere in others if elsewhere]
        return fmean(own) * (fmean(ratios) if ratios else 1.0)

    def _of(self, method: str, dataset: str) -> list[float]:
        """A method's mean on each of the other datasets."""
        return [fmean(values) for (m, d), values in self._seconds.items() if m == method and d != dataset]


class _Tally:
    """Where a suite stands: the runs in hand, those done, of how many, and the time left; every display reads the same one."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.done, self.total = 0, len(kinds)
        self._eta, self._at_once = Eta(kinds), 1
        self._in_hand: dict[int, _Running] = {}

    def started(self, number: int, kind: Kind) -> None:
        self._in_hand[number] = _Running(kind)
        self._at_once = max(self._at_once, len(self._in_hand))

    def trained(self, number: int, part: float) -> None:
        """So much of a run's training is over, of 1."""
        self._in_hand[number].done = part

    def ended(self, number: int) -> None:
        run = self._in_hand.pop(number)
        self._eta.ended(run.kind, time.monotonic() - run.start)
        self.done += 1

    def dropped(self, number: int) -> None:
        del self._in_hand[number]

    def done_elsewhere(self, kind: Kind) -> None:
        self._eta.done_elsewhere(kind)
        self.done += 1

    def left(self) -> str:
        """``about 2 min 3 s left``, or nothing while no run has told, or none is left."""
        now = time.monotonic()
        seconds = self._eta.seconds([(run.kind, now - run.start, run.done) for run in [*self._in_hand.values()]])
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


class _Quiet(_Lines):
    """What failed, and nothing else."""

    def ended(self, number: int, record: RunRecord) -> None:
        """A run is over and its record written."""
        if record.status != "ok":
            super().ended(number, record)


@dataclass
class _InHand:
    """A run as it is shown: what it is, what it does, and since when it does that, and trains."""

    title: str
    doing: str = "starting"
    since: float = field(default_factory=time.monotonic)
    train_start: float = 0.0

    def tell(self, event: Event) -> None:
        """What the run's process tells: its phase, each epoch, each test."""
        match event:
            case PhaseStarted(phase):
                self.since = time.monotonic()
                if phase == "train":
                    self.train_start = self.since
                self.doing = _doing(phase)
            case EpochEnded(epoch, epochs, loss, images):
                rate = images / max(time.monotonic() - self.train_start, 1e-9)
                self.doing = f"epoch {epoch}/{epochs}  loss {loss:.3f}  {rate:,.0f} images/s"
            case TestEnded(test, accuracy_percent):
                self.doing = f"{test}: {accuracy_percent:.1f} %"
            case _:
                assert_never(event)

    def __str__(self) -> str:
        return f"{self.title}: {self.doing}"


class _Steps(_Lines):
    """A line for whatever a run tells."""

    def __init__(self, console: Console, tally: _Tally) -> None:
        super().__init__(console, tally)
        self._runs: dict[int, _InHand] = {}

    def started(self, number: int, run: PlannedRun) -> None:
        """A run begins."""
        self._runs[number] = _InHand(_title(run))
        say(self._console, str(self._runs[number]))

    def event(self, number: int, event: Event) -> None:
        """What the run's process tells."""
        self._runs[number].tell(event)
        say(self._console, str(self._runs[number]))


class _Cell:
    """A live display in the output of a notebook's cell, which needs no widgets: what is shown is replaced as a whole."""

    def __init__(self, shown: RenderableType, console: Console) -> None:
        self._shown, self._width = shown, console.width

    def start(self) -> None:
        from IPython.display import display

        self._output = display(self._html(), display_id=True)

    def refresh(self) -> None:
        self._output.update(self._html())

    def stop(self) -> None:
        from IPython.display import HTML

        self._output.update(HTML(""))

    def _html(self) -> Any:
        from IPython.display import HTML

        drawn = Console(file=io.StringIO(), record=True, width=self._width, force_terminal=True, force_jupyter=False)
        drawn.print(self._shown)
        return HTML(drawn.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))


class _Bars(_Lines):
    """Each run in hand with its epoch, loss and images/s, and the suite with the time left, below the lines.

    Drawn in the caller's thread when something happens: what goes wrong with it is raised there. In between, a thread of its own
    draws it every second, so that the seconds run.
    """

    def __init__(self, console: Console, tally: _Tally) -> None:
        super().__init__(console, tally)
        self._runs = {0: _InHand("Reading the datasets", "")}
        self._live = (
            _Cell(self, console)
            if console.is_jupyter
            else Live(self, console=console, auto_refresh=False, transient=True)
        )
        self._drawn = 0.0
        self._over = threading.Event()

    def __rich_console__(self, console: Any, options: ConsoleOptions) -> Iterator[RenderableType]:
        now = time.monotonic()
        for run in [*self._runs.values()]:
            text = f"{run.title}: {run.doing}" if run.doing else run.title
            yield Text(f"{text} ({duration(now - run.since)})" if now - run.since >= 1 else text)
        left = self._tally.left()
        words = ["suite", f"{self._tally.done}/{self._tally.total}", *([left] if left else [])]
        room = options.max_width - sum(len(word) + 1 for word in words)
        if room < _NARROWEST_BAR:
            yield Text(" ".join(words))
            return
        row = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(self._tally.total, self._tally.done, width=min(_WIDEST_BAR, room))
        row.add_row(Text("suite", style="bold"), bar, *words[1:])
        yield row

    def open(self) -> None:
        self._live.start()
        self._draw()
        threading.Thread(target=self._tick, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._live.stop()

    def started(self, number: int, run: PlannedRun) -> None:
        self._runs.pop(0, None)
        self._runs[number] = _InHand(
            _title(run), "starting" if number > 1 else "starting: loading PyTorch, once for all runs"
        )
        self._draw()

    def event(self, number: int, event: Event) -> None:
        """What the run's process tells: its phase, each epoch, each test."""
        self._runs[number].tell(event)
        is_between = isinstance(event, EpochEnded) and event.epoch < event.epochs
        if not is_between or time.monotonic() - self._drawn >= _REDRAW_SECONDS:
            self._draw()

    def ended(self, number: int, record: RunRecord) -> None:
        """A run is over and its record written."""
        self.dropped(number)
        super().ended(number, record)

    def dropped(self, number: int) -> None:
        del self._runs[number]
        self._draw()

    def done_elsewhere(self) -> None:
        """A run fewer to do."""
        self._draw()

    def _draw(self) -> None:
        self._live.refresh()
        self._drawn = time.monotonic()

    def _tick(self) -> None:
        while not self._over.wait(1.0):
            with suppress(Exception):  # the next event raises it where it is heard
                self._live.refresh()


class Display:
    """What a suite shows. Bars that break give way to lines, and say so once: a display ends no suite. Ctrl-C passes."""

    def __init__(self, console: Console, errors: Console, detail: Detail = "usual") -> None:
        """console: for the progress. errors: for what is doubtful. detail: quiet for failures alone, steps for all."""
        self._console, self._errors, self._detail = console, errors, detail
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
        if len(todo) < len(runs) and self._detail != "quiet":
            say(self._console, f"{len(runs) - len(todo)} of {len(runs)} runs are done already.")
        self._tally = _Tally([kind_of(run) for run in todo])
        moves = self._console.is_jupyter or (self._console.is_terminal and not self._console.is_dumb_terminal)
        live = bool(todo) and moves
        usual = _Bars if live else _Lines
        shown = {"usual": usual, "quiet": _Quiet, "steps": _Steps}[self._detail]
        self._shown = shown(self._console, self._tally)
        self._try(lambda shown: shown.open())

    def note(self, text: str) -> None:
        """What is doubtful; above the bars, where they are on the same terminal."""
        above = isinstance(self._shown, _Bars) and self._errors.is_terminal
        say(self._console if above else self._errors, text)

    def started(self, number: int, run: PlannedRun) -> None:
        """A run begins, the first with number 1; others may be in hand."""
        self._tally.started(number, kind_of(run))
        self._try(lambda shown: shown.started(number, run))

    def event(self, number: int, event: Event) -> None:
        """What the run's process tells."""
        if isinstance(event, EpochEnded):
            self._tally.trained(number, event.epoch / event.epochs)
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
        self._tally.done_elsewhere(kind_of(run))
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


def kind_of(run: PlannedRun) -> Kind:
    """A run's kind."""
    return run.key.method, run.key.dataset


def _title(run: PlannedRun) -> str:
    return f"{run.key.method} on {run.key.dataset}, seed {run.key.seed}"


def duration(seconds: float) -> str:
    """``2 h 3 min``, ``3 min 4 s`` or ``4 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
