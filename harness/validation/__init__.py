"""The contract test of a method: what a run relies on, tried on a tiny CLIP, and each failure with the line to change."""
