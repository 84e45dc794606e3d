"""Which of a legal entity's gateway accounts takes an instrument, and what it can take."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from strongroom.errors import Invalid
from strongroom.gateways.accounts import Accounts
from strongroom.gateways.port import Account


class AmountRule(Protocol):
    """What a gateway can take."""

    def __call__(self, amount_minor: int, currency: str, *, part: bool) -> str | None:
        """Why not, in words for the caller, or None; `part`: it is not a whole charge."""
        ...


class Instruments:
    """Chooses accounts; refuses what they cannot represent."""

    def __init__(self, accounts: Accounts, amount_rules: Mapping[str, AmountRule]) -> None:
        self._accounts = accounts
        self._amount_rules = amount_rules

    async def account(self, legal_entity_id: UUID, gateway_name: str) -> Account:
        """The account that will take the payment. Raises Invalid when there is none."""
        account = await self.find(legal_entity_id, gateway_name)
        if account is None:
            raise account_missing(gateway_name)
        return account

    async def find(self, legal_entity_id: UUID, gateway_name: str) -> Account | None:
        """The account that will take the payment, or None."""
        return await self._accounts.choose(legal_entity_id, gateway_name)

    def check_amount(self, gateway: str, amount_minor: int, currency: str) -> None:
        """Raises Invalid when the gateway cannot take the amount."""
        self._check(gateway, amount_minor, currency, part=False)

    def check_part(self, gateway: str, amount_minor: int, currency: str) -> None:
        """As check_amount, for a part of a charge, which may be as small as it likes."""
        self._check(gateway, amount_minor, currency, part=True)

    def _check(self, gateway: str, amount_minor: int, currency: str, *, part: bool) -> None:
        refusal = self._amount_rules[gateway](amount_minor, currency, part=part)
        if refusal is not None:
            raise Invalid("amount_not_representable", field="amount", why=refusal)


def account_missing(gateway_name: str) -> Invalid:
    """The refusal where a legal entity has no account at the gateway."""
    return Invalid("gateway_account_missing", field="instrument.gateway", gateway=gateway_name)
