"""Which of a legal entity's gateway accounts takes an instrument, and what it can take."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from msgspec.structs import replace

from strongroom.errors import Conflict, Invalid
from strongroom.gateways.accounts import PER_CURRENCY, Accounts
from strongroom.gateways.port import Account
from strongroom.gateways.routing import Capabilities, Facts, Market, Plan, Rule, Token, plan
from strongroom.http import bodies
from strongroom.ids import MalformedId, from_text
from strongroom.payments.ways import Way


class AmountRule(Protocol):
    """What a gateway can take."""

    def __call__(self, amount_minor: int, currency: str, *, part: bool) -> str | None:
        """Why not, in words for the caller, or None; `part`: it is not a whole charge."""
        ...


class Planner:
    """Says where payments go, by the rules and by what gateways can represent; asks nobody."""

    def __init__(
        self, amount_rules: Mapping[str, AmountRule], rules: Callable[[], Sequence[Rule]]
    ) -> None:
        self._amount_rules, self._rules = amount_rules, rules

    @property
    def has_rules(self) -> bool:
        """Whether payments are routed also when they come without an instrument."""
        return bool(self._rules())

    def plan(self, market: Market, facts: Facts, instrument: bodies.Instrument | None) -> Plan:
        """Where the payment goes; its ways are those that can take the amount.

        Raises Invalid when the instrument's account is not there, or cannot take it.
        """
        found = plan(self._rules(), market, facts, _tokens(instrument, market))
        if instrument is not None and (not found.ways or found.ways[0].token is None):
            raise account_missing(instrument.gateway)
        return self._payable(found, market, facts, must_take=instrument is not None)

    def plan_for_saved(self, market: Market, facts: Facts, token: Token) -> Plan:
        """As `plan`, by what is saved at one account, and that account alone.

        Raises Conflict when the account takes no payments now, and Invalid when it cannot take it.
        """
        if token.account_id not in {one.gateway_account_id for one in market.accounts}:
            raise Conflict("gateway_account_retired")
        found = plan(self._rules(), market, facts, [token])
        found = replace(found, ways=found.ways[:1])
        return self._payable(found, market, facts, must_take=True)

    def _payable(self, found: Plan, market: Market, facts: Facts, *, must_take: bool) -> Plan:
        """With the ways that can take the amount; `must_take`: the first has to, or Invalid."""
        accounts = {account.gateway_account_id: account for account in market.accounts}
        ways: list[Way] = []
        for place, way in enumerate(found.ways):
            account = accounts[way.gateway_account_id]
            try:
                self.check_charge(account, facts.amount_minor, facts.currency)
            except Invalid:
                if place == 0 and must_take:
                    raise
            else:
                ways.append(way)
        return replace(found, ways=tuple(ways))

    def check_charge(self, account: Account, amount_minor: int, currency: str) -> None:
        """Raises Invalid when the account, or its gateway, cannot take the amount."""
        if account.gateway in PER_CURRENCY and currency not in account.currencies:
            raise Invalid("merchant_account_missing", field="currency", gateway=account.gateway)
        self._check(account.gateway, amount_minor, currency, part=False)

    def check_part(self, gateway: str, amount_minor: int, currency: str) -> None:
        """As check_charge, for a part of a charge, which may be as small as it likes."""
        self._check(gateway, amount_minor, currency, part=True)

    def _check(self, gateway: str, amount_minor: int, currency: str, *, part: bool) -> None:
        refusal = self._amount_rules[gateway](amount_minor, currency, part=part)
        if refusal is not None:
            raise Invalid("amount_not_representable", field="amount", why=refusal)


class Instruments(Planner):
    """Plans by the accounts of legal entities as they now stand.

    `resting` says which accounts of a legal entity are at rest, where a rule asks for that.
    """

    def __init__(
        self,
        accounts: Accounts,
        amount_rules: Mapping[str, AmountRule],
        capabilities: Mapping[str, Capabilities],
        rules: Callable[[], Sequence[Rule]],
        resting: Callable[[UUID], Awaitable[frozenset[UUID]]],
    ) -> None:
        super().__init__(amount_rules, rules)
        self._accounts, self._capabilities, self._resting = accounts, capabilities, resting

    async def find(
        self, legal_entity_id: UUID, gateway_name: str, named: str | None = None
    ) -> Account | None:
        """The account in use at the gateway that is named, else the oldest; None: there is none."""
        if named is None:
            return await self._accounts.choose(legal_entity_id, gateway_name)
        try:
            account_id = from_text("gwa", named)
        except MalformedId:
            return None
        accounts = await self._accounts.in_use(legal_entity_id)
        at_gateway = (one for one in accounts if one.gateway == gateway_name)
        return next((one for one in at_gateway if one.gateway_account_id == account_id), None)

    async def market(self, legal_entity_id: UUID) -> Market:
        """The accounts that a payment of the legal entity may go to."""
        resting: frozenset[UUID] = frozenset()
        if any(rule.health for rule in self._rules()):
            resting = await self._resting(legal_entity_id)
        return Market(
            accounts=await self._accounts.in_use(legal_entity_id),
            capabilities=self._capabilities,
            resting=resting,
        )


def _tokens(instrument: bodies.Instrument | None, market: Market) -> list[Token]:
    """What the instrument has, where. Raises Invalid for an account that is not in use."""
    tokens: list[Token] = []
    if instrument is None:
        return tokens
    named: tuple[bodies.Instrument | bodies.Alternative, ...] = (
        instrument,
        *instrument.alternatives,
    )
    for one in named:
        account_id = None if one.account is None else from_text("gwa", one.account)
        at = [account for account in market.accounts if account.gateway_account_id == account_id]
        if account_id is not None and [account.gateway for account in at] != [one.gateway]:
            raise bodies.account_unknown(one)
        tokens.append(Token(one.gateway, one.token, account_id))
    return tokens


def account_missing(gateway_name: str) -> Invalid:
    """The refusal where a legal entity has no account at the gateway."""
    return Invalid("gateway_account_missing", field="instrument.gateway", gateway=gateway_name)
