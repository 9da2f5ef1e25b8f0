"""Measures the stores that decisions read from against what the bare stores do themselves."""
