"""A gateway that keeps what PaymentIntents and idempotency keys promise, and nothing else."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tests.unit.examples import AMOUNT

KEY_LIFE: Final = timedelta(hours=24)
HOLD_LIFE: Final = timedelta(days=7)
FAULTS: Final = (
    "none", "lost_before", "lost_after", "500", "500_saved", "500_after", "429", "refused",
)  # fmt: skip
CARDS: Final = ("good", "declined", "asks", "slow")


@dataclass
class Intent:
    """A PaymentIntent with what it took so far, and until when it holds what it did not take."""

    status: str = "requires_confirmation"
    declined: bool = False
    charges: int = 0
    taken: int = 0
    card: str | None = None
    """Where it is at another account than the first, what the instrument does there."""
    holds_until: datetime | None = None


@dataclass
class FakeGateway:
    """Staged: create, confirm, capture, cancel, retrieve; keys replay the first answer, a 500 too.

    `manual`: what is confirmed is held, until it is captured, canceled or over.
    """

    card: str = "good"
    manual: bool = False
    elsewhere: str = "good"
    """What the instrument does at other accounts."""
    hold_lag: timedelta = timedelta()
    """How long after its end a hold still looks as if it stood, and can be captured."""
    intents: dict[str, Intent] = field(default_factory=dict)
    keys: dict[str, tuple[datetime, Any]] = field(default_factory=dict)

    def charges(self) -> int:
        return sum(intent.charges for intent in self.intents.values())

    def taken(self) -> int:
        return sum(intent.taken for intent in self.intents.values())

    def ask(
        self,
        operation: str,
        key: str | None,
        object_id: str | None,
        fault: str,
        now: datetime,
        amount: int = AMOUNT,
        *,
        is_elsewhere: bool = False,
    ):
        """What the caller hears (None: nothing), and what it would have heard."""
        self._holds_end(now)
        if fault == "lost_before":
            return None, None
        if fault in ("429", "500") or (fault == "refused" and operation == "capture"):
            return fault, fault
        if key in self.keys and now - self.keys[key][0] < KEY_LIFE:
            told = self.keys[key][1]
        else:
            told = "500" if fault == "500_saved" else self._act(operation, object_id, now, amount)
            if is_elsewhere and operation == "create" and told in self.intents:
                self.intents[told].card = self.elsewhere
            told = "500" if fault == "500_after" else told
            if key is not None:
                self.keys[key] = (now, told)
        return (None if fault == "lost_after" else told), told

    def _act(self, operation: str, object_id: str | None, now: datetime, amount: int) -> Any:
        if operation == "create":
            name = f"pi_{len(self.intents) + 1}"
            self.intents[name] = Intent()
            return name
        intent = self.intents[object_id or ""]
        if operation == "confirm" and intent.status in ("requires_confirmation", "requires_action"):
            self._confirm(intent, now)
        if operation == "capture" and intent.status == "requires_capture":
            self._take(intent, amount)
        if operation == "cancel" and intent.status != "succeeded":
            intent.status = "canceled"
        return (intent.status, intent.taken, intent.holds_until)

    def _holds_end(self, now: datetime) -> None:
        for intent in self.intents.values():
            ends = intent.holds_until
            if intent.status == "requires_capture" and ends and now >= ends + self.hold_lag:
                intent.status = "canceled"

    def _confirm(self, intent: Intent, now: datetime) -> None:
        match intent.card or self.card:
            case "good":
                self._charge(intent, now)
            case "declined":
                intent.status, intent.declined = "requires_payment_method", True
            case "asks":
                intent.status = "requires_action"
            case _:
                intent.status = "processing"

    def _charge(self, intent: Intent, now: datetime) -> None:
        if self.manual:
            intent.status, intent.holds_until = "requires_capture", now + HOLD_LIFE
        else:
            self._take(intent, AMOUNT)

    def _take(self, intent: Intent, amount: int) -> None:
        intent.status, intent.taken = "succeeded", amount
        intent.charges += 1

    def customer_acts(self, now: datetime, *, well: bool) -> None:
        for intent in self.intents.values():
            if intent.status in ("requires_action", "processing"):
                if well:
                    self._charge(intent, now)
                else:
                    intent.status, intent.declined = "requires_payment_method", True

    def network_decides(self, now: datetime) -> None:
        for intent in self.intents.values():
            if intent.status == "processing":
                self._charge(intent, now)
