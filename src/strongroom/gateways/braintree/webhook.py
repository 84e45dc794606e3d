"""Braintree's webhooks: whether one is genuine and fresh, and what it is about.

Two form fields: bt_payload is XML in base64, bt_signature pairs public keys with HMAC-SHA1 digests
over the payload's text, whose key is the SHA-1 of the private key (`braintree.util.crypto`). That
key is all that is kept here: it signs nothing but webhooks, so who takes webhooks in can do nothing
at the gateway. A way of checking that circulates, HMAC-SHA256 with the private key, fits no genuine
webhook. The SDK would raise ValueError and UnicodeEncodeError for what is malformed; here all of it
is refused in the same words.

There is no event id: the digest of the payload is one. There is no limit on age either: one is set.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID
from xml.parsers.expat import ExpatError

from braintree.util.xml_util import XmlUtil
from msgspec.structs import replace

from strongroom.errors import Invalid
from strongroom.gateways.braintree.disbursements import payout_id_of
from strongroom.gateways.braintree.disputes import standing_of
from strongroom.gateways.braintree.marks import attempt_of, refund_of
from strongroom.gateways.braintree.money import from_braintree
from strongroom.vault.cards import holds_card_number
from strongroom.vault.secret import Secret
from strongroom.webhooks.hints import CONNECTED_ACCOUNT, NO_REFERENCE, Hint

AGE_MAX: Final = timedelta(hours=26)
"""A delivery is tried again for 24 hours (developer.paypal.com/braintree/docs/guides/webhooks)."""
AHEAD_MAX: Final = timedelta(seconds=60)
PAIRS_MAX: Final = 8
SUBJECTS: Final = ("transaction", "dispute", "disbursement", "subscription")

_FIELDS: Final = frozenset({"bt_signature", "bt_payload"})
_PAIR: Final = re.compile(r"([A-Za-z0-9_]{8,64})\|([0-9a-f]{40})")
_PAYLOAD: Final = re.compile(r"[A-Za-z0-9+/=\n]+")
_CHALLENGE: Final = re.compile(r"[a-f0-9]{20,32}")
_KIND: Final = re.compile(r"[a-z_]{1,64}")
_ID: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
"""An event id has no digits: a run of them would be taken for a card number in logs."""


def read_webhook(
    body: bytes, signatures: Sequence[str], secrets: Sequence[Secret], at: datetime
) -> Hint:
    """What a delivery hints at. Raises Invalid."""
    del signatures  # they are in the body
    signature, payload = _fields_of(body)
    if not any(_is_genuine(signature, payload, secret) for secret in secrets):
        raise Invalid("webhook_signature_invalid")
    try:
        notification = XmlUtil.dict_from_xml(base64.b64decode(payload))["notification"]
        kind, happened_at = _kind(notification["kind"]), _in_utc(notification["timestamp"])
        subject = notification.get("subject")
        subject = subject if isinstance(subject, Mapping) else {}
        elsewhere = notification.get("source_merchant_id") is not None
    except (ExpatError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Invalid("webhook_malformed") from None
    if not at - AGE_MAX <= happened_at <= at + AHEAD_MAX:
        past, ahead = AGE_MAX.total_seconds(), AHEAD_MAX.total_seconds()
        raise Invalid("webhook_not_fresh", past=f"{past:.0f}", ahead=f"{ahead:.0f}")
    digest = sha256(payload.encode()).digest()
    hint = Hint(
        event_id="bt_" + digest.hex().translate(_LETTERS),
        kind=kind,
        is_live=None,
        happened_at=happened_at,
        digest=digest,
        state="ignored",
    )
    return _about(hint, subject, elsewhere=elsewhere)


def answer_challenge(challenge: str, secret: Secret) -> str:
    """What proves to Braintree that we have the key of its webhooks. Raises Invalid.

    Twenty to thirty-two hexadecimal digits are no payload of a webhook: what is signed here can
    never be one, since none begins with `<` when it is taken for base64.
    """
    if not _CHALLENGE.fullmatch(challenge):
        raise Invalid("webhook_malformed")
    public_key, key = _parts(secret)
    return f"{public_key}|{_digest(key, challenge)}"


def _fields_of(body: bytes) -> tuple[str, str]:
    """The two fields, in a form that has one meaning only."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), strict_parsing=True, keep_blank_values=True, max_num_fields=8
        )
    except ValueError:  # and UnicodeDecodeError
        raise Invalid("webhook_signature_invalid") from None
    fields = dict(pairs)
    if len(pairs) != len(fields) or fields.keys() != _FIELDS:
        raise Invalid("webhook_signature_invalid")
    signature, payload = fields["bt_signature"], fields["bt_payload"].replace("\r\n", "\n")
    if not _PAYLOAD.fullmatch(payload):
        raise Invalid("webhook_signature_invalid")
    return signature, payload


def _is_genuine(signature: str, payload: str, secret: Secret) -> bool:
    pairs = signature.split("&")
    found = [_PAIR.fullmatch(pair) for pair in pairs]
    if len(pairs) > PAIRS_MAX or not all(found):
        return False
    public_key, key = _parts(secret)
    # As the SDK does: a form may have lost the payload's last line break on its way.
    wanted = [_digest(key, payload), _digest(key, payload + "\n")]
    fits = [
        hmac.compare_digest(pair[2], digest)
        for pair in found
        if pair is not None and pair[1] == public_key
        for digest in wanted
    ]
    return any(fits)


def _parts(secret: Secret) -> tuple[str, bytes]:
    try:
        public_key, key = secret.reveal_text().split(":")
        return public_key, bytes.fromhex(key)
    except (ValueError, binascii.Error):
        raise Invalid("webhook_signature_invalid") from None


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("ascii"), sha1).hexdigest()


def _about(hint: Hint, subject: Mapping[str, Any], *, elsewhere: bool) -> Hint:
    """The hint with what of ours its subject says it belongs to."""
    errors = subject.get("api_error_response")
    subject = errors if isinstance(errors, Mapping) else subject
    noun = next((one for one in SUBJECTS if one in subject), "")
    found = subject.get(noun) if noun else None
    found = found if isinstance(found, Mapping) else {}
    object_id = found.get("id")
    hint = replace(hint, object_type=noun or hint.kind)
    if isinstance(object_id, str) and _ID.fullmatch(object_id):
        if holds_card_number(object_id.encode()):
            return replace(hint, state="parked", reason=NO_REFERENCE)
        hint = replace(hint, object_id=object_id)
    if elsewhere:
        return replace(hint, state="parked", reason=CONNECTED_ACCOUNT)
    if not hint.object_id:
        return hint
    match noun:
        case "transaction":
            return _of_transaction(hint, found)
        case "dispute":
            return _of_dispute(hint, found)
        case "disbursement":
            return _of_disbursement(hint, found)
        case _:
            return hint


def _of_transaction(hint: Hint, found: Mapping[str, Any]) -> Hint:
    is_refund = found.get("type") == "credit"
    hint = replace(
        hint,
        lane="refunds" if is_refund else "payments",
        known_by=hint.object_id,
        state="received",
    )
    owner: UUID | None = None
    number: int | None = None
    if is_refund:
        owner = refund_of(found.get("order_id"))
    elif mark := attempt_of(found.get("order_id")):
        owner, number = mark
    if owner is None:
        return replace(hint, state="parked", reason=NO_REFERENCE)
    currency, amount = found.get("currency_iso_code"), _first_amount(found)
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        currency = None
    minor = None if currency is None else from_braintree(amount, currency)
    return replace(
        hint,
        owner_id=owner,
        attempt_no=number,
        amount_minor=minor,
        currency=None if minor is None else currency,
    )


def _of_dispute(hint: Hint, found: Mapping[str, Any]) -> Hint:
    """The dispute is asked for; what is said here of money has to agree with it."""
    stands = standing_of(found)
    told = None if stands is None else stands.amount_minor
    currency = None if stands is None or told is None else stands.currency
    return replace(hint, state="received", amount_minor=told, currency=currency)


def _of_disbursement(hint: Hint, found: Mapping[str, Any]) -> Hint:
    """What was paid out to its merchant account on its day is asked for."""
    paid_to = found.get("merchant_account")
    account = paid_to.get("id") if isinstance(paid_to, Mapping) else None
    payout_id = payout_id_of(account, found.get("disbursement_date"))
    if payout_id is None or holds_card_number(payout_id.encode()):
        return replace(hint, state="parked", reason=NO_REFERENCE)
    return replace(hint, state="received", object_type="payout", object_id=payout_id)


def _first_amount(found: Mapping[str, Any]) -> object:
    """What was authorized: a capture in part lowers the transaction's own amount."""
    history = found.get("status_history")
    if isinstance(history, list) and history and isinstance(history[0], Mapping):
        return history[0].get("amount")
    return found.get("amount")


def _kind(name: object) -> str:
    if not isinstance(name, str) or not _KIND.fullmatch(name):
        raise ValueError("no kind")
    return name


def _in_utc(moment: object) -> datetime:
    if not isinstance(moment, datetime):
        raise TypeError("no time")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
