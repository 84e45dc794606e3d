"""Accepting payments: idempotency claim, payment, job and event in one transaction, for many.

Equal keys are merged in memory, and neither a key nor a reference is ever in two batches of this
process at once; across processes the primary keys decide.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import asyncpg

from strongroom.database import Connection, statements, writing
from strongroom.errors import InvariantBroken
from strongroom.payments.acceptance import (
    CalculationTaken,
    CannotTell,
    Created,
    KeyReused,
    Outcome,
    ReferenceTaken,
    Replayed,
    Request,
    TryAgain,
)
from strongroom.payments.rows import job_bucket, json_text, payment_of
from strongroom.payments.texts import seal_all
from strongroom.tax.rows import holders, take_calculations
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.work.batch import (
    BATCH_MAX,
    QUEUE_MAX,
    RERUN_SECONDS,
    SHARE_MAX,
    Batcher,
    QueueFull,
    Told,
)

SQL: Final = statements("strongroom.payments", "payments.sql")
WRITERS: Final = 2
LOST_RACES_MAX: Final = 4
CAREFUL_BATCHES: Final = 64
"""After a batch that met others' keys, so many go row by row; to look costs a third more."""


class _Flight:
    """What of one legal entity is on its way to disk, by key and by reference."""

    __slots__ = ("keys", "references")

    def __init__(self) -> None:
        self.keys: dict[str, _Leader] = {}
        self.references: dict[str, _Leader] = {}


class _Gathering:
    """How the requests of one bulk have ended, each in its place."""

    def __init__(self, count: int) -> None:
        self.ends: list[Outcome | Exception | None] = [None] * count
        self.all_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = count

    def end(self, place: int, end: "Outcome | Exception") -> None:
        """Notes one end; the last one lets whoever waits go on."""
        self.ends[place] = end
        self._missing -= 1
        if not self._missing and not self.all_ended.done():
            self.all_ended.set_result(None)


class _Leader:
    """A request on its way to disk, and all who wait for its end.

    Each has a future of its own, so that one who hangs up cancels nothing for the others. A bulk
    has one future for all of its requests.
    """

    __slots__ = ("_gathering", "_place", "_waiting", "request")

    def __init__(
        self, request: Request, gathering: _Gathering | None = None, place: int = 0
    ) -> None:
        self.request = request
        self._gathering = gathering
        self._place = place
        self._waiting: list[asyncio.Future[Outcome]] | None = None

    def wait(self) -> asyncio.Future[Outcome]:
        """A future that ends as the request does."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(future)
        return future

    async def took_reference(self) -> bool:
        """Whether it is on disk, once it has come to its end."""
        future = self.wait()
        await asyncio.wait([future])
        return future.exception() is None and isinstance(future.result(), Created)

    def tell(self, outcome: Outcome | None, error: Exception | None) -> None:
        """Tells everyone of the outcome, or of the error."""
        end: Outcome | Exception = outcome or error or InvariantBroken("neither outcome nor error")
        if self._gathering is not None:
            self._gathering.end(self._place, end)
        for future in self._waiting or ():
            if future.done():
                continue
            if isinstance(end, Exception):
                future.set_exception(end)
            else:
                future.set_result(end)


class Acceptor:
    """The accept path of one process."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        writers: int = WRITERS,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
        share_max: int = SHARE_MAX,
        rerun_seconds: float = RERUN_SECONDS,
        telemetry: NoTelemetry = NO_TELEMETRY,
    ) -> None:
        self._pool = pool
        self._telemetry = telemetry
        self._batcher: Batcher[Request, Outcome] = Batcher(
            self._flush,
            owner=lambda request: request.payment.legal_entity_id,
            key=lambda request: request.idempotency_key,
            writers=writers,
            batch_max=batch_max,
            queue_max=queue_max,
            share_max=share_max,
            rerun_seconds=rerun_seconds,
            telemetry=telemetry.batch("accept"),
        )
        self._flights: dict[UUID, _Flight] = {}
        self._careful = 0

    def start(self) -> None:
        """Starts the writers in the running loop."""
        self._batcher.start()

    async def drain(self) -> None:
        """Waits for all that was taken in, then stops."""
        await self._batcher.drain()

    async def accept(self, request: Request) -> Outcome:
        """Takes the payment in; returns when it is on disk or what stands in its way.

        Raises QueueFull, Refused and OutcomeOfCommitUnknown of work.batch.
        """
        entity = request.payment.legal_entity_id
        taken = False
        while True:
            flight = self._flights.get(entity) or _Flight()
            same_key = flight.keys.get(request.idempotency_key)
            if same_key is not None:
                is_same = request.is_same_as(same_key.request.fingerprint)
                if not is_same:
                    return CannotTell() if is_same is None else KeyReused()
                outcome = await same_key.wait()
                return Replayed(outcome.payment) if isinstance(outcome, Created) else outcome
            other = flight.references.get(request.payment.merchant_reference)
            if other is None or taken:
                break
            # Its end is not ours: what it was refused for we may be free of. And where it took
            # the reference, only the database knows whether our key stands for an older payment.
            taken = await other.took_reference()
        leader = _Leader(request)
        self._batcher.put(request, partial(self._ended, leader))
        self._depart(flight, leader)
        return await leader.wait()

    async def accept_all(self, requests: Sequence[Request]) -> list[Outcome | Exception]:
        """As many `accept` at once, of one legal entity, in their order.

        What `accept` would raise for a request stands in its place. Of what does not fit into the
        queue the first part is taken.
        """
        if not requests:
            return []
        gathering = _Gathering(len(requests))
        flight = self._flights.get(requests[0].payment.legal_entity_id) or _Flight()
        items: list[tuple[Request, Told[Outcome]]] = []
        leaders, meeting = [], []
        for place, request in enumerate(requests):
            if (
                request.idempotency_key in flight.keys
                or request.payment.merchant_reference in flight.references
            ):
                meeting.append(place)
                continue
            leader = _Leader(request, gathering, place)
            leaders.append(leader)
            items.append((request, partial(self._ended, leader)))
            self._depart(flight, leader)
        for leader in leaders[self._batcher.put_all(items) :]:
            self._ended(leader, None, QueueFull())
        if meeting:
            ends = asyncio.gather(
                *(self.accept(requests[place]) for place in meeting), return_exceptions=True
            )
            for place, end in zip(meeting, await ends, strict=True):
                if isinstance(end, BaseException) and not isinstance(end, Exception):
                    raise end
                gathering.end(place, end)
        await gathering.all_ended
        return [end or InvariantBroken("neither outcome nor error") for end in gathering.ends]

    def _depart(self, flight: _Flight, leader: _Leader) -> None:
        """From now on others with its key or its reference meet it."""
        payment = leader.request.payment
        self._telemetry.payment_taken_in(payment.payment_id)
        self._flights[payment.legal_entity_id] = flight
        flight.keys[leader.request.idempotency_key] = leader
        flight.references.setdefault(payment.merchant_reference, leader)

    def _ended(self, leader: _Leader, outcome: Outcome | None, error: Exception | None) -> None:
        """It has come to its end: nobody meets it any more, and all who wait are told."""
        payment = leader.request.payment
        flight = self._flights[payment.legal_entity_id]
        del flight.keys[leader.request.idempotency_key]
        if flight.references.get(payment.merchant_reference) is leader:
            del flight.references[payment.merchant_reference]
        if not flight.keys:
            del self._flights[payment.legal_entity_id]
        leader.tell(outcome, error)

    async def _flush(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        """One transaction. The statements sort, so that two processes wait in one order."""
        entities = {request.payment.legal_entity_id for request in requests}
        lost = {r.payment.payment_id for r in requests if r.refusal}
        if self._careful or lost:
            self._careful = max(0, self._careful - 1)
        else:
            try:
                async with writing(self._pool, entities) as connection:
                    await connection.execute(SQL["accept_new"], _rows(requests))
                    await _take_calculations(connection, requests)
            except asyncpg.UniqueViolationError:
                # Someone holds a key or a reference; or these are our own, from a run whose
                # COMMIT went through unheard. Nothing is written; who lost to whom is found now.
                self._careful = CAREFUL_BATCHES
            except _Lost as race:
                lost |= race.payment_ids
            else:
                return [Created(r.payment) for r in requests]
        for _ in range(LOST_RACES_MAX):
            claiming = [r for r in requests if r.payment.payment_id not in lost]
            try:
                async with writing(self._pool, entities) as connection:
                    won = await _claim(connection, claiming)
                    lookup = [r for r in requests if r.payment.payment_id not in won]
                    others = await _explain_losers(connection, lookup) if lookup else {}
            except _Lost as race:
                lost |= race.payment_ids
                continue
            return [
                Created(r.payment) if r.payment.payment_id in won else others[id(r)]
                for r in requests
            ]
        return [TryAgain() for _ in requests]


class _Lost(Exception):
    """What payments name was taken in this very moment: the keys claimed for them must not stay."""

    def __init__(self, payment_ids: set[UUID]) -> None:
        super().__init__("names lost")
        self.payment_ids = payment_ids


async def _claim(connection: Connection, claiming: Sequence[Request]) -> set[UUID]:
    """Writes what wins its key and its reference; returns the ids of these payments."""
    if not claiming:
        return set()
    rows = await connection.fetch(SQL["accept"], _rows(claiming))
    lost = {row["payment_id"] for row in rows if not row["has_reference"]}
    if lost:
        raise _Lost(lost)
    won = {row["payment_id"] for row in rows}
    await _take_calculations(connection, [r for r in claiming if r.payment.payment_id in won])
    return won


async def _take_calculations(connection: Connection, requests: Sequence[Request]) -> None:
    """Those that name a tax calculation take it, or all is undone. Raises _Lost."""
    naming = [(r.payment, r.calculation_id) for r in requests if r.calculation_id is not None]
    if lost := await take_calculations(connection, naming):
        raise _Lost(lost)


def _rows(requests: Sequence[Request]) -> list[tuple[object, ...]]:
    """One value of the type routed_payment a request."""
    return [
        (
            p.legal_entity_id,
            p.payment_id,
            r.idempotency_key,
            r.fingerprint,
            p.merchant_reference,
            p.status,
            p.amount_minor,
            p.currency,
            p.description,
            json_text(p.metadata) if p.metadata else "{}",
            texts,
            p.return_url,
            p.capture,
            p.gateway,
            p.gateway_account_id,
            p.instrument_token,
            p.not_after,
            p.gateway_key_seed,
            p.digest_salt,
            job_bucket(p),
            None if r.run_at is p.created_at else r.run_at,
            r.actor,
            r.row_digest,
            r.payload,
            p.created_at,
            json_text(p.ways) if p.ways else None,
        )
        for r, texts in zip(requests, seal_all(r.texts for r in requests), strict=True)
        for p in (r.payment,)
    ]


async def _explain_losers(connection: Connection, losers: Sequence[Request]) -> dict[int, Outcome]:
    """Why each of these was not created, by identity of the request."""
    entities = [r.payment.legal_entity_id for r in losers]
    keys = {
        (row["legal_entity_id"], row["idempotency_key"]): row
        for row in await connection.fetch(
            SQL["keys_held"], entities, [r.idempotency_key for r in losers]
        )
    }
    references = {
        (row["legal_entity_id"], row["merchant_reference"]): row["payment_id"]
        for row in await connection.fetch(
            SQL["references_held"], entities, [r.payment.merchant_reference for r in losers]
        )
    }
    naming = [r for r in losers if r.calculation_id is not None]
    taken = (
        await holders(
            connection,
            [(r.payment.legal_entity_id, r.calculation_id or r.payment.payment_id) for r in naming],
        )
        if naming
        else {}
    )
    outcomes: dict[int, Outcome] = {}
    for request in losers:
        entity = request.payment.legal_entity_id
        held = keys.get((entity, request.idempotency_key))
        holder = references.get((entity, request.payment.merchant_reference))
        if held is not None:
            # Our own rows come from a run whose COMMIT went through unheard.
            is_ours = held["payment_id"] == request.payment.payment_id
            made = (Created if is_ours else Replayed)(payment_of(held))
            is_same = request.is_same_as(held["fingerprint"])
            other = CannotTell() if is_same is None else KeyReused()
            outcomes[id(request)] = made if is_same else other
        elif holder is not None:
            outcomes[id(request)] = ReferenceTaken(holder)
        elif request.calculation_id in taken:
            outcomes[id(request)] = CalculationTaken(taken[request.calculation_id])
        else:
            outcomes[id(request)] = TryAgain()
    return outcomes
