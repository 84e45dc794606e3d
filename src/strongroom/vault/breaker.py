"""What is down is asked once in a while, not by every caller: nobody else waits for it."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from strongroom.clock import monotonic_seconds
from strongroom.vault.errors import KmsRefused, KmsUnavailable

T = TypeVar("T")

REST_SECONDS: Final = 0.5
"""After a failure, how long nobody asks. Then one does, and the others still do not wait."""


class Breaker:
    """Lets calls through while they are answered; a refusal is an answer, too.

    `now` tells monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = monotonic_seconds) -> None:
        self._now = now
        self._rests_until: float | None = None
        """None while all is well."""
        self._probing = False

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives or raises. Raises KmsUnavailable, without asking, while it rests."""
        probe = self._rests_until is not None
        if probe:
            if self._probing or self._now() < (self._rests_until or 0.0):
                raise KmsUnavailable("the KMS did not answer a moment ago")
            self._probing = True
        try:
            answer = await ask()
        except KmsUnavailable:
            self._rests_until = self._now() + REST_SECONDS
            raise
        except KmsRefused:
            self._rests_until = None
            raise
        finally:
            if probe:
                self._probing = False
        self._rests_until = None
        return answer
