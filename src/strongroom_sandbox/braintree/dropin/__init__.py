"""Braintree's browser script as the stand-in serves it, with card fields in a frame of its own."""
