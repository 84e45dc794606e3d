"""Tax: what a gateway calculates for a payment, and what is reported to it once money was taken."""
