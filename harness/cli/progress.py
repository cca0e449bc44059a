"""How a suite's progress looks: live bars in a terminal or a notebook, plain lines in a log, and where the bars break."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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
from harness.runs.forecast import Forecasts
from harness.runs.time_left import TimeLeft

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


class _Tally:
    """Where a suite stands: how many runs are done, of how many, and the time left; every display reads the same one."""

    def __init__(self, todo: Sequence[PlannedRun], forecasts: Forecasts) -> None:
        self.done, self.total = 0, len(todo)
        self.time = TimeLeft(todo, forecasts)

    def left(self) -> str:
        """``about 2 min 3 s left``, or nothing where no run is left; of runs that nothing is known of, no guess is made."""
        seconds, unknown = self.time.left()
        if unknown:
            return f"over {duration(seconds)} left" if seconds >= 1 else "time left not known yet"
        return f"about {duration(seconds)} left" if seconds else ""


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
        self._tally = _Tally((), Forecasts())
        self._shown = _Lines(console, self._tally)

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(lambda shown: shown.close())

    def planned(
        self, runs: Sequence[PlannedRun], todo: Sequence[PlannedRun], forecasts: Forecasts | None = None
    ) -> None:
        """The runs of the suite, those of them that are to do, and what is expected of these."""
        if len(todo) < len(runs) and self._detail != "quiet":
            say(self._console, f"{len(runs) - len(todo)} of {len(runs)} runs are done already.")
        self._tally = _Tally(todo, forecasts or Forecasts())
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
        self._tally.time.started(number, run)
        self._try(lambda shown: shown.started(number, run))

    def event(self, number: int, event: Event) -> None:
        """What the run's process tells."""
        if isinstance(event, EpochEnded):
            self._tally.time.trained(number, event.epoch / event.epochs)
        self._try(lambda shown: shown.event(number, event))

    def ended(self, number: int, record: RunRecord) -> None:
        """A run is over and its record written."""
        self._tally.time.ended(number, record)
        self._tally.done += 1
        self._try(lambda shown: shown.ended(number, record))

    def dropped(self, number: int) -> None:
        """What a run found is not wanted: another process has taken it over."""
        self._tally.time.dropped(number)
        self._try(lambda shown: shown.dropped(number))

    def done_elsewhere(self, run: PlannedRun) -> None:
        """Another process has done one of the runs that were to do."""
        self._tally.time.done_elsewhere(run)
        self._tally.done += 1
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


def _title(run: PlannedRun) -> str:
    return f"{run.key.method} on {run.key.dataset}, seed {run.key.seed}"


def duration(seconds: float) -> str:
    """``2 h 3 min``, ``3 min 4 s`` or ``4 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
