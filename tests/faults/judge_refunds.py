"""What has to hold of refunds after every fault: from the stand-in's ledger and the database."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg

from strongroom.ids import to_text
from strongroom.payments.rows import refund_of
from tests.faults.deployment import Deployment
from tests.faults.judge import Books, Fetching

OPEN: Final = ("processing", "pending", "outcome_unknown")
FINDINGS_SHOWN_MAX: Final = 12
LOOK_SECONDS: Final = 0.25
LAST_WORDS_SQL: Final = """
SELECT DISTINCT ON (said #>> '{refund,id}') said #>> '{refund,id}' AS refund_id,
  said #>> '{refund,row_digest}' AS digest
FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS said, version FROM events
  WHERE kind LIKE 'refund.%') AS told
ORDER BY said #>> '{refund,id}', version DESC
"""


async def until_none_is_open(deployment: Deployment, seconds_max: float) -> float:
    """Wait until every refund has succeeded or failed; returns the seconds that took."""
    begun = time.monotonic()
    while True:
        try:
            left = await deployment.fetch(
                "SELECT refund_id, status, status_reason, review FROM refunds "
                "WHERE status = ANY ($1)", OPEN,
            )  # fmt: skip
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            left = None  # the database itself is on its way back
        if left is not None and not left:
            return time.monotonic() - begun
        shown = [dict(row) for row in (left or [])[:FINDINGS_SHOWN_MAX]]
        assert time.monotonic() - begun < seconds_max, f"still open: {shown}"
        await asyncio.sleep(LOOK_SECONDS)


async def judge_refunds(deployment: Books, accepted: Mapping[str, int]) -> int:
    """Judge every refund; `accepted` maps the ids that were answered 2xx to amounts.

    Returns how many there are. Raises AssertionError with what was found.
    """
    refunds = {row["refund_id"]: row for row in await deployment.fetch("SELECT * FROM refunds")}
    payments = await deployment.fetch("SELECT * FROM payments")
    ledger = await deployment.refunds_there()
    by_payment = {
        charge["metadata"]["strongroom_payment"]: charge for charge in await deployment.charges()
    }
    findings = [
        *_once(refunds, ledger),
        *_accepted(refunds, accepted),
        *_sums(refunds, payments, by_payment),
        *await _told(deployment, refunds),
    ]
    if over := (await deployment.summary())["over_refunded"]:
        findings.append(f"more was given back than taken: {over}")
    shown = "\n".join(findings[:FINDINGS_SHOWN_MAX])
    assert not findings, f"{len(findings)} findings:\n{shown}"
    return len(refunds)


def _once(refunds: Mapping[UUID, asyncpg.Record], ledger: list[dict[str, Any]]) -> Iterator[str]:
    there: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for given in ledger:
        there[given["metadata"].get("strongroom_refund", "")].append(given)
    known = {to_text("ref", refund_id): row for refund_id, row in refunds.items()}
    for text in there.keys() - known.keys():
        yield f"{text!r} was given back and is not known to us"
    for text, row in known.items():
        amounts = [one["amount"] for one in there[text] if one["status"] == "succeeded"]
        wanted = [row["amount_minor"]] if row["status"] == "succeeded" else []
        if amounts != wanted:
            yield f"{text} is {row['status']} of {row['amount_minor']}, given back: {amounts}"
        if len(there[text]) > 1:
            yield f"{text} is there {len(there[text])} times"
        if row["review"]:
            yield f"{text} is frozen: {row['review']}"


def _accepted(refunds: Mapping[UUID, asyncpg.Record], accepted: Mapping[str, int]) -> Iterator[str]:
    known = {to_text("ref", refund_id): row["amount_minor"] for refund_id, row in refunds.items()}
    for text, amount in accepted.items():
        if known.get(text) != amount:
            yield f"{text} of {amount} was answered 2xx and is {known.get(text)}"
    for text in known.keys() - accepted.keys():
        yield f"{text} is there and was never answered 2xx"


def _sums(
    refunds: Mapping[UUID, asyncpg.Record],
    payments: list[asyncpg.Record],
    by_payment: Mapping[str, dict[str, Any]],
) -> Iterator[str]:
    sums: dict[UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in refunds.values():
        sums[row["payment_id"]][row["status"]] += row["amount_minor"]
    for row in payments:
        text, of = to_text("pay", row["payment_id"]), sums[row["payment_id"]]
        held = sum(of[status] for status in OPEN)
        ours = (row["refunding_minor"], row["refunded_minor"])
        if ours != (held, of["succeeded"]):
            yield f"{text} says {ours}, its refunds {dict(of)}"
        there = by_payment.get(text, {"refunded": 0})["refunded"]
        if row["refunded_minor"] != there:
            yield f"{text} says {row['refunded_minor']} given back, the ledger {there}"
        if sum(ours) > row["captured_minor"]:
            yield f"{text} gives back {ours} of {row['captured_minor']}"


async def _told(deployment: Fetching, refunds: Mapping[UUID, asyncpg.Record]) -> list[str]:
    rows = await deployment.fetch(LAST_WORDS_SQL)
    told = {UUID(row["refund_id"]): row["digest"] for row in rows}
    return [
        f"{to_text('ref', refund_id)}: the last event's digest is not the row's"
        for refund_id, row in refunds.items()
        if told.get(refund_id) != refund_of(row).row_digest().hex()
    ]
