"""What has to hold after every fault, judged from the stand-in's ledger and from the database."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import asyncpg

from strongroom.ids import to_text
from strongroom.payments.rows import digest_in_format, payment_of
from tests.faults.deployment import Deployment

ENDED: Final = frozenset({"succeeded", "failed", "canceled"})
FINDINGS_SHOWN_MAX: Final = 12
LOOK_SECONDS: Final = 0.25

NOT_ENDED_SQL: Final = """
SELECT p.payment_id, p.status, p.status_reason, p.closing, p.review, j.run_at, j.tries
FROM payments p LEFT JOIN jobs j USING (legal_entity_id, payment_id)
WHERE p.status NOT IN ('succeeded', 'failed', 'canceled') OR j.payment_id IS NOT NULL
"""
EVENTS_SQL: Final = """
SELECT payment_id, count(*) AS many, min(version) AS low, max(version) AS high,
  (array_agg(row_digest ORDER BY version DESC))[1] AS digest,
  (array_agg(row_format ORDER BY version DESC))[1] AS format
FROM events WHERE actor NOT LIKE 'operator:%' GROUP BY payment_id
"""


class Fetching(Protocol):
    """What gives rows of the database, past row-level security."""

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of a query."""
        ...


class Books(Fetching, Protocol):
    """Rows of ours, and the ledger that they have to agree with."""

    @property
    def charges(self) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
        """Gives all charges that took money."""
        ...

    @property
    def refunds_there(self) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
        """Gives all refunds, whatever became of them."""
        ...

    @property
    def summary(self) -> Callable[[], Awaitable[dict[str, Any]]]:
        """Gives counts of the stand-in."""
        ...


class Judged(NamedTuple):
    """What was found to be in order: payments by status, and charges."""

    statuses: Counter[str]
    charges: int
    attempts_most: int


async def until_ended(deployment: Deployment, seconds_max: float) -> float:
    """Wait until every payment has ended and no job is left; returns the seconds that took."""
    begun = time.monotonic()
    while True:
        try:
            left = await deployment.fetch(NOT_ENDED_SQL)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            left = None  # the database itself is on its way back
        if left is not None and not left:
            return time.monotonic() - begun
        if time.monotonic() - begun > seconds_max:
            shown = [dict(row) for row in (left or [])[:FINDINGS_SHOWN_MAX]]
            many = "unknown" if left is None else len(left)
            raise AssertionError(f"after {seconds_max:.0f} s {many} have not ended: {shown}")
        await asyncio.sleep(LOOK_SECONDS)


async def statuses(deployment: Deployment) -> Counter[str]:
    """How many payments stand where."""
    rows = await deployment.fetch("SELECT status, count(*) AS many FROM payments GROUP BY status")
    return Counter({row["status"]: row["many"] for row in rows})


async def judge(deployment: Books, accepted: Mapping[str, str]) -> Judged:
    """Judge everything; `accepted` maps the references answered 2xx to payment ids.

    Raises AssertionError with what was found.
    """
    rows = await deployment.fetch("SELECT * FROM payments")
    payments = {row["payment_id"]: row for row in rows}
    charges = await deployment.charges()
    attempts = await deployment.fetch("SELECT * FROM attempts")
    findings = [
        *_charged_once(payments, charges),
        *_ended(payments, accepted),
        *await logged(deployment, payments),
        *await tidied(deployment, payments),
        *_attempts_closed(payments, attempts),
    ]
    shown = "\n".join(findings[:FINDINGS_SHOWN_MAX])
    assert not findings, f"{len(findings)} findings:\n{shown}"
    return Judged(
        Counter(row["status"] for row in rows),
        len(charges),
        max((row["attempt_no"] for row in attempts), default=0),
    )


def _charged_once(
    payments: Mapping[UUID, asyncpg.Record], charges: list[dict[str, Any]]
) -> Iterator[str]:
    by_reference: dict[str, list[str]] = defaultdict(list)
    by_text = {to_text("pay", payment_id): row for payment_id, row in payments.items()}
    charged: set[str] = set()
    for charge in charges:
        notes = charge["metadata"]
        by_reference[notes.get("merchant_reference", "")].append(charge["id"])
        text = notes.get("strongroom_payment", "")
        charged.add(text)
        row = by_text.get(text)
        if row is None:
            yield f"charge {charge['id']} of {text!r} is not known to us"
            continue
        if row["status"] != "succeeded":
            yield f"{text} is charged but {row['status']} ({row['status_reason']})"
        wanted = row["capture_minor"] or row["amount_minor"]
        ours = (wanted, row["currency"].lower(), row["captured_minor"])
        if ours != (charge["captured"], charge["currency"], charge["captured"]):
            yield f"{text} is {ours} to us, {charge['amount']} {charge['currency']} at the gateway"
    for reference, ids in by_reference.items():
        if len(ids) > 1:
            yield f"reference {reference!r} was charged {len(ids)} times: {ids}"
    for text, row in by_text.items():
        if row["status"] == "succeeded" and text not in charged:
            yield f"{text} succeeded, but nothing was charged"


def _ended(payments: Mapping[UUID, asyncpg.Record], accepted: Mapping[str, str]) -> Iterator[str]:
    stored = {to_text("pay", payment_id): row for payment_id, row in payments.items()}
    for reference, text in accepted.items():
        row = stored.get(text)
        if row is None:
            yield f"{text} was answered 2xx for {reference} and is lost"
        elif row["merchant_reference"] != reference:
            yield f"{text} was answered for {reference} and carries {row['merchant_reference']}"
    for text, row in stored.items():
        if row["status"] not in ENDED:
            yield f"{text} is {row['status']} ({row['status_reason']}), closing {row['closing']}"
        if row["review"]:
            yield f"{text} is {row['status']} and frozen: {row['review']}"


async def logged(deployment: Fetching, payments: Mapping[UUID, asyncpg.Record]) -> list[str]:
    logged = {row["payment_id"]: row for row in await deployment.fetch(EVENTS_SQL)}
    found = [f"events of {key} without a payment" for key in logged.keys() - payments.keys()]
    for payment_id, row in payments.items():
        text, events = to_text("pay", payment_id), logged.get(payment_id)
        if events is None:
            found.append(f"{text} has no event")
            continue
        if (events["many"], events["low"], events["high"]) != (row["version"], 1, row["version"]):
            found.append(f"{text} has version {row['version']} and {dict(events)}")
        if bytes(events["digest"]) != digest_in_format(payment_of(row), events["format"]):
            found.append(f"{text}: the last event's digest is not the row's")
    return found


async def tidied(deployment: Fetching, payments: Mapping[UUID, asyncpg.Record]) -> list[str]:
    jobs = {row["payment_id"] for row in await deployment.fetch("SELECT payment_id FROM jobs")}
    found = [
        f"{to_text('pay', payment_id)} has ended and has a job"
        for payment_id in jobs
        if payment_id not in payments or payments[payment_id]["status"] in ENDED
    ]
    rows = await deployment.fetch("SELECT merchant_reference, payment_id FROM merchant_references")
    held = {(row["merchant_reference"], row["payment_id"]) for row in rows}
    wanted = {
        (row["merchant_reference"], payment_id)
        for payment_id, row in payments.items()
        if row["status"] not in ("failed", "canceled")
    }
    found += [f"reference {each} is held by nothing that may charge" for each in held - wanted]
    found += [f"reference {each} is not held" for each in wanted - held]
    return found


def _attempts_closed(
    payments: Mapping[UUID, asyncpg.Record], attempts: list[asyncpg.Record]
) -> Iterator[str]:
    approved: Counter[UUID] = Counter()
    for attempt in attempts:
        row = payments.get(attempt["payment_id"])
        text = f"{to_text('pay', attempt['payment_id'])} attempt {attempt['attempt_no']}"
        if row is None:
            yield f"{text} has no payment"
            continue
        approved[attempt["payment_id"]] += attempt["state"] == "approved"
        if row["status"] in ENDED and attempt["state"] in ("open", "unknown", "action_required"):
            yield f"{text} is {attempt['state']}, its payment {row['status']}"
        if attempt["attempt_no"] > row["attempt_no"]:
            yield f"{text} is beyond the payment's {row['attempt_no']}"
    for payment_id, row in payments.items():
        if approved[payment_id] != (row["status"] == "succeeded"):
            text = to_text("pay", payment_id)
            yield f"{text} is {row['status']} with {approved[payment_id]} approved attempts"
