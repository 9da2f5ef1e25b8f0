"""Quiet hours, the hours of a device and preferred hours: the first minute that they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final
from zoneinfo import ZoneInfo

from services.engine.playbook.schema.head import Hours
from services.engine.playbook.schema.policies import PreferredHours, QuietHours
from services.engine.policy import clocks

DEVICE: Final = "device"
_PREFERENCE: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A minute, and the names of what was closed on the way to it, in the order of the way."""

    minute: int
    moved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """When a treatment may arrive: outside quiet hours, in those of a device that it waits for.

    A minute is open where it is in all of the zones.
    """

    zones: tuple[ZoneInfo, ...]
    quiet: Sequence[QuietHours]
    device: Hours | None

    def earliest(self, now: datetime) -> Stop | None:
        """Return the first open minute from now on, None where there is none within 8 days.

        It never lies before the next start of the hours of a device.
        """
        minute = clocks.minute_of(now)
        if self.device is None:
            return self._open(Stop(minute=minute), self._closed())
        start = clocks.next_start(clocks.minutes_of(self.device), self.zones, minute)
        if start is None:
            return None
        return self._open(Stop(minute=start, moved_by=(DEVICE,)), self._closed())

    def preferring(self, preferred: Sequence[PreferredHours], stop: Stop) -> Stop:
        """Return the first open minute from a stop on in any preferred hours, else that stop."""
        if not preferred:
            return stop
        wanted = reduce(or_, map(clocks.minutes_of, preferred))
        found = self._open(stop, [*self._closed(), (_PREFERENCE, clocks.ALL ^ wanted)])
        if found is None or found == stop:
            return stop
        there = clocks.shown(self.zones, found.minute)
        into = [each.name for each in preferred if clocks.minutes_of(each) & there]
        return Stop(minute=found.minute, moved_by=(*filter(None, found.moved_by), *into))

    def _closed(self) -> list[tuple[str, int]]:
        closed = [(rule.name, clocks.minutes_of(rule)) for rule in self.quiet]
        if self.device is not None:
            closed.append((DEVICE, clocks.ALL ^ clocks.minutes_of(self.device)))
        return closed

    def _open(self, stop: Stop, closed: Sequence[tuple[str, int]]) -> Stop | None:
        """Go on until nothing is closed. Only what is met on the way closes, hence is named."""
        minute: int | None = stop.minute
        names, shut = stop.moved_by, 0
        while minute is not None:
            here = clocks.shown(self.zones, minute)
            met = [each for each in closed if each[1] & here]
            if not met:
                return Stop(minute=minute, moved_by=tuple(dict.fromkeys(names)))
            names += tuple(name for name, _ in met)
            shut = reduce(or_, (minutes for _, minutes in met), shut)
            minute = clocks.first(clocks.ALL ^ shut, self.zones, minute)
        return None
