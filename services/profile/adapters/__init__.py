"""Stores of profiles."""
