"""A stand-in for Braintree: https://developer.paypal.com/braintree/docs, as its SDK reads it."""
