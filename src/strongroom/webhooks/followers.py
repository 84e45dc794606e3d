"""All that a worker does about webhooks, beside payments: follow up, fetch, sweep."""

import asyncio
from collections.abc import Mapping, Sequence

import asyncpg

from strongroom.clock import Clock
from strongroom.gateways.history import Charges, History
from strongroom.webhooks.fetches import Fetcher
from strongroom.webhooks.follow_up import FollowUp
from strongroom.webhooks.sweeps import Sweeper


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
    ) -> None:
        self._sources = (*histories.values(), *charges.values())
        self._all = (
            FollowUp(pool, clock, buckets),
            Fetcher(pool, clock, histories, buckets),
            Sweeper(pool, clock, histories, charges, gateways, buckets),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts them in the running loop."""
        self._tasks = [asyncio.create_task(one.run()) for one in self._all]

    async def close(self) -> None:
        """Stops them; what was claimed is done by whoever claims it next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for source in self._sources:
            await source.close()
