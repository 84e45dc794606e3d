"""When an account is not asked for a while: a circuit breaker as a value. Pure: time comes in.

A breaker is closed while calls are answered; a decline is an answer. It opens when too many of the
last calls taught nothing, rests, and then lets one probe through at a time. It closes by itself.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

WINDOW_CALLS: Final = 20
"""The last calls that count: whatever came before, so many failures in a row open it."""
CALLS_MIN: Final = 10
"""Fewer finished calls than this prove nothing."""
FAILED_SHARE: Final = 0.5
REST_SECONDS: Final = 1.0
"""The first rest; each failed probe doubles it."""
REST_SECONDS_MAX: Final = 30.0
LOOK_REST_SECONDS_MAX: Final = 2.0
"""Looks move no money, and only they end what is unknown: their probes stay frequent."""
REST_JITTER: Final = 0.25
"""A rest is so much shorter or longer by chance: processes do not probe in one moment."""
PROBES_TO_CLOSE: Final = 3

_WINDOW_BITS: Final = (1 << WINDOW_CALLS) - 1

State = Literal["closed", "open", "half_open"]


class Breaker(Struct, frozen=True, kw_only=True):
    """What is known of one line to a gateway.

    `failed` has a bit for each of the last `calls` calls, the newest lowest, set where it failed.
    `turn` goes up with each change of `state`: a call that began in another turn says nothing any
    more. Seconds are on any clock that does not go back.
    """

    state: State = "closed"
    turn: int = 0
    failed: int = 0
    calls: int = 0
    rest_seconds: float = REST_SECONDS
    rests_until: float = 0.0
    is_probing: bool = False
    probes_passed: int = 0

    def asked(self, now: float) -> "Breaker | None":
        """The breaker with one call more under way, or None when nothing may be sent now."""
        match self.state:
            case "closed":
                return self
            case "open":
                if now < self.rests_until:
                    return None
                return replace(
                    self, state="half_open", turn=self.turn + 1, is_probing=True, probes_passed=0
                )
            case "half_open":
                return None if self.is_probing else replace(self, is_probing=True)

    def ended(
        self,
        turn: int,
        failed: bool | None,
        now: float,
        chance: float,
        rest_seconds_max: float = REST_SECONDS_MAX,
    ) -> "Breaker":
        """The breaker after a call that began in `turn`; `failed` is None where nothing was learnt.

        `chance` is drawn from [0, 1).
        """
        if turn != self.turn:
            return self
        if self.state == "half_open":
            return self._probed(failed, now, chance, rest_seconds_max)
        if failed is None:
            return self
        calls = min(self.calls + 1, WINDOW_CALLS)
        bits = ((self.failed << 1) | failed) & _WINDOW_BITS
        if failed and calls >= CALLS_MIN and bits.bit_count() >= FAILED_SHARE * calls:
            return self._opened(REST_SECONDS, now, chance)
        return replace(self, calls=calls, failed=bits)

    def _probed(
        self, failed: bool | None, now: float, chance: float, rest_seconds_max: float
    ) -> "Breaker":
        if failed:
            return self._opened(min(self.rest_seconds * 2, rest_seconds_max), now, chance)
        passed = self.probes_passed + (failed is False)
        if passed >= PROBES_TO_CLOSE:
            return Breaker(turn=self.turn + 1)
        return replace(self, is_probing=False, probes_passed=passed)

    def _opened(self, rest_seconds: float, now: float, chance: float) -> "Breaker":
        jitter = 1 + REST_JITTER * (2 * chance - 1)
        return Breaker(
            state="open",
            turn=self.turn + 1,
            rest_seconds=rest_seconds,
            rests_until=now + rest_seconds * jitter,
        )
