"""Jobs: each a frozen configuration and a ``run`` that takes it, each usable alone."""
