"""What the server knows: intents, charges, refunds, payment methods, idempotency keys.

All of it is the fold of the ledger's lines. Every object is an immutable snapshot, so an older
one can be shown again unchanged (search lags, a replayed answer).
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

import msgspec

from strongroom_sandbox.stripe.errors import ErrorBody
from strongroom_sandbox.stripe.happened import Happenings
from strongroom_sandbox.stripe.records import Dispute, Payout
from strongroom_sandbox.stripe.saved import Person, Setup
from strongroom_sandbox.stripe.tax_records import Calculation, TaxBook, Taxed

KEY_SECONDS = 24 * 3600  # docs.stripe.com/api/idempotent_requests: may be pruned after 24 hours
VERSION_SECONDS = 3600  # how long a superseded version stays visible to a lagging search


class Method(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A payment method made from a test card (``card`` is its documented id)."""

    id: str
    card: str
    created: int
    customer: str | None = None
    set_up: bool = False
    used: bool = False
    exp_month: int = 12
    exp_year: int = 2034


class Charge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One attempt that reached the card. Money was taken when ``captured``.

    Amounts are in the currency's minor unit, ``created``, ``captured_at`` and ``capture_before``
    (the end of a hold) in Unix seconds. ``amount_refunded`` counts refunds that have not failed,
    or, without a capture, the hold that was released. ``idempotency_key`` is that of the request
    that caused it.
    """

    id: str
    payment_intent: str
    amount: int
    currency: str
    created: int
    payment_method: str
    card: str
    paid: bool
    captured: bool = False
    captured_at: int | None = None
    capture_before: int | None = None
    amount_captured: int = 0
    amount_refunded: int = 0
    idempotency_key: str | None = None
    metadata: dict[str, str] = {}
    customer: str | None = None
    description: str | None = None
    receipt_email: str | None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    failure: ErrorBody | None = None
    blocked: bool = False
    authenticated: bool = False


class Refund(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Money that goes back to the card, or, with ``releases``, a hold that was given free.

    ``settles_at`` (Unix seconds) is when its status changes by itself to ``settles_as``.
    """

    id: str
    charge: str
    payment_intent: str
    amount: int
    currency: str
    created: int
    status: str = "succeeded"
    failure_reason: str | None = None
    settles_at: int | None = None
    settles_as: str | None = None
    releases: bool = False
    reason: str | None = None
    metadata: dict[str, str] = {}
    customer: str | None = None
    payment_method: str | None = None
    idempotency_key: str | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A PaymentIntent. ``updated`` (Unix seconds) and the last five fields are never answered."""

    id: str
    client_secret: str
    created: int
    updated: int
    amount: int
    currency: str
    status: str = "requires_payment_method"
    amount_received: int = 0
    amount_capturable: int = 0
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    capture_method: str = "automatic_async"
    confirmation_method: str = "automatic"
    customer: str | None = None
    description: str | None = None
    last_payment_error: ErrorBody | None = None
    latest_charge: str | None = None
    metadata: dict[str, str] = {}
    payment_method: str | None = None
    payment_method_types: tuple[str, ...] = ("card",)
    request_three_d_secure: str = "automatic"
    receipt_email: str | None = None
    setup_future_usage: str | None = None
    shipping: dict[str, Any] | None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    return_url: str | None = None
    redirects: str | None = None  # "always" or "never" when methods are chosen automatically
    action_token: str | None = None
    uses_sdk: bool = False
    confirm_key: str | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An idempotency key with what was answered first.

    The answer is rebuilt from ``intent`` or ``refund`` (with ``shows_changed``, the one of the same
    ledger line) and ``error``, or is ``raw``.
    """

    key: str
    fingerprint: str
    created: int
    status: int
    error: ErrorBody | None = None
    intent: Intent | None = None
    refund: Refund | None = None
    shows_changed: bool = False
    raw: str | None = None


class Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One atomic change: the content of one ledger line. ``time`` is the server's clock.

    ``over_asked`` is a charge of which more was asked back than was left of it.
    """

    time: int
    charges: list[Charge] = []
    intents: list[Intent] = []
    methods: list[Method] = []
    refunds: list[Refund] = []
    disputes: list[Dispute] = []
    payouts: list[Payout] = []
    people: list[Person] = []
    setups: list[Setup] = []
    calculations: list[Calculation] = []
    taxed: list[Taxed] = []
    over_asked: str | None = None
    key: Key | None = None
    clock_offset_seconds: int | None = None

    def is_empty(self) -> bool:
        """Tell whether there is nothing to record."""
        return not (
            self.charges
            or self.intents
            or self.methods
            or self.refunds
            or self.disputes
            or self.payouts
            or self.people
            or self.setups
            or self.calculations
            or self.taxed
            or self.over_asked
            or self.key
            or self.clock_offset_seconds is not None
        )


class Books:
    """The state in memory. ``apply`` and ``apply_key`` are the only ways it changes."""

    def __init__(self) -> None:
        self.intents: dict[str, Intent] = {}
        self.charges: dict[str, Charge] = {}
        self.methods: dict[str, Method] = {}
        self.refunds: dict[str, Refund] = {}
        self.disputes: dict[str, Dispute] = {}
        self.payouts: dict[str, Payout] = {}
        self.people: dict[str, Person] = {}
        self.setups: dict[str, Setup] = {}
        self.tax = TaxBook()
        self.over_asked = 0
        self.clock_offset_seconds = 0
        self.latest_time = 0
        self.watch: Callable[[Change], Callable[[], None] | None] | None = None
        """Hears of each change before it is folded in; what it returns is called after that."""
        self.happenings = Happenings()
        self._order: list[str] = []
        self._position: dict[str, int] = {}
        self._versions: dict[str, list[Intent]] = {}
        self._by_metadata: dict[tuple[str, str], str | dict[str, None]] = {}
        self._superseded: deque[tuple[int, str]] = deque()
        self._charges_of: dict[str, list[str]] = {}
        self._refunds_of: dict[str, list[str]] = {}
        self._timers: list[tuple[int, str]] = []
        self._actions: dict[str, str] = {}
        self._setup_actions: dict[str, str] = {}
        self._keys: dict[str, Key] = {}

    def apply(self, change: Change) -> None:
        """Fold the objects of one change into the state; ``apply_key`` takes its key."""
        told = self.watch(change) if self.watch else None
        self._fold(change)
        if told is not None:
            told()

    def _fold(self, change: Change) -> None:
        self.latest_time = max(self.latest_time, change.time)
        for method in change.methods:
            self.methods[method.id] = method
        for charge in change.charges:
            if charge.id not in self.charges:
                self._charges_of.setdefault(charge.payment_intent, []).append(charge.id)
                self._wake(charge.capture_before, charge.id)
            self.charges[charge.id] = charge
        for refund in change.refunds:
            if refund.id not in self.refunds:
                self._refunds_of.setdefault(refund.charge, []).append(refund.id)
                self._wake(refund.settles_at, refund.id)
            self.refunds[refund.id] = refund
        for dispute in change.disputes:
            self._wake(dispute.turns_at, dispute.id)
            self.disputes[dispute.id] = dispute
        for payout in change.payouts:
            self._wake(payout.wakes_at, payout.id)
            self.payouts[payout.id] = payout
        self._keep(change)
        if change.over_asked is not None:
            self.over_asked += 1
        for intent in change.intents:
            self._put_intent(intent)
        if self._superseded:
            self._forget_versions()
        if change.clock_offset_seconds is not None:
            self.clock_offset_seconds = change.clock_offset_seconds

    def _put_intent(self, intent: Intent) -> None:
        before = self.intents.get(intent.id)
        if before is None:
            self._position[intent.id] = len(self._order)
            self._order.append(intent.id)
        else:
            self._versions.setdefault(intent.id, [before]).append(intent)
            self._superseded.append((intent.updated, intent.id))
            if before.action_token and before.action_token != intent.action_token:
                self._actions.pop(before.action_token, None)
        if before is None or before.metadata != intent.metadata:
            for key, value in intent.metadata.items():
                self._index((key, value.lower()), intent.id)
        if intent.action_token:
            self._actions[intent.action_token] = intent.id
        self.intents[intent.id] = intent

    def _keep(self, change: Change) -> None:
        for person in change.people:
            self.people[person.id] = person
        for setup in change.setups:
            self._put_setup(setup)
        self.tax.keep(change.calculations, change.taxed)

    def _put_setup(self, setup: Setup) -> None:
        before = self.setups.get(setup.id)
        if before is not None and before.action_token not in (None, setup.action_token):
            self._setup_actions.pop(before.action_token or "", None)
        if setup.action_token:
            self._setup_actions[setup.action_token] = setup.id
        self.setups[setup.id] = setup

    def _forget_versions(self) -> None:
        """Drop versions that no search can show any more."""
        oldest = self.latest_time - VERSION_SECONDS
        while self._superseded and self._superseded[0][0] < oldest:
            intent_id = self._superseded.popleft()[1]
            versions = self._versions.get(intent_id, [])
            while len(versions) > 1 and versions[1].updated < oldest:
                del versions[0]
            if len(versions) == 1:
                del self._versions[intent_id]

    def _index(self, pair: tuple[str, str], intent_id: str) -> None:
        # Most pairs name one intent only: a dict for each would be the largest part of memory.
        found = self._by_metadata.setdefault(pair, intent_id)
        if isinstance(found, dict):
            found[intent_id] = None
        elif found != intent_id:
            self._by_metadata[pair] = {found: None, intent_id: None}

    def _wake(self, moment: int | None, object_id: str) -> None:
        if moment is not None:
            heappush(self._timers, (moment, object_id))

    def due(self, now: int) -> str | None:
        """Take out and return the id of a charge or refund whose time has come, or None."""
        if self._timers and self._timers[0][0] <= now:
            return heappop(self._timers)[1]
        return None

    def apply_key(self, change: Change) -> None:
        """Keep the idempotency key of a change, if it has one, and drop expired ones."""
        key = change.key
        if key is None:
            return
        while self._keys:
            oldest = next(iter(self._keys.values()))
            if oldest.created >= change.time - KEY_SECONDS:
                break
            del self._keys[oldest.key]
        if key.shows_changed and change.intents:
            key = msgspec.structs.replace(key, intent=change.intents[-1])
        elif key.shows_changed:
            key = msgspec.structs.replace(key, refund=change.refunds[-1])
        self._keys.pop(key.key, None)
        self._keys[key.key] = key

    def key(self, text: str, now: int) -> Key | None:
        """Return what was answered under an idempotency key in the last KEY_SECONDS."""
        found = self._keys.get(text)
        return found if found is not None and found.created >= now - KEY_SECONDS else None

    def intent_of_action(self, token: str) -> Intent | None:
        """Return the intent whose authentication page has that token."""
        intent_id = self._actions.get(token)
        return None if intent_id is None else self.intents[intent_id]

    def setup_of_action(self, token: str) -> Setup | None:
        """Return the SetupIntent whose authentication page has that token."""
        setup_id = self._setup_actions.get(token)
        return None if setup_id is None else self.setups[setup_id]

    def charges_of(self, intent_id: str) -> list[Charge]:
        """Return an intent's charges, oldest first."""
        return [self.charges[charge_id] for charge_id in self._charges_of.get(intent_id, ())]

    def refunds_of(self, charge_id: str) -> list[Refund]:
        """Return a charge's refunds, oldest first."""
        return [self.refunds[refund_id] for refund_id in self._refunds_of.get(charge_id, ())]

    def disputes_of(self, charge_id: str) -> list[Dispute]:
        """Return a charge's disputes, oldest first."""
        return [dispute for dispute in self.disputes.values() if dispute.charge == charge_id]

    def newest_intents(self, before: str | None = None) -> Iterator[Intent]:
        """Yield intents from the newest, or from the one created just before ``before``."""
        top = len(self._order) if before is None else self._position[before]
        for index in range(top - 1, -1, -1):
            yield self.intents[self._order[index]]

    def created_after(self, intent_id: str) -> Iterator[Intent]:
        """Yield the intents created after ``intent_id``, oldest first."""
        for index in range(self._position[intent_id] + 1, len(self._order)):
            yield self.intents[self._order[index]]

    def position(self, intent_id: str) -> int:
        """Return the place of an intent in the order of creation."""
        return self._position[intent_id]

    def with_metadata(self, key: str, value: str) -> list[str]:
        """Return ids of intents that have, or once had, that metadata in any case; newest first."""
        found = self._by_metadata.get((key, value.lower()), {})
        ids = (found,) if isinstance(found, str) else found
        return sorted(ids, key=self._position.__getitem__, reverse=True)

    def as_of(self, intent_id: str, moment: int) -> Intent | None:
        """Return an intent as it stood at a moment, or None when it was not there yet."""
        versions = self._versions.get(intent_id) or [self.intents[intent_id]]
        index = bisect_right(versions, moment, key=lambda version: version.updated)
        return versions[index - 1] if index else None
