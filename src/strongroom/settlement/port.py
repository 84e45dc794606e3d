"""What a gateway can be asked for once money was taken. Adapters share this port, not code."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from strongroom.gateways.port import Account, Asking
from strongroom.payments.states import NotSent, Unknown
from strongroom.settlement.disputes import Seen
from strongroom.settlement.payouts import ItemSeen, PayoutSeen


class NoSuchObject(Struct, frozen=True):
    """The account has no such object: it is somebody else's, or it never was."""


class Listed(Struct, frozen=True):
    """Ids of objects, all that there are since the moment asked for.

    `until`: only as far as this, for the time of one call; None: to the end.
    """

    object_ids: tuple[str, ...]
    until: datetime | None = None


class NotTaken(Struct, frozen=True):
    """The gateway looked at the answer and will not have it."""

    why: str


Told = Seen | NotTaken | NotSent | Unknown
DisputeLook = Seen | NoSuchObject | NotSent | Unknown


class PayoutShown(Struct, frozen=True):
    """A payout; `items` None: what it is made of cannot be told yet."""

    seen: PayoutSeen
    items: tuple[ItemSeen, ...] | None


class PayoutReturned(Struct, frozen=True):
    """What it was made of is in it no more: it came back, and goes out anew in another one."""

    why: str


PayoutLook = PayoutShown | PayoutReturned | NoSuchObject | NotSent | Unknown
ListAnswer = Listed | NotSent | Unknown


class SettlementGateway(Protocol):
    """One gateway. No method raises for what the network or the gateway does: it answers.

    Every method may take as long as the gateway does; the caller sets the deadline.
    """

    def look_at_dispute(self, account: Account, object_id: str) -> Asking[DisputeLook]:
        """The dispute as it now stands, with the reference of the payment that it is about."""
        ...

    def list_disputes(self, account: Account, since: datetime | None) -> Asking[ListAnswer]:
        """The disputes that were opened since then, or ever."""
        ...

    def look_at_payout(
        self, account: Account, object_id: str, known: Sequence[str]
    ) -> Asking[PayoutLook]:
        """The payout as it now stands, and what it is made of, where that can be told yet.

        `known`: some of the items that it was made of when it was looked at before.
        """
        ...

    def list_payouts(self, account: Account, since: datetime | None) -> Asking[ListAnswer]:
        """The payouts that were made since then, or ever."""
        ...

    def give_evidence(
        self, account: Account, object_id: str, texts: Mapping[str, str], key: str, *, submit: bool
    ) -> Asking[Told]:
        """Stages evidence, or submits it: a dispute takes that once, however often it is called."""
        ...

    def give_in(self, account: Account, object_id: str, key: str) -> Asking[Told]:
        """Gives the dispute up, for good."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...
