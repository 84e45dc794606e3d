"""What a payment and an attempt are, what can happen to them, and what a gateway can answer.

Plain frozen values without I/O. `decide` is the only code that makes one Payment out of another.
"""

import hashlib
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.payments.ways import DeclineClass as DeclineClass  # noqa: PLC0414
from strongroom.payments.ways import Refusal, Retry, Route, Way

Status = Literal[
    "requires_payment_method",
    "processing",
    "requires_action",
    "authorized",
    "succeeded",
    "failed",
    "canceled",
    "outcome_unknown",
]
Capture = Literal["automatic", "manual"]
"""Whether an authorization is captured at once, or when the caller asks for it."""

Closing = Literal["failed", "canceled", "new_attempt"]
"""What a payment becomes once its gateway has confirmed that it can take no more money."""

AttemptState = Literal[
    "open", "action_required", "unknown", "approved", "declined", "canceled", "not_sent"
]
FINAL: Final[frozenset[Status]] = frozenset({"succeeded", "failed", "canceled"})
"""Nothing is sent any more to take money for a payment that stands here."""
ROW_FORMAT: Final = 4
"""What `row_digest` covers; 1 was without captures and refunds, 2 also without disputes, 3 without
ways and declines."""


def digest_of(row: Struct) -> bytes:
    """SHA-256 over a row's canonical JSON, salt included: 32 bytes.

    Equal rows give equal digests; the salt keeps short texts from being guessed.
    """
    return hashlib.sha256(msgspec.json.encode(row, order="deterministic")).digest()


class Payment(Struct, frozen=True, kw_only=True):
    """One intent to take `amount_minor` of `currency` from a customer.

    `review` is set when a person has to look: the payment is frozen, nothing runs for it.
    `closing` is set while a gateway object is being canceled; the status is then `processing`.
    `capture_minor` is what the caller asked to capture of a hold, which lasts to `capture_before`.
    `refunding_minor` is reserved by refunds that are under way or unknown, `refunded_minor` is what
    was given back; both together are at most `captured_minor`. `disputed_minor` is what banks have
    taken of it or hold; `withheld_minor` as much of that as is left, so that no refund takes it.
    `description` and `metadata` stand here only in rows from before they were sealed (texts.py).
    `attempt_no` is the attempt that counts: it may be about to be opened, and those before it can
    take no money any more. `gateway_key_seed` comes from the caller's Idempotency-Key, so that a
    repeat of the request after a restored backup meets the same keys at the gateway.
    `ways` are the accounts that it may go to when the present one is over, the best first, and
    `decline` is the last one, as long as nothing was approved since.
    """

    legal_entity_id: UUID
    payment_id: UUID
    version: int
    status: Status
    status_reason: str | None = None
    review: str | None = None
    amount_minor: int
    captured_minor: int = 0
    currency: str
    merchant_reference: str
    description: str | None = None
    metadata: dict[str, str] = {}
    return_url: str | None = None
    gateway: str | None = None
    gateway_account_id: UUID | None = None
    instrument_token: str | None = None
    attempt_no: int = 1
    ways: tuple[Way, ...] = ()
    decline: Refusal | None = None
    closing: Closing | None = None
    closing_reason: str | None = None
    next_action: dict[str, Any] | None = None
    capture: Capture = "automatic"
    capture_minor: int | None = None
    capture_before: datetime | None = None
    refunding_minor: int = 0
    refunded_minor: int = 0
    disputed_minor: int = 0
    withheld_minor: int = 0
    not_after: datetime
    gateway_key_seed: bytes
    digest_salt: bytes
    created_at: datetime
    updated_at: datetime

    @property
    def refundable_minor(self) -> int:
        """What a refund may still ask for."""
        return self.left_minor - self.withheld_minor

    @property
    def left_minor(self) -> int:
        """What was neither given back nor is on its way, whoever may have a claim to it."""
        return self.captured_minor - self.refunded_minor - self.refunding_minor

    @property
    def is_claimed_twice(self) -> bool:
        """Whether banks claim more than is left: refunds reserve, or gave back, what they took."""
        return self.withheld_minor < self.disputed_minor

    def withholding(self) -> "Payment":
        """The payment, withholding of what is left as much as is disputed."""
        return replace(self, withheld_minor=max(0, min(self.disputed_minor, self.left_minor)))

    def changed(self, now: datetime, **fields: object) -> "Payment":
        """The payment with these fields, one version on."""
        return replace(self, version=self.version + 1, updated_at=now, **fields)

    def row_digest(self) -> bytes:
        """Of the whole row."""
        return digest_of(self)


class Call(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exchange with a gateway, for `explain`; holds no secret and no body.

    `object_id` is the gateway's id of what it was about, where only the answer tells it: of an
    attempt that is not staged it is committed with the answer.
    """

    operation: str
    started_at: datetime
    duration_ms: float
    outcome: str
    http_status: int | None = None
    gateway_request_id: str | None = None
    code: str | None = None
    object_id: str | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """One object at one gateway that can take money, with the exact parameters of its calls.

    A capture and a void are steps of that object, which it takes at most once.

    `opened_at` is committed before anything is sent, so it bounds the first send from below.
    `staged`: the gateway first makes an object that takes no money until it is confirmed by id.
    """

    attempt_no: int
    kind: Literal["authorize", "sale"] = "sale"
    state: AttemptState
    gateway: str
    gateway_account_id: UUID
    gateway_key: str
    staged: bool
    gateway_object_id: str | None = None
    amount_minor: int
    currency: str
    parameters: dict[str, Any]
    opened_at: datetime


# What a gateway can answer. Each caller matches all.


class Approved(Struct, frozen=True):
    """Money was taken: `amount_minor` of `currency`, as the gateway says.

    Not `settled`: it may still fall through, and nobody will tell, so it is looked at again.
    """

    amount_minor: int
    currency: str
    settled: bool = True


class Authorized(Struct, frozen=True):
    """`amount_minor` is held and can be captured, once; until `capture_before`, where known."""

    amount_minor: int
    currency: str
    capture_before: datetime | None


class Declined(Struct, frozen=True):
    """Certainly no money moved. `object_open`: the gateway's object could still take some.

    `retry` is what the gateway advises, above what the class says.
    """

    decline: DeclineClass
    raw_code: str
    object_open: bool
    retry: Retry | None = None


class ActionRequired(Struct, frozen=True):
    """The customer has to do something; until then, and unless canceled, money can move."""

    next_action: dict[str, Any]


class Pending(Struct, frozen=True):
    """The gateway is still at it."""


class Canceled(Struct, frozen=True):
    """The gateway's object is canceled for good: it can take no money any more.

    `expired`: not by anybody, the time of its hold was over.
    """

    expired: bool = False


class NotSent(Struct, frozen=True):
    """Certainly nothing was charged so far, and the same may be sent again.

    `fresh_key`: not under the same idempotency key, which would only repeat the answer.
    """

    why: str
    fresh_key: bool = False


class Withheld(Struct, frozen=True):
    """No call was made, by our own choice. `first`: none before it either that could move money."""

    why: str
    first: bool


class Unknown(Struct, frozen=True):
    """Nobody can say whether money moved."""

    why: str


class NotShown(Struct, frozen=True):
    """The gateway shows nothing of it. That proves nothing while it may be on its way."""


class Mismatched(Struct, frozen=True):
    """The gateway's object speaks of another amount or currency than the attempt."""

    amount_minor: int
    currency: str


Answer = (
    Approved
    | Authorized
    | Declined
    | ActionRequired
    | Pending
    | Canceled
    | NotSent
    | Withheld
    | Unknown
    | NotShown
    | Mismatched
)


# What can happen to a payment.


class InstrumentBrought(Struct, frozen=True):
    """The caller confirms with an instrument."""

    gateway: str
    gateway_account_id: UUID
    token: str
    return_url: str | None
    ways: tuple[Way, ...] = ()
    route: Route | None = None
    """Why it goes there, for `explain`."""


class CustomerReturned(Struct, frozen=True):
    """The caller says that the customer's action is over: look at once."""


class CaptureAsked(Struct, frozen=True):
    """The caller wants `amount_minor` of the hold, None for all of it; the rest is released."""

    amount_minor: int | None


class CancelAsked(Struct, frozen=True):
    """The caller wants no money to be taken."""


class Due(Struct, frozen=True):
    """The payment's time has come: what is to be done now? `attempt` is the newest one.

    `resting`: nothing new is sent to its gateway account for now; `tries` counts the claims.
    `staged` is its gateway, as attempts there are.
    """

    attempt: Attempt | None
    resting: bool = False
    tries: int = 0
    staged: bool = True


class Answered(Struct, frozen=True):
    """A gateway answered for an attempt, perhaps late. `capture_minor` was to be captured.

    `first`: it was the first send ever of this attempt, by the claim that opened it.
    """

    attempt: Attempt
    answer: Answer
    call: Call
    asked: Literal["send", "look", "cancel", "capture"]
    tries: int
    capture_minor: int | None = None
    first: bool = False


Command = InstrumentBrought | CustomerReturned | CaptureAsked | CancelAsked
Happening = Command | Due | Answered


# What follows from it.


class Open(Struct, frozen=True):
    """Commit a new attempt with this number, then send it."""

    attempt_no: int


class Send(Struct, frozen=True):
    """Send (again) what the open attempt says, under its own key."""


class Look(Struct, frozen=True):
    """Ask the gateway what has become of the attempt."""


class CancelObject(Struct, frozen=True):
    """Have the gateway's object canceled."""


class CaptureHold(Struct, frozen=True):
    """Have the gateway capture what the payment's `capture_minor` says."""


class Schedule(Struct, frozen=True):
    """Come back at this moment."""

    run_at: datetime


class Rest(Struct, frozen=True):
    """Nothing is left to do; `release` frees the merchant reference for a new payment."""

    release: bool = False


class Leave(Struct, frozen=True):
    """Whatever is planned for the payment stays planned."""


AtGateway = Send | Look | CancelObject | CaptureHold
Effect = Open | AtGateway | Schedule | Rest | Leave


class Decision(Struct, frozen=True):
    """The payment afterwards (the same object when nothing changed) and what follows.

    `kind` names the event that a change leaves; `attempt_state` is what the attempt becomes.
    """

    payment: Payment
    effect: Effect
    kind: str | None = None
    attempt_state: AttemptState | None = None
    decline: DeclineClass | None = None
    raw_code: str | None = None


class NotPossible(Exception):
    """The payment's status does not allow what the caller asks for; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
