"""Whether what a gateway shows is about what is ours, and writing it down when it is."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from strongroom.database import Connection
from strongroom.ids import tag_of
from strongroom.settlement.disputes import DisputeDecision, Seen, is_sought
from strongroom.settlement.looks import SQL, Look
from strongroom.settlement.payout_desk import SQL as PAYOUTS_SQL
from strongroom.settlement.rows import SQL as DISPUTES_SQL

OTHER_ENTITY: Final = "other_legal_entity"
OTHER_ACCOUNT: Final = "other_gateway_account"
OTHER_OBJECT: Final = "other_object"
OTHER_AMOUNT: Final = "other_amount"
UNKNOWN: Final = "unknown_object"
NOT_YET: Final = "attempt_unknown"
"""The gateway's name of our attempt is not known yet; the payment's own looks find it."""


async def not_ours(connection: Connection, look: Look, seen: Seen) -> str | None:
    """Why the dispute is about nothing that this account took for us; None when it is."""
    if seen.payment_id is None or seen.attempt_no is None:
        return UNKNOWN
    if tag_of(seen.payment_id) != tag_of(look.legal_entity_id):
        return OTHER_ENTITY
    if seen.object_id != look.gateway_object_id:
        return OTHER_OBJECT
    attempt = await connection.fetchrow(
        DISPUTES_SQL["attempt_disputed"], look.legal_entity_id, seen.payment_id, seen.attempt_no
    )
    if attempt is None:
        return UNKNOWN
    if attempt["gateway_account_id"] != look.gateway_account_id:
        return OTHER_ACCOUNT
    if attempt["gateway_object_id"] is None and is_sought(attempt["status"], attempt["review"]):
        return NOT_YET
    return None if attempt["gateway_object_id"] == seen.intent_id else OTHER_OBJECT


async def known_of(connection: Connection, look: Look, object_ids: Sequence[str]) -> set[str]:
    """Which of these the account has shown us before, of the kind that is looked at."""
    of_payouts = look.noun in ("payout", "payouts")
    statement = PAYOUTS_SQL["known_payouts"] if of_payouts else SQL["known_disputes"]
    of = look.legal_entity_id, look.gateway_account_id
    rows = await connection.fetch(statement, *of, list(object_ids))
    return {row["gateway_object_id"] for row in rows}


async def other_amount(connection: Connection, look: Look, seen: Seen) -> str | None:
    """Whether the webhook spoke of other money than the gateway does; nothing of it is believed."""
    if look.gateway_event_id is None:
        return None
    row = await connection.fetchrow(
        SQL["hinted_money"], look.legal_entity_id, look.gateway_account_id, look.gateway_event_id
    )
    if row is None or row["amount_minor"] is None:
        return None
    told = (row["amount_minor"], row["currency"])
    return None if told == (seen.amount_minor, seen.currency) else OTHER_AMOUNT


async def write_dispute(
    connection: Connection, decision: DisputeDecision, actor: str, payload: bytes
) -> None:
    """A dispute and its payment's sums, with their event, under the payment's lock."""
    payment, dispute = decision.payment, decision.dispute
    rows = await connection.fetch(
        DISPUTES_SQL["settle_dispute"],
        payment.legal_entity_id,
        payment.payment_id,
        payment.version,
        payment.disputed_minor,
        payment.withheld_minor,
        payment.review,
        payment.updated_at,
        decision.kind,
        actor,
        payment.row_digest(),
        payload,
        dispute.dispute_id,
        dispute.status,
        dispute.amount_minor,
        dispute.currency,
        dispute.disputed_minor,
        dispute.reason,
        dispute.evidence_due_by,
        dispute.has_evidence,
        dispute.submissions,
        dispute.gateway,
        dispute.gateway_account_id,
        dispute.gateway_object_id,
        dispute.opened_at,
        dispute.digest_salt,
        dispute.created_at,
    )
    if len(rows) != 1:
        raise asyncpg.SerializationError("a payment changed under its lock")
