"""What waits for rows that somebody else holds, beside those who write batches.

An operator who holds one payment in a transaction must hold up that payment only. So the items of
a batch that met a held row are run again in small parts, with little patience, until those that
wait for the row are found.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from strongroom.clock import monotonic_seconds
from strongroom.database import lock_timeout
from strongroom.work.lasting import lasting

TRIES_MAX: Final = 2
"""Tries at a time, each for another owner."""
TRY_LOCK_TIMEOUT: Final = "50ms"
"""Short, for it is tried again, and the next key may find its row free."""
WAIT_SECONDS: Final = 0.05
WAIT_SECONDS_MAX: Final = 1.0

Entry = TypeVar("Entry")


class Aside(Generic[Entry]):
    """Entries by owner and key, each until it has ended or its time is over.

    `run` brings entries to their end, but for those it returns: somebody still holds a row of
    these. `give_up` ends those whose time is over. `ended` is called when some have ended. How many
    wait is in `count`.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Entry], float], Awaitable[Sequence[Entry]]],
        give_up: Callable[[Sequence[Entry]], None],
        ended: Callable[[], None],
        *,
        owner: Callable[[Entry], Hashable],
        key: Callable[[Entry], Hashable],
        batch_max: int,
    ) -> None:
        self._run = run
        self._give_up = give_up
        self._ended = ended
        self._owner = owner
        self._key = key
        self._batch_max = batch_max
        self.count = 0
        self._keys: dict[Hashable, OrderedDict[Hashable, list[tuple[Entry, float]]]] = {}
        self._counts: Counter[Hashable] = Counter()
        self._turns = asyncio.Semaphore(TRIES_MAX)

    def count_of(self, owner: Hashable) -> int:
        """How many entries of this owner wait."""
        return self._counts[owner]

    def add(self, entries: Sequence[Entry], until: float) -> None:
        """From now on these are tried here, until this time on the clock of monotonic_seconds."""
        for entry in entries:
            owner, key = self._owner(entry), self._key(entry)
            if owner not in self._keys:
                self._keys[owner] = OrderedDict()
                _ = lasting(self._try(owner))
            keys = self._keys[owner]
            if key not in keys:
                keys[key] = []
                keys.move_to_end(key, last=False)  # it may be free: those known not to be wait
            keys[key].append((entry, until))
            self._counts[owner] += 1
        self.count += len(entries)

    def without_known(self, entries: Sequence[Entry], until: float) -> Sequence[Entry]:
        """The entries but for those whose key waits here already: these join it."""
        known = [e for e in entries if self._key(e) in self._keys.get(self._owner(e), ())]
        self.add(known, until)
        ids = set(map(id, known))
        return [entry for entry in entries if id(entry) not in ids]

    async def _try(self, owner: Hashable) -> None:
        """Tries what waits of one owner until nothing does.

        Twice as many keys together after each success, half as many where somebody holds a row:
        one row is found soon, and when a whole table was held all are soon through.
        """
        lock_timeout.set(TRY_LOCK_TIMEOUT)
        keys = self._keys[owner]
        together, wait = 1, WAIT_SECONDS
        while keys:
            async with self._turns:
                part = list(islice(keys, together))
                tried = [one for key in part for one in keys[key]][: self._batch_max]
                held = await self._run([entry for entry, _ in tried], max(u for _, u in tried))
            over = {id(entry) for entry, _ in tried}.difference(map(id, held))
            for key in part:
                self._keep(owner, key, [one for one in keys[key] if id(one[0]) not in over])
            if not held:
                together, wait = min(together * 2, self._batch_max), WAIT_SECONDS
                continue
            together = max(1, len(part) // 2)
            if len(part) == 1:
                keys.move_to_end(part[0])
                self._give_up_before(owner, monotonic_seconds() + wait)
                await asyncio.sleep(wait / max(1, len(keys)))
                wait = min(wait * 2, WAIT_SECONDS_MAX)
        del self._keys[owner], self._counts[owner]

    def _give_up_before(self, owner: Hashable, time: float) -> None:
        for key, waiting in list(self._keys[owner].items()):
            over = [entry for entry, until in waiting if until < time]
            if over:
                self._give_up(over)
                self._keep(owner, key, [one for one in waiting if one[1] >= time])

    def _keep(self, owner: Hashable, key: Hashable, kept: list[tuple[Entry, float]]) -> None:
        """Of what waits under this key only these still do."""
        keys = self._keys[owner]
        ended = len(keys[key]) - len(kept)
        self.count -= ended
        self._counts[owner] -= ended
        if kept:
            keys[key] = kept
        else:
            del keys[key]
        self._ended()
