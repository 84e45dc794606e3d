"""Signed webhooks of Stripe's kind to the endpoints that are registered."""

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from strongroom_sandbox.clock import Clock
from strongroom_sandbox.deliveries import Deliveries, Endpoint, Post
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.stripe.books import Books, Change
from strongroom_sandbox.stripe.events import Told, events_of, snapshot, thin
from strongroom_sandbox.stripe.happened import Happened
from strongroom_sandbox.stripe.outcome import new_id
from strongroom_sandbox.stripe.shapes import Shapes
from strongroom_sandbox.tokens import KeyFile, TokenFileRefused

PREFIX = "whsec_"


class Webhooks(Deliveries):
    """Sends what the books tell."""

    def __init__(
        self, books: Books, shapes: Shapes, ledger: Ledger, clock: Clock, file: Path | None
    ) -> None:
        super().__init__(ledger, file, self._signed)
        self._books, self._shapes, self._clock = books, shapes, clock
        self._key_files: dict[str, KeyFile] = {}
        books.watch = self._watch

    def _watch(self, change: Change) -> Callable[[], None] | None:
        """Called before a change is folded in; what it returns is called after that."""
        events = events_of(self._books, self._shapes, change)
        return (lambda: self._tell(events)) if events else None

    def _tell(self, events: list[Told]) -> None:
        endpoints = self.registered().endpoints
        for kind, render in events:
            event = Happened(new_id("evt"), kind, self._clock.now(), render)
            self._books.happenings.add(event)
            wanted = [endpoint for endpoint in endpoints if endpoint.wants(kind)]
            event.undelivered = len(wanted)
            for is_thin in {endpoint.thin for endpoint in wanted}:
                form = (thin if is_thin else snapshot)(event.id, kind, render(), event.created)
                receivers = [one for one in wanted if one.thin == is_thin]
                self.send(kind, msgspec.json.encode(form), receivers, event.taken)

    def _signed(self, endpoint: Endpoint, body: bytes, forged: bool) -> Post:
        secrets = [b"whsec_of_somebody_else"] if forged else self._secrets_of(endpoint)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            # Each delivery is signed anew, as the provider does (docs.stripe.com/webhooks).
            "Stripe-Signature": signature_header(body, secrets, int(time.time())),
        }
        return Post(body, headers)

    def _secrets_of(self, endpoint: Endpoint) -> list[bytes]:
        if endpoint.secret_file is None:
            return [secret.encode() for secret in endpoint.secrets]
        known = self._key_files.get(endpoint.secret_file)
        try:
            if known is None:
                known = KeyFile(Path(endpoint.secret_file), prefix=PREFIX)
                self._key_files[endpoint.secret_file] = known
            return known.keys()
        except TokenFileRefused:
            return []


def signature_header(body: bytes, secrets: list[bytes], timestamp: int) -> str:
    """The header of a delivery: one v1 for each secret that signs."""
    signed = b"%d.%b" % (timestamp, body)
    made = [hmac.new(secret, signed, sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={one}" for one in made)])
