"""What the rooms above share: texts, units, cells, styles."""

import os

from harness.files import temporary_cache_folder

if (_folder := temporary_cache_folder()) is not None:
    os.environ.setdefault("MPLCONFIGDIR", str(_folder / "matplotlib"))  # else it makes a new one each time, and says so
