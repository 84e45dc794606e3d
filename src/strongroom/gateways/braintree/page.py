"""What a page loads of Braintree's Drop-in, and where that may go.

Sources: the tables "Content Security Policy" of Braintree's own references
(braintree.github.io/braintree-web/current, braintree.github.io/braintree-web-drop-in/docs/current),
what Drop-in 1.48 loads, and for 3-D Secure issues 534, 779 and 977 of braintree-web-drop-in: it
loads a script of Cardinal's, whose digest it checks itself, and frames of the customer's bank, of
which nobody has a list.
"""

from typing import Final

from strongroom.gateways.braintree.money import to_braintree
from strongroom.gateways.port import Account, Charge, PageParts, stand_in_origin

VERSION: Final = "1.48.0"
SCRIPTS: Final = "https://js.braintreegateway.com"
SCRIPT_PATH: Final = f"/web/dropin/{VERSION}/js/dropin.min.js"
ASSETS: Final = "https://assets.braintreegateway.com"
CARDINAL: Final = ("https://*.cardinalcommerce.com", "https://*.cardinaltrusted.com")
"""Asks the customer's bank, for Braintree."""
ANY_BANK: Final = "https:"
CALLS: Final = {
    "sandbox": (
        "https://api.sandbox.braintreegateway.com",
        "https://client-analytics.sandbox.braintreegateway.com",
        "https://*.braintree-api.com",
    ),
    "live": (
        "https://api.braintreegateway.com",
        "https://client-analytics.braintreegateway.com",
        "https://*.braintree-api.com",
    ),
}
"""By environment."""
STAND_IN_SUBDOMAIN: Final = "js.braintree.localhost"
STAND_IN_PATH: Final = "/web/dropin/1/js/dropin.js"


def page_parts(account: Account, charge: Charge) -> PageParts | None:
    """The parts for a charge; None where the account has no merchant account for its currency.

    Hosts are constants, but for a stand-in, whose script has an origin of its own beside its API.
    """
    paid_to = charge.merchant_account
    if paid_to is None:
        return None
    amount = to_braintree(charge.amount_minor, charge.currency)
    authenticates = amount if paid_to.three_d_secure else None
    if account.environment != "stand_in":
        asks = authenticates is not None
        return PageParts(
            gateway="braintree",
            script_url=SCRIPTS + SCRIPT_PATH,
            script_origins=(SCRIPTS, *(CARDINAL if asks else ())),
            frame_origins=(ASSETS, *((ANY_BANK,) if asks else ())),
            connect_origins=(*CALLS[account.environment], *(CARDINAL if asks else ())),
            style_sources=("'unsafe-inline'", ASSETS),
            image_sources=(ASSETS, "data:"),
            authenticates=authenticates,
        )
    origin = stand_in_origin(account, STAND_IN_SUBDOMAIN)
    if origin is None:
        return None
    return PageParts(
        gateway="braintree",
        script_url=origin + STAND_IN_PATH,
        script_origins=(origin,),
        frame_origins=(origin,),
        connect_origins=(),
        authenticates=authenticates,
    )
