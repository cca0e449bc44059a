"""The runs of a plan that have no record yet, shared with whoever else does runs of the same results folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harness.files import Version
from harness.plan import PlannedRun
from harness.runs.claims import Claims
from harness.runs.store import Store


class Todo:
    """Runs to take, each by the name of its record's file. A run leaves when it has its record, whoever wrote that.

    `replaced` are the versions of the records there are that are to be written anew.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], replaced: Mapping[str, Version], store: Store, claims: Claims
    ) -> None:
        self.store, self.claims, self._replaced = store, claims, replaced
        self._runs = {store.name(run.key): run for run in runs}

    def __len__(self) -> int:
        """Runs without a record, in hand or not."""
        return len(self._runs)

    def next_but(self, in_hand: Collection[str]) -> PlannedRun | None:
        """The first run that is to do and isn't in hand; None if there is none."""
        return next((run for name, run in self._runs.items() if name not in in_hand), None)

    def take(self) -> tuple[tuple[str, PlannedRun] | None, Mapping[str, PlannedRun]]:
        """The next run, now this process's, by its name, None if others have all that is left; and what others have done by now."""
        done: dict[str, PlannedRun] = {}
        while name := self.claims.take(self._runs):
            if not self._is_done(name):
                return (name, self._runs[name]), done
            self.claims.finish(name)
            done |= self.done_elsewhere()
        return None, done

    def done_elsewhere(self) -> dict[str, PlannedRun]:
        """Runs that others have done since the last question; they are not to do any more. The folders of records are listed."""
        present = self.store.names()
        done = {name: run for name, run in self._runs.items() if name in present and self._is_done(name)}
        for name in done:
            del self._runs[name]
        return done

    def is_ours(self, name: str) -> bool:
        """Whether the record of a run is this process's to write: its claim was taken over by nobody, who may have written it."""
        return self.claims.holds(name) and not self._is_done(name)

    def finish(self, name: str) -> None:
        """A run has its record, written by this process."""
        self._runs.pop(name, None)
        self.claims.finish(name)

    def _is_done(self, name: str) -> bool:
        """Whether a run has a record, and not the one that is to be written anew."""
        return self.store.version(name) not in (None, self._replaced.get(name))
