"""The trace: what was decided, and why, in words."""
