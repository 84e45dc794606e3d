"""What a webhook comes to: a hint that something happened to an object at a gateway."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from strongroom.vault.secret import Secret

Lane = Literal["payments", "refunds"]
HintState = Literal["received", "applied", "parked", "ignored"]

OTHER_OBJECT: Final = "other_object"
UNKNOWN: Final = "unknown_object"
NOT_HANDLED: Final = "not_handled"
NO_REFERENCE: Final = "no_reference"
NOT_SHOWN: Final = "not_shown"
"""A thin event names an object and shows nothing of it: that is fetched first (fetches.py)."""
CONNECTED_ACCOUNT: Final = "connected_account"


class Hint(Struct, frozen=True, kw_only=True):
    """What is kept of a webhook whose signature is genuine.

    `object_id` is what it is about; `known_by` the gateway's id of the object that we made, which
    may be another one. `owner_id` is the payment or refund that the object says it belongs to.
    None of it is believed: it says where to look. `is_live` is None where a gateway does not say.
    `digest`: what tells a second delivery from another content under the same id, where it is not
    the whole body.
    """

    event_id: str
    kind: str
    is_live: bool | None
    happened_at: datetime
    object_type: str = ""
    object_id: str = ""
    known_by: str | None = None
    lane: Lane | None = None
    owner_id: UUID | None = None
    attempt_no: int | None = None
    amount_minor: int | None = None
    currency: str | None = None
    state: HintState = "received"
    reason: str | None = None
    digest: bytes | None = None


class Matched(Struct, frozen=True, kw_only=True):
    """What of ours an object at the gateway says it belongs to; without an owner, nothing."""

    known_by: str | None = None
    lane: Lane | None = None
    owner_id: UUID | None = None
    attempt_no: int | None = None
    amount_minor: int | None = None
    currency: str | None = None


ReadWebhook = Callable[[bytes, Sequence[str], Sequence[Secret], datetime], Hint]
"""Of a gateway: body, values of its signature header, secrets in use, and the time → hint.

Raises Invalid for whatever is not genuine, not fresh, or cannot be read.
"""
