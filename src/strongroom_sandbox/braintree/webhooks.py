"""Webhooks of Braintree's kind: two form fields, the payload as base64, signed with the API keys.

No event has an id or can be asked for again, and nothing tells of cards being settled: whoever
wants to know polls (developer.paypal.com/braintree/docs/guides/webhooks).
"""

import base64
import hmac
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from strongroom_sandbox.braintree.books import Books, Change, Disbursement, Dispute, Transaction
from strongroom_sandbox.braintree.credentials import ApiKey, Credentials
from strongroom_sandbox.braintree.settlement_shapes import disbursement_shape, dispute_shape
from strongroom_sandbox.braintree.shapes import transaction as transaction_shape
from strongroom_sandbox.braintree.wire import document, moment
from strongroom_sandbox.deliveries import ANSWER_SECONDS_MAX, Deliveries, Endpoint, Post
from strongroom_sandbox.ledger import Ledger

FORM = "application/x-www-form-urlencoded"
OF_SOMEBODY_ELSE = "privatekeyofsomebodyelse"
REFUND_FAILED = ("processor_declined", "settlement_declined", "failed")

Told = tuple[str, str, Callable[[], Any]]
"""The kind of an event, the element of its subject, and what renders it after the change."""


class Webhooks(Deliveries):
    """Sends what the books tell."""

    def __init__(
        self, books: Books, credentials: Credentials, ledger: Ledger, file: Path | None
    ) -> None:
        super().__init__(ledger, file, self._signed)
        self._books, self._credentials = books, credentials
        books.watch = self._watch

    def check(self) -> None:
        """Send the event that only says that webhooks arrive."""
        self._tell([("check", "check", lambda: True)], self.registered().endpoints)

    async def challenge(self, url: str, text: str) -> tuple[int, str]:
        """Ask an endpoint to prove that it has the key, as when one is registered."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, params={"bt_challenge": text}, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text()

    def _watch(self, change: Change) -> Callable[[], None] | None:
        """Called before a change is folded in; what it returns is called after that."""
        endpoints = self.registered().endpoints
        if not endpoints:
            return None
        wanted = list(events_of(self._books, change))
        return (lambda: self._tell(wanted, endpoints)) if wanted else None

    def _tell(self, events: list[Told], endpoints: list[Endpoint]) -> None:
        for kind, root, render in events:
            content = {
                # The machine's time: who hears of it knows nothing of a clock that a knob moved.
                "timestamp": moment(int(time.time())),
                "kind": kind,
                "subject": {root: render()},
            }
            self.send(kind, document("notification", content), endpoints)

    def _signed(self, _: Endpoint, xml: bytes, forged: bool) -> Post:
        payload = base64.encodebytes(xml)
        keys = self._credentials.keys()
        if forged:
            # Under the public key that is right, so that it is the digest that does not fit.
            keys = [ApiKey(key.merchant_id, key.public_key, OF_SOMEBODY_ELSE) for key in keys]
        fields = {"bt_signature": signature(payload, keys), "bt_payload": payload.decode()}
        return Post(urlencode(fields).encode(), {"Content-Type": FORM})


def signature(payload: bytes, keys: list[ApiKey]) -> str:
    """The field of a delivery: one pair for each key that signs (`braintree.util.crypto`)."""
    return "&".join(f"{key.public_key}|{digest(key.private_key, payload)}" for key in keys)


def digest(private_key: str, payload: bytes) -> str:
    """HMAC-SHA1, its key the SHA-1 of the private key: Braintree's form, not ours to choose."""
    secret = sha1(private_key.encode(), usedforsecurity=False).digest()
    return hmac.new(secret, payload, sha1).hexdigest()


def events_of(books: Books, change: Change) -> Iterator[Told]:
    """The events of a change that is not yet in the books."""
    for dispute in change.disputes:
        kind = _of_dispute(books.disputes.get(dispute.id), dispute)
        if kind is not None:
            yield kind, "dispute", partial(dispute_shape, books, dispute)
    for made in change.disbursements:
        yield from _of_disbursement(books, made)
    for one in change.transactions:
        if _is_failed_refund(books.transactions.get(one.id), one):
            yield "refund_failed", "transaction", partial(transaction_shape, books, one)


def _of_dispute(before: Dispute | None, dispute: Dispute) -> str | None:
    if before is not None and before.status == dispute.status:
        return None
    return "dispute_opened" if dispute.status == "open" else f"dispute_{dispute.status}"


def _of_disbursement(books: Books, made: Disbursement) -> Iterator[Told]:
    kind = "disbursement" if made.success else "disbursement_exception"
    yield kind, "disbursement", partial(disbursement_shape, made)
    if made.success:
        for each in made.transactions:
            yield "transaction_disbursed", "transaction", partial(_as_it_stands, books, each)


def _as_it_stands(books: Books, transaction_id: str) -> Any:
    return transaction_shape(books, books.transactions[transaction_id])


def _is_failed_refund(before: Transaction | None, one: Transaction) -> bool:
    failed = one.kind == "credit" and one.status in REFUND_FAILED
    return failed and (before is None or before.status != one.status)
