"""What a page loads of Stripe (docs.stripe.com/security/guide#content-security-policy)."""

from typing import Final

from strongroom.gateways.port import Account, Charge, PageParts, stand_in_origin

SCRIPT_ORIGIN: Final = "https://js.stripe.com"
SCRIPT_PATH: Final = "/v3/"
"""It has no integrity: Stripe changes it in place, and asks that it be loaded from there alone."""
FRAMES: Final = (SCRIPT_ORIGIN, "https://*.js.stripe.com", "https://hooks.stripe.com")
CALLS: Final = ("https://api.stripe.com",)
STAND_IN_SUBDOMAIN: Final = "js.stripe.localhost"


def page_parts(account: Account, charge: Charge) -> PageParts | None:
    """The parts for an account; None for one without a publishable key.

    Hosts are constants, but for a stand-in, whose script has an origin of its own beside its API.
    """
    del charge  # the bank is asked while the card is charged
    key = account.publishable_key
    if key is None or key.startswith("pk_live_") != (account.environment == "live"):
        return None
    if account.environment != "stand_in":
        return PageParts(
            gateway="stripe",
            script_url=SCRIPT_ORIGIN + SCRIPT_PATH,
            script_origins=(SCRIPT_ORIGIN, "https://*.js.stripe.com"),
            frame_origins=FRAMES,
            connect_origins=CALLS,
            key=key,
        )
    origin = stand_in_origin(account, STAND_IN_SUBDOMAIN)
    if origin is None:
        return None
    return PageParts(
        gateway="stripe",
        script_url=origin + SCRIPT_PATH,
        script_origins=(origin,),
        frame_origins=(origin,),
        connect_origins=(),
        key=key,
    )
