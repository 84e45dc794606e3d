"""What webhooks lead to: a look at the gateway, and never more than that."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import SETTLE_SECONDS_MAX, Api, StandIn, order, until
from tests.acceptance.hooks import (
    EVENTS_OF_ALARM,
    Account,
    Refusal,
    assert_standing,
    event,
    intent_of,
    looked_at,
    stop_polling,
    thin,
)  # fmt: skip
from tests.acceptance.running import Running
from tests.acceptance.test_webhooks import account_id, ours  # noqa: F401

CARD = "pm_card_threeDSecure2Required"
OK = Refusal(200, None)


@pytest.fixture
async def quiet(running: Running, session: aiohttp.ClientSession) -> AsyncIterator[Any]:
    """The stand-in sends nothing but what a test registers by calling this."""
    headers = {"X-Knob-Token": running.knob_token}

    async def register(**body: Any) -> None:
        async with session.put(
            running.stripe_url + "/_webhooks", headers=headers, json=body
        ) as answer:
            assert answer.status == 200, await answer.text()

    await register()
    yield register
    async with session.delete(running.stripe_url + "/_webhooks", headers=headers) as answer:
        assert answer.status == 200


async def waiting(api: Api, owner: asyncpg.Connection) -> tuple[str, str]:
    """A payment that waits for its customer and that nobody polls, and the address of the step."""
    made = await api.pay(order(CARD), wait=20)
    assert made.json["status"] == "requires_action"
    await stop_polling(owner, made.id)
    return made.id, made.json["next_action"]["url"]


async def test_a_challenge_is_settled_by_the_webhook(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    """By that which the stand-in itself sends, as `up` has registered it."""
    payment, url = await waiting(api, owner)
    assert await stripe.decide(url, "complete") == 303
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        await api.until(payment, "succeeded")
    assert len((await stripe.charges())[payment]) == 1


async def test_a_thin_one_is_followed_up_once_its_object_is_fetched(
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    await quiet(endpoints=[{"url": ours.url, "secrets": [ours.secret], "thin": True}])
    payment, url = await waiting(api, owner)
    shown = await intent_of(owner, payment)
    assert await stripe.decide(url, "complete") == 303
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        await api.until(payment, "succeeded")
    told = await owner.fetchrow(
        "SELECT * FROM webhook_events WHERE gateway_object_id = $1 "
        "AND kind = 'v1.payment_intent.succeeded'", shown["id"],
    )  # fmt: skip
    assert told is not None
    await ours.ended(told["gateway_event_id"])

    async def all_fetched() -> bool:  # of the others that came with it, too
        return not await owner.fetchval("SELECT count(*) FROM webhook_fetches")

    await until(all_fetched)


async def test_a_thin_one_about_anothers_object_alarms_as_well(
    running: Running,
    other_api: Api,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    payment, _ = await waiting(other_api, owner)
    shown = await intent_of(owner, payment)
    told = thin(shown["id"])
    assert await ours.send(told) == OK

    async def fetched() -> bool:
        row = await ours.row(told["id"])
        return row is not None and row["reason"] == "other_legal_entity"

    await until(fetched)
    await assert_standing(running, ours, "webhook_mismatched", shown["id"], "other_legal_entity")
    assert not await looked_at(owner, payment)


async def test_without_a_webhook_nobody_looks(
    api: Api, stripe: StandIn, owner: asyncpg.Connection, quiet: Any
) -> None:
    payment, url = await waiting(api, owner)
    assert await stripe.decide(url, "complete") == 303
    await asyncio.sleep(2)
    assert (await api.payment(payment))["status"] == "requires_action"
    assert not await looked_at(owner, payment)


async def test_what_it_says_is_not_believed(
    api: Api,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    payment, _ = await waiting(api, owner)
    told = event(await intent_of(owner, payment))
    assert await ours.send(told) == OK
    assert (await ours.ended(told["id"]))["state"] == "applied"
    await asyncio.sleep(1)
    assert (await api.payment(payment))["status"] == "requires_action"
    assert await looked_at(owner, payment)


async def test_faulty_deliveries_end_in_one_charge(
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    await quiet(
        endpoints=[{"url": ours.url, "secrets": [ours.secret, "whsec_another_one_of_ours"]}],
        faults={"duplicate": 1.0, "reorder": 1.0, "forge": 1.0, "delay_ms": 300},
    )
    made = [await waiting(api, owner) for _ in range(4)]
    await asyncio.gather(*(stripe.decide(url, "complete") for _, url in made))
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        for payment, _ in made:
            await api.until(payment, "succeeded")
    charges = await stripe.charges()
    assert [len(charges[payment]) for payment, _ in made] == [1] * 4


async def test_a_refund_that_fails_later_is_learnt_by_the_webhook(
    api: Api, stripe: StandIn, owner: asyncpg.Connection
) -> None:
    await stripe.knobs({"fault": "processing", "match": {"operation": "refunds.create"}})
    paid = await api.pay(order(), wait=20)
    made = await api.refund(paid.id, 500)
    assert made.json["status"] in ("processing", "pending"), made
    refund = from_text("ref", made.id)
    object_id = None
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while object_id is None or not await owner.fetchval(
            "WITH later AS (UPDATE refund_jobs SET run_at = run_at + interval '1 hour' "
            "WHERE refund_id = $1 AND NOT held RETURNING 1) SELECT count(*) FROM later",
            refund,
        ):
            object_id = await owner.fetchval(
                "SELECT gateway_object_id FROM refunds WHERE refund_id = $1", refund
            )
            await asyncio.sleep(0.02)
    await stripe.settle(refund=object_id, succeed=False)

    async def failed() -> bool:
        return bool((await api.get(f"/v1/refunds/{made.id}")).json["status"] == "failed")

    await until(failed)


# What its account has no part in.


def alarms(running: Running, event_id: str) -> int:
    return sum(
        "webhook_mismatched" in line and event_id in line
        for name, text in running.log_texts().items()
        if name.startswith("worker")
        for line in text.splitlines()
    )


async def assert_alarm(
    running: Running, account: Account, told: dict[str, Any], payment: str, reason: str
) -> None:
    assert await account.send(told) == OK
    row = await account.ended(told["id"])
    assert (row["state"], row["reason"]) == ("parked", reason)
    assert not await looked_at(account.owner, payment)

    async def alarmed() -> bool:
        return alarms(running, told["id"]) == 1

    await until(alarmed)  # the line comes after the commit
    await assert_standing(running, account, "webhook_mismatched", row["gateway_object_id"], reason)
    assert reason in running.command("webhooks", "parked", "--limit", "1000")


async def test_another_accounts_object_changes_nothing_and_alarms(
    running: Running,
    api: Api,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
    tmp_path: Any,
) -> None:
    payment, _ = await waiting(api, owner)
    other = running.command(
        "gateway-accounts", "add", "--entity", running.legal_entity, "--gateway", "stripe",
        "--environment", "stand_in", "--secret-file", str(running.home / "secrets/stripe_key"),
        "--base-url", running.stripe_url,
    ).split()[0]  # fmt: skip
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("whsec_of_the_other_account")
    running.command("secrets", "set", other, "stripe_webhook_secret", "--file", str(file))
    url = ours.url.rpartition("/")[0] + "/" + other
    theirs = Account(ours.session, url, "whsec_of_the_other_account", owner)
    told = event(await intent_of(owner, payment))
    good = 0

    async def known() -> bool:  # accounts are kept for five seconds, in two processes
        nonlocal good
        answer = await theirs.send(event({"object": "balance"}, "balance.available"))
        good = good + 1 if answer == OK else 0
        return good == 20

    await until(known)
    await assert_alarm(running, theirs, told, payment, "other_gateway_account")


async def test_another_entitys_payment_changes_nothing_and_alarms(
    running: Running,
    other_api: Api,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    payment, _ = await waiting(other_api, owner)
    told = event(await intent_of(owner, payment))
    await assert_alarm(running, ours, told, payment, "other_legal_entity")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"amount": 1}, "other_amount"), ({"currency": "usd"}, "other_amount"),
     ({"id": "pi_of_somebody_else"}, "other_object")],
)  # fmt: skip
async def test_another_object_or_amount_changes_nothing_and_alarms(
    change: dict[str, Any],
    reason: str,
    running: Running,
    api: Api,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    payment, _ = await waiting(api, owner)
    told = event((await intent_of(owner, payment)) | change)
    await assert_alarm(running, ours, told, payment, reason)


@pytest.mark.slow
async def test_a_thousand_times_is_one_alarm_until_somebody_clears_it(
    running: Running,
    api: Api,
    owner: asyncpg.Connection,
    quiet: Any,
    ours: Account,  # noqa: F811
) -> None:
    payment, _ = await waiting(api, owner)
    shown = (await intent_of(owner, payment)) | {"amount": 1}
    for _ in range(2):
        many = [event(shown) for _ in range(20)]
        await asyncio.gather(*(ours.send(one) for one in many))
        for one in many:
            assert (await ours.ended(one["id"]))["reason"] == "other_amount"
        name = await assert_standing(
            running, ours, "webhook_mismatched", shown["id"], "other_amount"
        )
        assert "docs/runbooks/webhook-mismatched.md" in running.command("alarms")
        assert running.command("alarms", "clear", name, "--because", "a test of ours")
        assert name not in running.command("alarms")
        kinds = await owner.fetch(EVENTS_OF_ALARM, from_text("alm", name))
        assert [row["kind"] for row in kinds] == ["alarm.raised", "alarm.cleared"]
        assert kinds[1]["actor"].startswith("operator:")
        assert json.loads(kinds[1]["payload"])["origin"]["by"] == "command_line"
