"""What the server knows: transactions, nonces, saved methods, customers, disputes, payouts, keys.

All of it is the fold of the ledger's lines. Every object is an immutable snapshot; amounts are in
the minor unit, times in Unix seconds.
"""

from collections.abc import Callable
from heapq import heappop, heappush

import msgspec

from strongroom_sandbox.braintree.cards import Card, ThreeDSecure

KEY_SECONDS = 30 * 24 * 3600
NONCE_SECONDS = 3 * 3600  # developer.paypal.com/braintree/docs/guides/payment-method-nonces


class Moment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One status that a transaction or dispute had, from ``at`` on."""

    status: str
    at: int
    amount: int = 0


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A sale, or a credit: the refund of one.

    ``next_at`` is when its status changes by itself to ``next_status``. ``submits``: it was asked
    for with submit_for_settlement.
    """

    id: str
    kind: str
    status: str
    amount: int
    currency: str
    merchant_account: str
    created: int
    updated: int
    card: Card
    authorized: int = 0
    order_id: str | None = None
    nonce: str | None = None
    token: str | None = None
    customer: str | None = None
    channel: str | None = None
    source: str | None = None
    response: str | None = None
    settlement_response: str | None = None
    rejection: str | None = None
    three_d_secure: ThreeDSecure | None = None
    network_transaction_id: str | None = None
    previous_network_transaction_id: str | None = None
    expires_at: int | None = None
    next_at: int | None = None
    next_status: str | None = None
    history: tuple[Moment, ...] = ()
    refunded_transaction: str | None = None
    refunds: tuple[str, ...] = ()
    disputes: tuple[str, ...] = ()
    disbursement: str | None = None
    disbursed_on: int | None = None
    api_request_key: str | None = None
    submits: bool = False

    @property
    def taken(self) -> bool:
        """Whether money moves by it."""
        return self.status in TAKEN


TAKEN = (
    "submitted_for_settlement", "settlement_pending", "settlement_confirmed", "settling", "settled",
)  # fmt: skip


class Nonce(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A nonce that a browser or a test made; good for one use, and for NONCE_SECONDS."""

    id: str
    card: Card
    created: int
    three_d_secure: ThreeDSecure | None = None
    consumed: bool = False


class Method(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A payment method in the vault of the gateway."""

    token: str
    customer: str
    card: Card
    created: int
    deleted: bool = False


class Customer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A customer in the vault of the gateway; of personal values it keeps none but the id."""

    id: str
    created: int
    deleted: bool = False


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was sent for a dispute."""

    id: str
    created: int
    comments: str | None = None
    category: str | None = None
    sequence_number: str | None = None
    document: str | None = None


class Dispute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A chargeback, retrieval or pre-arbitration."""

    id: str
    transaction: str
    amount: int
    currency: str
    merchant_account: str
    kind: str
    reason: str
    status: str
    opened: int
    reply_by: int
    updated: int
    won: int = 0
    history: tuple[Moment, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    next_at: int | None = None
    next_status: str | None = None


class Disbursement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A payout to the merchant's bank of what one merchant account had settled."""

    id: str
    merchant_account: str
    currency: str
    amount: int
    day: int
    transactions: tuple[str, ...] = ()
    success: bool = True
    exception: str | None = None
    follow_up: str | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An api_request_key with what became of its request.

    ``transaction`` was made by it; else it failed: ``validation`` or ``server_error``.
    """

    key: str
    fingerprint: str
    created: int
    transaction: str | None = None
    failed: str | None = None


class Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One atomic change: the content of one ledger line. ``time`` is the server's clock."""

    time: int
    transactions: list[Transaction] = []
    nonces: list[Nonce] = []
    methods: list[Method] = []
    customers: list[Customer] = []
    disputes: list[Dispute] = []
    disbursements: list[Disbursement] = []
    over_asked: str | None = None
    key: Key | None = None
    clock_offset_seconds: int | None = None

    def is_empty(self) -> bool:
        """Tell whether there is nothing to record."""
        return not (
            self.transactions
            or self.nonces
            or self.methods
            or self.customers
            or self.disputes
            or self.disbursements
            or self.over_asked
            or self.key
            or self.clock_offset_seconds is not None
        )


class Books:
    """The state in memory. ``apply`` is the only way it changes."""

    def __init__(self) -> None:
        self.transactions: dict[str, Transaction] = {}
        self.nonces: dict[str, Nonce] = {}
        self.methods: dict[str, Method] = {}
        self.customers: dict[str, Customer] = {}
        self.disputes: dict[str, Dispute] = {}
        self.disbursements: dict[str, Disbursement] = {}
        self.keys: dict[str, Key] = {}
        self.over_asked = 0
        self.clock_offset_seconds = 0
        self.latest_time = 0
        self.watch: Callable[[Change], Callable[[], None] | None] | None = None
        """Hears of each change before it is folded in; what it returns is called after that."""
        self._by_order: dict[str, list[str]] = {}
        self._timers: list[tuple[int, str]] = []

    def apply(self, change: Change) -> None:
        """Fold one change into the state."""
        told = self.watch(change) if self.watch else None
        self._fold(change)
        if told is not None:
            told()

    def _fold(self, change: Change) -> None:
        self.latest_time = max(self.latest_time, change.time)
        for one in change.transactions:
            if one.id not in self.transactions and one.order_id is not None:
                self._by_order.setdefault(one.order_id.lower(), []).append(one.id)
            self._wake(one.next_at, one.id)
            self.transactions[one.id] = one
        for dispute in change.disputes:
            self._wake(dispute.next_at, dispute.id)
            self.disputes[dispute.id] = dispute
        self.nonces.update((each.id, each) for each in change.nonces)
        self.methods.update((each.token, each) for each in change.methods)
        self.customers.update((each.id, each) for each in change.customers)
        self.disbursements.update((each.id, each) for each in change.disbursements)
        self.over_asked += change.over_asked is not None
        if change.key is not None:
            self._keep(change.key, change.time)
        if change.clock_offset_seconds is not None:
            self.clock_offset_seconds = change.clock_offset_seconds

    def _keep(self, key: Key, now: int) -> None:
        while self.keys:
            oldest = next(iter(self.keys.values()))
            if oldest.created >= now - KEY_SECONDS:
                break
            del self.keys[oldest.key]
        self.keys.pop(key.key, None)
        self.keys[key.key] = key

    def _wake(self, when: int | None, object_id: str) -> None:
        if when is not None:
            heappush(self._timers, (when, object_id))

    def due(self, now: int) -> str | None:
        """Take out and return the id of what may have come due, or None."""
        if self._timers and self._timers[0][0] <= now:
            return heappop(self._timers)[1]
        return None

    def key(self, text: str, now: int) -> Key | None:
        """What became of the request with that key in the last KEY_SECONDS."""
        found = self.keys.get(text)
        return found if found is not None and found.created >= now - KEY_SECONDS else None

    def with_order(self, order_id: str) -> list[Transaction]:
        """The transactions of an order, oldest first; as Braintree, in upper or lower case."""
        return [self.transactions[each] for each in self._by_order.get(order_id.lower(), ())]

    def method(self, token: str) -> Method | None:
        """A payment method that is not deleted."""
        found = self.methods.get(token)
        return None if found is None or found.deleted else found

    def customer(self, customer_id: str) -> Customer | None:
        """A customer who is not deleted."""
        found = self.customers.get(customer_id)
        return None if found is None or found.deleted else found

    def methods_of(self, customer_id: str) -> list[Method]:
        """The payment methods of a customer, oldest first."""
        return [
            each for each in self.methods.values()
            if each.customer == customer_id and not each.deleted
        ]  # fmt: skip
