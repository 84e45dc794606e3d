"""What the page has a worker do for it: client tokens are made, and cards are looked at."""

from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from strongroom.checkout.issuing import Issuer
from strongroom.checkout.looking import Looker
from strongroom.clock import Clock
from strongroom.gateways.fields import Fields
from strongroom.telemetry.port import NoTelemetry
from strongroom.vault.keys import Keyring
from strongroom.work.bell import NoBell


def errands_of(
    pool: asyncpg.Pool,
    clock: Clock,
    fields: Fields,
    keyring: Keyring,
    deadline: timedelta,
    buckets: Sequence[int],
    telemetry: NoTelemetry,
    bell: NoBell,
) -> tuple[Issuer, Looker]:
    """Both kinds, each to be run beside the payments."""
    return (
        Issuer(pool, clock, fields.client_tokens, keyring, deadline, buckets, telemetry, bell),
        Looker(pool, clock, fields.cards, keyring, deadline, buckets, telemetry, bell),
    )
