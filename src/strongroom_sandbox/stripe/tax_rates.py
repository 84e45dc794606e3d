"""What the stand-in knows of taxes: a rate a country, and who charges nothing.

The rates are plain standard rates, to be counted with; they are no advice and are not kept up to
date. Behaviour is the point: where the merchant is registered, who accounts for the tax, what is
exempt.
"""

import re
from dataclasses import dataclass

HEAD_OFFICE = "DE"
EUROPEAN_UNION = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()
)


@dataclass(frozen=True, slots=True)
class Rate:
    """Tax of one country: percent as a text, as Stripe writes it."""

    percent: str
    kind: str = "vat"
    name: str = "VAT"
    country: str = "Germany"


RATES: dict[str, Rate] = {
    "AT": Rate("20.0", country="Austria"),
    "BE": Rate("21.0", country="Belgium"),
    "DE": Rate("19.0", country="Germany"),
    "DK": Rate("25.0", country="Denmark"),
    "ES": Rate("21.0", country="Spain"),
    "FR": Rate("20.0", country="France"),
    "GB": Rate("20.0", country="United Kingdom"),
    "IE": Rate("23.0", country="Ireland"),
    "IT": Rate("22.0", country="Italy"),
    "NL": Rate("21.0", country="Netherlands"),
    "PL": Rate("23.0", country="Poland"),
    "SE": Rate("25.0", country="Sweden"),
    "AU": Rate("10.0", "gst", "GST", "Australia"),
    "CA": Rate("5.0", "gst", "GST", "Canada"),
    "JP": Rate("10.0", "jct", "JCT", "Japan"),
    "US": Rate("8.875", "sales_tax", "Sales Tax", "United States"),
}
"""Where the merchant of the stand-in is registered. Anywhere else it is `not_collecting`."""

POSTAL_CODE_NEEDED = frozenset(("US", "CA"))
"""Countries in which a place is not known by its country alone."""
DEFAULT_TAX_CODE = "txcd_10000000"
SHIPPING_TAX_CODE = "txcd_92010001"
EXEMPT_TAX_CODES = frozenset(("txcd_00000000",))
"""`Nontaxable` (docs.stripe.com/tax/tax-codes)."""
TAX_CODE = re.compile(r"txcd_[0-9]{8}")
TAX_ID_FORMS = {
    "eu_vat": re.compile(r"[A-Z]{2}[A-Z0-9]{8,12}"),
    "gb_vat": re.compile(r"(GB|XI)[0-9]{9}([0-9]{3})?"),
    "au_abn": re.compile(r"[0-9]{11}"),
    "us_ein": re.compile(r"[0-9]{2}-?[0-9]{7}"),
    "ch_vat": re.compile(r"CHE[0-9.-]{9,14}( ?(MWST|TVA|IVA))?"),
}
"""The kinds of tax ids that the stand-in takes, by Stripe's names of them."""


def reason_of(country: str, tax_code: str, has_eu_vat: bool, override: str) -> str:
    """Why a line is taxed as it is, in Stripe's words; only `standard_rated` takes any tax."""
    if country not in RATES:
        return "not_collecting"
    if tax_code in EXEMPT_TAX_CODES:
        return "product_exempt"
    if override in ("customer_exempt", "reverse_charge"):
        return override
    if has_eu_vat and country in EUROPEAN_UNION and country != HEAD_OFFICE:
        return "reverse_charge"
    return "standard_rated"
