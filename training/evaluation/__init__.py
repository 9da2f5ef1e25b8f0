"""How good scores are, how sure that is, and whether one score beats another."""
