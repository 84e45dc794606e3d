"""What a gateway can be asked about its past: its charges, and of some its events, and one object.

Of each account by its own credentials, page by page, the newest first.
"""

from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct

from strongroom.gateways.port import Account
from strongroom.webhooks.hints import Hint, Matched

Item = TypeVar("Item")


class Window(Struct, frozen=True):
    """From `since` to `until`, both included, in whole seconds."""

    since: datetime
    until: datetime


class Page(Struct, Generic[Item], frozen=True, kw_only=True):
    """Some of what was asked for; `cursor` is where to go on, None at the end.

    `seen` counts what the gateway showed, `reached_at` is the time of the last of it.
    """

    items: list[Item]
    seen: int
    cursor: str | None
    reached_at: datetime | None


class NotListed(Struct, frozen=True):
    """The gateway did not show it, and why."""

    why: str


CURSOR_GONE = NotListed("cursor_gone")
"""It does not know the place to go on from: the window has to be begun anew."""


class Charged(Struct, frozen=True, kw_only=True):
    """A charge that took money or holds it. `payment_id` and `attempt_no` are our mark, if any."""

    charge_id: str
    object_id: str
    """Of the object that we would have made for it."""
    amount_minor: int
    currency: str
    happened_at: datetime
    payment_id: UUID | None = None
    attempt_no: int | None = None


class Charges(Protocol):
    """One gateway's charges. No method raises for what the network or the gateway does."""

    async def charges(
        self, account: Account, window: Window, cursor: str | None
    ) -> Page[Charged] | NotListed:
        """Its charges that took money or hold it."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class History(Charges, Protocol):
    """Also the events of one that lists them."""

    async def events(
        self, account: Account, window: Window, cursor: str | None, *, undelivered: bool
    ) -> Page[Hint] | NotListed:
        """Its events; `undelivered`: only those that no endpoint of ours, or not all, has taken."""
        ...

    async def matched(
        self, account: Account, object_type: str, object_id: str
    ) -> Matched | NotListed:
        """What of ours one object belongs to; nothing, where there is no such object."""
        ...
