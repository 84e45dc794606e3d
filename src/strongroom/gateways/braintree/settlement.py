"""Disputes and payouts at Braintree: what the account shows of them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Final

from braintree import BraintreeGateway, DisputeSearch

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.braintree import disbursements, disputes
from strongroom.gateways.braintree.connections import Connections, Heard
from strongroom.gateways.port import Account, Credentials
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.settlement.port import (
    DisputeLook,
    ListAnswer,
    Listed,
    PayoutLook,
    Told,
)

LISTED_MAX: Final = 2_000
"""More disputes than this are not looked through at once: the list is asked for again."""
EVER: Final = date(2007, 1, 1)
"""Before Braintree had any."""


class BraintreeSettlement:
    """One adapter for all of a process's Braintree accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._clock = clock
        self._connections = Connections(clock, credentials, mode)

    async def look_at_dispute(self, account: Account, object_id: str) -> tuple[DisputeLook, Call]:
        """Finds the Dispute; its Transaction's order_id names our payment."""
        return await self._connections.ask(
            account, "find_dispute", lambda gateway: disputes.look_at(gateway, object_id)
        )

    async def list_disputes(
        self, account: Account, since: datetime | None
    ) -> tuple[ListAnswer, Call]:
        """The ids of all Disputes that were received since the day of that moment."""
        first = EVER if since is None else since.date()

        def search(gateway: BraintreeGateway) -> Heard[ListAnswer]:
            found = gateway.dispute.search(DisputeSearch.received_date >= first).disputes.items
            ids = tuple(one.id for one in islice(found, LISTED_MAX + 1))
            return Heard(Unknown("too_many") if len(ids) > LISTED_MAX else Listed(ids))

        return await self._connections.ask(account, "search_disputes", search)

    async def give_evidence(
        self, account: Account, object_id: str, texts: Mapping[str, str], key: str, *, submit: bool
    ) -> tuple[Told, Call]:
        """Adds texts, each once by what it says, and finalizes the Dispute, which is possible once.

        Neither takes a key.
        """
        del key
        return await self._tell(
            "finalize_dispute" if submit else "add_text_evidence",
            account,
            lambda gateway, done: disputes.give(gateway, object_id, texts, done, submit=submit),
        )

    async def give_in(self, account: Account, object_id: str, key: str) -> tuple[Told, Call]:
        """Accepts the Dispute, which is possible once, and takes no key."""
        del key
        return await self._tell(
            "accept_dispute",
            account,
            lambda gateway, done: disputes.accept(gateway, object_id, done),
        )

    async def _tell(
        self,
        operation: str,
        account: Account,
        act: Callable[[BraintreeGateway, list[str]], Heard[Told]],
    ) -> tuple[Told, Call]:
        """Several calls in one: once the first has gone through, nothing is `not sent` any more."""
        done: list[str] = []
        answer, call = await self._connections.ask(
            account, operation, lambda gateway: act(gateway, done)
        )
        return (Unknown(answer.why) if isinstance(answer, NotSent) and done else answer), call

    async def look_at_payout(
        self, account: Account, object_id: str, known: Sequence[str]
    ) -> tuple[PayoutLook, Call]:
        """Searches for what was paid out to a merchant account on a day."""
        now = self._clock.now()
        return await self._connections.ask(
            account,
            "search_disbursement",
            lambda gateway: disbursements.look_at_payout(gateway, object_id, known, now),
        )

    async def list_payouts(
        self, account: Account, since: datetime | None
    ) -> tuple[ListAnswer, Call]:
        """Searches for the days on which something was paid out."""
        now = self._clock.now()
        return await self._connections.ask(
            account,
            "search_disbursements",
            lambda gateway: Heard(disbursements.list_payouts(gateway, since, now)),
        )

    async def close(self) -> None:
        """Lets go of connections."""
        self._connections.close()
