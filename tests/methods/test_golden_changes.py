"""No single change of a golden file goes unnoticed."""

import pytest
from golden.changes import review


@pytest.mark.long
def test_every_change_is_noticed(golden_part, record_property):
    result = review(golden_part)
    for count in ("made", "noticed", "exempt", "free", "runs"):
        record_property(f"golden changes {count}", getattr(result, count))
    assert not result.unnoticed, (
        f"{len(result.unnoticed)} of {result.made} changes go unnoticed: {result.unnoticed[:20]}"
    )
