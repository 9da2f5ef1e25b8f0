"""Datasets: how rows are kept, checked, identified and split in time."""
