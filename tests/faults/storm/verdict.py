"""What has to hold after a storm: by our rows, our log, our metrics and the ledgers."""

import re
import traceback
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import aiohttp
import asyncpg

from strongroom.webhooks.inbox import NO_BODY
from tests.faults.cells import Ledger
from tests.faults.deployment import Deployment
from tests.faults.judge import ENDED, judge
from tests.faults.judge_braintree import judge as judge_braintree
from tests.faults.judge_refunds import judge_refunds
from tests.faults.judged_log import judge_logs
from tests.faults.storm.customers import Customers
from tests.faults.storm.front import Event, Front
from tests.faults.storm.sender import Sender

STORED_SQL: Final = """
SELECT g.gateway, e.gateway_event_id, e.body_digest, e.state, e.reason, e.kind,
  extract(epoch FROM e.received_at)::float8 AS received_at
FROM webhook_events e JOIN gateway_accounts g USING (legal_entity_id, gateway_account_id)
"""
WHERE_SQL: Final = """
SELECT a.payment_id AS id, g.gateway FROM attempts a
JOIN gateway_accounts g USING (legal_entity_id, gateway_account_id)
UNION SELECT dispute_id, 'none' FROM disputes UNION SELECT payout_id, 'none' FROM payouts
"""
"""What events are about besides payments, too: it has versions of its own."""
ALARMS_SQL: Final = "SELECT kind, subject, reason FROM alarms WHERE cleared_at IS NULL"
COUNTED: Final = re.compile(r"^strongroom_webhooks_received_total\{.*\} ([0-9.e+]+)$", re.MULTILINE)
AT_END: Final = ("applied", "ignored")


class Part:
    """What of a deployment belongs to one gateway, as its judge asks for it."""

    def __init__(self, deployment: Deployment, others: Collection[UUID]) -> None:
        self._deployment, self._others = deployment, others
        self.charges, self.summary = deployment.charges, deployment.summary
        self.refunds_there = deployment.refunds_there

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows, but those of another gateway's payments, and of no payment."""
        rows = await self._deployment.fetch(query, *arguments)
        return [row for row in rows if row.get("payment_id") not in self._others]


async def findings_of(
    deployment: Deployment, customers: Customers, front: Front, sender: Sender
) -> list[str]:
    """What does not hold; nothing where all is well."""
    stored = await deployment.fetch(STORED_SQL)
    return [
        *_answered(customers, front, sender),
        *await _counted(deployment, len(front.passed) + sender.taken),
        *stored_once(front.events, stored),
        *await _released(deployment, stored),
        *[f"alarm {dict(row)}" for row in await deployment.fetch(ALARMS_SQL)],
        *await _judged(deployment, customers),
    ]


def _answered(customers: Customers, front: Front, sender: Sender) -> list[str]:
    found = [f"{many} deliveries: {what}" for what, many in sender.answers.items() if what != "200"]
    found += [
        f"{many} deliveries by the usual way: {status}"
        for status, many in Counter(front.passed).items()
        if status != 200
    ]
    for shoppers in (customers.shoppers, customers.at_braintree):
        found += [f"{reference}: {what}" for reference, what in shoppers.refused.items()]
        found += [f"{reference} was not answered" for reference in shoppers.unanswered]
        found += ["a payment was answered 500"] * shoppers.answers["500"]
    return found + ["a command was answered 500"] * customers.cashiers.answers["500"]


async def _counted(deployment: Deployment, wanted: int) -> list[str]:
    """Each process of the API took some, and all of them together what was answered."""
    by = {}
    async with aiohttp.ClientSession() as session:
        for name, url in deployment.ready["metrics_urls"].items():
            if name.startswith("api"):
                async with session.get(url) as answer:
                    told = COUNTED.findall(await answer.text())
                    by[name] = round(sum(map(float, told)))
    found = [f"{name} took no webhook" for name, many in by.items() if not many]
    if sum(by.values()) != wanted:
        found.append(f"{wanted} deliveries were answered 200, and the API counts {by}")
    return found


def stored_once(events: Sequence[Event], rows: Sequence[Any]) -> list[str]:
    """Each event once, from its first 200 on, with the digest of what came, and at its end."""
    rows_of: dict[str, list[Any]] = {}
    for row in rows:
        name = _name(row["gateway"], row["gateway_event_id"], bytes(row["body_digest"]))
        rows_of.setdefault(name, []).append(row)
    found = []
    for event in events:
        name = _name(event.gateway, event.event_id, event.digest)
        mine = rows_of.get(name, [])
        if len(mine) != 1:
            found.append(f"event {name} is stored {len(mine)} times")
        for row in mine:
            if bytes(row["body_digest"]) not in (event.digest, NO_BODY):
                found.append(f"event {name} is stored with another digest")
            if event.taken_at is None:
                found.append(f"event {name} was never answered 200")
            elif row["received_at"] > event.taken_at:
                found.append(f"event {name} was answered 200 before it was stored")
    return found + [
        f"{row['kind']} {row['gateway_event_id']}: {row['state']} {row['reason']}"
        for row in rows
        if row["state"] not in AT_END and not _is_release(row)
    ]


async def _released(deployment: Deployment, rows: Sequence[Any]) -> list[str]:
    """No more holds were given free than payments were canceled."""
    [row] = await deployment.fetch("SELECT count(*) FROM payments WHERE status = 'canceled'")
    released = sum(map(_is_release, rows))
    return [] if released <= row[0] else [f"{released} holds given free, {row[0]} canceled"]


def _is_release(row: Any) -> bool:
    """A hold that is given free is a refund to Stripe, which nobody asked for by that name."""
    return tuple(row[key] for key in ("kind", "state", "reason")) == (
        "refund.created", "parked", "no_reference",
    )  # fmt: skip


def _name(gateway: str, event_id: str, digest: bytes) -> str:
    """Stripe's events have ids; at Braintree the content is the event."""
    return event_id if gateway == "stripe" else digest.hex()


async def _judged(deployment: Deployment, customers: Customers) -> list[str]:
    """What the judges of every fault say, of each gateway by its own ledger."""
    rows = await deployment.fetch(WHERE_SQL)
    of = {gateway: {row["id"] for row in rows if row["gateway"] == gateway} for gateway in
          ("stripe", "braintree", "none")}  # fmt: skip
    stripe = Part(deployment, of["braintree"] | of["none"])
    braintree = Part(deployment, of["stripe"] | of["none"])
    ledger = Ledger(deployment.ready["braintree_url"], deployment.ready["knob_token"])
    checks: list[Any] = [
        judge(stripe, customers.shoppers.accepted),
        judge_refunds(stripe, customers.cashiers.refunds),
        judge_braintree(braintree, ledger, customers.at_braintree),
        judge_logs(deployment, {}),
    ]
    found = []
    for check in checks:
        try:
            await check
        except AssertionError as finding:
            last = traceback.extract_tb(finding.__traceback__)[-1]
            found.append(str(finding) or f"{last.name}: {last.line}")
    return found


async def open_work(deployment: Deployment) -> str:
    """What is under way at Stripe's payments, at refunds and hints; empty when nothing is."""
    rows = await deployment.fetch(OPEN_SQL, list(ENDED))
    return ", ".join(f"{row['many']} {row['what']}" for row in rows if row["many"])


OPEN_SQL: Final = """
SELECT 'payments' AS what, count(*) AS many FROM payments WHERE NOT status = ANY ($1)
UNION ALL SELECT 'jobs', count(*) FROM jobs j WHERE held OR NOT EXISTS (
  SELECT FROM attempts a JOIN gateway_accounts g USING (legal_entity_id, gateway_account_id)
  WHERE a.payment_id = j.payment_id AND g.gateway = 'braintree')
UNION ALL SELECT 'refunds', count(*) FROM refunds
  WHERE status IN ('processing', 'pending', 'outcome_unknown')
UNION ALL SELECT 'hints', count(*) FROM webhook_events WHERE state = 'received'
"""
"""A sale at Braintree is looked at until it settled; that is no work that is open."""
