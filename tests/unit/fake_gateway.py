"""A gateway that keeps what PaymentIntents and idempotency keys promise, and nothing else."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

KEY_LIFE: Final = timedelta(hours=24)
FAULTS: Final = ("none", "lost_before", "lost_after", "500", "500_saved", "500_after", "429")
CARDS: Final = ("good", "declined", "asks", "slow")


@dataclass
class Intent:
    """A PaymentIntent with what it took so far."""

    status: str = "requires_confirmation"
    declined: bool = False
    charges: int = 0


@dataclass
class FakeGateway:
    """Staged: create, confirm, cancel, retrieve; keys replay the first answer, a 500 too."""

    card: str = "good"
    intents: dict[str, Intent] = field(default_factory=dict)
    keys: dict[str, tuple[datetime, Any]] = field(default_factory=dict)

    def charges(self) -> int:
        return sum(intent.charges for intent in self.intents.values())

    def ask(
        self, operation: str, key: str | None, object_id: str | None, fault: str, now: datetime
    ):
        """What the caller hears (None: nothing), and what it would have heard."""
        if fault == "lost_before":
            return None, None
        if fault in ("429", "500"):
            return fault, fault
        if key in self.keys and now - self.keys[key][0] < KEY_LIFE:
            told = self.keys[key][1]
        else:
            told = "500" if fault == "500_saved" else self._act(operation, object_id)
            told = "500" if fault == "500_after" else told
            if key is not None:
                self.keys[key] = (now, told)
        return (None if fault == "lost_after" else told), told

    def _act(self, operation: str, object_id: str | None) -> Any:
        if operation == "create":
            name = f"pi_{len(self.intents) + 1}"
            self.intents[name] = Intent()
            return name
        intent = self.intents[object_id or ""]
        if operation == "confirm" and intent.status in ("requires_confirmation", "requires_action"):
            self._confirm(intent)
        if operation == "cancel" and intent.status != "succeeded":
            intent.status = "canceled"
        return (intent.status, intent.declined)

    def _confirm(self, intent: Intent) -> None:
        match self.card:
            case "good":
                self._charge(intent)
            case "declined":
                intent.status, intent.declined = "requires_payment_method", True
            case "asks":
                intent.status = "requires_action"
            case _:
                intent.status = "processing"

    def _charge(self, intent: Intent) -> None:
        intent.status = "succeeded"
        intent.charges += 1

    def customer_acts(self, *, well: bool) -> None:
        for intent in self.intents.values():
            if intent.status in ("requires_action", "processing"):
                if well:
                    self._charge(intent)
                else:
                    intent.status, intent.declined = "requires_payment_method", True

    def network_decides(self) -> None:
        for intent in self.intents.values():
            if intent.status == "processing":
                self._charge(intent)
