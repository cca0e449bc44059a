"""The time that a suite still takes: what is expected of its runs, corrected by those that have ended, less what is over."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from harness.plan import PlannedRun
from harness.records import RunRecord
from harness.runs.forecast import Forecasts


class Left(NamedTuple):
    """Seconds until a suite ends, by the runs of which something is known, and the number of the others."""

    seconds: float
    unknown: int


@dataclass
class _InHand:
    """A run in hand: since when, what was expected of it then, and the part of its training that is over, 0 where not known."""

    run: PlannedRun
    start: float
    expected_seconds: float | None
    trained: float = 0.0

    def rest_seconds(self, now: float) -> float | None:
        """Past what was expected, by the part of the training that is over; None where neither tells."""
        so_far = now - self.start
        if self.expected_seconds is not None and (so_far < self.expected_seconds or not self.trained):
            return max(0.0, self.expected_seconds - so_far)
        return so_far * (1 - self.trained) / self.trained if self.trained else None


class TimeLeft:
    """Hears what becomes of a suite's runs, and says at any time how long the rest takes."""

    def __init__(
        self,
        todo: Sequence[PlannedRun],
        forecasts: Forecasts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forecasts, self._clock = forecasts, clock
        self._pending = {id(run.key): run for run in todo}
        self._in_hand: dict[int, _InHand] = {}
        self._ended = 0
        self._at_once = 1
        self._around: list[float] = []
        self._found: list[float | None] | None = None

    def started(self, number: int, run: PlannedRun) -> None:
        self._pending.pop(id(run.key), None)
        (forecast,) = self._forecasts.of([run])
        expected = None if forecast.seconds is None else forecast.seconds + self._around_seconds
        self._in_hand[number] = _InHand(run, self._clock(), expected)
        self._at_once = max(self._at_once, len(self._in_hand))
        self._found = None

    def trained(self, number: int, part: float) -> None:
        """So much of a run's training is over, of 1."""
        self._in_hand[number].trained = part

    def ended(self, number: int, record: RunRecord) -> None:
        run = self._in_hand.pop(number)
        self._ended += 1
        if self._ended > self._at_once:  # those before waited for torch to be imported
            self._around.append(max(0.0, self._clock() - run.start - record.total_seconds))
        self._found = None

    def dropped(self, number: int) -> None:
        """A run is another process's."""
        del self._in_hand[number]

    def done_elsewhere(self, run: PlannedRun) -> None:
        self._pending.pop(id(run.key), None)
        self._found = None

    def left(self) -> Left:
        """What is left to do, with as many runs at a time as there were at most so far."""
        now = self._clock()
        rests = [run.rest_seconds(now) for run in [*self._in_hand.values()]]  # a display asks from a thread of its own
        pending = self._expected()
        unknown = rests.count(None) + pending.count(None)
        return Left(_until_all_are_done(_known(rests), _known(pending), self._at_once), unknown)

    @property
    def _around_seconds(self) -> float:
        """What a run takes beside what its record says: a process starts, and ends."""
        return median(self._around) if self._around else 0.0

    def _expected(self) -> list[float | None]:
        """Of the runs that nobody has begun, in order."""
        if self._found is None:
            around = self._around_seconds
            forecasts = self._forecasts.of(list(self._pending.values()))
            self._found = [None if each.seconds is None else each.seconds + around for each in forecasts]
        return self._found


def _known(seconds: Iterable[float | None]) -> list[float]:
    return [each for each in seconds if each is not None]


def _until_all_are_done(rests: Sequence[float], pending: Sequence[float], at_once: int) -> float:
    """Each pending run begins as soon as one of `at_once` places is free, in order."""
    places = [0.0] * max(0, at_once - len(rests)) + list(rests)
    heapq.heapify(places)
    for seconds in pending:
        heapq.heapreplace(places, places[0] + seconds)
    return max(places)
