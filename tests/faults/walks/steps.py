"""What a walk does: drawn from its seed before it begins, so that the same seed does the same."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.faults.points.points import Fault

STEPS_MIN, STEPS_MAX = 12, 24
PAYMENTS_FIRST: Final = 2
HOURS_MAX: Final = 25
"""Past the 24 for which a gateway knows an idempotency key."""
POINTS_MAX: Final = 80
"""Within so many messages and exchanges from now a fault strikes; half of them in a tenth of it."""
COPIES_MAX: Final = 3
PACE_MAX: Final = 80
"""So many messages and exchanges may go by before the next step; half the steps wait for a tenth.
A life needs some 60 to begin."""
EXCHANGES_MAX: Final = 4
LATE_MAX: Final = 1
"""Each takes our whole deadline."""
GATEWAYS: Final = ("stripe", "braintree")
TOKENS: Final = {
    "stripe": (
        "pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_threeDSecure2Required",
        "pm_card_chargeDeclined",
    ),
    "braintree": ("fake-valid-visa-nonce",),
}  # fmt: skip
AMOUNTS: Final = (100, 700, 1299, 1999)
AMOUNT: Final = 1999
"""Of every payment."""


class Act(StrEnum):
    """One thing that a caller, a provider, the time or a fault does."""

    CREATE = "create"
    AGAIN = "create again with the same key"
    RIVAL = "create for the same order with another key"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"
    CONFIRM = "the customer acts, and confirm"
    WEBHOOK = "deliver a webhook once more"
    REST = "everybody has time to do what is due soon"
    PASSES = "time goes on"
    SET = "our clock is set wrong"
    WEATHER = "a provider is unwell"
    PAUSE = "our process stands still, past its lease"
    KILL = "kill -9 at a point from now"
    KILL_NOW = "kill -9 now"
    STOPPED = "PostgreSQL stops at a point from now"


_WEIGHTS: Final = {
    Act.CREATE: 6, Act.AGAIN: 4, Act.RIVAL: 1, Act.CAPTURE: 5, Act.CANCEL: 2, Act.REFUND: 6,
    Act.CONFIRM: 2, Act.WEBHOOK: 2, Act.REST: 6, Act.PASSES: 2, Act.SET: 2, Act.WEATHER: 4,
    Act.PAUSE: 2, Act.KILL: 10, Act.KILL_NOW: 2, Act.STOPPED: 1,
}  # fmt: skip
_FAULTS: Final = {
    Act.WEATHER: (Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.LATE),
    Act.KILL: (Fault.KILL_BEFORE, Fault.KILL_AFTER),
    Act.STOPPED: (Fault.STOPPED,),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step; what an act has no use for stands in it all the same."""

    act: Act
    which: int
    """Of the payments so far, counted around."""
    gateway: str
    token: str
    manual: bool
    """Whether it is captured later."""
    hurries: bool
    """Whether it is asked for while the payment is on its way."""
    amount: int | None
    """None: all that there is."""
    many: int
    """Copies of a request, or exchanges of bad weather."""
    points: int
    fault: Fault | None
    hours: float
    pace: int
    """Messages and exchanges that go by before the next step."""

    def __str__(self) -> str:
        shown = {
            Act.CREATE: f"{self.gateway} {self.token}{', captured later' if self.manual else ''}",
            Act.AGAIN: f"payment {self.which}, {self.many} at once",
            Act.CAPTURE: f"payment {self.which}, {self.amount or 'all'}",
            Act.REFUND: f"payment {self.which}, {self.amount or 'all'}",
            Act.PASSES: f"{self.hours:.1f} h",
            Act.SET: f"{self.hours:+.1f} h",
            Act.WEATHER: f"{self.gateway} {self.fault}, {self.many} times",
            Act.PAUSE: f"in {self.points} points",
            Act.KILL: f"{self.fault}, {self.points}",
            Act.STOPPED: f"{self.points}",
        }
        return f"{self.act}: {shown.get(self.act, f'payment {self.which}')}"


def drawn(seed: int) -> list[Step]:
    """The steps of one walk: some payments, then whatever comes."""
    chance = random.Random(seed)
    many = chance.randint(STEPS_MIN, STEPS_MAX)
    acts = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=many)
    return [_step(chance, act) for act in [Act.CREATE] * PAYMENTS_FIRST + acts]


def _step(chance: random.Random, act: Act) -> Step:
    gateway = chance.choice(GATEWAYS)
    fault = chance.choice(_FAULTS[act]) if act in _FAULTS else None
    backwards = act is Act.SET and chance.random() < 0.5
    return Step(
        act=act,
        which=chance.randrange(1000),
        gateway=gateway,
        token=chance.choice(TOKENS[gateway]),
        manual=chance.random() < 0.5,
        hurries=chance.random() < 0.3,
        amount=chance.choice((*AMOUNTS, None)),
        many=chance.randint(1, LATE_MAX if fault is Fault.LATE else EXCHANGES_MAX),
        points=1 + _some(chance, POINTS_MAX),
        fault=fault,
        hours=chance.uniform(0, HOURS_MAX) * (-1 if backwards else 1),
        pace=_some(chance, PACE_MAX),
    )


def _some(chance: random.Random, most: int) -> int:
    return chance.randint(0, most if chance.random() < 0.5 else most // 10)
