"""What the fork server imports first, within milliseconds: from then on it ends with the suite's process, and collects no garbage.

Nothing that is imported is garbage: to look for some meanwhile takes a sixth of the time. `forkserver_preload` ends that.
"""

import gc

from harness.runs.death_with_parent import end_with_told_parent

end_with_told_parent()
gc.disable()
