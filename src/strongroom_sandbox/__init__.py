"""Stand-in providers: servers that speak a payment provider's own protocol, with fault knobs.

They run beside the product, which never imports them and which they never import.
"""
