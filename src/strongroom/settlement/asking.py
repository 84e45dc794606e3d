"""What callers ask of a dispute: evidence, or to give in. On disk when it returns, told later."""

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.database import SERIALIZATION_FAILURES, Connection, writing
from strongroom.errors import Conflict, Invalid, InvariantBroken, Missing
from strongroom.payments.commands import PAYMENTS_SQL
from strongroom.payments.commands import SQL as COMMANDS_SQL
from strongroom.payments.idempotency import is_same
from strongroom.payments.journal import changes_payload
from strongroom.payments.rows import payment_of
from strongroom.settlement.answers import AnswerKind
from strongroom.settlement.disputes import AWAITS_US
from strongroom.settlement.looks import Told, ask_for_looks
from strongroom.settlement.rows import SQL, Shown, shown_of

TRIES_MAX: Final = 3


class AnswerWish(Struct, frozen=True, kw_only=True):
    """An answer that a caller wants given; evidence comes sealed, with what commits to it."""

    legal_entity_id: UUID
    dispute_id: UUID
    answer_id: UUID
    kind: AnswerKind
    submits: bool
    sealed: bytes | None
    commitment: bytes | None
    gateway_key: str
    idempotency_key: str
    fingerprint: bytes
    actor: str
    at: datetime


async def ask_answer(pool: asyncpg.Pool, wish: AnswerWish) -> tuple[Shown, bool]:
    """The dispute with its newest answer, and whether the key had asked for it before.

    Raises Missing, Invalid and Conflict; what the database raises means: nobody knows, ask again.
    """
    for tries_left in range(TRIES_MAX, 0, -1):
        try:
            async with writing(pool, [wish.legal_entity_id]) as connection:
                return await _ask(connection, wish)
        except SERIALIZATION_FAILURES:
            if tries_left == 1:
                raise
    raise InvariantBroken("the loop returns or raises")


async def _ask(connection: Connection, wish: AnswerWish) -> tuple[Shown, bool]:
    entity = wish.legal_entity_id
    dispute, _ = await _read(connection, wish)
    rows = await connection.fetch(COMMANDS_SQL["lock_payments"], [entity], [dispute.payment_id])
    payment = payment_of(rows[0])
    held = await connection.fetch(PAYMENTS_SQL["keys_held"], [entity], [wish.idempotency_key])
    if held:
        if not is_same(held[0]["fingerprint"], wish.fingerprint):
            raise Invalid("idempotency_key_reused")
        # What a run wrote whose COMMIT went through unheard is no replay.
        return await _read(connection, wish), held[0]["claimed_at"] != wish.at
    dispute, _ = await _read(connection, wish)  # under the lock of its payment
    if dispute.status not in AWAITS_US:
        raise Conflict("dispute_is_over")
    if await connection.fetchval(SQL["answer_under_way"], entity, wish.dispute_id):
        raise Conflict("dispute_answer_under_way")
    claimed = await connection.fetch(
        COMMANDS_SQL["claim_keys"],
        [entity],
        [wish.idempotency_key],
        [f"disputes.{wish.kind}"],
        [wish.fingerprint],
        [payment.payment_id],
        [None],
        [wish.at],
    )
    if not claimed:
        raise asyncpg.SerializationError("the key was claimed meanwhile")
    after = payment.changed(wish.at)
    answer: dict[str, object] = {"id": wish.answer_id, "kind": wish.kind, "submits": wish.submits}
    if wish.commitment is not None:
        answer["texts"] = wish.commitment.hex()
    payload = changes_payload(
        payment,
        after,
        idempotency_key=wish.idempotency_key,
        dispute={"id": wish.dispute_id},
        answer=answer,
    )
    written = await connection.fetch(
        SQL["ask_answer"],
        entity,
        payment.payment_id,
        after.version,
        wish.at,
        f"dispute.{wish.kind}_asked",
        wish.actor,
        after.row_digest(),
        payload,
        wish.answer_id,
        wish.dispute_id,
        wish.kind,
        wish.submits,
        wish.sealed,
        wish.gateway_key,
    )
    if len(written) != 1:
        raise asyncpg.SerializationError("a payment changed under its lock")
    account, object_id = dispute.gateway_account_id, dispute.gateway_object_id
    await ask_for_looks(connection, [Told(entity, account, "dispute", object_id, None)], wish.at)
    return await _read(connection, wish), False


async def _read(connection: Connection, wish: AnswerWish) -> Shown:
    rows = await connection.fetch(SQL["disputes_by_id"], [wish.legal_entity_id], [wish.dispute_id])
    if not rows:
        raise Missing("dispute_not_found")
    return shown_of(rows[0])
