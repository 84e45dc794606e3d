"""Whose webhooks are taken in; what gateways have beside payments, by its port: of the root."""

from typing import Final

from strongroom.checkout.choosing import Pages
from strongroom.clock import SystemClock
from strongroom.config import Settings
from strongroom.gateways.braintree.page import page_parts as braintree_page
from strongroom.gateways.fields import Fields
from strongroom.gateways.history import Charges, History
from strongroom.gateways.port import Credentials
from strongroom.gateways.stripe.page import page_parts as stripe_page
from strongroom.gateways.tax import Taxes
from strongroom.gateways.wallet import Wallet
from strongroom.http.webhooks import AnswerChallenge, Source
from strongroom.settlement.port import SettlementGateway
from strongroom.vault.kinds import BRAINTREE_WEBHOOK_KEY, STRIPE_WEBHOOK_SECRET
from strongroom.webhooks.hints import ReadWebhook


def _stripe_webhooks() -> ReadWebhook:
    from strongroom.gateways.stripe.webhook import read_webhook

    return read_webhook


def _braintree_webhooks() -> ReadWebhook:
    from strongroom.gateways.braintree.webhook import read_webhook

    return read_webhook


def _braintree_challenges() -> AnswerChallenge:
    from strongroom.gateways.braintree.webhook import answer_challenge

    return answer_challenge


WEBHOOKS: Final = {
    "stripe": Source(b"stripe-signature", STRIPE_WEBHOOK_SECRET, _stripe_webhooks),
    "braintree": Source(
        b"", BRAINTREE_WEBHOOK_KEY, _braintree_webhooks, ("bt_challenge", _braintree_challenges)
    ),
}
"""By gateway; the SDK that checks a signature is loaded with the first webhook that comes."""

PAGES: Final[Pages] = {"stripe": stripe_page, "braintree": braintree_page}
"""By gateway, what a page loads of it."""


def fields_of(settings: Settings, credentials: Credentials) -> Fields:
    """The adapters of gateways' card fields; each has connections of its own."""
    from strongroom.gateways.braintree.fields import BraintreeFields
    from strongroom.gateways.stripe.fields import StripeFields

    clock, mode = SystemClock(), settings.mode
    return Fields(
        client_tokens={"braintree": BraintreeFields(clock, credentials, mode=mode)},
        cards={
            "stripe": StripeFields(clock, credentials, mode=mode),
            "braintree": BraintreeFields(clock, credentials, mode=mode),
        },
    )


def taxes_of(settings: Settings, credentials: Credentials) -> dict[str, Taxes]:
    """The adapters of gateways that calculate taxes, by name."""
    from strongroom.gateways.stripe.tax import StripeTax

    return {"stripe": StripeTax(SystemClock(), credentials, mode=settings.mode)}


def wallets_of(settings: Settings, credentials: Credentials) -> dict[str, Wallet]:
    """The adapters of gateways that save instruments, by the same names."""
    from strongroom.gateways.braintree.wallet import BraintreeWallet
    from strongroom.gateways.stripe.wallet import StripeWallet

    clock, mode, returned = SystemClock(), settings.mode, settings.api_url + "/returned"
    return {
        "stripe": StripeWallet(clock, credentials, returned, mode=mode),
        "braintree": BraintreeWallet(clock, credentials, mode=mode),
    }


def settlement_of(settings: Settings, credentials: Credentials) -> dict[str, SettlementGateway]:
    """The adapters for what becomes of money that was taken."""
    from strongroom.gateways.braintree.settlement import BraintreeSettlement
    from strongroom.gateways.stripe.settlement import StripeSettlement

    clock, mode = SystemClock(), settings.mode
    return {
        "stripe": StripeSettlement(clock, credentials, mode=mode),
        "braintree": BraintreeSettlement(clock, credentials, mode=mode),
    }


def histories_of(
    settings: Settings, credentials: Credentials
) -> tuple[dict[str, History], dict[str, Charges]]:
    """By gateway, what lists events, and what lists charges; Braintree has no list of events."""
    from strongroom.gateways.braintree.history import BraintreeCharges
    from strongroom.gateways.stripe.history import StripeHistory

    clock, mode = SystemClock(), settings.mode
    stripe = StripeHistory(clock, credentials, mode)
    braintree = BraintreeCharges(clock, credentials, mode)
    return {"stripe": stripe}, {"stripe": stripe, "braintree": braintree}
