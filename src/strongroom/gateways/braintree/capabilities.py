"""What Braintree can do, for the routes."""

from typing import Final

from strongroom.gateways.routing import Capabilities

CAPABILITIES: Final = Capabilities(able=frozenset({"sca", "recurring"}), payout_days=5)
"""Currencies are those that the account has merchant accounts for, which is looked at apart.
Payouts: within five business days of a settlement, sooner for most merchants."""
