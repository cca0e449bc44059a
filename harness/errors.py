"""Errors that advise: what was wrong, what would be right, and the next step."""

import difflib
import os
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

from harness.visible import block

_ROOT = Path(__file__).resolve().parents[1]
_ENGINE = tuple(_ROOT / room for room in ("harness", "reports", "suites"))
_LIBRARIES = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


class AdaptBenchError(Exception):
    """Anything a user can put right. The command line prints it in one message, without a traceback."""

    def __init__(self, what: str, advice: str = "") -> None:
        what, advice = block(what), block(advice)
        super().__init__(f"{what}\n{advice}" if advice else what)
        self.what = what
        self.advice = advice


class ConfigError(AdaptBenchError):
    """A name, an option or a setting is wrong; nothing has run yet (exit code 2)."""


class DataError(AdaptBenchError):
    """A dataset is missing, incomplete or broken. Before a suite starts: exit code 2; inside a run: a failed row."""


class MethodError(AdaptBenchError):
    """A method doesn't keep its contract (`harness.method`). Before a suite starts: exit code 2; inside a run: a failed row."""


class BackboneError(AdaptBenchError):
    """A backbone can't be built, loaded, or used in the way a method asks."""


class TrainingError(AdaptBenchError):
    """Training went wrong in a way that is a result: the loss is not finite, for instance."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'b'? Known: a, b, c.`` for the advice of an unknown-name error; a long list is left out."""
    names = sorted(known)
    spelt = {other.lower(): other for other in names}
    close = [spelt[other] for other in difflib.get_close_matches(name.lower(), spelt, n=3)]
    hint = "Did you mean " + " or ".join(f"'{other}'" for other in close) + "? " if close else ""
    return hint + (f"Known: {', '.join(names) or 'none'}." if len(names) <= 40 else f"{len(names)} names are known.")


def located(error: BaseException) -> str:
    """An error that nobody expected, with the place it comes from: ``ValueError: odd (file.py:12, in function)``.

    The place is the innermost one in the user's own code; else in a method of AdaptBench's, in its engine, in any library.
    """
    frame = (
        users_frame(error)
        or _innermost(error, *_ENGINE, *_LIBRARIES)
        or _innermost(error, *_LIBRARIES)
        or _innermost(error)
    )
    where = f" ({Path(frame.filename).name}:{frame.lineno}, in {frame.name})" if frame else ""
    return f"{type(error).__name__}: {error}{where}"


def is_users(error: BaseException) -> bool:
    """Whether an error came up in code of the user's own, or in what that called."""
    return users_frame(error) is not None


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, with the home folder as ``~``, as it may be kept and shown to others."""
    text = "".join(traceback.format_exception(error))
    home = os.path.expanduser("~")  # that is itself where nobody knows of a home
    return text.replace(home, "~") if len(home) > 1 else text


def users_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost place in the user's own code that an error went through; None where there is none."""
    return _innermost(error, *_ENGINE, _ROOT / "methods", *_LIBRARIES)


def _innermost(error: BaseException, *others: Path) -> traceback.FrameSummary | None:
    """The innermost frame of a file in none of these folders; made-up files, such as ``<frozen importlib>``, don't count."""
    for frame in traceback.extract_tb(error.__traceback__)[::-1]:
        path = Path(frame.filename)
        if path.is_absolute() and not any(path.resolve().is_relative_to(folder) for folder in others):
            return frame
    return None
