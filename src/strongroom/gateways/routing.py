"""Which of its legal entity's accounts takes a payment, and where it may go after that.

The first rule that matches and leaves an account decides; without one, the instrument does. What
is decided comes with its reasons, for `explain` and for a dry run.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from strongroom.gateways.port import Account
from strongroom.ids import to_text
from strongroom.payments.states import Capture
from strongroom.payments.ways import Considered, Route, Way

Capability = Literal["sca", "recurring", "tax"]
Health = Literal["closed"]
"""Of the account's breaker: an account at rest is passed over. There is nothing else to ask for."""
WAYS_MAX: Final = 8
"""Accounts that one payment may go to."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a gateway can do, as its adapter declares it.

    `currencies` None: all that we know, as far as the account has them. `payout_days` are business
    days from a capture to the merchant's bank, as the provider says for its standard schedule.
    """

    able: frozenset[Capability]
    payout_days: int
    currencies: frozenset[str] | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What rules ask of a payment. `country` is where the customer is, where that is told."""

    legal_entity_id: UUID
    amount_minor: int
    currency: str
    country: str | None = None
    capture: Capture = "automatic"
    off_session: bool = False
    saves: bool = False
    """Whether its instrument is to be saved, or was, to be charged again."""


class Token(Struct, frozen=True):
    """A token of the instrument; without an account it is for the first one at its gateway."""

    gateway: str
    token: str
    account_id: UUID | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """Conditions, all of which have to hold, and the accounts or gateways to use, best first."""

    name: str
    line: int
    use: tuple[str, ...]
    entity: UUID | None = None
    currency: frozenset[str] = frozenset()
    country: frozenset[str] = frozenset()
    amount_from: int | None = None
    amount_below: int | None = None
    capture: Capture | None = None
    off_session: bool | None = None
    saves: bool | None = None
    needs: frozenset[Capability] = frozenset()
    payout_days_max: int | None = None
    health: Health | None = None


class Plan(Route, frozen=True, kw_only=True):
    """A route with its ways in their order; the first is taken. None: no account would take it.

    Without an instrument no way has a token.
    """

    ways: tuple[Way, ...]


class Market(Struct, frozen=True, kw_only=True):
    """The accounts of one legal entity that are in use, the oldest first, and what they can do.

    `resting` are those that no worker sends anything new to in this moment.
    """

    accounts: Sequence[Account]
    capabilities: Mapping[str, Capabilities]
    resting: frozenset[UUID] = frozenset()


def plan(rules: Sequence[Rule], market: Market, facts: Facts, tokens: Sequence[Token]) -> Plan:
    """Where a payment goes: `tokens` are what the instrument has, none when there is none yet."""
    considered: list[Considered] = []
    for rule in rules:
        why = _mismatch(rule, facts)
        ways: tuple[Way, ...] = ()
        if why is None:
            able = _usable(rule, market, facts)
            accounts = [one for one in able if not _is_at_rest(rule, market, one)]
            ways = _ways(accounts, tokens)
            why = _unusable(able, ways, tokens)
        considered.append(Considered(rule.name, why))
        if why is None:
            return Plan(ways=ways, rule=rule.name, considered=tuple(considered))
    named = _named(market, tokens) if tokens else list(market.accounts[:1])
    return Plan(ways=_ways(named, tokens), rule=None, considered=tuple(considered))


def _mismatch(rule: Rule, facts: Facts) -> str | None:
    """The first condition that does not hold, in words."""
    if rule.entity is not None and rule.entity != facts.legal_entity_id:
        return "is of another legal entity"
    if rule.currency and facts.currency not in rule.currency:
        return f"currency is {facts.currency}"
    if rule.country and facts.country not in rule.country:
        return f"country is {facts.country or 'not known'}"
    if rule.amount_from is not None and facts.amount_minor < rule.amount_from:
        return f"amount is below {rule.amount_from}"
    if rule.amount_below is not None and facts.amount_minor >= rule.amount_below:
        return f"amount is not below {rule.amount_below}"
    if rule.capture is not None and facts.capture != rule.capture:
        return f"capture is {facts.capture}"
    if rule.off_session is not None and facts.off_session != rule.off_session:
        return "is off session" if facts.off_session else "is on session"
    if rule.saves is not None and facts.saves != rule.saves:
        return "its instrument is kept" if facts.saves else "its instrument is not kept"
    return None


def _usable(rule: Rule, market: Market, facts: Facts) -> list[Account]:
    """Its accounts that can take the payment, in its order."""
    found: list[Account] = []
    for name in rule.use:
        found += [
            account
            for account in market.accounts
            if name in (account.gateway, to_text("gwa", account.gateway_account_id))
            and account not in found
        ]
    return [one for one in found if _is_able(rule, market.capabilities.get(one.gateway), facts)]


def _is_able(rule: Rule, can: Capabilities | None, facts: Facts) -> bool:
    if can is None or not rule.needs <= can.able:
        return False
    if can.currencies is not None and facts.currency not in can.currencies:
        return False
    return rule.payout_days_max is None or can.payout_days <= rule.payout_days_max


def _is_at_rest(rule: Rule, market: Market, account: Account) -> bool:
    return rule.health is not None and account.gateway_account_id in market.resting


def _ways(accounts: Sequence[Account], tokens: Sequence[Token]) -> tuple[Way, ...]:
    """The accounts in their order, but the first with a token before all others.

    A token without an account is the first account's of its gateway, and no other's.
    """
    left = list(tokens)
    ways: list[Way] = []
    for account in accounts[:WAYS_MAX]:
        token = next((one for one in left if _is_for(one, account)), None)
        if token is not None:
            left.remove(token)
        ways.append(
            Way(
                gateway=account.gateway,
                gateway_account_id=account.gateway_account_id,
                token=None if token is None else token.token,
            )
        )
    first = next((way for way in ways if way.token is not None), None)
    if first is None:
        return tuple(ways)
    return (first, *(way for way in ways if way is not first))


def _is_for(token: Token, account: Account) -> bool:
    if token.account_id is not None:
        return token.account_id == account.gateway_account_id
    return token.gateway == account.gateway


def _unusable(
    able: Sequence[Account], ways: tuple[Way, ...], tokens: Sequence[Token]
) -> str | None:
    if not able:
        return "none of its accounts is in use and able"
    if not ways:
        return "its accounts are at rest"
    if tokens and ways[0].token is None:
        return "the instrument has no token at its accounts"
    return None


def _named(market: Market, tokens: Sequence[Token]) -> list[Account]:
    """The accounts that the tokens name, in their order; each token names another one."""
    named: list[Account] = []
    for token in tokens:
        account = next(
            (one for one in market.accounts if _is_for(token, one) and one not in named), None
        )
        if account is not None:
            named.append(account)
    return named
