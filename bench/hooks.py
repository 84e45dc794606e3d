"""Genuine webhooks of Stripe as whole requests, for the load generator."""

import hmac
import os
import time
from base64 import b64encode
from hashlib import sha1, sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes

import msgspec
from msgspec import Struct

from strongroom.load.orders import Orders

_EVENT_ID: Final = b"evt_" + b"e" * 32
_PADDING_BYTES: Final = 1200
"""So that a body is as long as that of an intent with its charge's details: 1.9 KB."""


class Sender(Struct):
    """Where webhooks go, which payment they name, and the file with the secret that signs them."""

    path: str
    payment: str
    secret_file: str
    gateway: str = "stripe"


def orders_of(authority: str, sender: Sender) -> Orders:
    """The requests of this sender's gateway."""
    return (Hooks if sender.gateway == "stripe" else BraintreeHooks)(authority, sender)


class Hooks(Orders):
    """Whole requests, each a genuine webhook with an id of its own."""

    def __init__(self, authority: str, sender: Sender) -> None:
        self.payments_each = 1
        secret = Path(sender.secret_file).read_bytes().strip()
        self._mac = hmac.new(secret, digestmod=sha256)
        intent = {
            "id": "pi_1PgafyB7WZ01zgkWSjxsAJo3",
            "object": "payment_intent",
            "amount": 1999,
            "currency": "eur",
            "metadata": {"strongroom_payment": sender.payment, "strongroom_attempt": "1"},
            "status": "succeeded",
            "description": "x" * _PADDING_BYTES,
        }
        event = {
            "id": _EVENT_ID.decode(),
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "data": {"object": intent},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": "payment_intent.succeeded",
        }
        self._before, _, self._after = msgspec.json.encode(event).partition(_EVENT_ID)
        size = len(self._before) + len(_EVENT_ID) + len(self._after)
        self._head = (
            f"POST {sender.path} HTTP/1.1\r\nHost: {authority}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\nStripe-Signature: t="
        ).encode()

    def next(self) -> bytes:
        """The next request's bytes."""
        body = b"%bevt_%b%b" % (self._before, os.urandom(16).hex().encode(), self._after)
        now = b"%d" % time.time()
        mac = self._mac.copy()
        mac.update(b"%b.%b" % (now, body))
        return b"%b%b,v1=%b\r\n\r\n%b" % (self._head, now, mac.hexdigest().encode(), body)


class BraintreeHooks(Orders):
    """Whole requests, each a genuine notification of Braintree of its own, in its form."""

    def __init__(self, authority: str, sender: Sender) -> None:
        self.payments_each = 1
        _, public_key, private_key = Path(sender.secret_file).read_text().strip().split(":")
        # As the SDK signs: HMAC-SHA1, whose key is the SHA-1 of the private key.
        self._mac = hmac.new(sha1(private_key.encode()).digest(), digestmod=sha1)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._notification = (
            "<notification><kind>transaction_settled</kind>"
            f'<timestamp type="datetime">{moment}</timestamp><subject><transaction>'
            f"<id>%b</id><order-id>{sender.payment}.1</order-id><type>sale</type>"
            "<amount>19.99</amount><currency-iso-code>EUR</currency-iso-code>"
            f"<status>settled</status><descriptor>{'x' * _PADDING_BYTES}</descriptor>"
            "</transaction></subject></notification>"
        ).encode()
        self._head = (
            f"POST {sender.path} HTTP/1.1\r\nHost: {authority}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
        ).encode()
        self._before = f"bt_signature={public_key}%7C".encode()

    def next(self) -> bytes:
        """The next request's bytes."""
        payload = b64encode(self._notification % os.urandom(6).hex().encode()) + b"\n"
        mac = self._mac.copy()
        mac.update(payload)
        body = b"%b%b&bt_payload=%b" % (
            self._before,
            mac.hexdigest().encode(),
            quote_from_bytes(payload, safe="").encode(),
        )
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
