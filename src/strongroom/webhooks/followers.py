"""All that a worker does about webhooks, beside payments: follow up, fetch, sweep."""

import asyncio
from collections.abc import Mapping, Sequence

import asyncpg

from strongroom.clock import Clock
from strongroom.gateways.history import Charges, History
from strongroom.webhooks.fetches import Fetcher
from strongroom.webhooks.follow_up import FollowUp
from strongroom.webhooks.sweeps import Sweeper
from strongroom.work.bell import NO_BELL, NoBell
from strongroom.work.lasting import lasting, let_go


class Followers:
    """Runs them over one pool; `gateways` send webhooks, and those of `histories` list them.

    Those of `charges` show what they have charged.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        histories: Mapping[str, History],
        charges: Mapping[str, Charges],
        gateways: Sequence[str],
        buckets: Sequence[int],
        bell: NoBell = NO_BELL,
    ) -> None:
        self._sources = (*histories.values(), *charges.values())
        self._all = (
            FollowUp(pool, clock, buckets, bell),
            Fetcher(pool, clock, histories, buckets),
            Sweeper(pool, clock, histories, charges, gateways, buckets),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts them in the running loop."""
        self._tasks = [lasting(one.run()) for one in self._all]

    async def close(self) -> None:
        """Stops them; what was claimed is done by whoever claims it next."""
        await let_go(*self._tasks)
        for source in self._sources:
            await source.close()
