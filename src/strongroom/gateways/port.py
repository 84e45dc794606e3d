"""What a payment gateway can be asked for. Adapters share this port, not code."""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct

from strongroom.payments.refunds import Refund, RefundAnswer
from strongroom.payments.states import Answer, Attempt, Call, Payment

Heard = TypeVar("Heard")
Asking = Coroutine[Any, Any, tuple[Heard, Call]]
"""A call under way: it ends with the answer and with what `explain` is to show of it."""


class Account(Struct, frozen=True, kw_only=True):
    """One set of a gateway's credentials, of one legal entity.

    `secret` is read from its file when it is used, never kept in a row, and never printed.
    """

    legal_entity_id: UUID
    gateway_account_id: UUID
    gateway: str
    environment: str
    secret_file: str
    base_url: str | None

    def __repr__(self) -> str:
        return f"Account({self.gateway_account_id}, {self.gateway}, {self.environment})"


class Prepared(Struct, frozen=True):
    """The gateway made an object under this id; it takes no money before it is confirmed."""

    object_id: str


class Gateway(Protocol):
    """One gateway. No method raises for what the network or the gateway does: it answers.

    Every method may take as long as the gateway does; the caller sets the deadline.
    """

    staged: bool
    """Whether `prepare` makes an object first, which `send` then confirms by its id."""

    def parameters(self, payment: Payment) -> Mapping[str, Any]:
        """The exact parameters of the attempt, to be committed before any call. No I/O."""
        ...

    def prepare(self, account: Account, attempt: Attempt) -> Asking[Prepared | Answer]:
        """Makes the object under the attempt's key; NotSent when that failed. No money moves."""
        ...

    def send(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """Moves money, once, however often it is called with this attempt."""
        ...

    def look(self, account: Account, attempt: Attempt) -> Asking[Answer]:
        """What has become of the attempt. Unknown when that could not be learnt.

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
