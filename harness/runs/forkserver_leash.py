"""What the fork server imports first, within milliseconds: from then on it ends with the suite's process."""

from harness.runs.death_with_parent import end_with_told_parent

end_with_told_parent()
