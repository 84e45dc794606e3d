"""Whether the process runs, and whether it can accept payments."""

import asyncio
from typing import Final

import asyncpg

from strongroom.clock import Clock
from strongroom.database import UNREACHABLE
from strongroom.errors import Unavailable
from strongroom.http.exchange import Reply, json_reply, problem_reply
from strongroom.work.timekeeper import DIFFERENCE_MAX, ahead

READY_SECONDS_MAX: Final = 2.0
_RETURNED: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Thank you</title>
<meta name="viewport" content="width=device-width">
<h1>Thank you</h1><p>You can close this page and go back to the shop.</p></html>
"""


class Health:
    """Answers probes; `draining` is set while the process finishes what it took in."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock
        self.draining = False

    def alive(self) -> Reply:
        """200 as long as the loop turns."""
        return json_reply(200, {"status": "alive"})

    async def ready(self) -> Reply:
        """200 when the database answers, and its clock and ours agree, else 503."""
        try:
            async with asyncio.timeout(READY_SECONDS_MAX), self._pool.acquire() as connection:
                differs = abs(await ahead(connection, self._clock)) > DIFFERENCE_MAX
        except (asyncpg.PostgresError, *UNREACHABLE):
            return self._not_ready("The database does not answer.")
        if differs:
            return self._not_ready("The clock of this machine and the database's do not agree.")
        if self.draining:
            return self._not_ready("The process is about to stop.")
        return json_reply(200, {"status": "ready"})

    def returned(self) -> Reply:
        """A page of one sentence that loads nothing and runs nothing."""
        policy = ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
        return Reply(200, _RETURNED, (policy,), "text/html; charset=utf-8")

    def _not_ready(self, why: str) -> Reply:
        return problem_reply(Unavailable("not_ready", why=why))
