"""Measures decisions under load against what bare gRPC needs on the same machine in the same run."""
