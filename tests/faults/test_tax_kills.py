"""kill -9 while sales are reported to a tax service and taken back: each once, whatever is lost."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from strongroom.ids import from_text, to_text
from tests.faults.cashiers import Cashiers
from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment
from tests.faults.judge import until_ended
from tests.faults.judge_refunds import until_none_is_open
from tests.faults.test_kills import kill

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

TAXED: Final = 90
DECLINED: Final = 6
BOUNCED: Final = 6
"""Refunds of these fail after they have succeeded."""
SALES: Final = "tax.transactions.create_from_calculation"
REVERSALS: Final = "tax.transactions.create_reversal"
KILLS_OF_SALES: Final = ("worker", "worker", "stripe", "worker")
KILLS_OF_REVERSALS: Final = ("worker", "postmaster", "worker", "worker")
DELAY_SECONDS: Final = 0.25
"""So long a report is on its way: a kill meets it before the service has it, or after."""
UNDER_WAY_SECONDS_MAX: Final = 6.0
END_SECONDS_MAX: Final = 40.0
LOOK_SECONDS: Final = 0.05
UNREACHABLE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
OPEN_SQL: Final = """
SELECT DISTINCT j.calculation_id, j.lease FROM tax_jobs j
JOIN tax_transactions t USING (legal_entity_id, calculation_id)
WHERE t.status = 'open' AND j.run_at > now()
"""
LEFT_SQL: Final = """
SELECT j.calculation_id, j.run_at, j.tries, p.status FROM tax_jobs j
LEFT JOIN payment_taxes t USING (legal_entity_id, calculation_id)
LEFT JOIN payments p USING (legal_entity_id, payment_id)
"""
NOT_BOUNCED_SQL: Final = """
SELECT refund_id, status FROM refunds WHERE payment_id = ANY ($1) AND status <> 'failed'
"""

Lease = tuple[UUID, int]


class Order(NamedTuple):
    """A payment, what it is taxed by, and how it is paid."""

    payment: str
    calculation: str
    total: int
    token: str


async def ordered(
    cashiers: Cashiers, session: aiohttp.ClientSession, number: int, token: str
) -> Order:
    """An order that is calculated and paid, whoever dies meanwhile."""
    cart = {
        "currency": "EUR",
        "line_items": [{"amount": 10_000 + number, "reference": "ticket"}],
        "customer": {"address": {"country": "DE", "postal_code": "10115"}},
    }
    status, made = await cashiers.ask(session, "/v1/tax_calculations", cart, f"t-{number}")
    assert (status in (200, 201), made["status"]) == (True, "ready"), made
    body = {
        "amount": made["total"],
        "currency": "EUR",
        "merchant_reference": f"taxed-{number}",
        "tax_calculation": made["id"],
        "instrument": {"gateway": "stripe", "token": token},
    }
    await asyncio.sleep(random.uniform(0, 4))
    status, paid = await cashiers.ask(session, "/v1/payments", body, f"p-{number}")
    assert status < 300, paid
    return Order(paid["id"], made["id"], made["total"], token)


async def given_back(cashiers: Cashiers, session: aiohttp.ClientSession, order: Order) -> None:
    """In part, or in two parts until nothing is left."""
    part = order.total // 3
    for number, amount in enumerate((part, order.total - part)[: 1 + order.total % 2]):
        await asyncio.sleep(random.uniform(0, 4))
        status = await cashiers.refund(session, order.payment, amount, number)
        assert status < 300, dict(cashiers.answers)


async def kill_while_reporting(deployment: Deployment, kills: Sequence[str], begun: float) -> int:
    """Each time new reports are under way; returns how many kills met some."""
    met, known = 0, set[Lease]()
    for what in kills:
        under_way = await until_under_way(deployment, known)
        await asyncio.sleep(random.uniform(0, 1.2 * DELAY_SECONDS))
        killed = await kill(deployment, what, begun)
        met += bool(under_way)
        known |= under_way
        seconds = await killed.recovered
        print(f"{killed.at_seconds:5.1f} s  {what}, {len(under_way)} met, back in {seconds:.1f} s")
    return met


async def until_under_way(deployment: Deployment, known: set[Lease]) -> set[Lease]:
    """The reports that a worker is at since those that are known; none if none comes."""
    begun = time.monotonic()
    while time.monotonic() - begun < UNDER_WAY_SECONDS_MAX:
        try:
            rows = await deployment.fetch(OPEN_SQL)
        except UNREACHABLE:
            rows = []
        if new := {(row["calculation_id"], row["lease"]) for row in rows} - known:
            return new
        await asyncio.sleep(LOOK_SECONDS)
    return set()


async def until_nothing_is_left(deployment: Deployment, query: str, *of: object) -> float:
    """Returns the seconds that took."""
    begun, left = time.monotonic(), "not asked yet"
    while time.monotonic() - begun < END_SECONDS_MAX:
        try:
            found = await deployment.fetch(query, *of)
        except UNREACHABLE as error:
            left = type(error).__name__
        else:
            if not found:
                return time.monotonic() - begun
            left = str([dict(row) for row in found[:5]])
        await asyncio.sleep(LOOK_SECONDS)
    raise AssertionError(f"still left: {left}")


async def test_kills_while_tax_is_reported_and_taken_back(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=1.0)
    cashiers, begun = Cashiers(deployment), time.monotonic()
    tokens = (
        ["pm_card_visa"] * TAXED
        + ["pm_card_chargeDeclined"] * DECLINED
        + ["pm_card_refundFail"] * BOUNCED
    )
    match = {"operation": f"{SALES}|{REVERSALS}"}
    await deployment.set_knobs(
        {"fault": "drop_after", "match": match | {"probability": 0.15}},
        {"fault": "delay", "delay_ms": int(1000 * DELAY_SECONDS), "match": match},
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        ordering = asyncio.gather(
            *(ordered(cashiers, session, number, token) for number, token in enumerate(tokens))
        )
        met = await kill_while_reporting(deployment, KILLS_OF_SALES, begun)
        orders = await ordering
        await until_ended(deployment, END_SECONDS_MAX)
        seconds = await until_nothing_is_left(deployment, LEFT_SQL)
        print(f"paid, {seconds:.1f} s more until all is reported")
        judge_sales(orders, await deployment.tax_reports())
        assert met >= len(KILLS_OF_SALES) // 2, "kills met no report"
        returning = asyncio.gather(
            *(
                given_back(cashiers, session, order)
                for order in orders
                if order.token != "pm_card_chargeDeclined"
            )
        )
        met = await kill_while_reporting(deployment, KILLS_OF_REVERSALS, begun)
        await returning
    await deployment.clear_knobs()
    await until_none_is_open(deployment, END_SECONDS_MAX)
    bounced = [
        from_text("pay", order.payment) for order in orders if order.token == "pm_card_refundFail"
    ]
    seconds = await until_nothing_is_left(deployment, NOT_BOUNCED_SQL, bounced)
    print(f"given back, {seconds:.1f} s until the last refund had failed")
    seconds = await until_nothing_is_left(deployment, LEFT_SQL)
    print(f"{seconds:.1f} s more until all is reported")
    assert met >= len(KILLS_OF_REVERSALS) // 2, "kills met no report"
    await judge(deployment, cashiers, orders)
    print(f"{time.monotonic() - begun:.1f} s; answers {dict(cashiers.answers)}")


def judge_sales(orders: list[Order], reports: list[dict[str, Any]]) -> None:
    """Who has paid is reported once, with all of his calculation, and nobody else."""
    paid = [order for order in orders if order.token != "pm_card_chargeDeclined"]
    assert len(paid) == TAXED + BOUNCED
    sales = [one for one in reports if one["original"] is None]
    told = Counter((one["reference"], one["total"]) for one in sales)
    assert told == Counter((order.payment, order.total) for order in paid)
    assert len({one["calculation"] for one in sales}) == len(sales)


async def judge(deployment: Deployment, cashiers: Cashiers, orders: list[Order]) -> None:
    """What the service has is what was paid and given back, and what our rows say of it."""
    reports = await deployment.tax_reports()
    judge_sales(orders, reports)
    sales = {one["reference"]: one for one in reports if one["original"] is None}
    refunds = {to_text("ref", row["refund_id"]): row for row in await deployment.fetch(
        "SELECT refund_id, payment_id, status, amount_minor FROM refunds"
    )}  # fmt: skip
    assert set(refunds) == set(cashiers.refunds)
    back = defaultdict(list)
    for one in reports:
        if one["original"] is not None:
            back[one["reference"].removesuffix("-restoral")].append(one)
    assert set(back) <= set(refunds)
    for refund_id, row in refunds.items():
        taken = [one["total"] for one in back[refund_id]]
        if row["status"] == "succeeded":
            assert taken == [-row["amount_minor"]], refund_id
            assert {one["original"] for one in back[refund_id]} == {
                sales[to_text("pay", row["payment_id"])]["id"]
            }
        else:  # it was taken back before it failed, and is reported again, or it never was
            assert taken in ([], [-row["amount_minor"], row["amount_minor"]]), refund_id
    counts = Counter(row["status"] for row in refunds.values())
    assert counts["failed"] >= BOUNCED
    assert counts["succeeded"] >= TAXED
    rows = await deployment.fetch("SELECT kind, status, source_id FROM tax_transactions")
    assert {row["status"] for row in rows} == {"made"}
    assert Counter(_reference(row["kind"], row["source_id"]) for row in rows) == Counter(
        one["reference"] for one in reports
    )
    print(f"{len(sales)} sales, {sum(map(len, back.values()))} taken back, refunds {dict(counts)}")


def _reference(kind: str, source_id: UUID) -> str:
    match kind:
        case "sale":
            return to_text("pay", source_id)
        case "reversal":
            return to_text("ref", source_id)
        case _:
            return f"{to_text('ref', source_id)}-{kind}"
