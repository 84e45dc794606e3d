"""The stand-in's browser script: card fields in a frame of its own origin, as Stripe's are."""
