"""What Stripe can do, for the routes."""

from typing import Final

from strongroom.gateways.routing import Capabilities

CAPABILITIES: Final = Capabilities(able=frozenset({"sca", "recurring", "tax"}), payout_days=3)
"""Payouts: three business days in most of Europe (docs.stripe.com/payouts)."""
