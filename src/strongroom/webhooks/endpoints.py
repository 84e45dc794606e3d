"""Where a merchant is told what happened, and what becomes of telling it. Pure.

Within a payment one event is told after the other: the next waits until the one before was taken or
given up. While nothing goes through at all a few events are tried now and then, and no try of these
is counted against its event: what is wrong is the receiver.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from strongroom.payments.states import digest_of

RETRIES: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=20),
)
"""Between a try and the next: three days in all. An event that fails after the last is given up."""
GIVEN_UP_AFTER: Final = timedelta(days=2, hours=12)
"""And not sooner, however its tries came about."""
JITTER: Final = 0.2
"""A wait is up to so much shorter, so that what failed together does not come back together."""
AT_ONCE_MAX: Final = 8
"""So many events are sent to one endpoint at once."""
REST_MAX: Final = timedelta(minutes=1)
DEAD_AFTER: Final = timedelta(days=3)
"""An endpoint to which nothing went through for so long is disabled."""
GONE: Final = 410
"""The receiver says that it wants no more: the endpoint is disabled at once."""
LOST: Final = ("dead", "gone")
"""Why a machine disables one; what an operator says is in sentences."""
NOT_SENT: Final = "not_sent"
"""The outcome of what could not be sent for a reason of ours: the receiver was not asked."""
ASKED_FOR_BY_NAME: Final = frozenset(
    """
    alarm api_key data_subject encryption_key gateway_account legal_entity log payment_bundle
    webhook_endpoint
    """.split()
)
"""Families of events that are told to those alone that name them: they are about us."""
KIND: Final = re.compile(r"[a-z][a-z_]*\.(?:\*|[a-z][a-z_]*)")
KINDS_MAX: Final = 50

State = Literal["enabled", "disabled"]


class Endpoint(Struct, frozen=True, kw_only=True):
    """One address of one legal entity; `kinds` are what it is told of, none means all events but
    those that are asked for by name. The address itself is a secret of the vault's.
    """

    legal_entity_id: UUID
    endpoint_id: UUID
    version: int
    host: str
    kinds: tuple[str, ...]
    state: State
    state_reason: str | None
    created_at: datetime

    def wants(self, kind: str) -> bool:
        """Whether it is told of events of this kind."""
        family = kind.partition(".")[0]
        if not self.kinds:
            return family not in ASKED_FOR_BY_NAME
        return kind in self.kinds or f"{family}.*" in self.kinds

    def row_digest(self) -> bytes:
        """SHA-256 over what an owner decides of it, in canonical JSON."""
        return digest_of(self)


class Tried(Struct, frozen=True, kw_only=True):
    """What came of one try: `index` in the log, how many tries there were before, how it ended.

    `first_at` is when the first of them was.
    """

    index: int
    subject_id: UUID
    tries: int
    first_at: datetime
    outcome: str
    status: int | None

    @property
    def is_delivered(self) -> bool:
        """The receiver has it."""
        return self.outcome == "delivered"


class Verdict(Struct, frozen=True, kw_only=True):
    """What an event's delivery becomes: when it is tried again, None for when it was to be.

    `counts`: the try is one of those after which an event is given up.
    """

    state: Literal["waiting", "delivered", "given_up"]
    run_at: datetime | None = None
    counts: bool = True


class Health(Struct, frozen=True, kw_only=True):
    """How an endpoint does: rounds without any success one after the other, and since when."""

    failures: int = 0
    failing_since: datetime | None = None


def verdict(tried: Tried, before: Health, now: datetime, chance: float) -> Verdict:
    """What becomes of a delivery; `chance`, 0 to 1, decides within the jitter.

    `before` is how the endpoint did before this round.
    """
    if tried.is_delivered:
        return Verdict(state="delivered")
    if before.failures:
        return Verdict(state="waiting", counts=False)
    if tried.tries >= len(RETRIES) and now - tried.first_at >= GIVEN_UP_AFTER:
        return Verdict(state="given_up")
    wait = RETRIES[min(tried.tries, len(RETRIES) - 1)] * (1 - JITTER * chance)
    return Verdict(state="waiting", run_at=now + wait)


def health_after(health: Health, round_: Sequence[Tried], now: datetime) -> Health:
    """How the endpoint does after a round; one in which it was not asked teaches nothing."""
    if all(tried.outcome == NOT_SENT for tried in round_):
        return health
    if any(tried.is_delivered for tried in round_):
        return Health()
    return Health(failures=health.failures + 1, failing_since=health.failing_since or now)


def rest_until(health: Health, now: datetime) -> datetime:
    """When it is tried again: at once while it does well, within a minute otherwise."""
    if not health.failures:
        return now
    return now + min(timedelta(seconds=2 ** min(health.failures - 1, 6)), REST_MAX)


def why_disabled(health: Health, round_: Sequence[Tried], now: datetime) -> str | None:
    """Why an endpoint is told no more; None while it is."""
    if any(tried.status == GONE for tried in round_):
        return "gone"
    since = health.failing_since
    if all(tried.outcome == NOT_SENT for tried in round_):
        return None
    return "dead" if since is not None and now - since >= DEAD_AFTER else None


def kinds_of(text: str, refuse: Callable[[str], Exception]) -> tuple[str, ...]:
    """The kinds that are named so, with commas between them; raises what `refuse` makes."""
    kinds = tuple(sorted({one.strip() for one in text.split(",") if one.strip()}))
    if not all(map(KIND.fullmatch, kinds)):
        raise refuse("a kind of events is written as payment.succeeded, or refund.* for a family")
    if len(kinds) > KINDS_MAX:
        raise refuse(f"at most {KINDS_MAX} kinds; without any, all events are told")
    return kinds
