"""Routes over HTTP and on the command line: which account takes a payment, and what comes next."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from msgspec import Struct

from strongroom.gateways.accounts import KEPT_SECONDS
from strongroom.gateways.rules import FILE, LOOK_SECONDS
from strongroom.ids import from_text
from tests.acceptance.client import Api, StandIn, fresh, order
from tests.acceptance.conftest import new_merchant
from tests.acceptance.running import Running
from tests.acceptance.test_paying_with_saved import confirm, saved
from tests.acceptance.test_payment_methods import until_method

FAULTY = "pm_decline_processing_error"


class Shop(Struct, frozen=True):
    """A legal entity with two accounts, the first one older."""

    entity: str
    api_key: str
    first: str
    second: str


@pytest.fixture(scope="module")
def shop(running: Running) -> Shop:
    merchant = new_merchant(running, "Routed Ltd")
    second = running.command(
        "gateway-accounts", "add", "--entity", merchant.legal_entity, "--gateway", "stripe",
        "--environment", "stand_in", "--secret-file", str(running.home / "secrets/stripe_key"),
        "--base-url", running.stripe_url,
    )  # fmt: skip
    shown = tried(running, merchant.legal_entity, "--currency", "EUR")
    accounts = [way["account"] for way in shown["ways"]]
    return Shop(merchant.legal_entity, merchant.api_key, accounts[0], second)


def tried(running: Running, entity: str, *words: str):
    """What `strongroom routes test` says."""
    command = ("routes", "test", "--json", "--entity", entity, "--amount", "1999", *words)
    return json.loads(running.command(*command))


@pytest.fixture
def file(running: Running) -> Iterator[Path]:
    path = running.home / FILE
    yield path
    path.unlink(missing_ok=True)


def write(file: Path, text: str) -> None:
    file.write_text(text)


def rules(shop: Shop) -> str:
    return (
        f'[[rule]]\nname = "francs"\nentity = "{shop.entity}"\ncurrency = "CHF"\n'
        f'use = ["{shop.second}", "{shop.first}"]\n\n'
        f'[[rule]]\nname = "yen"\nentity = "{shop.entity}"\ncurrency = "JPY"\n'
        f'country = "JP"\nuse = "{shop.second}"\n'
    )


async def test_a_decline_goes_to_the_alternative_and_is_charged_once(
    api: Api, shop: Shop, stripe: StandIn
) -> None:
    ours = api.with_key(shop.api_key)
    instrument = {
        "gateway": "stripe",
        "token": FAULTY,
        "alternatives": [{"gateway": "stripe", "token": "pm_card_visa", "account": shop.second}],
    }
    made = await ours.pay(order(instrument=instrument), wait=20)
    assert (made.status, made.json["status"]) == (201, "succeeded")
    assert (made.json["decline"], made.json["next_gateway"]) == (None, None)
    assert len((await stripe.charges())[made.id]) == 1


async def test_alternatives_that_come_with_a_confirm_are_gone_to_as_well(
    api: Api, shop: Shop, stripe: StandIn
) -> None:
    ours = api.with_key(shop.api_key)
    payment = (await ours.pay(order(None))).id
    other = {"gateway": "stripe", "token": "pm_card_visa", "account": shop.second}
    instrument = {"gateway": "stripe", "token": FAULTY, "alternatives": [other]}
    body = {"instrument": instrument}
    paid = await ours.post(f"/v1/payments/{payment}/confirm", body, wait=20)
    assert (paid.status, paid.json["status"]) == (200, "succeeded")
    assert len((await stripe.charges())[payment]) == 1


async def test_a_card_that_the_customer_replaced_is_charged_nowhere(
    api: Api, stripe: StandIn
) -> None:
    """Neither where it was brought, nor at the other gateway, which knows it by another token."""
    other = {"gateway": "braintree", "token": "fake-valid-visa-nonce"}
    card = {"gateway": "stripe", "token": "pm_card_threeDSecure2Required"}
    made = await api.pay(order(instrument=card | {"alternatives": [other]}), wait=20)
    assert made.json["status"] == "requires_action"
    await api.confirm(made.id, FAULTY, wait=20)
    left = await api.until(made.id, "requires_payment_method")
    assert (left["decline"]["class"], left["next_gateway"]) == ("try_again", "braintree")
    paid = await api.post(f"/v1/payments/{made.id}/confirm", {"instrument": other}, wait=20)
    assert (paid.status, paid.json["status"]) == (200, "succeeded")
    assert made.id not in await stripe.charges()


async def test_a_decline_that_is_the_end_says_what_to_tell_whom(
    api: Api, shop: Shop, stripe: StandIn
) -> None:
    ours = api.with_key(shop.api_key)
    said = {}
    for code in ("stolen_card", "generic_decline"):
        made = await ours.pay(order(f"pm_decline_{code}"), wait=20)
        assert made.json["status"] == "failed"
        said[code] = made.json["decline"]
    assert said["stolen_card"]["class"] == "lost_stolen"
    assert said["stolen_card"]["raw_code"] == "stolen_card"
    assert said["stolen_card"]["retry"] == "never"
    assert said["stolen_card"]["customer_message"] == said["generic_decline"]["customer_message"]
    assert said["stolen_card"]["merchant_advice"] != said["generic_decline"]["merchant_advice"]


async def test_a_rule_decides_without_a_restart_and_explain_says_why(
    api: Api, shop: Shop, stripe: StandIn, running: Running, file: Path
) -> None:
    ours = api.with_key(shop.api_key)
    write(file, rules(shop))
    assert running.command("routes", "check") == "2 rules"
    shown = tried(running, shop.entity, "--currency", "CHF", "--gateway", "stripe")
    assert (shown["rule"], shown["ways"][0]["account"]) == ("francs", shop.second)
    passed = tried(running, shop.entity, "--currency", "JPY")
    assert passed["rule"] is None
    assert [one["why"] for one in passed["considered"]] == [
        "currency is JPY", "country is not known",
    ]  # fmt: skip
    await asyncio.sleep(LOOK_SECONDS + 0.5)
    # The rule's first account is not the oldest; the decline leaves one without a token.
    made = await ours.pay(order(FAULTY, currency="CHF"), wait=20)
    assert made.json["status"] == "requires_payment_method"
    assert made.json["next_gateway"] == "stripe"
    assert made.json["decline"]["class"] == "try_again"
    paid = await ours.confirm(made.id, "pm_card_visa", wait=20)
    assert (paid.status, paid.json["status"], paid.json["decline"]) == (200, "succeeded", None)
    assert len((await stripe.charges())[made.id]) == 1
    explained = running.command("explain", made.id)
    assert "route               francs" in explained
    # Without an instrument the rule says whose is wanted.
    bare = await ours.pay(order(None, currency="JPY", amount=500, country="JP"))
    assert bare.json["next_gateway"] == "stripe"
    # A wrong file changes nothing.
    write(file, "[[rule]]\n")
    await asyncio.sleep(LOOK_SECONDS + 0.5)
    still = await ours.pay(order(currency="CHF"), wait=20)
    assert still.json["status"] == "succeeded"
    assert "route               francs" in running.command("explain", still.id)


@pytest.mark.parametrize(
    ("instrument", "code"),
    [
        ({"account": "gwa_01m7xymr1mfnzbqf5r8f0krvww"}, "gateway_account_unknown"),
        ({"account": "gwa_1"}, "gateway_account_unknown"),
        (
            {"alternatives": [{"gateway": "stripe", "token": "4242424242424242"}]},
            "card_number_refused",
        ),
        (
            {"alternatives": [{"gateway": "stripe", "token": "tok_1"}]},
            "instrument_token_malformed",
        ),
    ],
)
async def test_what_names_no_account_or_token_of_ours_is_refused(
    api: Api, shop: Shop, instrument: dict[str, object], code: str
) -> None:
    body = order(instrument={"gateway": "stripe", "token": "pm_card_visa"} | instrument)
    refused = await api.with_key(shop.api_key).pay(body)
    assert (refused.status, refused.code) == (422, code)


async def test_an_account_of_another_entity_is_unknown(api: Api, shop: Shop) -> None:
    body = order(instrument={"gateway": "stripe", "token": "pm_card_visa", "account": shop.first})
    refused = await api.pay(body)
    assert (refused.status, refused.code) == (422, "gateway_account_unknown")


async def test_a_rule_for_customers_who_are_away_is_told_of_a_saved_card(
    api: Api, shop: Shop, running: Running, file: Path
) -> None:
    ours = api.with_key(shop.api_key)
    write(
        file,
        f'[[rule]]\nname = "away"\nentity = "{shop.entity}"\noff_session = true\n'
        f'needs = "recurring"\nhealth = "closed"\nuse = "stripe"\n',
    )
    await asyncio.sleep(LOOK_SECONDS + 0.5)
    method = await saved(ours)
    for away, route in ((True, "away"), (False, "none; the instrument decided")):
        payment = (await ours.pay(order(None))).id
        paid = await confirm(ours, payment, method, off_session=away)
        assert paid.json["status"] == "succeeded", paid
        assert f"route               {route}" in running.command("explain", payment)
    shown = tried(running, shop.entity, "--currency", "EUR", "--gateway", "stripe", "--off-session")
    assert shown["rule"] == "away"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--currency", "BHD", "--gateway", "stripe"), "amount_not_representable"),
        (("--currency", "EUR", "--gateway", "braintree"), "gateway_account_missing"),
    ],
)
def test_what_would_be_refused_is_refused_by_the_dry_run_too(
    shop: Shop, running: Running, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        tried(running, shop.entity, *words)


async def test_a_retired_account_takes_no_payment_by_what_was_saved_there(
    api: Api, running: Running, owner: asyncpg.Connection, stripe: StandIn
) -> None:
    merchant = new_merchant(running, "Retiring Ltd")
    ours, key = api.with_key(merchant.api_key), fresh("key")
    method, before = await saved(ours), (await ours.pay(order(None))).id
    assert (await confirm(ours, before, method, key=key)).json["status"] == "succeeded"
    await owner.execute(
        "UPDATE gateway_accounts SET retired_at = now() WHERE legal_entity_id = $1",
        from_text("ent", merchant.legal_entity),
    )
    await asyncio.sleep(KEPT_SECONDS + 0.5)
    after = (await ours.pay(order(None))).id
    for away in (True, False):
        refused = await confirm(ours, after, method, off_session=away)
        assert (refused.status, refused.code) == (409, "gateway_account_retired")
    assert (await ours.payment(after))["status"] == "requires_payment_method"
    assert after not in await stripe.charges()
    # What was asked for before is still told, and what is saved can still be let go.
    again = await confirm(ours, before, method, key=key)
    assert (again.replayed, again.json["status"]) == (True, "succeeded")
    await ours.post(f"/v1/payment_methods/{method}/detach", {})
    await until_method(ours, method, "detached")
