"""Webhooks in: what is genuine is stored once, what is not leaves no trace."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from strongroom.http.card_guard import GUARD
from strongroom.ids import from_text, to_text
from strongroom.problems.webhooks import WEBHOOKS
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.hooks import (
    Account,
    Refusal,
    assert_standing,
    event,
    signed,
    thin,
)  # fmt: skip
from tests.acceptance.running import Running

OTHER = "whsec_" + "0" * 32
OK = Refusal(200, None)
INTENT = {"id": "pi_1", "object": "payment_intent", "metadata": {}}
SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "data" / "stripe-fixtures3.json"
MET: set[str] = set()
"""Codes that a sender was answered in this file."""


async def account_id(owner: asyncpg.Connection, merchant: str) -> str:
    found = await owner.fetchval(
        "SELECT min(gateway_account_id::text)::uuid FROM gateway_accounts "
        "WHERE legal_entity_id = $1",
        from_text("ent", merchant),
    )
    return to_text("gwa", found)


@pytest.fixture
async def ours(
    running: Running, session: aiohttp.ClientSession, owner: asyncpg.Connection
) -> Account:
    """The account that `up` made, with the secret of its stand-in."""
    secret = (running.home / "secrets" / "stripe_webhook_secret").read_text().strip()
    name = await account_id(owner, running.legal_entity)
    url = f"{running.api_url}/webhooks/stripe/{name}"
    return Account(session, url, secret, owner)


@pytest.fixture(scope="module")
def rotating(running: Running) -> Merchant:
    """A legal entity whose secrets a test changes."""
    return new_merchant(running, "Rotating Ltd")


async def refused(account: Account, body: Any, header: Any = None) -> Refusal:
    """Sends what has to leave no row."""
    before = await account.owner.fetchval("SELECT count(*) FROM webhook_events")
    answer = await account.send(body, header)
    assert await account.owner.fetchval("SELECT count(*) FROM webhook_events") == before
    assert answer.code is not None
    MET.add(answer.code)
    return answer


# What is genuine.


async def test_a_genuine_one_is_stored_without_its_body(ours: Account) -> None:
    told = event(INTENT | {"description": "Ms Example, 4242 4242 4242 4242"})
    assert await ours.send(told) == OK
    row = await ours.row(told["id"])
    assert row is not None
    assert (row["kind"], row["gateway_object_id"]) == (told["type"], "pi_1")
    assert len(row["body_digest"]) == 32
    for part in ("4242 4242", "42424242"):  # four digits alone stand in an id or a time by chance
        assert part not in str(tuple(row))
    assert "Example" not in str(tuple(row))


async def test_it_is_stored_once_however_often_it_comes(ours: Account) -> None:
    told = event(INTENT)
    answers = await asyncio.gather(*(ours.send(told) for _ in range(40)))
    assert set(answers) == {OK}
    assert await ours.send(told) == OK
    rows = await ours.owner.fetch(
        "SELECT FROM webhook_events WHERE gateway_event_id = $1", told["id"]
    )
    assert len(rows) == 1


async def test_another_body_under_one_id_changes_nothing_and_is_told(
    ours: Account, running: Running
) -> None:
    told = event(INTENT)
    assert await ours.send(told) == OK
    before = await ours.ended(told["id"])
    assert await ours.send(told | {"type": "payment_intent.canceled"}) == OK
    assert await ours.row(told["id"]) == before
    lines = [text for name, text in running.log_texts().items() if name.startswith("api")]
    assert any("webhook_id_reused" in text and told["id"] in text for text in lines)
    await assert_standing(running, ours, "webhook_id_reused", told["id"], "other_body")


@pytest.mark.parametrize(
    ("kind", "shown", "state", "reason"),
    [
        ("payment_intent.succeeded", INTENT, "parked", "no_reference"),
        ("payment_intent.created", INTENT, "ignored", None),
        ("customer.created", {"id": "cus_1", "object": "customer"}, "ignored", None),
        ("balance.available", {"object": "balance"}, "ignored", None),
        ("plan.created", {"id": "4242 4242 4242 4242", "object": "plan"}, "ignored", None),
        ("payment_intent.succeeded", INTENT | {"id": {"a": 1}}, "ignored", None),
        ("charge.dispute.created", {"object": "dispute"}, "parked", "not_handled"),
    ],
)
async def test_it_is_told_what_becomes_of_it(
    kind: str, shown: dict[str, Any], state: str, reason: str | None, ours: Account
) -> None:
    told = event(shown, kind)
    assert await ours.send(told) == OK
    row = await ours.ended(told["id"])
    assert (row["state"], row["reason"]) == (state, reason)


async def test_a_thin_event_is_taken_as_well(ours: Account, running: Running) -> None:
    told = thin("pi_thin")
    assert await ours.send(told) == OK
    row = await ours.ended(told["id"])
    assert (row["state"], row["gateway_object_id"]) == ("parked", "pi_thin")
    assert told["id"] in running.command("webhooks", "parked", "--limit", "1000")


async def test_none_of_the_providers_samples_is_refused(ours: Account) -> None:
    """Each of Stripe's own sample objects as the object of an event; none looks like a card."""
    if not SAMPLES.exists():
        pytest.skip(f"{SAMPLES.name} is missing: Stripe's sample resources are not sent")
    samples = json.loads(SAMPLES.read_text())["resources"]
    for name, shown in samples.items():
        kind = f"{shown['object']}.updated"
        assert await ours.send(event(shown, kind)) == OK, name
        GUARD.check_body(json.dumps(shown).encode())


# What is not.


def later(seconds: float) -> Callable[[bytes, str], str]:
    return lambda body, secret: signed(body, secret, time.time() + seconds)


BAD: dict[str, Callable[[bytes, str], str | list[str]]] = {
    "none": lambda body, secret: [],
    "two headers": lambda body, secret: [signed(body, secret)] * 2,
    "another secret": lambda body, secret: signed(body, OTHER),
    "another body": lambda body, secret: signed(body + b" ", secret),
    "another scheme": lambda body, secret: signed(body, secret).replace("v1=", "v0="),
    "pipes": lambda body, secret: "a|b|c",
    "empty": lambda body, secret: "",
    "no time": lambda body, secret: signed(body, secret).partition(",")[2],
    "two times": lambda body, secret: f"t=1,{signed(body, secret)}",
    "a time with a sign": lambda body, secret: signed(body, secret).replace("t=", "t=+"),
    "a time of no clock": lambda body, secret: f"t=999999999999,v1={'0' * 64}",
    "no ASCII": lambda body, secret: signed(body, secret) + ",v1=\xe9\xe9",
    "other digits": lambda body, secret: signed(body, secret).replace("t=1", "t=\xb9"),
    "huge": lambda body, secret: ",".join([signed(body, secret), *["v0=" + "a" * 60] * 80]),
    "many": lambda body, secret: ",".join([*["v1=" + "0" * 64] * 16, signed(body, secret)]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_signature_leaves_nothing(name: str, ours: Account) -> None:
    body = json.dumps(event(INTENT)).encode()
    answer = await refused(ours, body, BAD[name](body, ours.secret))
    assert answer == Refusal(400, "webhook_signature_invalid")


@pytest.mark.parametrize(
    ("seconds", "good"), [(-290, True), (-310, False), (50, True), (70, False)]
)
async def test_old_and_future_ones_are_refused(seconds: float, good: bool, ours: Account) -> None:
    body = json.dumps(event(INTENT)).encode()
    header = signed(body, ours.secret, time.time() + seconds)
    if good:
        assert await ours.send(body, header) == OK
    else:
        assert await refused(ours, body, header) == Refusal(400, "webhook_not_fresh")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"id":"evt_1"}',
        json.dumps(event(INTENT, id="evt 1")).encode(),
        json.dumps(event(INTENT, id="e" * 200)).encode(),
        json.dumps(event(INTENT, object="charge")).encode(),
        json.dumps(event(INTENT, type="a\x00b")).encode(),
        json.dumps(event(INTENT, created=10**30)).encode(),
    ],
    ids=lambda body: body[:12].decode("ascii", "replace"),
)  # fmt: skip
async def test_a_signed_body_that_is_no_event_is_refused(body: bytes, ours: Account) -> None:
    raw = body.decode("utf-8", "replace")
    header = signed(raw.encode(), ours.secret)
    answer = await refused(ours, body, header)
    no_text = body == b"\xff\xfe"
    code = "webhook_signature_invalid" if no_text else "webhook_malformed"
    assert answer == Refusal(400, code)


async def test_a_card_number_as_an_id_is_not_kept(ours: Account) -> None:
    told = event(INTENT, id="4242424242424242")
    assert await refused(ours, told) == Refusal(422, "card_number_refused")


async def test_live_and_test_mode_are_kept_apart(ours: Account) -> None:
    answer = await refused(ours, event(INTENT, livemode=True))
    assert answer == Refusal(400, "webhook_mode_mismatch")


async def test_a_body_beyond_the_limit_is_refused(ours: Account) -> None:
    body = json.dumps(event(INTENT)).encode().ljust(256 * 1024)
    assert await ours.send(body) == OK
    assert await refused(ours, body + b" ") == Refusal(413, "body_too_large")


async def test_there_is_nothing_but_post(ours: Account) -> None:
    async with ours.session.get(ours.url) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("name", ["gwa_" + "0" * 26, "gwa_", "pay_x", "%67wa", "a|b"])
async def test_an_account_that_is_not_there_is_unknown(name: str, ours: Account) -> None:
    there = Account(ours.session, ours.url.rpartition("/")[0] + "/" + name, ours.secret, ours.owner)
    assert await refused(there, event(INTENT)) == Refusal(404, "webhook_account_unknown")


async def test_secrets_change_without_a_gap(
    rotating: Merchant, running: Running, ours: Account, tmp_path: Path
) -> None:
    name = await account_id(ours.owner, rotating.legal_entity)
    url = f"{running.api_url}/webhooks/stripe/{name}"
    first, second = "whsec_" + "1" * 32, "whsec_" + "2" * 32
    old, new = (Account(ours.session, url, secret, ours.owner) for secret in (first, second))
    assert await refused(old, event(INTENT)) == Refusal(503, "webhook_secret_missing")
    file = tmp_path / "secret"
    file.touch(0o600)

    async def settled(how: str, text: str | None, *answers: tuple[Account, int]) -> None:
        if text is not None:
            file.write_text(text)
        given = () if text is None else ("--file", str(file))
        running.command("secrets", how, name, "stripe_webhook_secret", *given)
        async with asyncio.timeout(60):  # processes see it within five seconds
            good = 0
            while good < 6:  # both API processes
                good += 1
                for account, status in answers:
                    if (await account.send(event(INTENT))).status != status:
                        good = 0
                        await asyncio.sleep(0.2)

    await settled("set", first, (old, 200), (new, 400))
    await settled("rotate", second, (old, 200), (new, 200))
    body = json.dumps(event(INTENT)).encode()
    both = f"{signed(body, OTHER)},{signed(body, second).partition(',')[2]}"
    assert await new.send(body, both) == OK
    await settled("retire", None, (old, 400), (new, 200))


def test_every_refusal_of_a_webhook_was_met() -> None:
    assert set(WEBHOOKS) <= MET
