"""What befalls a walk while it goes on: faults at points from now, bad weather, pauses, time."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import Final

from tests.faults.points.flows import Flow
from tests.faults.points.ground import Ground
from tests.faults.points.points import Fault, Kind
from tests.faults.points.trial import Trial

PAUSE_STRIKES_SECONDS_MAX: Final = 0.2
LEASES_END: Final = timedelta(seconds=130)
"""Later than any lease that began now; the longest is a sweep's."""
TAKEN_OVER_SECONDS: Final = 0.3
QUIET_SECONDS: Final = 0.15
LOOK_SECONDS: Final = 0.005


class Strike:
    """A fault at the so-manieth point from now."""

    def __init__(self, fault: Fault | None, points: int) -> None:
        self.fault, self.points = fault, points
        """None: our process stands still."""
        self.struck = asyncio.Event()


class StruckTrial(Trial):
    """A trial that is struck again and again; `began` is how far the world's clock is ahead."""

    def __init__(self, ground: Ground, flow: Flow, number: int, began: timedelta) -> None:
        super().__init__(ground, flow, number)
        self.world, self._wrong_by = began, timedelta()
        self.kills = self._points = 0
        self._strikes_to_come: list[Strike] = []
        self._weather: dict[str, tuple[Fault, int]] = {}
        self._reviving = asyncio.Lock()

    async def _let_pass(self, points: int) -> None:
        """So many messages and exchanges go by, or none more comes."""
        until, seen, changed = self._points + points, self._points, time.monotonic()
        while self._points < until and time.monotonic() - changed < QUIET_SECONDS:
            await self._revive()
            await asyncio.sleep(LOOK_SECONDS)
            if self._points > seen:
                seen, changed = self._points, time.monotonic()

    # Faults.

    async def watch(self, kind: Kind, place: str) -> Fault | None:
        """What is to go wrong at a place now."""
        if self._over:
            return None
        self._points += 1
        if kind is Kind.EXCHANGE and (fault := self._foul(place)):
            return fault
        if not self._strikes_to_come:
            return None
        strike = self._strikes_to_come[0]
        strike.points -= 1
        if strike.points > 0 or (strike.fault is Fault.STOPPED and kind is not Kind.MESSAGE):
            return None
        self._strikes_to_come.pop(0)
        strike.struck.set()
        if strike.fault is None:
            await self.ground.lives.pause()
        elif strike.fault is not Fault.STOPPED:
            self.kills += self.ground.lives.is_living
        return strike.fault

    def _foul(self, place: str) -> Fault | None:
        provider = place.partition(" ")[0]
        fault, many = self._weather.get(provider, (None, 0))
        if many <= 1:
            self._weather.pop(provider, None)
        elif fault is not None:
            self._weather[provider] = (fault, many - 1)
        return fault

    async def _pause(self, points: int) -> None:
        """Our process stands still, another takes over when leases have ended; then it goes on."""
        self._strikes_to_come.insert(0, strike := Strike(None, points))
        with suppress(TimeoutError):
            await asyncio.wait_for(strike.struck.wait(), PAUSE_STRIKES_SECONDS_MAX)
        if not strike.struck.is_set():
            self._strikes_to_come.remove(strike)
            await self.ground.lives.pause()
        await self._passes(LEASES_END)
        await self._revive()
        await asyncio.sleep(TAKEN_OVER_SECONDS)
        self.ground.lives.resume()

    async def _revive(self) -> None:
        async with self._reviving:
            if not self.ground.lives.is_living:
                await self.ground.lives.begin(self.flow.parts)
                self._hear_here()

    def _hear_here(self) -> None:
        self.ground.to_us.target = f"http://127.0.0.1:{self.ground.port}"

    # Time.

    async def _passes(self, span: timedelta) -> None:
        """The whole world's time goes on, the providers' too."""
        self.world += span
        await self._tell_time()

    async def _tell_time(self) -> None:
        self.ground.lives.set_clock(self.world + self._wrong_by)
        await self.ground.move_providers(self.world)
