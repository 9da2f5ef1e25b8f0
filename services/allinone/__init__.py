"""The composition root that runs all four services in one process."""
