"""From records to a page: pure functions of what runs left behind. Needs no torch, no network and no clock."""
