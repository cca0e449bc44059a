"""What the fork server imports last, whether or not all imports before it went well: who waits for it sees that it listens now."""

import os
from pathlib import Path

from harness.runs.death_with_parent import READY

if READY in os.environ:
    Path(os.environ.pop(READY)).touch()
