"""Learning from logged decisions: datasets, models, their evaluation and their release."""
