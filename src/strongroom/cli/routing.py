"""What the file of routes says, and where a payment would go by it."""

import argparse
import asyncio
from typing import Any
from uuid import UUID

import msgspec

from strongroom.app import AMOUNT_RULES, CAPABILITIES
from strongroom.cli.named import entity_named
from strongroom.clock import SystemClock
from strongroom.config import ConfigurationError, Home
from strongroom.database import begin
from strongroom.errors import Invalid
from strongroom.gateways.accounts import accounts_in
from strongroom.gateways.rests import rests_in
from strongroom.gateways.routing import Facts, Market, Plan
from strongroom.gateways.rules import Routes
from strongroom.http.bodies import Instrument
from strongroom.http.instruments import Planner
from strongroom.ids import to_text
from strongroom.money import AMOUNT_MINOR_MAX, EXPONENTS
from strongroom.setup import payments_owner

TOKEN = "of_the_instrument"  # noqa: S105 - it stands for one, and goes nowhere


def routes_check(options: argparse.Namespace) -> int:
    """Says how many rules there are. A file that is wrong is refused with its line."""
    rules = Routes(Home(options.home).path, tuple(AMOUNT_RULES)).read()
    print(f"{len(rules)} rules" if rules else "no rules: the instrument's gateway decides")
    return 0


def routes_test(options: argparse.Namespace) -> int:
    """Prints which rule the payment would take, why not those before it, and the accounts.

    What would be refused when it is asked for is refused here in the same words.
    """
    currency = options.currency.upper()
    if currency not in EXPONENTS:
        raise ConfigurationError("--currency takes an ISO 4217 code.")
    if not 0 < options.amount <= AMOUNT_MINOR_MAX:
        raise ConfigurationError("--amount takes a whole number above 0.")
    if options.gateway is not None and options.gateway not in AMOUNT_RULES:
        raise ConfigurationError(f"--gateway takes {' or '.join(AMOUNT_RULES)}.")
    entity, market = asyncio.run(_market(Home(options.home), options.entity))
    if not market.accounts:
        raise ConfigurationError("the legal entity has no gateway account in use.")
    facts = Facts(
        legal_entity_id=entity,
        amount_minor=options.amount,
        currency=currency,
        country=options.country,
        capture=options.capture,
        off_session=options.off_session,
        saves=options.saves or options.off_session,
    )
    rules = Routes(Home(options.home).path, tuple(AMOUNT_RULES)).read()
    instrument = None if options.gateway is None else Instrument(options.gateway, TOKEN)
    try:
        found = Planner(AMOUNT_RULES, lambda: rules).plan(market, facts, instrument)
    except Invalid as refusal:
        raise ConfigurationError(f"it would be refused: {refusal.code}, {refusal}") from None
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(_shown(found))).decode())
        return 0
    for one in found.considered:
        print(f"{'take' if one.why is None else 'pass'}  {one.rule}" + _because(one.why))
    if found.rule is None:
        decides = "the oldest account" if instrument is None else "the instrument decides"
        print(f"no rule matches: {decides}")
    for place, way in enumerate(found.ways, 1):
        account = to_text("gwa", way.gateway_account_id)
        has = "has the instrument's token" if way.token is not None else "has no token yet"
        print(f"{place}.  {way.gateway}  {account}  {has}")
    if not found.ways:
        print("no account would take it")
    return 0 if found.ways else 1


def _because(why: str | None) -> str:
    return "" if why is None else f": {why}"


def _shown(found: Plan) -> dict[str, Any]:
    return {
        "rule": found.rule,
        "considered": [{"rule": one.rule, "why": one.why} for one in found.considered],
        "ways": [
            {
                "gateway": way.gateway,
                "account": to_text("gwa", way.gateway_account_id),
                "has_token": way.token is not None,
            }
            for way in found.ways
        ],
    }


async def _market(home: Home, entity_text: str | None) -> tuple[UUID, Market]:
    """The legal entity, and its accounts as a payment would find them now."""
    async with payments_owner(home) as connection:
        entity = await entity_named(connection, entity_text)
        await begin(connection, [entity], read_only=True)
        found = await accounts_in(connection, entity)
        rests = await rests_in(connection, entity)
        await connection.execute("ROLLBACK")
    now = SystemClock().now()
    return entity, Market(
        accounts=[account for account, retired in found if not retired],
        capabilities=CAPABILITIES,
        resting=frozenset(account for account, until in rests.items() if until > now),
    )
