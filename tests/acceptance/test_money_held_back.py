"""While no witness sees the log no money is moved, and everything else goes on."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from strongroom.app import AMOUNT_RULES
from strongroom.checkout.paying import Paying
from strongroom.cli.checkout import _till
from strongroom.clock import SystemClock
from strongroom.config import Home, WitnessAt
from strongroom.database import connect_pool
from strongroom.errors import Unavailable
from strongroom.gateways.rules import Routes
from strongroom.payments.accept import Acceptor
from strongroom.payments.commands import Commander
from strongroom.payments.texts import TextStore
from strongroom.vault.opening import open_vault
from tests.acceptance.client import Answer, Api, StandIn, fresh, item, order, until
from tests.acceptance.running import Running, up
from tests.acceptance.served import served
from tests.acceptance.troubles import Closed
from tests.acceptance.visitor import linked
from tests.integration.witnesses import witness

CODE = "log_window_exceeded"
HELD_SECONDS_MAX = 180
LIMIT_SECONDS = 15


def is_held(answer: Answer) -> bool:
    return (answer.status, answer.code) == (503, CODE)


async def test_nothing_that_moves_money_is_taken_in(
    api: Api, running: Running, stripe: StandIn
) -> None:
    paid = (await api.pay(order(), wait=20)).id
    held = (await api.pay(order(capture="manual"), wait=20)).id
    bare = (await api.pay(order(None))).id
    async with served(running, window=Closed()) as (url, _):
        there = api.at(url)
        for answer in (
            await there.pay(order()),
            await there.pay(order(None)),
            await there.pay(order(), wait=5),
            await there.confirm(bare, "pm_card_visa"),
            await there.capture(held),
            await there.refund(paid, 100),
            await there.refund(paid, 100, metadata={"why": "late"}),
        ):
            assert is_held(answer), answer
            assert answer.headers["Retry-After"] == "30"
            assert answer.json["retry_safe"] is True
            assert "same Idempotency-Key" in answer.json["what_to_do"]
        for bulk in (
            await there.bulk([item(), item(None)]),
            await there.refund_all(
                [{"payment": paid, "amount": 1, "idempotency_key": fresh("key")}] * 1
            ),
        ):
            assert bulk.status == 200
            for result in bulk.json["results"]:
                assert (result["status"], result["problem"]["code"]) == (503, CODE)
    charges = await stripe.charges()
    assert (len(charges[paid]), charges[bare], charges[held]) == (1, [], [])
    assert await stripe.refunds_of(paid) == []
    assert (await api.payment(bare))["status"] == "requires_payment_method"
    assert (await api.payment(held))["status"] == "authorized"
    assert (await api.payment(paid))["refunding_amount"] == 0


async def test_a_repeat_of_what_was_accepted_is_answered(api: Api, running: Running) -> None:
    """It moves nothing: so whoever lost an answer learns it."""
    body, keys = order(), [fresh("key") for _ in range(4)]
    paid = await api.pay(body, key=keys[0], wait=20)
    bare, held = await api.pay(order(None)), await api.pay(order(capture="manual"), wait=20)
    confirmed = await api.confirm(bare.id, "pm_card_visa", key=keys[1], wait=20)
    captured = await api.capture(held.id, key=keys[2], wait=20)
    refunded = await api.refund(paid.id, 100, key=keys[3], wait=20)
    async with served(running, window=Closed()) as (url, _):
        there = api.at(url)
        for first, again in (
            (paid, await there.pay(body, key=keys[0])),
            (confirmed, await there.confirm(bare.id, "pm_card_visa", key=keys[1])),
            (captured, await there.capture(held.id, key=keys[2])),
            (refunded, await there.refund(paid.id, 100, key=keys[3])),
        ):
            assert (again.status, again.replayed, again.id) == (200, True, first.id), again
        bulk = await there.bulk([body | {"idempotency_key": keys[0]}, item()])
        assert [one["status"] for one in bulk.json["results"]] == [200, 503]
        other = await there.pay(body | {"amount": 1}, key=keys[0])
        assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_a_key_that_was_held_back_is_free(api: Api, running: Running) -> None:
    body, key = order(), fresh("key")
    async with served(running, window=Closed()) as (url, _):
        assert is_held(await api.at(url).pay(body, key=key))
        assert is_held(await api.at(url).pay(body, key=key))
    made = await api.pay(body, key=key, wait=20)
    assert (made.status, made.replayed, made.json["status"]) == (201, False, "succeeded")


async def test_what_is_wrong_with_a_request_comes_first(api: Api, running: Running) -> None:
    """Else its caller would come again, and again, with what can never be accepted."""
    async with served(running, window=Closed()) as (url, _):
        there = api.at(url)
        assert (await there.pay(order(amount=0))).code == "amount_invalid"
        assert (await there.with_key("nobody").pay(order())).status == 401
        missing = await there.capture("pay_" + "0" * 26)
        assert (missing.status, missing.code) == (404, "payment_not_found")


async def test_what_moves_none_goes_on(api: Api, running: Running) -> None:
    held = (await api.pay(order(capture="manual"), wait=20)).id
    waiting = (await api.pay(order("pm_card_threeDSecure2Required"), wait=20)).id
    async with served(running, window=Closed()) as (url, _):
        there = api.at(url)
        assert (await there.get("/v1/payments", limit=1)).status == 200
        assert (await there.payment(held))["status"] == "authorized"
        released = await there.cancel(held, wait=20)
        assert (released.status, released.json["status"]) == (200, "canceled")
        looked = await there.confirm(waiting)  # the customer is back from the bank
        assert looked.status in (200, 202), looked
        assert (await there.post("/v1/customers", {"name": "Ada"})).status == 201
        assert (await there.get("/v1/log/checkpoint")).status in (200, 404)


async def test_a_try_on_the_page_is_not_begun(api: Api, running: Running) -> None:
    """Nor is it counted: the customer can pay with the same card a little later."""
    _, visitor = await linked(api, running)
    home = Home(running.home)
    pool = await connect_pool(home.secret("database_api_url"), size_max=2, application="test")
    vault = await open_vault(home, home.settings(), "api")
    try:
        texts, rules = (
            TextStore(pool, vault.keyring, seals=True),
            Routes(home.path, tuple(AMOUNT_RULES)),
        )
        till = _till(
            home.settings(), pool, vault, Acceptor(pool), Commander(pool), texts, rules, Closed()
        )
        paying = Paying(pool, SystemClock(), till)
        link = await paying.link(visitor.token)
        with pytest.raises(Unavailable, match=CODE):
            await paying.pay(link, 1, visitor.account, "pm_card_visa", "127.0.0.1")
        assert (await paying.link(visitor.token)).tries == 0
    finally:
        await vault.close()
        await pool.close()
    await visitor.attempt(1)
    await visitor.until("paid")


# All of it: real processes, a witness that goes away, and a signer that stands still.


@pytest.fixture
def apart() -> Iterator[Running]:
    """A deployment whose settings a test changes."""
    made = Path(tempfile.mkdtemp(prefix="strongroom-held-"))
    try:
        with up(made / "home") as running:
            yield running
    finally:
        shutil.rmtree(made, ignore_errors=True)


def processes_of(running: Running, name: str) -> list[int]:
    """Those that run `strongroom NAME` on this home."""
    home, found = os.fsencode(running.home), list[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if name.encode() in words and home in words:
                found.append(int(folder.name))
    return found


async def until_it_is(of: Callable[[], Awaitable[Answer]], good: Callable[[Answer], bool]) -> None:
    async with asyncio.timeout(HELD_SECONDS_MAX):
        while True:
            with suppress(aiohttp.ClientError):  # a process of it begins anew
                if good(await of()):
                    return
            await asyncio.sleep(0.3)


def is_made(answer: Answer) -> bool:
    assert answer.status in (201, 202) or is_held(answer), answer
    return not is_held(answer)


async def begun_anew(running: Running, at: WitnessAt) -> None:
    """Its API and its signer ask this witness, and hold money back."""
    home = Home(running.home)
    settings = replace(
        home.settings(), witnesses=(at,), log_window_in_dev=True, log_window_seconds=LIMIT_SECONDS
    )
    home.write_settings(settings)
    for name in ("signer", "api"):
        before = set(processes_of(running, name))
        for pid in before:
            os.kill(pid, signal.SIGTERM)

        async def is_back(name: str = name, before: set[int] = before) -> bool:
            now = set(await asyncio.to_thread(processes_of, running, name))
            return len(now) >= len(before) and not now & before

        await until(is_back, HELD_SECONDS_MAX)


@pytest.mark.slow
@pytest.mark.needs("procfs")
async def test_without_a_witness_or_a_signer_money_stops_and_flows_again(
    apart: Running, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    api, body, key = Api(session, apart.api_url, apart.api_key), order(), fresh("key")
    log_key, known = apart.home / "log" / apart.legal_entity / "key", tmp_path / "known"
    await until(lambda: asyncio.to_thread(log_key.exists))
    shutil.copy(log_key, known)

    async def pay() -> Answer:
        return await api.pay(order())

    with witness(tmp_path / "witness", str(known)) as seeing:
        await begun_anew(apart, seeing.at)
        await until_it_is(pay, is_made)
        made = await api.pay(body, key=key, wait=20)
        assert made.json["status"] == "succeeded", made

    await until_it_is(pay, is_held)  # the witness is gone
    assert (await api.pay(body, key=key)).id == made.id
    assert is_held(await api.refund(made.id, 100))
    assert (await api.payment(made.id))["status"] == "succeeded"

    async def is_told() -> bool:
        return any("log_window_closed" in text for text in apart.log_texts().values())

    await until(is_told)
    port = seeing.url.rpartition(":")[2]
    with witness(tmp_path / "witness", str(known), port=port):
        await until_it_is(pay, is_made)
        [signer] = processes_of(apart, "signer")
        os.kill(signer, signal.SIGSTOP)
        try:
            await until_it_is(pay, is_held)
        finally:
            os.kill(signer, signal.SIGCONT)
        await until_it_is(pay, is_made)
        refund = await api.refund(made.id, 100, wait=20)
        assert refund.json["status"] == "succeeded", refund
