"""What may be put on file, and which consent counts; pure."""
