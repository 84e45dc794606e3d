"""A stand-in for Stripe: its REST protocol over HTTP, driven by the official SDK by base URL."""
