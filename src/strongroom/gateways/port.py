"""What a payment gateway can be asked for. Adapters share this port, not code."""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from msgspec import Struct

from strongroom.payments.refunds import Refund, RefundAnswer
from strongroom.payments.states import Answer, Attempt, Call, Payment
from strongroom.vault.secret import Secret
from strongroom.vault.secrets import Slot

Heard = TypeVar("Heard")
Asking = Coroutine[Any, Any, tuple[Heard, Call]]
"""A call under way: it ends with the answer and with what `explain` is to show of it."""


class Account(Struct, frozen=True, kw_only=True):
    """One account at a gateway, of one legal entity. Its secrets are in the vault."""

    legal_entity_id: UUID
    gateway_account_id: UUID
    gateway: str
    environment: str
    base_url: str | None
    currencies: frozenset[str] = frozenset()
    """Those it has a merchant account for, at a gateway that wants one for each."""
    publishable_key: str | None = None
    """What a browser may know of its credentials; without it there is no page for the account."""

    def __repr__(self) -> str:
        return f"Account({self.gateway_account_id}, {self.gateway}, {self.environment})"


class MerchantAccount(Struct, frozen=True):
    """Where one currency of an account is paid to, at a gateway that has one for each.

    `three_d_secure`: nothing is taken without the customer's authentication.
    """

    merchant_account_id: str
    three_d_secure: bool


class Charge(Struct, frozen=True, kw_only=True):
    """What a page is to take; `merchant_account` at a gateway that has one for each currency."""

    amount_minor: int
    currency: str
    merchant_account: MerchantAccount | None = None


class PageParts(Struct, frozen=True, kw_only=True):
    """What a page loads of a gateway to have its card fields: a script, and where that may go.

    `key` is what the script is started with; None where each link has a client token of its own.
    `authenticates` is an amount, as the script wants it, that the customer's bank is asked about
    before the card is charged; None where it is asked while the card is charged, or not at all.
    """

    gateway: Literal["stripe", "braintree"]
    script_url: str
    script_origins: tuple[str, ...]
    frame_origins: tuple[str, ...]
    connect_origins: tuple[str, ...]
    style_sources: tuple[str, ...] = ()
    image_sources: tuple[str, ...] = ()
    key: str | None = None
    authenticates: str | None = None


def stand_in_origin(account: Account, host: str) -> str | None:
    """Where a stand-in has its script: beside its API, on a host of its own.

    None for an account that does not say where its stand-in is.
    """
    port = urlsplit(account.base_url or "").port
    return None if port is None else f"http://{host}:{port}"


class Prepared(Struct, frozen=True):
    """The gateway made an object under this id; it takes no money before it is confirmed."""

    object_id: str


class Credentials(Protocol):
    """Where an adapter has the secrets of accounts from. What is raised means: none at hand."""

    async def versions(self, slot: Slot) -> Sequence[int]:
        """The versions that may be used now, newest first, at least one.

        A client that was made of one of them may be used as long as it stands here.
        """
        ...

    async def open(self, slot: Slot, version: int) -> Secret:
        """What one of them is."""
        ...


class Gateway(Protocol):
    """One gateway. No method raises for what the network or the gateway does: it answers.

    Unknown and NotSent say why in the words of FAILURES of lines.py where the call taught nothing:
    those count against the account's line, all others do not.
    Every method may take as long as the gateway does; the caller sets the deadline.
    """

    staged: bool
    """Whether `prepare` makes an object first, which `send` then confirms by its id.

    Where it does not, `send` tells the object's id in its Call, whatever it answers.
    """

    per_currency: bool
    """Whether an account has a merchant account for each currency that it takes."""

    def parameters(
        self, payment: Payment, merchant_account: MerchantAccount | None, *, saves: bool = False
    ) -> Mapping[str, Any]:
        """The exact parameters of the attempt, to be committed before any call. No I/O.

        `saves`: what pays is to be saved once it has, to be charged while its owner is away.

        `merchant_account` is that of the payment's currency; None where there is none.
        """
        ...

    def prepare(self, account: Account, attempt: Attempt) -> Asking[Prepared | Answer]:
        """Makes the object under the attempt's key; NotSent when that failed. No money moves."""
        ...

    def send(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """Moves money, once, however often it is called with this attempt."""
        ...

    def look(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """What has become of the attempt. Unknown when that could not be learnt.

        NotShown where it is looked for by our reference and not found, which proves nothing.
        NotSent only when the gateway's own object says that nothing was charged.
        """
        ...

    def cancel(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """Makes sure that the attempt's object takes no money: Canceled, or what it is instead."""
        ...

    def capture(self, account: Account, attempt: Attempt, amount_minor: int) -> Asking[Answer]:
        """Takes this much of what the attempt holds, once, and releases the rest.

        Approved, also when it was captured before; Declined when the gateway refused and the hold
        stands or has gone (a look tells).
        """
        ...

    def refund_parameters(
        self, payment: Payment, attempt: Attempt, refund: Refund
    ) -> Mapping[str, Any]:
        """The exact parameters of the refund, to be committed before any call. No I/O."""
        ...

    def refund(self, account: Account, refund: Refund) -> Asking[RefundAnswer]:
        """Gives money back, once, however often it is called with this refund's key."""
        ...

    def look_at_refund(self, account: Account, refund: Refund) -> Asking[RefundAnswer]:
        """What has become of the refund: by its id, or by our reference in the gateway's list."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...
