"""Tells endpoints what is in the log: each entry that they want, until they have it.

One worker at a time works for an endpoint, a round at a time. A round reads on in the log and
commits what is to be told, sends with no transaction open, and commits what came of it. Who is
killed in between leaves a round that is done again after the lease: an event may be told twice,
under one id, and none is lost. No more is read than there is use for: what waits does so in the
log rather than in rows.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import structlog
from msgspec.structs import replace

from strongroom.clock import Clock
from strongroom.database import SERIALIZATION_FAILURES, UNREACHABLE, Connection, writing
from strongroom.errors import described
from strongroom.ids import to_text
from strongroom.log.entries import Entry
from strongroom.log.readers import Placed, read_log
from strongroom.payments.rows import Row
from strongroom.vault.errors import SecretMissing, VaultError
from strongroom.vault.kinds import WEBHOOK_SIGNING_SECRET, WEBHOOK_URL
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Secrets, Slot
from strongroom.webhooks.courier import Courier
from strongroom.webhooks.endpoint_rows import (
    SQL,
    columns_of,
    endpoint_of,
    set_state,
    subjects_of,
)
from strongroom.webhooks.endpoints import (
    AT_ONCE_MAX,
    NOT_SENT,
    Endpoint,
    Health,
    Tried,
    health_after,
    rest_until,
    verdict,
    why_disabled,
)
from strongroom.webhooks.messages import message_body, message_id
from strongroom.webhooks.signatures import Message
from strongroom.work.lasting import lasting, let_go

ROUNDS_AT_ONCE: Final = 32
BEGUN_AT_ONCE: Final = 8
SHARE: Final = 8
"""A legal entity that has so many rounds under way gets no more of them."""
NO_ROUNDS: Final[Mapping[asyncio.Task[int], UUID]] = {}
TRANSACTIONS_AT_ONCE: Final = 2
"""So that payments do not wait for the worker's connections."""
SENDS_AT_ONCE: Final = 128
"""To all together; each has a socket."""
READ_AT_ONCE: Final = 200
WAITING_MAX: Final = 100_000
"""So many wait for one endpoint in rows; what comes after stays unread in the log."""
LEASE: Final = timedelta(minutes=1)
"""Longer than two deadlines of the courier's, for who waits for a socket, with two transactions."""
HELD_MAX: Final = timedelta(minutes=2)
"""Nobody holds an endpoint longer: neither a lease nor a rest is as long."""
ENDS_MAX: Final = 3
"""So often what came of a round is tried to be written."""
ENDS_WAIT_SECONDS: Final = 0.5
STOP_SECONDS: Final = 5.0
"""So long rounds under way are waited for at the end."""
IDLE: Final = timedelta(seconds=1)
"""After a round that had nothing to do, as when so much waits already that nothing is read."""
PUT_OFF: Final = timedelta(seconds=5)
"""When the keys or the secret of an endpoint cannot be had."""
KEPT: Final = timedelta(days=30)
"""For how long it is known what became of a delivery."""
FORGOTTEN_AT_ONCE: Final = 500
FORGET_EVERY_SECONDS: Final = 600.0
IDLE_WAIT_SECONDS: Final = 0.5

log = structlog.get_logger()

Done = TypeVar("Done")


class Head(NamedTuple):
    """The first event of its subject that waits: its entry, how many tries since when, and when
    the last was."""

    placed: Placed
    tries: int
    first_at: datetime | None
    tried_at: datetime | None


class Deliverer:
    """Works for the endpoints of some buckets, over one pool of the worker's connections."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        clock: Clock,
        secrets: Secrets,
        courier: Courier,
        buckets: Sequence[int],
    ) -> None:
        self._pool, self._clock, self._secrets, self._courier = pool, clock, secrets, courier
        self._buckets = list(buckets)
        self._random = random.SystemRandom()
        self._turns = asyncio.Semaphore(TRANSACTIONS_AT_ONCE)
        self._places = asyncio.Semaphore(SENDS_AT_ONCE)

    async def run(self) -> None:
        """Goes on until it is cancelled; what fails is tried again. Closes the courier then."""
        forgetting = lasting(self._forget_now_and_then())
        try:
            await self._go_on()
        finally:
            await let_go(forgetting)
            await self._courier.close()

    async def _go_on(self) -> None:
        rounds: dict[asyncio.Task[int], UUID] = {}
        try:
            while True:
                begun = await _survived(self.begin(rounds), {})
                rounds.update(begun)
                if rounds:
                    wait = 0 if begun else IDLE_WAIT_SECONDS
                    await asyncio.wait(rounds, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(IDLE_WAIT_SECONDS)
                rounds = {task: entity for task, entity in rounds.items() if not task.done()}
        finally:
            if rounds:
                await asyncio.wait(rounds, timeout=STOP_SECONDS)
            for task in rounds:
                task.cancel()
            await asyncio.gather(*rounds, return_exceptions=True)

    async def _forget_now_and_then(self) -> None:
        while True:
            try:
                await self.forget()
            except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
                log.warning("webhooks_not_forgotten", error=type(error).__name__)
            except Exception as fault:  # noqa: BLE001 - payments must not stop for this
                log.error("webhooks_not_forgotten", **described(fault))
            await asyncio.sleep(FORGET_EVERY_SECONDS)

    async def forget(self) -> None:
        """Takes away what ended so long ago that nobody asks for it any more."""
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            served = await connection.fetch(SQL["endpoints_served"], self._buckets)
        before = self._clock.now() - KEPT
        for row in served:
            gone = FORGOTTEN_AT_ONCE
            while gone == FORGOTTEN_AT_ONCE:
                async with writing(self._pool, [row["legal_entity_id"]]) as connection:
                    gone = len(
                        await connection.fetch(
                            SQL["forget_deliveries"],
                            row["legal_entity_id"],
                            row["endpoint_id"],
                            before,
                            FORGOTTEN_AT_ONCE,
                        )
                    )

    async def begin(
        self, under_way: Mapping[asyncio.Task[int], UUID] = NO_ROUNDS
    ) -> dict[asyncio.Task[int], UUID]:
        """Begins rounds for endpoints that something is to be done for, beside those under way.

        Returns the new ones with their legal entities; each comes to how many entries it read and
        how many events it sent, and never raises. A receiver that is slow keeps its own round
        waiting, and a legal entity with many of them leaves room for the others.
        """
        count = min(BEGUN_AT_ONCE, ROUNDS_AT_ONCE - len(under_way))
        if count <= 0:
            return {}
        full = [one for one, number in Counter(under_way.values()).items() if number >= SHARE]
        now = self._clock.now()
        async with writing(self._pool, [], buckets=self._buckets) as connection:
            due = await connection.fetch(
                SQL["claim_endpoints"],
                self._random.sample(self._buckets, len(self._buckets)),
                now,
                count,
                now + LEASE,
                full,
                now + HELD_MAX,
            )
        # One that fails does not hold up the others; it is due again when its lease ends.
        return {
            asyncio.create_task(_survived(self._round(row), 0)): row["legal_entity_id"]
            for row in due
        }

    async def _round(self, row: Row) -> int:
        endpoint, lease = endpoint_of(row), row["lease"]
        health = Health(failures=row["failures"], failing_since=row["failing_since"])
        try:
            async with self._turns:
                [url] = (await self._secrets_of(endpoint, WEBHOOK_URL))[:1]
                secrets = await self._secrets_of(endpoint, WEBHOOK_SIGNING_SECRET)
        except (SecretMissing, VaultError) as error:
            log.error("webhook_not_signed", error=type(error).__name__, ids=_ids(endpoint))
            await self._put_off(endpoint, lease)
            return 0
        async with self._writing(endpoint) as connection:
            held = await _held(connection, endpoint, lease)
            if held is None or held["state"] != "enabled":
                return 0
            heads, read = await self._heads(connection, endpoint, health), 0
            # Where all that could be tried was refused already, something else may be taken.
            all_tried = bool(health.failures) and all(head.tried_at for head in heads)
            if len(heads) < AT_ONCE_MAX or all_tried:
                read = await self._read_on(connection, endpoint, row["next_index"])
                heads = await self._heads(connection, endpoint, health) if read else heads
        tried = await asyncio.gather(*(self._send(endpoint, url, one, secrets) for one in heads))
        for left in reversed(range(ENDS_MAX)):
            try:
                await self._end(endpoint, lease, health, tried, is_idle=not tried and not read)
                break
            except (*UNREACHABLE, *SERIALIZATION_FAILURES):
                if not left:
                    raise
                await asyncio.sleep(ENDS_WAIT_SECONDS)
        return len(tried) + read

    @asynccontextmanager
    async def _writing(self, endpoint: Endpoint) -> AsyncIterator[Connection]:
        """A transaction over the rows of its entity, once there is a turn."""
        async with self._turns, writing(self._pool, [endpoint.legal_entity_id]) as connection:
            yield connection

    async def _secrets_of(self, endpoint: Endpoint, kind: str) -> list[Secret]:
        """Its secrets of a kind in use, newest first; what signs has two during a rotation."""
        slot = Slot(endpoint.legal_entity_id, endpoint.endpoint_id, kind)
        versions = await self._secrets.versions(slot)
        return [await self._secrets.open(slot, version) for version in versions]

    async def _put_off(self, endpoint: Endpoint, lease: int) -> None:
        key = endpoint.legal_entity_id, endpoint.endpoint_id
        async with self._writing(endpoint) as connection:
            until = self._clock.now() + PUT_OFF
            await connection.execute(SQL["put_endpoint_off"], *key, lease, until)

    async def _read_on(self, connection: Connection, endpoint: Endpoint, first: int) -> int:
        """Makes rows of what comes next in the log; returns how many entries were read."""
        key, now = (endpoint.legal_entity_id, endpoint.endpoint_id), self._clock.now()
        if await connection.fetchval(SQL["waiting"], *key) >= WAITING_MAX:
            log.error("webhook_room_full", ids=_ids(endpoint))
            return 0
        placed = await read_log(connection, endpoint.legal_entity_id, first, READ_AT_ONCE)
        if placed:
            wanted = [one for one in placed if endpoint.wants(one.entry.kind)]
            await connection.execute(SQL["plan"], *key, *columns_of(wanted))
            await connection.execute(SQL["line_up"], *key, now, subjects_of(wanted))
            due_at = now if wanted else None
            await connection.execute(SQL["read_up_to"], *key, placed[-1].index + 1, due_at)
        return len(placed)

    async def _heads(
        self, connection: Connection, endpoint: Endpoint, health: Health
    ) -> list[Head]:
        """What is to be sent now: while nothing goes through a few, whether they are due or not."""
        key = endpoint.legal_entity_id, endpoint.endpoint_id
        if health.failures:
            rows = await connection.fetch(SQL["probes"], *key, AT_ONCE_MAX)
        else:
            rows = await connection.fetch(SQL["due_heads"], *key, self._clock.now(), AT_ONCE_MAX)
        return [
            Head(
                Placed(row["index"], Entry.read(row["entry"])),
                row["tries"],
                row["first_tried_at"],
                row["tried_at"],
            )
            for row in rows
        ]

    async def _send(
        self, endpoint: Endpoint, url: Secret, head: Head, secrets: Sequence[Secret]
    ) -> Tried:
        """One try. What we cannot even send is told apart, and costs the others nothing."""
        entity, placed, now = endpoint.legal_entity_id, head.placed, self._clock.now()
        outcome, status = NOT_SENT, None
        try:
            message = Message(
                id=message_id(entity, placed), at=now, body=message_body(entity, placed)
            )
            async with self._places:
                delivered = await self._courier.deliver(url.reveal_text(), message, secrets)
            outcome, status = delivered.outcome, delivered.status
        except Exception as fault:  # noqa: BLE001 - one that cannot be sent must not hold up others
            log.error("webhook_not_sent", ids=_ids(endpoint), **described(fault))
        return Tried(
            index=placed.index,
            subject_id=placed.entry.subject_id,
            tries=head.tries,
            first_at=head.first_at or now,
            outcome=outcome,
            status=status,
        )

    async def _end(
        self,
        endpoint: Endpoint,
        lease: int,
        before: Health,
        tried: Sequence[Tried],
        *,
        is_idle: bool,
    ) -> None:
        key, now = (endpoint.legal_entity_id, endpoint.endpoint_id), self._clock.now()
        after = health_after(before, tried, now)
        until = rest_until(after, now) + (IDLE if is_idle else timedelta())
        why = why_disabled(after, tried, now)
        async with self._writing(endpoint) as connection:
            held = await _held(connection, endpoint, lease)
            if held is None:
                log.warning("webhook_lease_lost", ids=_ids(endpoint))
                return
            if tried:
                verdicts = [verdict(one, before, now, self._random.random()) for one in tried]
                await connection.execute(
                    SQL["end_tries"],
                    *key,
                    now,
                    [one.index for one in tried],
                    [one.state for one in verdicts],
                    [one.run_at for one in verdicts],
                    [one.counts for one in verdicts],
                    [one.outcome for one in tried],
                    [one.status for one in tried],
                )
                subjects = sorted({one.subject_id for one in tried})
                await connection.execute(SQL["line_up"], *key, now, subjects)
                if any(one.state == "given_up" for one in verdicts):
                    log.warning("webhook_given_up", ids=_ids(endpoint))
            await connection.execute(
                SQL["end_round"], *key, until, after.failures, after.failing_since
            )
            if held["state"] != "enabled":
                why = None
            if why is not None:
                known = replace(endpoint, version=held["version"])
                await set_state(connection, known, "disabled", why, actor="worker", at=now)
        if why is not None:
            log.warning("webhook_endpoint_disabled", reason=why, ids=_ids(endpoint))


async def _survived(work: Coroutine[Any, Any, Done], otherwise: Done) -> Done:
    """What it comes to. A failure is logged: neither payments nor others must stop for it."""
    try:
        return await work
    except (*UNREACHABLE, *SERIALIZATION_FAILURES) as error:
        log.warning("webhooks_not_told", error=type(error).__name__)
    except Exception as fault:  # noqa: BLE001 - it is done again later
        log.error("webhooks_not_told", **described(fault))
    return otherwise


async def _held(connection: Connection, endpoint: Endpoint, lease: int) -> Row | None:
    """Its version and state, if the lease is still ours; kept from others until the commit."""
    key = endpoint.legal_entity_id, endpoint.endpoint_id
    return await connection.fetchrow(SQL["lock_endpoint"], *key, lease)


def _ids(endpoint: Endpoint) -> list[str]:
    return [to_text("whe", endpoint.endpoint_id)]
