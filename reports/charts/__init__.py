"""Pictures, drawn without the backend that MPLBACKEND names: a notebook's, handed on to commands, need not be installed there."""

import os
from contextlib import suppress

_backend = os.environ.pop("MPLBACKEND", None)
import matplotlib as mpl  # noqa: E402  reads MPLBACKEND, and fails where it knows no such backend

if _backend is not None:
    os.environ["MPLBACKEND"] = _backend
    with suppress(ValueError):
        mpl.rcParams["backend"] = _backend  # for whoever draws in this process beside us
