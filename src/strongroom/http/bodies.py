"""Request bodies: their types, and the rules that a type cannot say.

A refusal names the field and the rule, never the value, and nothing that could break a statement
gets as far as the queue.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from strongroom.errors import Invalid
from strongroom.http.exchange import JSON, Asked
from strongroom.money import AMOUNT_MINOR_MAX, is_currency
from strongroom.payments.idempotency import KEY_CHARACTERS_MAX
from strongroom.payments.states import Capture

BULK_BYTES_MAX: Final = 1024 * 1024
BULK_ITEMS_MAX: Final = 500
REFERENCE_CHARACTERS_MAX: Final = 200
DESCRIPTION_CHARACTERS_MAX: Final = 1000
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_CHARACTERS_MAX: Final = 40
METADATA_VALUE_CHARACTERS_MAX: Final = 500
URL_CHARACTERS_MAX: Final = 2000
NOT_AFTER_DEFAULT: Final = timedelta(minutes=15)
"""While the customer is present: what was not sent by then is canceled, not charged later."""
NOT_AFTER_MAX: Final = timedelta(days=7)
WAIT_SECONDS_MAX: Final = 30

_TOKEN: Final = re.compile(r"pm_(?!.*[0-9]{12})[A-Za-z0-9_]{1,250}")
"""Random ids do not hold twelve digits in a row; card numbers do."""
_OF_A_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OF_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, C1 too: a terminal that shows the text would obey them."""
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_CHARACTERS_MAX}}}")
_URL: Final = re.compile(r"(https://|http://(127\.0\.0\.1|localhost)[:/])[\x21-\x7e]+")
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])")


class Instrument(Struct, frozen=True, forbid_unknown_fields=True):
    """A token that the gateway gave to the customer's browser."""

    gateway: Literal["stripe"]
    token: str


class CreatePayment(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/payments; `amount` is in the currency's minor unit."""

    amount: int
    currency: str
    merchant_reference: str
    instrument: Instrument | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    not_after: Annotated[datetime, Meta(tz=True)] | None = None
    return_url: str | None = None
    capture: Capture = "automatic"


class CapturePayment(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/payments/{id}/capture; without `amount`, all that is held."""

    amount: int | None = None


class CancelPayment(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/payments/{id}/cancel: an empty object."""


class ConfirmPayment(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/payments/{id}/confirm: an instrument, or nothing after an action."""

    instrument: Instrument | None = None
    return_url: str | None = None


Body = TypeVar("Body")


def decode(asked: Asked, decoder: "msgspec.json.Decoder[Body]", fields: str) -> Body:
    """The body in its type. Raises Invalid: 400 for what is not JSON, 422 for wrong types."""
    kind = (asked.content_type or JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise Invalid(
            "content_type_not_json",
            "The body has another Content-Type than application/json.",
            "Send JSON with `Content-Type: application/json`.",
            status=415,
        )
    try:
        return decoder.decode(asked.body)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error), fields) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid(
            "json_malformed",
            "The body is not well-formed JSON in UTF-8.",
            "Send one JSON object.",
            status=400,
        ) from None


def _wrong_shape(message: str, fields: str) -> Invalid:
    """msgspec's message without the parts that could hold the caller's own words."""
    path = re.search(r"at `\$\.([a-z_]+(?:\.[a-z_]+)?)", message)
    field = path.group(1) if path else None
    if "unknown field" in message:
        return Invalid(
            "field_unknown",
            "The body has a field that this operation does not know.",
            f"Send only these fields: {fields}.",
        )
    missing = re.search(r"missing required field `([a-z_]+)`", message)
    if missing:
        name = missing.group(1)
        return Invalid(
            "field_missing",
            f"The field {name} is missing.",
            f"Send {name}; the fields are: {fields}.",
            field=name,
        )
    expected = re.match(r"Expected `([a-z| `]+)`", message)
    rule = f" It wants: {expected.group(1).replace('`', '')}." if expected else ""
    return Invalid(
        "field_type_wrong",
        f"A field has the wrong type or form.{rule}",
        "Compare the body with the API's reference; amounts are integers in minor units.",
        field=field,
    )


def fields_of(body: type[Struct]) -> str:
    """The names of a body's fields, for refusals."""
    return ", ".join(body.__struct_fields__) or "none"


def check_idempotency_key(key: str | None) -> str:
    """The key of the request. Raises Invalid when there is none or it has the wrong form."""
    if key is None:
        raise Invalid(
            "idempotency_key_missing",
            "Requests that move money need an Idempotency-Key header.",
            "Make a unique key for each intent, e.g. a UUID, and send it again on every retry.",
            status=400,
        )
    if not _KEY.fullmatch(key):
        raise Invalid(
            "idempotency_key_malformed",
            f"An Idempotency-Key has 1 to {KEY_CHARACTERS_MAX} visible ASCII characters.",
            "Send a shorter or cleaner key, e.g. a UUID.",
            status=400,
        )
    return key


def check_no_idempotency_key(asked: Asked) -> None:
    """Raises Invalid when a bulk comes with a key in its header: it would mean nothing."""
    if asked.idempotency_key is not None:
        raise Invalid(
            "idempotency_key_misplaced",
            "A bulk takes no Idempotency-Key header: each of its items has a key of its own.",
            "Leave the header out, and put a key into idempotency_key of each item.",
            status=400,
        )


def check_bulk_size(field: str, count: int) -> None:
    """Raises Invalid for a bulk of nothing, and of more than BULK_ITEMS_MAX."""
    if not 1 <= count <= BULK_ITEMS_MAX:
        raise Invalid(
            "bulk_size",
            f"The field {field} has 1 to {BULK_ITEMS_MAX} items.",
            "Send the rest in further requests.",
            field=field,
        )


def check_create(body: CreatePayment, now: datetime) -> tuple[str, datetime]:
    """Checks every rule; returns the currency in upper case and the moment of not_after.

    That moment may have passed: the request may be a retry of one that came in time. Raises
    Invalid with the field and the rule.
    """
    check_amount(body.amount)
    currency = body.currency.upper()
    if not body.currency.isascii() or not is_currency(currency):
        raise _rule("currency_unknown", "currency", "is an ISO 4217 code, as EUR")
    _check_text("merchant_reference", body.merchant_reference, 1, REFERENCE_CHARACTERS_MAX)
    if body.description is not None:
        _check_text("description", body.description, 0, DESCRIPTION_CHARACTERS_MAX, _OF_LINES)
    check_metadata(body.metadata)
    check_instrument(body.instrument)
    check_return_url(body.return_url)
    if body.not_after is None:
        return currency, now + NOT_AFTER_DEFAULT
    if body.not_after > now + NOT_AFTER_MAX:
        raise not_after_invalid()
    return currency, body.not_after.astimezone(UTC)


def check_amount(amount_minor: int) -> None:
    """Raises Invalid for what is no amount of money."""
    if not 0 < amount_minor <= AMOUNT_MINOR_MAX:
        raise _rule(
            "amount_invalid",
            "amount",
            "is an integer above 0 and below 2^63, in the currency's minor unit",
        )


def check_metadata(metadata: dict[str, str]) -> None:
    """Raises Invalid for too many, too long or unprintable names and values."""
    if len(metadata) > METADATA_KEYS_MAX:
        raise _rule("metadata_too_large", "metadata", f"has at most {METADATA_KEYS_MAX} keys")
    for name, value in metadata.items():
        _check_text("metadata", name, 1, METADATA_KEY_CHARACTERS_MAX)
        _check_text("metadata", value, 0, METADATA_VALUE_CHARACTERS_MAX, _OF_LINES)


def not_after_invalid() -> Invalid:
    """The refusal of a not_after that has passed, or lies too far ahead."""
    return _rule(
        "not_after_invalid", "not_after", f"lies ahead, by at most {NOT_AFTER_MAX.days} days"
    )


def check_instrument(instrument: Instrument | None) -> None:
    """Raises Invalid for what cannot be a token of the gateway; a card number cannot."""
    if instrument is not None and not _TOKEN.fullmatch(instrument.token):
        raise _rule(
            "instrument_token_malformed",
            "instrument.token",
            "is a PaymentMethod id of Stripe, pm_ and letters and digits; never card data",
        )


def check_return_url(url: str | None) -> None:
    """Raises Invalid for anything but https (http on loopback)."""
    if url is not None and (len(url) > URL_CHARACTERS_MAX or not _URL.fullmatch(url)):
        raise _rule(
            "return_url_invalid",
            "return_url",
            f"is an https URL of at most {URL_CHARACTERS_MAX} characters",
        )


def _check_text(
    field: str, text: str, least: int, most: int, controls: re.Pattern[str] = _OF_A_LINE
) -> None:
    if not least <= len(text) <= most:
        raise _rule(field + "_length", field, f"has {least} to {most} characters")
    if not text.isprintable() and controls.search(text):
        raise _rule(field + "_characters", field, "holds no control characters")


def _rule(code: str, field: str, rule: str) -> Invalid:
    return Invalid(
        code, f"The field {field} {rule}.", f"Correct {field} and send again.", field=field
    )


def wait_seconds(asked: Asked) -> int:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most WAIT_SECONDS_MAX; 0 without it."""
    if asked.prefer is None:
        return 0
    found = _WAIT.search(asked.prefer)
    return min(int(found.group(1)), WAIT_SECONDS_MAX) if found else 0


class _CreateFields(Struct, frozen=True, kw_only=True):
    """What the fingerprint of a create covers, in alphabetical order: as a sorted dict is written.

    `capture` is left out where it is automatic, as before the field was there: fingerprints that
    are stored stay the same.
    """

    amount: int
    capture: Capture | msgspec.UnsetType
    currency: str
    description: str | None
    gateway: str | None
    merchant_reference: str
    metadata: dict[str, str]
    not_after: datetime | None
    return_url: str | None


def stable_fields(body: CreatePayment | ConfirmPayment) -> Struct | dict[str, Any]:
    """What the fingerprint covers: everything but the one-time token."""
    gateway = None if body.instrument is None else body.instrument.gateway
    if isinstance(body, ConfirmPayment):
        return {"gateway": gateway, "return_url": body.return_url}
    return _CreateFields(
        amount=body.amount,
        capture=msgspec.UNSET if body.capture == "automatic" else body.capture,
        currency=body.currency.upper(),
        description=body.description,
        gateway=gateway,
        merchant_reference=body.merchant_reference,
        metadata=body.metadata,
        not_after=body.not_after,
        return_url=body.return_url,
    )
