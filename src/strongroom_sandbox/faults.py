"""Fault knobs: rules that make a stand-in fail on purpose, and the requests they hold back.

Rules live in memory only: they need no restart and survive none.
"""

import asyncio
import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

RULES_MAX = 100
DELAY_MILLISECONDS_MAX = 120_000
HOLD_SECONDS_MAX = 600.0
HOLD_SECONDS_DEFAULT = 60.0
WITHHELD_MAX = 10_000
SEARCH_LAG_SECONDS_DEFAULT = 60
SEARCH_LAG_SECONDS_MAX = 3600
REFUND_SETTLE_SECONDS_DEFAULT = 5
REFUND_SETTLE_SECONDS_MAX = 30 * 24 * 3600


class Fault(StrEnum):
    """What goes wrong. ``before`` never acts; ``after`` acts and records before it fails.

    ``error_500_saved`` does not act but is kept under the idempotency key, as a failure inside
    the provider would be. ``processing`` leaves the outcome open until the test settles it; a
    refund then is ``pending``.
    """

    WITHHOLD_BEFORE = "withhold_before"
    WITHHOLD_AFTER = "withhold_after"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    ERROR_500_BEFORE = "error_500_before"
    ERROR_500_SAVED = "error_500_saved"
    ERROR_500_AFTER = "error_500_after"
    ERROR_429 = "error_429"
    ERROR_503 = "error_503"
    DELAY = "delay"
    MALFORMED = "malformed"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_CURRENCY = "wrong_currency"
    PROCESSING = "processing"


class Match(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which requests a rule meets; all that is given must hold.

    ``operation`` is ``*``, a name such as ``payment_intents.create``, a noun with a star
    (``payment_intents.*``) or alternatives by ``|`` where a later one may leave out the noun
    (``payment_intents.create|confirm``). ``first_n`` bounds how often the rule strikes.
    """

    operation: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "*"
    metadata: dict[str, str] | None = None
    payment_method: str | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    first_n: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Rule(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One rule. ``hits`` counts how often it struck; it is shown, and ignored when set."""

    fault: Fault
    match: Match = msgspec.field(default_factory=Match)
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=DELAY_MILLISECONDS_MAX)] = 0
    hold_seconds: Annotated[float, msgspec.Meta(gt=0, le=HOLD_SECONDS_MAX)] = HOLD_SECONDS_DEFAULT
    hits: int = 0


class Knobs(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /_knobs and the answer of GET /_knobs. The first rule that meets strikes.

    ``former_parameters``: ``payment_method_types`` is taken as before API 2026-09-30, for callers
    that know no other. ``refund_settle_seconds`` is how long a refund of an asynchronous test card
    stays as it began.
    """

    rules: Annotated[list[Rule], msgspec.Meta(max_length=RULES_MAX)] = []
    search_lag_seconds: Annotated[int, msgspec.Meta(ge=0, le=SEARCH_LAG_SECONDS_MAX)] = (
        SEARCH_LAG_SECONDS_DEFAULT
    )
    refund_settle_seconds: Annotated[int, msgspec.Meta(ge=0, le=REFUND_SETTLE_SECONDS_MAX)] = (
        REFUND_SETTLE_SECONDS_DEFAULT
    )
    former_parameters: bool = False


class Target(msgspec.Struct):
    """What a rule is compared with: the request's operation and the object it is about."""

    operation: str
    metadata: Mapping[str, str]
    payment_methods: tuple[str, ...] = ()


class Faults:
    """The rules in force and the withheld requests they hold open."""

    def __init__(self) -> None:
        self.knobs = Knobs()
        self.withheld = 0
        self._released = asyncio.Event()

    def replace(self, knobs: Knobs) -> None:
        """Put new rules in force; requests withheld by the old ones are closed."""
        for rule in knobs.rules:
            rule.hits = 0
        self.knobs = knobs
        self._released.set()
        self._released = asyncio.Event()

    def strike(self, target: Target) -> Rule | None:
        """Return the first rule that meets the target, counted as a hit, or None."""
        for rule in self.knobs.rules:
            if _meets(rule, target):
                rule.hits += 1
                return rule
        return None

    async def withhold(self, rule: Rule) -> None:
        """Wait until the rule is cleared or its time is over; the caller then closes."""
        cleared = not any(rule is held for held in self.knobs.rules)
        if cleared or self.withheld >= WITHHELD_MAX:
            return
        self.withheld += 1
        try:
            async with asyncio.timeout(rule.hold_seconds):
                await self._released.wait()
        except TimeoutError:
            pass
        finally:
            self.withheld -= 1


def _meets(rule: Rule, target: Target) -> bool:
    match = rule.match
    if match.first_n is not None and rule.hits >= match.first_n:
        return False
    if not _names(match.operation, target.operation):
        return False
    if match.metadata is not None and any(
        target.metadata.get(key) != value for key, value in match.metadata.items()
    ):
        return False
    if match.payment_method is not None and match.payment_method not in target.payment_methods:
        return False
    # Chance comes last, so that it is drawn only for requests the rule is about.
    return match.probability >= 1 or random.random() < match.probability  # noqa: S311


def _names(pattern: str, operation: str) -> bool:
    noun = pattern.partition(".")[0]
    for part in pattern.split("|"):
        name = part if part == "*" or "." in part else f"{noun}.{part}"
        if name in ("*", operation):
            return True
        if name.endswith(".*") and operation.startswith(name[:-1]):
            return True
    return False
