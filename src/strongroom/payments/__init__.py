"""The heart: what a payment is, how it changes, and how it is accepted, attempted and settled."""
