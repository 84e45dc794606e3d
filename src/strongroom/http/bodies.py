"""Request bodies: their types, and the rules that a type cannot say.

A refusal names the field and the rule, never the value, and nothing that could break a statement
gets as far as the queue.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from strongroom.errors import Invalid
from strongroom.http import fields
from strongroom.http.consents import SaveBody
from strongroom.http.exchange import JSON, Asked
from strongroom.money import AMOUNT_MINOR_MAX
from strongroom.payments.idempotency import KEY_CHARACTERS_MAX
from strongroom.payments.states import Capture

BULK_BYTES_MAX: Final = 1024 * 1024
BULK_ITEMS_MAX: Final = 500
ALTERNATIVES_MAX: Final = 4

_encoder: Final = msgspec.json.Encoder()

_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])")


class Alternative(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A token that the same card has elsewhere."""

    gateway: Annotated[Literal["stripe", "braintree"], Meta(description="Who knows the token.")]
    token: fields.Token
    account: fields.GatewayAccountId | None = None


class Instrument(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What pays: a token that the gateway gave to the customer's browser."""

    gateway: Annotated[Literal["stripe", "braintree"], Meta(description="Who knows the token.")]
    token: fields.Token
    account: fields.GatewayAccountId | None = None
    alternatives: Annotated[
        tuple[Alternative, ...],
        Meta(
            description="What the same card has at other accounts, in case this one cannot take "
            "it, in the order of your preference.",
            extra_json_schema={"maxItems": ALTERNATIVES_MAX},
        ),
    ] = ()


class CreatePayment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A payment that is to be made."""

    amount: fields.Amount
    currency: fields.Currency
    merchant_reference: fields.MerchantReference
    instrument: Annotated[
        Instrument | None, Meta(description="Without one, the payment waits for a confirm.")
    ] = None
    description: fields.Description | None = None
    metadata: fields.Metadata = {}
    not_after: fields.NotAfter | None = None
    return_url: fields.ReturnUrl | None = None
    capture: Annotated[
        Capture,
        Meta(description="`manual`: the amount is only held, until a capture takes it."),
    ] = "automatic"
    country: fields.Country | None = None
    save: Annotated[
        SaveBody | None,
        Meta(description="Saves what pays, once it has paid, for a customer."),
    ] = None
    tax_calculation: fields.TaxedBy | None = None


class CapturePayment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be taken of what is held."""

    amount: Annotated[fields.Amount | None, Meta(description="Without it, all that is held.")] = (
        None
    )


class CancelPayment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An empty object."""


class ConfirmPayment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What pays for a payment that waits for it, or nothing after the customer's action."""

    instrument: Instrument | None = None
    payment_method: Annotated[
        fields.PaymentMethodId | None, Meta(description="A saved one, in place of an instrument.")
    ] = None
    off_session: Annotated[
        bool,
        Meta(description="The customer is away, and has agreed to this before: for a saved one."),
    ] = False
    return_url: fields.ReturnUrl | None = None


Body = TypeVar("Body")


def decode(
    asked: Asked,
    decoder: "msgspec.json.Decoder[Body]",
    known: str,
    *,
    leaves_items: bool = False,
) -> Body:
    """The body in its type; `known` names its fields for a caller who sent another.

    `leaves_items`: the type leaves the items of a bulk unread, and each is decoded by itself later.
    Raises Invalid: 400 for what is not JSON, 415 for what does not say so, 422 for wrong types.
    """
    kind = (asked.content_type or JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise Invalid("content_type_not_json")
    try:
        body = decoder.decode(asked.body)
        if leaves_items:
            if _has_more_strings(asked.body, body):
                raise Invalid("field_repeated")
        elif b"\\" in asked.body or _has_more_strings(asked.body, body):
            json.loads(asked.body, object_pairs_hook=_each_name_once)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error), known) from None
    except (ValueError, RecursionError):  # of both decoders, and of text that is not UTF-8
        raise Invalid("json_malformed") from None
    return body


def _has_more_strings(raw: bytes, body: object) -> bool:
    """Whether the raw text holds more names and strings than what was read from it.

    A decoder keeps the last of two equal names, a filter in front of us perhaps the first: what
    was checked is not what would be charged. Without escapes each name and each string has two
    quotes, so a name more is seen by counting; what counts unequal is read once more, in Python.
    Items that are left unread count as they stand.
    """
    return raw.count(b'"') != _encoder.encode(body).count(b'"')


def _each_name_once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Invalid("field_repeated")


def _wrong_shape(message: str, known: str) -> Invalid:
    """msgspec's message without the parts that could hold the caller's own words."""
    path = re.search(r"at `\$\.([a-z_]+(?:\.[a-z0-9_]+)?)", message)
    field = path.group(1) if path else None
    if "unknown field" in message:
        return Invalid("field_unknown", fields=known)
    missing = re.search(r"missing required field `([a-z_]+)`", message)
    if missing:
        name = missing.group(1)
        return Invalid("field_missing", field=f"{field}.{name}" if field else name, fields=known)
    expected = re.match(r"Expected `([a-z| `]+)`", message)
    rule = f" It wants: {expected.group(1).replace('`', '')}." if expected else ""
    return Invalid("field_type_wrong", field=field, rule=rule)


def fields_of(body: type[Struct]) -> str:
    """The names of a body's fields, for refusals."""
    return ", ".join(body.__struct_fields__) or "none"


def check_idempotency_key(key: str | None) -> str:
    """The key of the request. Raises Invalid when there is none or it has the wrong form."""
    if key is None:
        raise Invalid("idempotency_key_missing")
    if not fields.KEY.fullmatch(key):
        raise Invalid("idempotency_key_malformed", most=KEY_CHARACTERS_MAX)
    return key


def check_no_idempotency_key(asked: Asked) -> None:
    """Raises Invalid when a bulk comes with a key in its header: it would mean nothing."""
    if asked.idempotency_key is not None:
        raise Invalid("idempotency_key_misplaced")


def check_bulk_size(field: str, count: int) -> None:
    """Raises Invalid for a bulk of nothing, and of more than BULK_ITEMS_MAX."""
    if not 1 <= count <= BULK_ITEMS_MAX:
        raise Invalid("bulk_size", field=field, most=BULK_ITEMS_MAX)


def check_create(body: CreatePayment, now: datetime) -> tuple[str, datetime]:
    """Checks every rule; returns the currency in upper case and the moment of not_after.

    That moment may have passed: the request may be a retry of one that came in time. `now` then
    stands for it, because the first moments of the year 1 cannot be said in UTC. Raises Invalid
    with the field and the rule.
    """
    check_amount(body.amount)
    currency = fields.CURRENCIES.get(body.currency)
    if currency is None:
        raise Invalid("currency_unknown", field="currency")
    check_merchant_reference(body.merchant_reference)
    check_description(body.description)
    check_metadata(body.metadata)
    check_instrument(body.instrument)
    check_return_url(body.return_url)
    if body.country is not None and not fields.COUNTRY.fullmatch(body.country):
        raise Invalid("country_invalid", field="country")
    if body.not_after is None:
        return currency, now + fields.NOT_AFTER_DEFAULT
    if body.not_after > now + fields.NOT_AFTER_MAX:
        raise not_after_invalid()
    return currency, now if body.not_after <= now else body.not_after.astimezone(UTC)


def check_amount(amount_minor: int, field: str = "amount") -> None:
    """Raises Invalid for what is no amount of money."""
    if not 0 < amount_minor <= AMOUNT_MINOR_MAX:
        raise Invalid("amount_invalid", field=field)


def not_after_invalid() -> Invalid:
    """The refusal of a not_after that has passed, or lies too far ahead."""
    return Invalid("not_after_invalid", field="not_after", days=fields.NOT_AFTER_MAX.days)


def check_merchant_reference(text: str) -> None:
    """Raises Invalid for a reference that is empty, too long or holds control characters."""
    if not 1 <= len(text) <= fields.REFERENCE_CHARACTERS_MAX:
        raise Invalid(
            "merchant_reference_length",
            field="merchant_reference",
            least=1,
            most=fields.REFERENCE_CHARACTERS_MAX,
        )
    if not _is_plain(text, fields.LINE):
        raise Invalid("merchant_reference_characters", field="merchant_reference")


def check_description(text: str | None) -> None:
    """Raises Invalid for a description that is too long or holds control characters."""
    if text is None:
        return
    if len(text) > fields.DESCRIPTION_CHARACTERS_MAX:
        most = fields.DESCRIPTION_CHARACTERS_MAX
        raise Invalid("description_length", field="description", least=0, most=most)
    if not _is_plain(text, fields.LINES):
        raise Invalid("description_characters", field="description")


def check_metadata(metadata: dict[str, str]) -> None:
    """Raises Invalid for too many, too long or unprintable names and values."""
    if len(metadata) > fields.METADATA_KEYS_MAX:
        raise Invalid("metadata_too_large", field="metadata", most=fields.METADATA_KEYS_MAX)
    for name, value in metadata.items():
        if not 1 <= len(name) <= fields.METADATA_KEY_CHARACTERS_MAX:
            most = fields.METADATA_KEY_CHARACTERS_MAX
            raise Invalid("metadata_length", field="metadata", part="key", least=1, most=most)
        if len(value) > fields.METADATA_VALUE_CHARACTERS_MAX:
            most = fields.METADATA_VALUE_CHARACTERS_MAX
            raise Invalid("metadata_length", field="metadata", part="value", least=0, most=most)
        if not (_is_plain(name, fields.LINE) and _is_plain(value, fields.LINES)):
            raise Invalid("metadata_characters", field="metadata")


def check_evidence(texts: dict[str, str]) -> None:
    """Raises Invalid for a text that is empty, too long or unprintable."""
    for name, text in texts.items():
        if not 1 <= len(text) <= fields.EVIDENCE_CHARACTERS_MAX:
            most = fields.EVIDENCE_CHARACTERS_MAX
            raise Invalid("evidence_length", field=f"evidence.{name}", least=1, most=most)
        if not _is_plain(text, fields.LINES):
            raise Invalid("evidence_characters", field=f"evidence.{name}")


def _is_plain(text: str, allowed: re.Pattern[str]) -> bool:
    return text.isprintable() or allowed.fullmatch(text) is not None


def check_instrument(instrument: Instrument | None) -> None:
    """Raises Invalid for what cannot be a token of the gateway; a card number cannot."""
    if instrument is None:
        return
    if len(instrument.alternatives) > ALTERNATIVES_MAX:
        raise Invalid(
            "instrument_alternatives_too_many",
            field="instrument.alternatives",
            most=ALTERNATIVES_MAX,
        )
    tokens: tuple[Instrument | Alternative, ...] = (instrument, *instrument.alternatives)
    for one in tokens:
        check_token(one.gateway, one.token, place_of(one))
        if one.account is not None and not fields.ACCOUNT_ID.fullmatch(one.account):
            raise account_unknown(one)


def check_token(gateway: str, token: str, place: str = "instrument") -> None:
    """Raises Invalid for what cannot be a token of the gateway."""
    if not fields.TOKENS[gateway].fullmatch(token):
        raise Invalid("instrument_token_malformed", field=f"{place}.token")


def account_unknown(of: Instrument | Alternative) -> Invalid:
    """The refusal of an account that is not the legal entity's, or not in use, or malformed."""
    return Invalid("gateway_account_unknown", field=f"{place_of(of)}.account")


def place_of(one: Instrument | Alternative) -> str:
    """The field that it stands in."""
    return "instrument" if isinstance(one, Instrument) else "instrument.alternatives"


def check_one_instrument(body: ConfirmPayment) -> None:
    """Raises Invalid for two things that pay, and for nobody's word that the customer is away."""
    saved = body.payment_method is not None
    if (saved and body.instrument is not None) or (body.off_session and not saved):
        raise Invalid("instrument_ambiguous", field="payment_method")


def check_return_url(url: str | None) -> None:
    """Raises Invalid for anything but https (http on loopback)."""
    if url is None:
        return
    if len(url) > fields.URL_CHARACTERS_MAX or not fields.URL.fullmatch(url):
        raise Invalid("return_url_invalid", field="return_url", most=fields.URL_CHARACTERS_MAX)


def wait_seconds(asked: Asked) -> int:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most fields.WAIT_SECONDS_MAX; 0 without it."""
    if asked.prefer is None:
        return 0
    found = _WAIT.search(asked.prefer)
    return min(int(found.group(1)), fields.WAIT_SECONDS_MAX) if found else 0


class _CreateFields(Struct, frozen=True, kw_only=True):
    """What the fingerprint of a create covers, in alphabetical order: as a sorted dict is written.

    `capture` is left out where it is automatic, as before the field was there: fingerprints that
    are stored stay the same.
    """

    alternatives: list[list[str | None]] | msgspec.UnsetType
    amount: int
    capture: Capture | msgspec.UnsetType
    country: str | msgspec.UnsetType
    currency: str
    description: str | None
    gateway: str | None
    gateway_account: str | msgspec.UnsetType
    merchant_reference: str
    metadata: dict[str, str]
    not_after: datetime | None
    return_url: str | None
    save: dict[str, object] | msgspec.UnsetType
    tax_calculation: str | msgspec.UnsetType


def stable_fields(body: CreatePayment | ConfirmPayment) -> Struct | dict[str, Any]:
    """What the fingerprint covers: everything but the one-time token."""
    gateway = None if body.instrument is None else body.instrument.gateway
    named = _named_elsewhere(body.instrument)
    if isinstance(body, ConfirmPayment):
        saved = {} if body.payment_method is None else {
            "payment_method": body.payment_method, "off_session": body.off_session,
        }  # fmt: skip
        return {"gateway": gateway, "return_url": body.return_url, **saved, **named}
    return _CreateFields(
        alternatives=named.get("alternatives", msgspec.UNSET),
        gateway_account=named.get("gateway_account", msgspec.UNSET),
        amount=body.amount,
        capture=msgspec.UNSET if body.capture == "automatic" else body.capture,
        country=msgspec.UNSET if body.country is None else body.country,
        currency=body.currency.upper(),
        description=body.description,
        gateway=gateway,
        merchant_reference=body.merchant_reference,
        metadata=body.metadata,
        not_after=body.not_after,
        return_url=body.return_url,
        save=msgspec.UNSET if body.save is None else body.save.stable_fields,
        tax_calculation=msgspec.UNSET if body.tax_calculation is None else body.tax_calculation,
    )


def _named_elsewhere(instrument: Instrument | None) -> dict[str, Any]:
    """What an instrument says of accounts; nothing where it does not, as before it could."""
    named: dict[str, Any] = {}
    if instrument is not None and instrument.account is not None:
        named["gateway_account"] = instrument.account
    if instrument is not None and instrument.alternatives:
        named["alternatives"] = [[one.gateway, one.account] for one in instrument.alternatives]
    return named
