"""What needs a person now, gathered from everywhere, each with what to do about it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from strongroom.alarms.raising import KINDS, SQL
from strongroom.clock import rfc3339
from strongroom.database import Connection
from strongroom.ids import Prefix, to_text
from strongroom.webhooks.endpoints import LOST

UNKNOWN_AGE: Final = timedelta(minutes=30)
"""As the alert UnknownOutcomeOld has it: by then a look should have told."""
JOBS_LOOKED_AT_MAX: Final = 20_000
"""Of each legal entity, the oldest: what is unknown for long is among them."""

REVIEW: Final = "under_review"
UNKNOWN: Final = "outcome_unknown"
ENDPOINT: Final = "webhook_endpoint_lost"
ADVICE: Final[Mapping[str, tuple[str, str]]] = {
    "webhook_mismatched": (
        "a genuine webhook is about what its account has no part in; nothing was changed",
        "docs/runbooks/webhook-mismatched.md",
    ),
    "webhook_id_reused": (
        "two bodies came under the id of one event; the second was not looked at",
        "docs/runbooks/webhook-mismatched.md",
    ),
    "ghost_charge": (
        "a charge bears our mark and is none of ours; no machine gives it back",
        "docs/runbooks/ghost-charge.md",
    ),
    "unmarked_charge": (
        "something else charges by this account: another system of yours, or who has its key",
        "docs/runbooks/ghost-charge.md",
    ),
    "payout_failed": (
        "the merchant's bank returned a payout; its money is back in the gateway's balance",
        "docs/runbooks/payout-failed.md",
    ),
    "tax_not_recorded": (
        "a tax service refuses what was taken or given back, or does not tell its id of it",
        "docs/runbooks/tax-not-recorded.md",
    ),
    REVIEW: (
        "what the gateway says does not fit what was asked; nothing runs for it any more",
        "docs/runbooks/under-review.md",
    ),
    UNKNOWN: (
        "nobody knows whether money moved, for longer than looking takes",
        "docs/runbooks/unknown-outcome-old.md",
    ),
    ENDPOINT: (
        "one of your servers took no webhook for three days, or wants none; it is told nothing",
        "docs/runbooks/webhook-endpoint-failing.md",
    ),
}
"""By kind, what it means in a sentence, and the page with what to do."""


class Standing(Struct, frozen=True, kw_only=True):
    """Something that needs a person: `alarm` is set where it is his to clear."""

    kind: str
    since: str
    legal_entity: str
    account: str | None
    subject: str
    reason: str
    alarm: str | None
    meaning: str
    what_to_do: str


async def standing(
    connection: Connection, entities: Sequence[UUID], now: datetime, limit: int
) -> list[Standing]:
    """What stands, the newest alarms first, then reviews and unknown outcomes, the oldest first,
    then endpoints.

    The connection is in a transaction that sees these legal entities. At most `limit` of each.
    """
    found = [
        _standing(
            row["kind"],
            row["raised_at"],
            row["legal_entity_id"],
            row["subject"],
            row["reason"],
            account=to_text("gwa", row["gateway_account_id"]),
            alarm=to_text("alm", row["alarm_id"]),
        )
        for row in await connection.fetch(SQL["alarms_open"], entities, limit, KINDS)
    ]
    for row in await connection.fetch(SQL["frozen"], entities, limit):
        subject = to_text(_prefix(row["lane"]), row["owner_id"])
        entity, review = row["legal_entity_id"], row["review"]
        found.append(_standing(REVIEW, row["since"], entity, subject, review))
    for entity in entities:
        before = now - UNKNOWN_AGE
        rows = await connection.fetch(
            SQL["unknown_since"], entity, before, JOBS_LOOKED_AT_MAX, limit
        )
        for row in rows:
            subject = to_text(_prefix(row["lane"]), row["owner_id"])
            found.append(_standing(UNKNOWN, row["since"], entity, subject, row["lane"]))
    for row in await connection.fetch(SQL["endpoints_lost"], entities, list(LOST), limit):
        subject = to_text("whe", row["endpoint_id"])
        found.append(
            _standing(ENDPOINT, row["since"], row["legal_entity_id"], subject, row["reason"])
        )
    return found


def _standing(
    kind: str,
    since: datetime,
    entity: UUID,
    subject: str,
    reason: str,
    *,
    account: str | None = None,
    alarm: str | None = None,
) -> Standing:
    meaning, page = ADVICE.get(kind, ("this version has no word for it", "docs/runbooks/README.md"))
    return Standing(
        kind=kind,
        since=rfc3339(since),
        legal_entity=to_text("ent", entity),
        account=account,
        subject=subject,
        reason=reason,
        alarm=alarm,
        meaning=meaning,
        what_to_do=page,
    )


def _prefix(lane: str) -> Prefix:
    return "pay" if lane == "payments" else "ref"
