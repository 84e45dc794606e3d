"""Whose card fields a payment is paid by: those of the account that it is routed to."""

from collections.abc import Callable, Mapping
from uuid import UUID

import asyncpg
from msgspec import Struct

from strongroom.database import reading
from strongroom.errors import Invalid
from strongroom.gateways.accounts import PER_CURRENCY, merchant_accounts
from strongroom.gateways.port import Account, Charge, MerchantAccount, PageParts
from strongroom.gateways.routing import Facts
from strongroom.http.instruments import Instruments
from strongroom.payments.states import Payment

Pages = Mapping[str, Callable[[Account, Charge], PageParts | None]]
"""By gateway, what a page loads of it for an account and a charge; None for an account without."""


class Chosen(Struct, frozen=True):
    """An account, and what a page loads to have its fields."""

    account: Account
    page: PageParts


class Choosing:
    """Chooses, for one process."""

    def __init__(self, pool: asyncpg.Pool, instruments: Instruments, pages: Pages) -> None:
        self._pool, self._instruments, self._pages = pool, instruments, pages

    async def of(self, payment: Payment) -> Chosen | None:
        """The first account that the payment may go to and that has a page.

        None where there is none: a rule that names another account is not passed over for it.
        """
        for account in await self._routed(payment):
            try:
                self._instruments.check_charge(account, payment.amount_minor, payment.currency)
            except Invalid:
                continue
            charge = Charge(
                amount_minor=payment.amount_minor,
                currency=payment.currency,
                merchant_account=await self._merchant_account(account, payment.currency),
            )
            page = self._pages[account.gateway](account, charge)
            if page is not None:
                return Chosen(account, page)
        return None

    async def _routed(self, payment: Payment) -> list[Account]:
        """In the order of preference; another try goes to where the one before it went."""
        market = await self._instruments.market(payment.legal_entity_id)
        ids: list[UUID | None] = []
        if payment.status == "requires_payment_method":
            ids = [way.gateway_account_id for way in payment.ways]
        ids.append(payment.gateway_account_id)
        known = {account.gateway_account_id: account for account in market.accounts}
        found = [known[one] for one in ids if one in known]
        if found:
            return found
        facts = Facts(
            legal_entity_id=payment.legal_entity_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            capture=payment.capture,
        )
        plan = self._instruments.plan(market, facts, None)
        if plan.rule is None:
            return list(market.accounts)
        return [known[way.gateway_account_id] for way in plan.ways]

    async def _merchant_account(self, account: Account, currency: str) -> MerchantAccount | None:
        if account.gateway not in PER_CURRENCY:
            return None
        wanted = (account.legal_entity_id, account.gateway_account_id, currency)
        async with reading(self._pool, [account.legal_entity_id]) as connection:
            found = await merchant_accounts(connection, [wanted])
        return found.get((account.gateway_account_id, currency))
