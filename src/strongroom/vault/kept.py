"""A bounded memory: nothing stays longer than some seconds, and never more than so many."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import takewhile
from typing import Final, Generic, TypeVar

from strongroom.clock import monotonic_seconds

KEPT_SECONDS: Final = 60.0
KEPT_MAX: Final = 10_000
REFRESH_SECONDS: Final = 40.0
"""What is asked for after this is fetched anew beside its use, so that nobody waits for it."""

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Name, Value]):
    """Values by name. What was not used again is let go of on its own, by a timer of the loop."""

    def __init__(
        self,
        *,
        seconds: float = KEPT_SECONDS,
        most: int | Callable[[], int] = KEPT_MAX,
        now: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._seconds, self._now = seconds, now
        self._most = most
        self._values: OrderedDict[Name, tuple[float, Value]] = OrderedDict()
        """By name, since when its age counts, and what; the oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: Name) -> Value | None:
        """What is kept under the name, unless it is too old."""
        return self.get_with_age(name)[0]

    def get_with_age(self, name: Name) -> tuple[Value | None, float]:
        """What is kept under the name, unless it is too old, and for how many seconds."""
        found = self._values.get(name)
        if found is None:
            return None, 0.0
        age = self._now() - found[0]
        if age >= self._seconds:
            del self._values[name]
            return None, age
        return found[1], age

    def now(self) -> float:
        """This moment, for `since`."""
        return self._now()

    def put(self, name: Name, value: Value, *, since: float | None = None) -> None:
        """Keeps it; the oldest goes when there are too many.

        Its age counts from now on, or `since` a moment of `now`: what was read is as old as the
        reading of it, which may have taken a while.
        """
        self._values.pop(name, None)
        most = self._most if isinstance(self._most, int) else self._most()
        while self._values and len(self._values) >= most:
            self._values.popitem(last=False)
        since = self._now() if since is None else since
        younger = list(takewhile(lambda one: self._values[one][0] > since, reversed(self._values)))
        self._values[name] = (since, value)
        for other in reversed(younger):
            self._values.move_to_end(other)
        if self._timer is None or next(iter(self._values)) == name:
            self._wait()

    def drop(self, name: Name) -> None:
        """Lets go of it."""
        self._values.pop(name, None)

    def clear(self) -> None:
        """Lets go of everything."""
        self._values.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        now = self._now()
        while self._values:
            name, (since, _) = next(iter(self._values.items()))
            if now - since < self._seconds:
                break
            del self._values[name]
        self._wait()

    def _wait(self) -> None:
        """Until the oldest is to go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._values:
            since, _ = next(iter(self._values.values()))
            wait = max(0.0, self._seconds - (self._now() - since))
            self._timer = asyncio.get_running_loop().call_later(wait, self._sweep)
