"""Policies: what may be offered at all."""
