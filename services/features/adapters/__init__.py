"""Stores of events."""
