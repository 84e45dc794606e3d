"""Charges at the gateway that we do not know are shown to a person, and never touched."""

import asyncio
import json
import subprocess
from typing import Any

import asyncpg
import pytest

from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.ids import from_text, new_id, to_text
from tests.acceptance.client import Api, until
from tests.acceptance.hooks import EVENTS_OF_ALARM, stop_polling
from tests.acceptance.running import COMMAND_SECONDS_MAX, Running, environment, program
from tests.acceptance.tills import BraintreeTill, Till, braintree_order

DONE_SECONDS_MAX = 120
DUE = """
UPDATE sweeps SET run_at = now(), since = now() - interval '1 hour', until = now(), cursor = NULL
WHERE gateway_account_id = $1 AND sweep = 'charges' AND run_at > now()
"""
NOW = "UPDATE jobs SET run_at = now() WHERE payment_id = $1"
DONE = """
SELECT until IS NULL AND run_at > now() + interval '10 minutes' AND tries = 0 FROM sweeps
WHERE gateway_account_id = $1 AND sweep = 'charges'
"""


async def swept(owner: asyncpg.Connection, account: str) -> None:
    """The gateway's charges have been gone through, once more and by now."""
    name = from_text("gwa", account)

    async def due() -> bool:
        return await owner.execute(DUE, name) == "UPDATE 1"

    async def done() -> bool:
        return bool(await owner.fetchval(DONE, name))

    await until(due)
    await until(done, DONE_SECONDS_MAX)


def shown(running: Running) -> dict[str, dict[str, Any]]:
    lines = json.loads(running.command("ghosts", "list", "--json", "--limit", "1000"))
    return {line["charge"]: line for line in lines}


async def test_a_charge_with_our_mark_that_we_do_not_know_is_shown(
    running: Running,
    api: Api,
    other_api: Api,
    other_merchants_till: Till,
    owner: asyncpg.Connection,
) -> None:
    till = other_merchants_till
    paid, theirs = await till.paid(api), await till.paid(other_api)
    known = {await till.object_of(one) for one in (paid, theirs)}
    entity = from_text("ent", running.legal_entity)
    nobody = to_text("pay", new_id(microseconds_since_epoch(SystemClock().now()), entity))
    lost, second = await till.charged(nobody), await till.charged(paid)
    strange = await till.charged("pay_" + "0" * 26)
    await swept(owner, till.account)
    found = shown(running)
    assert {one: (found[one]["kind"], found[one]["reason"]) for one in (lost, second, strange)} == {
        lost: ("ghost_charge", "unknown_object 1234 EUR"),
        second: ("ghost_charge", "other_object 1234 EUR"),
        strange: ("ghost_charge", "unknown_legal_entity 1234 EUR"),
    }
    assert not known & found.keys()
    assert lost in running.command("alarms", "--limit", "1000")
    [told] = await owner.fetch(EVENTS_OF_ALARM, from_text("alm", found[lost]["alarm"]))
    assert told["kind"] == "alarm.raised"
    for charge in (lost, second, strange):
        assert await till.given_back(charge) == 0


async def test_what_a_person_has_accounted_for_is_not_shown_again(
    running: Running, till: Till, owner: asyncpg.Connection
) -> None:
    charge = await till.charged()
    await swept(owner, till.account)
    line = shown(running)[charge]
    assert (line["kind"], line["reason"]) == ("unmarked_charge", "no_mark_of_ours 1234 EUR")
    running.command("ghosts", "ignore", line["alarm"], "--because", "taken by telephone")
    await swept(owner, till.account)
    assert charge not in shown(running)


@pytest.mark.sampled(2)
async def test_an_account_that_another_system_shares_shows_only_what_bears_our_mark(
    running: Running, till: Till, owner: asyncpg.Connection
) -> None:
    name = till.account
    before = await till.charged()
    await swept(owner, name)
    assert before in shown(running)
    running.command("ghosts", "ignore", "--account", name, "--because", "the other shop's")
    assert before not in shown(running)
    after, strange = await till.charged(), await till.charged("pay_" + "0" * 26, "2")
    await swept(owner, name)
    assert after not in shown(running)
    assert strange in shown(running)
    running.command("ghosts", "watch", "--account", name)
    await swept(owner, name)
    assert after in shown(running)
    running.command("ghosts", "ignore", "--account", name, "--because", "done")


async def test_a_sale_at_braintree_whose_answer_was_lost_is_no_ghost(
    running: Running, api: Api, at_braintree: BraintreeTill, owner: asyncpg.Connection
) -> None:
    """Its attempt does not know its id yet: it is looked for by the very mark."""
    till = at_braintree
    await till.knobs(
        search_lag_seconds=3600,
        rules=[{"fault": "drop_after", "match": {"operation": "transactions.sale"}}],
    )
    made = await api.pay(braintree_order(), wait=2)
    assert made.json["status"] in ("processing", "outcome_unknown")
    charge = await till.object_of(made.id)
    await till.knobs(rules=[{"fault": "drop_before", "match": {"operation": "transactions.sale"}}])
    attempt = "SELECT gateway_object_id FROM attempts WHERE payment_id = $1"
    assert await owner.fetchval(attempt, from_text("pay", made.id)) is None
    await stop_polling(owner, made.id)
    await till.knobs()
    await swept(owner, till.account)
    assert charge not in shown(running)
    await owner.execute(NOW, from_text("pay", made.id))
    assert (await api.until(made.id, "succeeded"))["captured_amount"] == 1999


async def test_braintree_has_no_list_of_events_to_replay(
    running: Running, at_braintree: BraintreeTill
) -> None:
    refused = await asyncio.to_thread(
        subprocess.run,
        [*program("webhooks", "replay", "--account", at_braintree.account, "--since", "1h"),
         "--home", str(running.home)],
        env=environment(), capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "no list of its events" in refused.stderr
