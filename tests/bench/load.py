"""Sends calls the way a load says, and measures each."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.http2 import Answer, Connection

PATIENCE_SECONDS = 20.0
SAMPLED_EVERY = 10
MOST_SAMPLES = 200


class Plan(Protocol):
    """When to send. Times are seconds since the start."""

    def due(self, now: float, sent: int, in_flight: int) -> float | None:
        """Return the time at which the next call was meant to be sent, None where it is not yet."""
        ...

    def wait(self, now: float, sent: int) -> float:
        """Return the seconds until something may be due without an answer arriving."""
        ...

    def is_over(self, now: float, sent: int) -> bool:
        """Tell whether nothing more is to be sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """So many callers, each of whom sends again as soon as it is answered."""

    in_flight: int
    seconds: float
    requests: float = math.inf

    def due(self, now: float, sent: int, in_flight: int) -> float | None:
        """Return now where a caller is idle."""
        return now if in_flight < self.in_flight and not self.is_over(now, sent) else None

    def wait(self, now: float, sent: int) -> float:
        """Return a long time: only an answer makes a caller send."""
        return PATIENCE_SECONDS

    def is_over(self, now: float, sent: int) -> bool:
        """Tell whether the time is up or enough was sent."""
        return now >= self.seconds or sent >= self.requests


@dataclass(frozen=True, slots=True)
class Open:
    """Calls at given times, whether or not earlier ones are answered."""

    times: Sequence[float]

    @classmethod
    def at_random(cls, rate: float, seconds: float, requests: float, seed: int) -> Open:
        """Spread calls as a Poisson process does."""
        draw, times, now = random.Random(seed), list[float](), 0.0
        while (now := now + draw.expovariate(rate)) < seconds and len(times) < requests:
            times.append(now)
        return cls(times)

    def due(self, now: float, sent: int, in_flight: int) -> float | None:
        """Return the time of the next call once it has come."""
        return None if self.is_over(now, sent) or self.times[sent] > now else self.times[sent]

    def wait(self, now: float, sent: int) -> float:
        """Return the time until the next call."""
        return PATIENCE_SECONDS if self.is_over(now, sent) else max(0.0, self.times[sent] - now)

    def is_over(self, now: float, sent: int) -> bool:
        """Tell whether all were sent."""
        return sent >= len(self.times)


class Stalled(Exception):
    """Nothing was answered for a long time."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What came of one load; latencies and lags in seconds.

    A latency counts from when the call was meant to be sent; a lag is how much later it was sent.
    """

    sent: int = 0
    elapsed: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    failures: list[Answer] = field(default_factory=list)
    samples: list[Answer] = field(default_factory=list)


def drive(connection: Connection, messages: Iterator[bytes], plan: Plan) -> Run:
    """Send until the plan is over and all is answered.

    Raises:
        Stalled: the server stopped answering.
    """
    run, pending = Run(), dict[int, float]()
    started, cpu = time.perf_counter(), time.process_time()
    message, now, heard = next(messages), 0.0, 0.0
    while pending or not plan.is_over(now, run.sent):
        while connection.has_room(message):
            if (intended := plan.due(now, run.sent, len(pending))) is None:
                break
            pending[connection.call(message)] = intended
            run.lags.append(now - intended)
            run.sent += 1
            message = next(messages)
        connection.flush()
        wait = plan.wait(now, run.sent) if connection.has_room(message) else PATIENCE_SECONDS
        answers = connection.answers(wait)
        now = time.perf_counter() - started
        for answer in answers:
            _end(run, answer, now - pending.pop(answer.stream))
        heard = now if answers or not pending else heard
        if now - heard > PATIENCE_SECONDS:
            raise Stalled(f"{len(pending)} calls without an answer for {PATIENCE_SECONDS:g} s")
    run.elapsed, run.cpu_seconds = now, time.process_time() - cpu
    return run


def _end(run: Run, answer: Answer, latency: float) -> None:
    run.latencies.append(latency)
    if not answer.ok:
        run.failures.append(answer)
    elif len(run.latencies) % SAMPLED_EVERY == 0 and len(run.samples) < MOST_SAMPLES:
        run.samples.append(answer)
