"""Webhooks: what gateways tell us of, which is a hint and never the truth."""
