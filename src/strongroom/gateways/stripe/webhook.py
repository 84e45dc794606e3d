"""Stripe's webhooks: whether one is genuine and fresh, and what it is about.

The signature is checked by the SDK, over the bytes that came. What the SDK leaves open is closed
here: it lets timestamps from the future pass, and its errors hold the whole body.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct
from stripe import SignatureVerificationError, WebhookSignature

from strongroom.errors import Invalid
from strongroom.gateways.history import Charged
from strongroom.gateways.stripe.metadata import (
    attempt_no_of,
    method_id_of,
    payment_id_of,
    refund_id_of,
)
from strongroom.gateways.stripe.money import from_stripe
from strongroom.vault.cards import holds_card_number
from strongroom.vault.secret import Secret
from strongroom.webhooks.hints import (
    CONNECTED_ACCOUNT,
    NO_REFERENCE,
    NOT_HANDLED,
    NOT_SHOWN,
    Hint,
    HintState,
    Lane,
    Matched,
)

AGE_MAX: Final = timedelta(seconds=300)
AHEAD_MAX: Final = timedelta(seconds=60)
"""For clocks that differ. The SDK sets no limit: a signature from tomorrow would be good for a day
more (docs.stripe.com/webhooks, "Verify webhook signatures")."""
HEADER_CHARACTERS_MAX: Final = 2048
SIGNATURES_MAX: Final = 16
AMOUNT_MAX: Final = 10**15

_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_ITEM: Final = re.compile(r"[a-z0-9_]{1,20}=[!-+\--~]{1,256}")
_ID: Final = re.compile(r"[A-Za-z0-9_]{1,128}")
_NAME: Final = re.compile(r"[a-z0-9_.\[\]]{1,128}")
_CURRENCY: Final = re.compile(r"[a-z]{3}")

_LOOKED_AT: Final[dict[str, Lane]] = {
    "payment_intent": "payments",
    "charge": "payments",
    "refund": "refunds",
}
"""By type of object, what of ours it may be."""
_NOTHING_NEW: Final = frozenset({"payment_intent.created", "setup_intent.created"})
_ASKED_FOR: Final = frozenset({"dispute", "payout", "payment_method"})
"""Types of objects that are not ours by themselves: what they belong to is the gateway's to say."""


class _Object(Struct):
    """Of the object that a snapshot shows; whatever stands there, it is looked at before use."""

    id: Any = None
    object: Any = None
    payment_intent: Any = None
    metadata: Any = None
    amount: Any = None
    currency: Any = None


class _Data(Struct):
    object: _Object


class _Related(Struct):
    id: str
    type: str


class _Event(Struct):
    """An event as a snapshot, or thin: then it names its object and shows nothing of it."""

    id: str
    object: str
    type: str
    livemode: bool
    created: int | datetime
    data: _Data | None = None
    related_object: _Related | None = None
    account: str | None = None
    context: str | None = None


class _Charge(_Object):
    """Of a charge as the list shows it."""

    created: int = 0
    paid: Any = None


_decoder: Final = msgspec.json.Decoder(_Event)
_object_decoder: Final = msgspec.json.Decoder(_Object)
_charge_decoder: Final = msgspec.json.Decoder(_Charge)
NO_EVENT: Final = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)


def read_webhook(
    body: bytes, signatures: Sequence[str], secrets: Sequence[Secret], at: datetime
) -> Hint:
    """What a delivery hints at; `signatures` are the values of its Stripe-Signature headers.

    Any of the secrets may have made any of the signatures. Raises Invalid.
    """
    header, signed_at = _checked_header(signatures)
    if not any(_is_genuine(body, header, secret) for secret in secrets):
        raise Invalid("webhook_signature_invalid")
    if not at - AGE_MAX <= signed_at <= at + AHEAD_MAX:
        raise Invalid(
            "webhook_not_fresh",
            past=f"{AGE_MAX.total_seconds():.0f}",
            ahead=f"{AHEAD_MAX.total_seconds():.0f}",
        )
    try:
        hint = _hint_of(_decoder.decode(body))
    except NO_EVENT:
        raise Invalid("webhook_malformed") from None
    if holds_card_number(f"{hint.event_id} {hint.kind}".encode()):
        raise Invalid("card_number_refused", place="body")
    return hint


def read_event(listed: bytes) -> Hint | None:
    """What an event of the gateway's own list hints at; None for what is no event that we keep."""
    try:
        hint = _hint_of(_decoder.decode(listed))
    except NO_EVENT:
        return None
    return None if holds_card_number(f"{hint.event_id} {hint.kind}".encode()) else hint


def read_charge(listed: bytes) -> Charged | None:
    """A charge of the gateway's own list; None for one that took nothing and holds nothing."""
    charge = _charge_decoder.decode(listed)
    charge_id = _id_or_none(charge.id)
    amount_minor, currency = _money(charge.amount, charge.currency)
    if charge.paid is not True or charge_id is None or amount_minor is None or currency is None:
        return None
    return Charged(
        charge_id=charge_id,
        object_id=_id_or_none(charge.payment_intent) or charge_id,
        amount_minor=amount_minor,
        currency=currency,
        happened_at=datetime.fromtimestamp(charge.created, UTC),
        payment_id=payment_id_of(charge.metadata),
        attempt_no=attempt_no_of(charge.metadata),
    )


def _checked_header(signatures: Sequence[str]) -> tuple[str, datetime]:
    """The header in a form that has one meaning only, and its timestamp."""
    if len(signatures) != 1 or len(signatures[0]) > HEADER_CHARACTERS_MAX:
        raise Invalid("webhook_signature_invalid")
    items = signatures[0].split(",")
    if not all(_ITEM.fullmatch(item) for item in items):
        raise Invalid("webhook_signature_invalid")
    timestamps = [item[2:] for item in items if item.startswith("t=")]
    count = sum(item.startswith("v1=") for item in items)
    if (
        len(timestamps) != 1
        or not _TIMESTAMP.fullmatch(timestamps[0])
        or not 0 < count <= SIGNATURES_MAX
    ):
        raise Invalid("webhook_signature_invalid")
    try:
        return signatures[0], datetime.fromtimestamp(int(timestamps[0]), UTC)
    except (ValueError, OverflowError):
        raise Invalid("webhook_signature_invalid") from None


def _is_genuine(body: bytes, header: str, secret: Secret) -> bool:
    try:
        # Without its tolerance: that reads a clock of its own, and only looks back.
        WebhookSignature.verify_header(body, header, secret.reveal().decode("ascii"))
    except (SignatureVerificationError, ValueError):
        return False
    return True


def _hint_of(event: _Event) -> Hint:
    if event.object not in ("event", "v2.core.event"):
        raise ValueError("this is no event")
    created = event.created
    happened_at = datetime.fromtimestamp(created, UTC) if isinstance(created, int) else created
    if happened_at.tzinfo is None:
        raise ValueError("the time has no zone")
    hint = Hint(
        event_id=_matching(_ID, event.id),
        kind=_matching(_NAME, event.type),
        is_live=event.livemode,
        happened_at=happened_at,
    )
    found = _Object() if event.data is None else event.data.object
    if event.related_object is not None:
        found = _Object(id=event.related_object.id, object=event.related_object.type)
    kind = hint.kind.removeprefix("v1.")
    noun, _, rest = kind.partition(".")
    hint = msgspec.structs.replace(
        hint,
        object_type=found.object if _is_name(found.object) else noun,
        object_id=_id_or_none(found.id) or "",
    )
    if event.account or event.context:
        return msgspec.structs.replace(hint, state="parked", reason=CONNECTED_ACCOUNT)
    if hint.object_type == "setup_intent" and kind not in _NOTHING_NEW:
        saves = method_id_of(found.metadata)
        state: HintState = "ignored" if saves is None or not hint.object_id else "received"
        return msgspec.structs.replace(hint, owner_id=saves, state=state)
    if hint.object_type in _ASKED_FOR:
        if not hint.object_id:
            return msgspec.structs.replace(hint, state="parked", reason=NOT_HANDLED)
        amount_minor, currency = _money(found.amount, found.currency)
        return msgspec.structs.replace(hint, amount_minor=amount_minor, currency=currency)
    lane = _LOOKED_AT.get(hint.object_type)
    if lane is None or not rest or kind in _NOTHING_NEW or not hint.object_id:
        return msgspec.structs.replace(hint, state="ignored")
    if event.data is None:  # a thin event: a worker fetches what it is about
        return msgspec.structs.replace(hint, lane=lane, state="parked", reason=NOT_SHOWN)
    return _matched(hint, lane, found)


def _matched(hint: Hint, lane: Lane, found: _Object) -> Hint:
    """The hint with what of ours the object says it belongs to."""
    match = _match(hint.object_type, hint.object_id, lane, found)
    hint = msgspec.structs.replace(hint, **msgspec.structs.asdict(match))
    if match.owner_id is None:
        return msgspec.structs.replace(hint, state="parked", reason=NO_REFERENCE)
    return hint


def _match(object_type: str, object_id: str, lane: Lane, found: _Object) -> Matched:
    metadata = found.metadata if isinstance(found.metadata, dict) else {}
    intent = found.payment_intent
    if isinstance(intent, dict):  # expanded: it bears our mark where its charge may not
        inner = intent.get("metadata")
        metadata = (inner if isinstance(inner, dict) else {}) | metadata
        intent = intent.get("id")
    is_intent, is_refund = object_type == "payment_intent", lane == "refunds"
    known_by = object_id if is_intent or is_refund else _id_or_none(intent)
    if is_refund:
        owner_id, attempt_no = refund_id_of(metadata), None
    else:
        owner_id, attempt_no = payment_id_of(metadata), attempt_no_of(metadata)
    if owner_id is None or (lane == "payments" and attempt_no is None):
        return Matched(known_by=known_by, lane=lane)
    amount_minor, currency = _money(found.amount, found.currency)
    return Matched(
        known_by=known_by,
        lane=lane,
        owner_id=owner_id,
        attempt_no=attempt_no,
        amount_minor=amount_minor,
        currency=currency,
    )


def read_object(object_type: str, object_id: str, shown: bytes) -> Matched:
    """What of ours an object that was fetched belongs to. Raises the errors of NO_EVENT."""
    found = _object_decoder.decode(shown)
    lane = _LOOKED_AT.get(object_type)
    if lane is None or found.id != object_id or found.object != object_type:
        return Matched()
    return _match(object_type, object_id, lane, found)


def _money(amount: object, currency: object) -> tuple[int | None, str | None]:
    """What the object says of money, as we count; nothing where it says nothing that can be."""
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= AMOUNT_MAX:
        return None, None
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        return None, None
    return from_stripe(amount, currency.upper()), currency.upper()


def _id_or_none(value: object) -> str | None:
    """An id of Stripe's own; merchants choose those of plans and coupons, which are not kept."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        return None
    return None if holds_card_number(value.encode()) else value


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _matching(form: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError("not of the form")
    return value
