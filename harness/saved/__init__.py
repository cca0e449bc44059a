"""Saved models: what training changed, in a file; the model that answers from it; and its exports."""
