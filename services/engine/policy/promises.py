"""Response-time promises: what an open one is worth the nearer its limit, and what is left of it."""

from __future__ import annotations

from datetime import timedelta

from services.engine import lengths
from services.engine.playbook.schema.policies import Promise


def factor(promise: Promise, age: float) -> float:
    """Return what worth is multiplied by once a promise has been open for ``age`` seconds.

    It rises evenly from 1 to ``most`` at the limit, and stays there. It is 1 below an age of 0.
    """
    share = age / promise.within.total_seconds()
    return 1.0 + (promise.most - 1.0) * max(0.0, min(share, 1.0))


def standing(promise: Promise, age: float) -> str:
    """Say how long is left, or since when nothing is.

    >>> from services.engine.playbook.schema.policies import Scope
    >>> reply = Promise(
    ...     name="reply", text="We answer.", applies_to=Scope(groups=("help",)), feature="waiting",
    ...     within="2h", most=3,
    ... )
    >>> standing(reply, 5_880.0), standing(reply, 7_200.0), standing(reply, 9_300.5)
    ('22 min left of 2 h', '0 s left of 2 h', 'overdue for 35 min, promised within 2 h')
    """
    promised = lengths.exact(promise.within)
    left = promise.within - timedelta(seconds=age)
    if left >= timedelta():
        return f"{lengths.rounded(left)} left of {promised}"
    return f"overdue for {lengths.rounded(-left)}, promised within {promised}"
