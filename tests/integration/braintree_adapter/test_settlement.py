"""Disputes and payouts of Braintree by its adapter, on a server whose clock a test may move."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.clock import SystemClock
from strongroom.gateways.braintree import disbursements, history
from strongroom.gateways.braintree.history import BraintreeCharges
from strongroom.gateways.braintree.settlement import BraintreeSettlement
from strongroom.gateways.history import CURSOR_GONE, NotListed, Page, Window
from strongroom.payments.states import Unknown
from strongroom.settlement.port import Listed, NoSuchObject, PayoutReturned, PayoutShown
from tests.integration.braintree_adapter.selling import KEYS, Keys, account_at
from tests.sandbox.braintree_server import RunningBraintree

DAY = 24 * 3600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningBraintree]:
    running = RunningBraintree(tmp_path)
    try:
        running.start()
        running.control("PUT", "/_knobs", {"search_lag_seconds": 0})
        yield running
    finally:
        running.kill()


def paid_out(server: RunningBraintree) -> str:
    """What was settled is paid out; by what we know that."""
    made = server.control("POST", "/_disbursements", {"merchant_account": "eur"})
    return payout_of(server, made["transactions"][0])


def payout_of(server: RunningBraintree, transaction: str) -> str:
    """By what we know the disbursement of a transaction."""
    found = server.gateway().transaction.find(transaction)
    return f"eur@{found.disbursement_details.disbursement_date:%Y-%m-%d}"


def returned(server: RunningBraintree) -> None:
    """The bank sends back what was paid out last."""
    made = server.control("GET", "/_ledger/disbursements")["data"][-1]
    server.control("POST", "/_disbursements", {"disbursement": made["id"]})


async def test_a_payout_that_came_back_and_went_out_anew(server: RunningBraintree) -> None:
    adapter = BraintreeSettlement(SystemClock(), Keys(KEYS), mode="dev")
    account = account_at(server.url)
    sold = server.settled(merchant_account_id="eur")
    first = paid_out(server)

    async def look(name: str, known: list[str]) -> Any:
        return (await adapter.look_at_payout(account, name, known))[0]

    shown = await look(first, [])
    assert isinstance(shown, PayoutShown)
    assert (shown.seen.status, shown.seen.amount_minor, shown.seen.currency) == (
        "paid", 1000, "EUR",
    )  # fmt: skip
    assert shown.items is not None
    assert [one.item_id for one in shown.items] == [sold.id]
    returned(server)
    failed = await look(first, [sold.id])
    assert isinstance(failed, PayoutShown)
    assert (failed.seen.status, failed.seen.status_reason) == ("failed", "disbursement_exception")
    server.advance(DAY + 1)  # what came back goes out by itself
    second = payout_of(server, sold.id)
    assert second != first
    assert await look(first, [sold.id]) == PayoutReturned("disbursement_exception")
    anew = await look(second, [])
    assert isinstance(anew, PayoutShown)
    assert anew.seen.status == "paid"
    assert (await adapter.list_payouts(account, None))[0] == Listed((second,))
    await adapter.close()


async def test_a_long_list_goes_on_where_its_time_was_over(
    server: RunningBraintree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disbursements, "LIST_SECONDS_MAX", 0)
    adapter = BraintreeSettlement(SystemClock(), Keys(KEYS), mode="dev")
    account, now = account_at(server.url), SystemClock().now()
    server.settled(merchant_account_id="eur")
    name, since, rounds, found = paid_out(server), now - timedelta(days=9), 0, set[str]()
    while True:
        answer, _ = await adapter.list_payouts(account, since)
        assert isinstance(answer, Listed)
        rounds, found = rounds + 1, found | set(answer.object_ids)
        if answer.until is None:
            break
        assert answer.until - timedelta(days=1) > since
        since = answer.until - timedelta(days=1)
    assert (rounds > 1, found) == (True, {name})
    await adapter.close()


async def test_an_empty_search_of_a_new_day_proves_nothing(server: RunningBraintree) -> None:
    adapter = BraintreeSettlement(SystemClock(), Keys(KEYS), mode="dev")
    account = account_at(server.url)
    server.settled(merchant_account_id="eur")
    name = paid_out(server)
    server.control("PUT", "/_knobs", {"search_lag_seconds": 3600})
    [part] = server.control("GET", "/_ledger/disbursements")["data"][0]["transactions"]
    for known in ([], [part]):
        found, _ = await adapter.look_at_payout(account, name, known)
        assert found == Unknown("not_shown_yet")
    for other in ("nobody" + name[3:], "eur@2024-02-29", "eur@2024-02-30", "eur", "@2024-02-29"):
        assert (await adapter.look_at_payout(account, other, []))[0] == NoSuchObject(), other
    await adapter.close()


async def test_disputes_are_listed_by_the_day_on_which_they_came(server: RunningBraintree) -> None:
    adapter = BraintreeSettlement(SystemClock(), Keys(KEYS), mode="dev")
    account, now = account_at(server.url), SystemClock().now()
    sold = server.settled(merchant_account_id="eur")
    ids = {
        server.control("POST", "/_disputes", {"transaction": sold.id, "amount": 1})["id"]
        for _ in range(60)
    }
    for since in (None, now):
        found, _ = await adapter.list_disputes(account, since)
        assert isinstance(found, Listed)
        assert set(found.object_ids) == ids
    server.advance(2 * DAY)
    assert isinstance((await adapter.look_at_dispute(account, "nothing1"))[0], NoSuchObject)
    await adapter.close()


async def test_charges_are_shown_in_stretches_of_time(
    server: RunningBraintree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, whatever fits into a page; what holds no money is none."""
    monkeypatch.setattr(history, "PAGE_ITEMS_MAX", 2)
    adapter, account = BraintreeCharges(SystemClock(), Keys(KEYS), "dev"), account_at(server.url)
    kept = set()
    for n in range(7):
        kept.add(server.sold(order_id=f"order-{n}", merchant_account_id="eur").id)
        server.advance(7 * n)
    voided = server.sold(order_id="order-8")
    assert server.gateway().transaction.void(voided.id).is_success
    now = SystemClock().now()
    window, cursor, pages = Window(now, now + timedelta(minutes=10)), None, []
    while True:
        page = await adapter.charges(account, window, cursor)
        assert isinstance(page, Page)
        assert len(page.items) <= 2
        pages.append(page)
        cursor = page.cursor
        if cursor is None:
            break
    found = [one.object_id for page in pages for one in page.items]
    assert (sorted(found), len(found)) == (sorted(kept), 7)
    assert sum(page.seen for page in pages) == 7
    assert [page.reached_at for page in pages] == sorted(
        (page.reached_at for page in pages if page.reached_at), reverse=True
    )
    monkeypatch.setattr(history, "PAGE_ITEMS_MAX", 0)
    refused, cursor = None, None
    while not isinstance(refused, NotListed):
        refused = await adapter.charges(account, window, cursor)
        cursor = refused.cursor if isinstance(refused, Page) else None
    assert refused == NotListed("too_many_in_a_second")
    assert await adapter.charges(account, window, "no time") == CURSOR_GONE
    await adapter.close()
