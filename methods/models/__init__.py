"""The arithmetic of the methods, in stages of the towers. Nothing is shared but `_text`."""
