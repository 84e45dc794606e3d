"""The one place that asks the machine what time it is.

Every statement and every decision takes the time as a parameter, so that a test's clock rules.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

monotonic_seconds: Final = time.monotonic
"""Seconds on a clock that never goes back; only differences mean something."""


class Clock(Protocol):
    """Tells the time as an aware UTC datetime with microsecond precision."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC)


class ShiftedClock:
    """A clock that a test moves: the machine's time plus an offset."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self.offset = offset

    def now(self) -> datetime:
        """The machine's moment plus the offset, in UTC."""
        return datetime.now(UTC) + self.offset

    def advance(self, step: timedelta) -> None:
        """Moves the clock by `step`, which may be negative."""
        self.offset += step


def microseconds_since_epoch(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, exactly."""
    return (moment - EPOCH) // MICROSECOND


def rfc3339(moment: datetime) -> str:
    """RFC 3339 text in UTC with microseconds, as `2026-01-31T12:00:00.000000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
