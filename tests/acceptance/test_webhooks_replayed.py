"""What was not delivered comes in by the gateway's own list, once, and in pages."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from strongroom.ids import bucket_of, from_text
from tests.acceptance.client import Api, StandIn, order, until
from tests.acceptance.hooks import Account, event, intent_of
from tests.acceptance.running import Running
from tests.acceptance.test_webhooks import OK, ours  # noqa: F401
from tests.acceptance.test_webhooks_followed import quiet, waiting  # noqa: F401

AGAIN_MAX = 5
SWEEP = "SELECT * FROM sweeps WHERE gateway_account_id = $1 AND sweep = $2"
DUE = """
UPDATE sweeps SET run_at = now(), since = now() - interval '1 hour', until = now()
WHERE gateway_account_id = $1 AND sweep = $2 AND run_at > now()
"""
LATER = """
UPDATE sweeps SET run_at = now() + interval '1 hour'
WHERE gateway_account_id = $1 AND sweep = $2 AND run_at > now() AND until IS NULL
"""
KEPT_FOR_LONG = """
INSERT INTO webhook_events (legal_entity_id, gateway_account_id, gateway_event_id, bucket, kind,
  object_type, gateway_object_id, body_digest, state, happened_at, received_at, run_at)
SELECT $1, $2, $3 || state || number, $4, 'x', 'x', 'x', decode(repeat('00', 32), 'hex'), state,
  now() - $5::interval, now() - $5::interval, now() + interval '1 year'
FROM unnest(ARRAY['received', 'applied', 'parked', 'ignored']) AS state,
  generate_series(1, 300) AS number
"""
LEFT = """
SELECT state, count(*) FROM webhook_events WHERE gateway_event_id LIKE $1 || '%' GROUP BY state
"""
NOWHERE = "http://127.0.0.1:9/webhooks"


@pytest.fixture
async def unreached(quiet: Any) -> None:  # noqa: F811
    """The gateway has an address of ours that nobody answers at."""
    await quiet(endpoints=[{"url": NOWHERE, "secrets": ["whsec_of_ours"]}])


async def stored(owner: asyncpg.Connection, object_id: str, kind: str) -> list[asyncpg.Record]:
    return await owner.fetch(
        "SELECT * FROM webhook_events WHERE gateway_object_id = $1 AND kind = $2", object_id, kind
    )


async def test_after_an_outage_the_gateways_list_is_gone_through_by_itself(
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    unreached: None,
    ours: Account,  # noqa: F811
) -> None:
    account = from_text("gwa", ours.url.rpartition("/")[2])

    async def not_its_turn() -> bool:
        return await owner.execute(LATER, account, "undelivered") == "UPDATE 1"

    await until(not_its_turn)
    payment, url = await waiting(api, owner)
    assert await stripe.decide(url, "complete") == 303
    await asyncio.sleep(0.5)
    assert (await api.payment(payment))["status"] == "requires_action"

    async def due() -> bool:
        return await owner.execute(DUE, account, "undelivered") == "UPDATE 1"

    await until(due)
    await api.until(payment, "succeeded")
    assert len((await stripe.charges())[payment]) == 1


async def test_an_operator_has_all_of_it_gone_through_and_nothing_comes_in_twice(
    running: Running,
    api: Api,
    owner: asyncpg.Connection,
    unreached: None,
    ours: Account,  # noqa: F811
) -> None:
    account = ours.url.rpartition("/")[2]
    paid = await asyncio.gather(*(api.pay(order(), wait=20) for _ in range(60)))
    shown = await intent_of(owner, paid[0].id)
    said = running.command("webhooks", "replay", "--account", account, "--since", "1h")
    assert "had not come before" in said
    row = await owner.fetchrow(SWEEP, from_text("gwa", account), "replay")
    assert row is not None
    assert row["seen"] > 100  # more than a page
    assert row["found"] >= 60
    [told] = await stored(owner, shown["id"], "payment_intent.succeeded")
    assert told["body_digest"] == bytes(32)
    again = ""
    for _ in range(AGAIN_MAX):  # what other tests have left under way may still make some
        again = running.command("webhooks", "replay", "--account", account, "--since", "1h")
        if again.endswith(" 0 had not come before"):
            break
    assert again.endswith(" 0 had not come before")
    # The gateway delivers it after all: it has been there, whatever the bytes are.
    late = event(shown, id=told["gateway_event_id"])
    assert await ours.send(late) == OK
    assert len(await stored(owner, shown["id"], "payment_intent.succeeded")) == 1
    assert told["gateway_event_id"] not in running.command("alarms", "--limit", "1000")


async def test_a_replay_goes_on_where_it_was_when_the_gateway_fails(
    running: Running,
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    unreached: None,
    ours: Account,  # noqa: F811
) -> None:
    account = ours.url.rpartition("/")[2]
    await asyncio.gather(*(api.pay(order(), wait=20) for _ in range(40)))
    await stripe.knobs({"fault": "error_500_before", "match": {"operation": "events.list"}})
    running.command("webhooks", "replay", "--account", account, "--since", "30m", "--no-wait")

    async def tried() -> bool:
        row = await owner.fetchrow(SWEEP, from_text("gwa", account), "replay")
        return row is not None and row["tries"] > 0 and row["cursor"] is None

    await until(tried)
    await stripe.clear()
    await owner.execute("UPDATE sweeps SET run_at = now() WHERE sweep = 'replay' AND tries > 0")
    said = running.command("webhooks", "replay", "--account", account, "--since", "30m")
    row = await owner.fetchrow(SWEEP, from_text("gwa", account), "replay")
    assert row is not None
    assert (row["run_at"], row["cursor"], row["tries"]) == (None, None, 0)
    assert f"listed {row['seen']} events" in said
    assert row["seen"] > 40


async def test_another_worker_goes_on_where_one_died(
    running: Running,
    api: Api,
    stripe: StandIn,
    owner: asyncpg.Connection,
    unreached: None,
    ours: Account,  # noqa: F811
) -> None:
    """Its row as the dead one left it, after a page, and the end of its lease."""
    account = ours.url.rpartition("/")[2]
    await asyncio.gather(*(api.pay(order(), wait=20) for _ in range(40)))
    running.command("webhooks", "replay", "--account", account, "--since", "1h")
    before = await owner.fetchrow(SWEEP, from_text("gwa", account), "replay")
    assert before is not None
    assert before["seen"] > 100
    last = (await stripe.newest_events(100))[-1]
    left = await owner.execute(
        "UPDATE sweeps SET cursor = $2, seen = 100, run_at = now() "
        "WHERE gateway_account_id = $1 AND sweep = 'replay'", from_text("gwa", account), last,
    )  # fmt: skip
    assert left == "UPDATE 1"

    async def over() -> bool:
        row = await owner.fetchrow(SWEEP, from_text("gwa", account), "replay")
        return row is not None and row["run_at"] is None and row["seen"] == before["seen"]

    await until(over)


async def test_what_is_old_and_at_its_end_goes_page_by_page(
    owner: asyncpg.Connection,
    ours: Account,  # noqa: F811
) -> None:
    """After 90 days, which is three times as long as a gateway can be made to send it again."""
    account = from_text("gwa", ours.url.rpartition("/")[2])
    entity = await owner.fetchval(
        "SELECT legal_entity_id FROM gateway_accounts WHERE gateway_account_id = $1", account
    )
    for name, days in (("old_", 91), ("young_", 89)):
        age = timedelta(days=days)
        await owner.execute(KEPT_FOR_LONG, entity, account, name, bucket_of(entity), age)

    async def due() -> bool:
        return await owner.execute(DUE, account, "retention") == "UPDATE 1"

    await until(due)

    async def left(name: str) -> dict[str, int]:
        return {row[0]: row[1] for row in await owner.fetch(LEFT, name)}

    async def gone() -> bool:
        return await left("old_") == {"received": 300}

    await until(gone)
    kept = dict.fromkeys(("received", "applied", "parked", "ignored"), 300)
    assert await left("young_") == kept
    await owner.execute("DELETE FROM webhook_events WHERE kind = 'x'")


@pytest.mark.parametrize(
    ("account", "since"),
    [(None, "31d"), (None, "2026-11-01"), (None, "soon"), ("gwa_" + "0" * 26, "1d"), ("x", "1d")],
)
def test_what_cannot_be_gone_through_is_refused(
    account: str | None,
    since: str,
    running: Running,
    ours: Account,  # noqa: F811
) -> None:
    name = account or ours.url.rpartition("/")[2]
    with pytest.raises(AssertionError, match="strongroom: "):
        running.command("webhooks", "replay", "--account", name, "--since", since)
