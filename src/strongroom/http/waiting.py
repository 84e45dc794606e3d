"""`Prefer: wait=N`: one batched look per process serves everyone who waits."""

import asyncio
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from strongroom.database import UNREACHABLE
from strongroom.payments.reads import read_payments
from strongroom.payments.states import Payment

LOOK_SECONDS: Final = 0.1
WAITERS_MAX: Final = 10_000

log = structlog.get_logger()


class Waiting:
    """Holds requests until their payment leaves `processing`, or their time is up."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiters: dict[UUID, list[tuple[UUID, asyncio.Future[Payment]]]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the look in the running loop."""
        self._task = asyncio.create_task(self._look_forever())

    async def close(self) -> None:
        """Lets everyone go with what they have."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiters in self._waiters.values():
            for _, future in waiters:
                future.cancel()

    async def settled(self, payment: Payment, seconds: int) -> Payment:
        """The payment once it is not `processing`, or as given when the time is up."""
        if payment.status != "processing" or seconds <= 0 or self._count >= WAITERS_MAX:
            return payment
        future: asyncio.Future[Payment] = asyncio.get_running_loop().create_future()
        entry = (payment.legal_entity_id, future)
        self._waiters.setdefault(payment.payment_id, []).append(entry)
        self._count += 1
        self._wake.set()
        try:
            await asyncio.wait([future], timeout=seconds)
            return future.result() if future.done() and not future.cancelled() else payment
        finally:
            self._count -= 1
            waiters = self._waiters[payment.payment_id]
            waiters.remove(entry)
            if not waiters:
                del self._waiters[payment.payment_id]

    async def _look_forever(self) -> None:
        while True:
            if not self._waiters:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(LOOK_SECONDS)
            wanted = {payment: waiters[0][0] for payment, waiters in self._waiters.items()}
            try:
                found = await read_payments(self._pool, wanted)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("waiting_look_failed", error=type(error).__name__)
                continue
            for payment in found:
                if payment.status != "processing":
                    for _, future in self._waiters.get(payment.payment_id, []):
                        if not future.done():
                            future.set_result(payment)
