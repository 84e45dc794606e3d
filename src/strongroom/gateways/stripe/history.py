"""Stripe's past: its list of events and of charges, read as what it sends is read.

The answers are read by our own types, as webhooks are: the SDK would build an object for each of a
hundred events, a millisecond each, of which three fields are wanted.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import stripe
from msgspec import Struct

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.history import CURSOR_GONE, Charged, NotListed, Page, Window
from strongroom.gateways.port import Account, Credentials
from strongroom.gateways.stripe.connections import Ask, Connections
from strongroom.gateways.stripe.webhook import read_charge, read_event, read_object
from strongroom.payments.states import NotSent, Unknown
from strongroom.webhooks.hints import Hint, Matched

PAGE_ITEMS: Final = 100
"""The most that Stripe shows at once."""

GONE: Final = 404
_FETCHED: Final = {
    "payment_intent": ("/v1/payment_intents/", False),
    "charge": ("/v1/charges/", True),
    "refund": ("/v1/refunds/", True),
}
"""By type of object, where it is, and whether it has an intent."""

Item = TypeVar("Item")


class _Listed(Struct):
    data: list[msgspec.Raw]
    has_more: bool


class _Place(Struct):
    """What every listed object has."""

    id: str
    created: int


_list: Final = msgspec.json.Decoder(_Listed)
_place: Final = msgspec.json.Decoder(_Place)


class StripeHistory:
    """One for all of a process's Stripe accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def events(
        self, account: Account, window: Window, cursor: str | None, *, undelivered: bool
    ) -> Page[Hint] | NotListed:
        """See History. Events of the other mode, and what is no event, are left out."""
        is_live = account.environment == "live"

        def read(raw: bytes) -> Hint | None:
            hint = read_event(raw)
            return hint if hint is not None and hint.is_live == is_live else None

        asked = {"delivery_success": False} if undelivered else {}
        return await self._page(account, "/v1/events", asked, window, cursor, read)

    async def charges(
        self, account: Account, window: Window, cursor: str | None
    ) -> Page[Charged] | NotListed:
        """See History."""
        return await self._page(account, "/v1/charges", {}, window, cursor, read_charge)

    async def matched(
        self, account: Account, object_type: str, object_id: str
    ) -> Matched | NotListed:
        """See History. Of a charge or refund its intent is shown with it, which bears our mark."""
        path, expands = _FETCHED.get(object_type, ("", False))
        if not path:
            return Matched()
        asked: dict[str, Any] = {"expand": ["payment_intent"]} if expands else {}
        said, _, _ = await self._connections.ask(
            account,
            Ask(
                f"fetch_{object_type}",
                lambda client: client.raw_request_async("get", path + object_id, **asked),
                lambda response: read_object(object_type, object_id, response.body.encode()),
                lambda error: (
                    Matched() if error.http_status == GONE else _refusal(error, None),
                    None,
                ),
            ),
        )
        return NotListed(said.why) if isinstance(said, NotSent | Unknown) else said

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._connections.close()

    async def _page(
        self,
        account: Account,
        path: str,
        asked: dict[str, Any],
        window: Window,
        cursor: str | None,
        read: Callable[[bytes], Item | None],
    ) -> Page[Item] | NotListed:
        created = {"gte": _seconds(window.since), "lte": _seconds(window.until)}
        asked = asked | {"limit": PAGE_ITEMS, "created": created}
        if cursor is not None:
            asked["starting_after"] = cursor

        def read_page(response: Any) -> Page[Item] | NotListed:
            listed = _list.decode(response.body)
            places = [_place.decode(raw) for raw in listed.data]
            found = [item for item in map(read, map(bytes, listed.data)) if item is not None]
            return Page(
                items=found,
                seen=len(places),
                cursor=places[-1].id if listed.has_more and places else None,
                reached_at=datetime.fromtimestamp(places[-1].created, UTC) if places else None,
            )

        operation = "list_" + path.rpartition("/")[2]
        said, _, _ = await self._connections.ask(
            account,
            Ask(
                operation,
                lambda client: client.raw_request_async("get", path, **asked),
                read_page,
                lambda error: (_refusal(error, cursor), None),
            ),
        )
        return NotListed(said.why) if isinstance(said, NotSent | Unknown) else said


def _refusal(error: stripe.StripeError, cursor: str | None) -> NotListed:
    if cursor is not None and error.http_status in (400, 404):
        return CURSOR_GONE
    return NotListed(f"http_{error.http_status}" if error.http_status else "no_answer")


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
