"""The types of single fields: what each may hold, for the checks and for the OpenAPI alike.

The limits here are what `bodies.py` and `listing.py` check by and what the schemas say. They stand
in `extra_json_schema`, not as msgspec's own constraints, because each refusal has a code of its
own; tests/acceptance/test_bounds.py sends values at and beyond each.
"""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from strongroom.ids import ALPHABET, TEXT_CHARACTERS, Prefix
from strongroom.money import AMOUNT_MINOR_MAX, EXPONENTS
from strongroom.payments.idempotency import KEY_CHARACTERS_MAX

REFERENCE_CHARACTERS_MAX: Final = 200
DESCRIPTION_CHARACTERS_MAX: Final = 1000
EVIDENCE_CHARACTERS_MAX: Final = 20_000
"""Of one field, at Stripe (docs.stripe.com/api/disputes/update)."""
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_CHARACTERS_MAX: Final = 40
METADATA_VALUE_CHARACTERS_MAX: Final = 500
URL_CHARACTERS_MAX: Final = 2000
NOT_AFTER_DEFAULT: Final = timedelta(minutes=15)
"""While the customer is present: what was not sent by then is canceled, not charged later."""
NOT_AFTER_MAX: Final = timedelta(days=7)
WAIT_SECONDS_MAX: Final = 30

CURRENCIES: Final = {code: code for code in sorted(EXPONENTS)} | {
    code.lower(): code for code in sorted(EXPONENTS)
}
"""A currency as it may be written to the code that is kept."""

_LINE: Final = r"[^\x00-\x1f\x7f-\x9f]*"
_LINES: Final = r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]*"
"""No control characters, C1 too: a terminal that shows the text would obey them."""
_PAYMENT_METHOD: Final = r"pm_(?!.*[0-9]{13})[A-Za-z0-9_]{1,250}"
"""No id holds thirteen digits in a row, as card numbers do; a UUID (some nonces are) may twelve."""
_GATEWAY_CUSTOMER: Final = r"cus_(?!.*[0-9]{13})[A-Za-z0-9_]{1,250}"
_KEY: Final = rf"[\x21-\x7e]{{1,{KEY_CHARACTERS_MAX}}}"
_URL: Final = r"(https://|http://(127\.0\.0\.1|([a-z0-9-]{1,63}\.)?localhost)[:/])[\x21-\x7e]+"
"""Names below localhost are of this machine as well (RFC 6761, 6.3)."""

_COUNTRY: Final = r"[A-Z]{2}"

COUNTRY: Final = re.compile(_COUNTRY)
LINE: Final = re.compile(_LINE)
LINES: Final = re.compile(_LINES)
_NONCE: Final = r"(?=.*[A-Za-z_-])(?!.*[0-9]{13})[A-Za-z0-9_-]{1,255}"
TOKENS: Final = {"stripe": re.compile(_PAYMENT_METHOD), "braintree": re.compile(_NONCE)}
"""By gateway, what its tokens look like; no card number does."""
GATEWAY_CUSTOMER: Final = re.compile(_GATEWAY_CUSTOMER)
KEY: Final = re.compile(_KEY)
URL: Final = re.compile(_URL)


def id_pattern(prefix: Prefix) -> str:
    """The anchored pattern of an id: 26 characters hold 130 bits, so the first is below 8."""
    return f"^{prefix}_[0-7][{ALPHABET}]{{{TEXT_CHARACTERS - 1}}}$"


ACCOUNT_ID: Final = re.compile(id_pattern("gwa"))


def is_merchant_reference(text: str) -> bool:
    """Whether a payment could carry the text as its merchant_reference."""
    return 1 <= len(text) <= REFERENCE_CHARACTERS_MAX and LINE.fullmatch(text) is not None


def _text(
    pattern: str, least: int = 0, most: int | None = None, **more: object
) -> dict[str, object]:
    limits = {} if most is None else {"minLength": least, "maxLength": most}
    return {"pattern": f"^{pattern}$", **limits, **more}


PaymentId = Annotated[
    str,
    Meta(
        description="Begins with `pay_`, and sorts by the time of its making.",
        extra_json_schema={"pattern": id_pattern("pay")},
        examples=["pay_01m7xymr1mfnzbqf5r8f0krvww"],
    ),
]
PaymentMethodId = Annotated[
    str,
    Meta(
        description="Begins with `pm_`, and sorts by the time of its making.",
        extra_json_schema={"pattern": id_pattern("pm")},
        examples=["pm_01m7xykq8v3w1bqf5r8f0krvww"],
    ),
]
RefundId = Annotated[
    str,
    Meta(
        description="Begins with `ref_`, and sorts by the time of its making.",
        extra_json_schema={"pattern": id_pattern("ref")},
        examples=["ref_01m7xyn2v0ezjtqf5r8f0krvww"],
    ),
]
DisputeId = Annotated[
    str,
    Meta(
        description="Begins with `dsp_`, and sorts by the time at which we first heard of it.",
        extra_json_schema={"pattern": id_pattern("dsp")},
        examples=["dsp_01m7xyp4t0f8k1tqf5r8f0krvw"],
    ),
]
PayoutId = Annotated[
    str,
    Meta(
        description="Begins with `pyt_`, and sorts by the time at which we first heard of it.",
        extra_json_schema={"pattern": id_pattern("pyt")},
        examples=["pyt_01m7xyp4t0f8k1tqf5r8f0krvw"],
    ),
]
TaxCalculationId = Annotated[
    str,
    Meta(
        description="Begins with `txc_`, and sorts by the time of its making.",
        extra_json_schema={"pattern": id_pattern("txc")},
        examples=["txc_01m7xyn8s6d3k0tqf5r8f0krvw"],
    ),
]
TaxedBy = Annotated[
    TaxCalculationId,
    Meta(
        description="What the payment is taxed by: a calculation of the same currency, with this "
        "amount as its total. Once the payment has succeeded, it is reported to the tax service."
    ),
]
SignedSum = Annotated[
    int, Meta(description="In minor units; below zero where it goes the other way.")
]
Amount = Annotated[
    int,
    Meta(
        description="In the currency's minor unit: 1999 with EUR is 19.99 euros.",
        extra_json_schema={"minimum": 1, "maximum": AMOUNT_MINOR_MAX},
        examples=[1999],
    ),
]
Sum = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
CurrencyShown = Annotated[
    str,
    Meta(
        description="ISO 4217 code.",
        extra_json_schema={"pattern": "^[A-Z]{3}$"},
        examples=["EUR"],
    ),
]
Currency = Annotated[
    str,
    Meta(
        description="ISO 4217 code, in upper or lower case; answers have it in upper case.",
        extra_json_schema={"enum": list(CURRENCIES)},
        examples=["EUR"],
    ),
]
MerchantReference = Annotated[
    str,
    Meta(
        description="Your own name of the order. Only one payment that may still charge, or has "
        "charged, can carry it.",
        extra_json_schema=_text(_LINE, 1, REFERENCE_CHARACTERS_MAX),
        examples=["order-1001"],
    ),
]
Description = Annotated[
    str,
    Meta(
        description="For people. Not for personal data.",
        extra_json_schema=_text(_LINES, 0, DESCRIPTION_CHARACTERS_MAX),
        examples=["Two tickets, row 7"],
    ),
]
EvidenceText = Annotated[
    str,
    Meta(
        description="For the bank; may be personal data. It is kept until the gateway has it.",
        extra_json_schema=_text(_LINES, 1, EVIDENCE_CHARACTERS_MAX),
        examples=["Delivered on 3 November, signed for by the customer."],
    ),
]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(extra_json_schema=_text(_LINE, 1, METADATA_KEY_CHARACTERS_MAX))],
        Annotated[str, Meta(extra_json_schema=_text(_LINES, 0, METADATA_VALUE_CHARACTERS_MAX))],
    ],
    Meta(
        description="For your programs: given back as it came. Not for personal data.",
        extra_json_schema={"maxProperties": METADATA_KEYS_MAX},
        examples=[{"cart": "77"}],
    ),
]
Token = Annotated[
    str,
    Meta(
        description="The gateway's token of the card: a PaymentMethod id of Stripe (`pm_…`), a "
        "payment method nonce of Braintree. Card data is refused.",
        extra_json_schema={"pattern": f"^{_NONCE}$"},
        examples=["pm_card_visa"],
    ),
]
Version = Annotated[
    int,
    Meta(
        description="Goes up by one with every change.",
        extra_json_schema={"minimum": 1},
    ),
]
GatewayCustomer = Annotated[
    str,
    Meta(
        description="Whose the token is at the gateway already, by its customer's id there "
        "(`cus_…` of Stripe). The payment method is then adopted: looked at, and not saved anew.",
        extra_json_schema={"pattern": f"^{_GATEWAY_CUSTOMER}$"},
        examples=["cus_NffrFeUfNV2Hib"],
    ),
]
Country = Annotated[
    str,
    Meta(
        description="Where the customer is: two capital letters of ISO 3166-1. Routes may ask for "
        "it; it is not shown again.",
        extra_json_schema={"pattern": f"^{_COUNTRY}$"},
        examples=["DE"],
    ),
]
GatewayAccountId = Annotated[
    str,
    Meta(
        description="An account of yours at a gateway, by the id that adding it printed. "
        "Without it, the routes decide, or the oldest account at the gateway.",
        extra_json_schema={"pattern": id_pattern("gwa")},
        examples=["gwa_01m7xymr1mfnzbqf5r8f0krvww"],
    ),
]
NotAfter = Annotated[
    datetime,
    Meta(
        tz=True,
        description="What was not sent to the gateway by then is canceled, not charged later. At "
        f"most {NOT_AFTER_MAX.days} days ahead; {NOT_AFTER_DEFAULT.seconds // 60} minutes when "
        "not given.",
        examples=["2026-11-21T12:00:00Z"],
    ),
]
ReturnUrl = Annotated[
    str,
    Meta(
        description="Where the customer's browser goes after an action: https, or http on "
        "loopback.",
        extra_json_schema={"pattern": f"^{_URL}$", "maxLength": URL_CHARACTERS_MAX},
        examples=["https://shop.example/orders/1001"],
    ),
]
IdempotencyKey = Annotated[
    str,
    Meta(
        description="A new one for each intent, the same one for each retry.",
        extra_json_schema={"pattern": f"^{_KEY}$"},
        examples=["order-1001"],
    ),
]
Prefer = Annotated[
    str,
    Meta(
        description=f"`wait=N` waits up to N seconds, at most {WAIT_SECONDS_MAX}, for a status "
        "other than `processing`.",
        extra_json_schema={"pattern": r"^[\t\x20-\x7e]*$"},
        examples=["wait=10"],
    ),
]
RequestId = Annotated[
    str,
    Meta(
        description="An id of yours for this request, 1 to 64 letters, digits, `.`, `_` and `-`, "
        "without thirteen digits in a row. Any other is ignored, and one is made.",
        examples=["checkout-7"],
    ),
]
NextAction = Annotated[
    dict[str, Any],
    Meta(
        description="What the customer has to do: at `redirect_to_url`, open `url` in a browser.",
        extra_json_schema={
            "properties": {
                "type": {"type": "string"},
                "url": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
            },
            "required": ["type"],
        },
    ),
]
