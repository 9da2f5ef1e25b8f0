"""The scoring service: turns feature vectors into calibrated propensities."""
