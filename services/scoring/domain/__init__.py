"""What a model is, when it may be served, and how it scores; pure."""
