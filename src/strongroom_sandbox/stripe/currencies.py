"""Which currencies and amounts Stripe takes (docs.stripe.com/currencies)."""

from strongroom_sandbox.stripe.errors import Refusal, invalid

AMOUNT_MAX = 99_999_999  # eight digits, in the minor unit

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))
# Currencies without a minor unit that Stripe still counts in hundredths: only whole units pass.
WHOLE_UNITS_IN_HUNDREDTHS = frozenset(("isk", "ugx"))
TWO_DECIMAL = frozenset(
    # A table of codes reads best as words.
    (
        "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn "
        "bzd cad cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq "
        "gyd hkd hnl hrk htg huf idr ils inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl "
        "mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln "
        "qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs "
        "uah uyu uzs wst xcd yer zar zmw"
    ).split()
)
SUPPORTED = ZERO_DECIMAL | THREE_DECIMAL | WHOLE_UNITS_IN_HUNDREDTHS | TWO_DECIMAL

AMOUNT_MIN_DEFAULT = 1
AMOUNT_MIN = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500,
    "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip


def checked_currency(text: str) -> str:
    """Return the currency in lower case. Raises Refusal for one that Stripe does not take."""
    currency = text.lower()
    if currency not in SUPPORTED:
        raise invalid(f"Invalid currency: {text[:10]}", param="currency")
    return currency


def check_amount(amount: int, currency: str) -> None:
    """Check an amount in the minor unit.

    Raises Refusal ``amount_too_small``, ``amount_too_large``, ``parameter_invalid_integer`` for
    less than one, or ``invalid_charge_amount`` for one that the currency cannot represent.
    """
    if amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.",
            param="amount",
            code="parameter_invalid_integer",
        )
    if amount > AMOUNT_MAX:
        raise invalid(
            f"The amount must be no more than {AMOUNT_MAX} {currency}",
            param="amount",
            code="amount_too_large",
        )
    if amount < AMOUNT_MIN.get(currency, AMOUNT_MIN_DEFAULT):
        raise invalid(
            f"The amount must be at least {AMOUNT_MIN[currency]} {currency}",
            param="amount",
            code="amount_too_small",
        )
    if currency in THREE_DECIMAL and amount % 10:
        raise _not_representable(currency, 10)
    if currency in WHOLE_UNITS_IN_HUNDREDTHS and amount % 100:
        raise _not_representable(currency, 100)


def _not_representable(currency: str, step: int) -> Refusal:
    return invalid(
        f"Amounts in {currency} must be a multiple of {step}",
        param="amount",
        code="invalid_charge_amount",
    )
