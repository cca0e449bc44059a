"""Errors that advise: what was wrong, what would be right, and the next step."""

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class AdaptBenchError(Exception):
    """Anything a user can put right. The command line prints it in one message, without a traceback."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what}\n{advice}" if advice else what)
        self.what = what
        self.advice = advice


class ConfigError(AdaptBenchError):
    """A name, an option or a setting is wrong; nothing has run yet (exit code 2)."""


class DataError(AdaptBenchError):
    """A dataset is missing, incomplete or broken. Before a suite starts: exit code 2; inside a run: a failed row."""


class BackboneError(AdaptBenchError):
    """A backbone can't be built, loaded, or used in the way a method asks."""


class TrainingError(AdaptBenchError):
    """Training went wrong in a way that is a result: the loss is not finite, for instance."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'b'? Known: a, b, c.`` for the advice of an unknown-name error; a long list is left out."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    hint = "Did you mean " + " or ".join(f"'{other}'" for other in close) + "? " if close else ""
    return hint + (f"Known: {', '.join(names) or 'none'}." if len(names) <= 40 else f"{len(names)} names are known.")


def located(error: BaseException) -> str:
    """An error that nobody expected, with the place it comes from: ``ValueError: odd (file.py:12, in function)``."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno}, in {frame.name})"
