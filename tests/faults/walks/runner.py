"""One runner: a process with a ground of its own, which takes the walks that it is told."""

import asyncio
import json
import time
import traceback
from datetime import timedelta
from typing import Any, Final

from strongroom.local.home import write_atomically
from tests.faults.points.ground import Ground
from tests.faults.points.points import Fault, Kind
from tests.faults.points.runner import SAID_CHARACTERS_MAX, serve
from tests.faults.walks.steps import drawn
from tests.faults.walks.walk import Walk

WALKS_PER_STAND_IN: Final = 60
"""A stand-in's books grow with each walk, and its clock goes on."""
DELIVERIES: Final = {"duplicate": 0.2, "reorder": 0.3, "delay_ms": 150}
"""What goes wrong with webhooks, by chance."""


class WalkRunner:
    """Answers each seed with what its walk came to."""

    def __init__(self) -> None:
        self.ground = Ground(self._watch)
        self._walk: Walk | None = None
        self._walked, self._world = 0, timedelta()

    async def _watch(self, kind: Kind, place: str) -> Fault | None:
        return None if self._walk is None else await self._walk.watch(kind, place)

    async def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """One walk."""
        if self._walked % WALKS_PER_STAND_IN == 0:
            await self._begin_anew()
        self._walked += 1
        begun, steps = time.monotonic(), drawn(job["seed"])
        self._walk = walk = Walk(self.ground, self._walked, steps, self._world)
        try:
            findings = await walk.run()
        except Exception as problem:  # noqa: BLE001 - told as a finding, with where it was
            findings = [f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}"]
        finally:
            self._walk, self._world = None, walk.world
        told = {
            **job, "findings": findings, "steps": len(steps), "kills": walk.kills,
            "seconds": round(time.monotonic() - begun, 2), "payments": len(walk.accepted),
            "taken": dict(walk.taken),
        }  # fmt: skip
        if findings:
            told["said"] = self.ground.lives.said(SAID_CHARACTERS_MAX)
        return told

    async def _begin_anew(self) -> None:
        """Stand-ins with empty books, which deliver webhooks badly."""
        if self._walked:
            await self.ground.renew_stand_ins()
        self._world = timedelta()
        for server in (self.ground.stripe, self.ground.braintree):
            file = server.data.with_name("webhooks")
            told = json.loads(file.read_text()) | {"faults": DELIVERIES}
            write_atomically(file, json.dumps(told))


if __name__ == "__main__":
    asyncio.run(serve(WalkRunner()))
