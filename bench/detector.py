"""`python -m bench.detector`: what looking for card numbers costs a request, and refuses of chance.

In one process and without a server, so that the figure is of the detector alone. Every request has
a key, a reference and a request id of its own, as in life; its other headers are its caller's.
"""

import base64
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from strongroom.access.api_keys import write_token
from strongroom.errors import Invalid
from strongroom.http.card_guard import CardGuard
from strongroom.ids import new_entity_id, new_id
from strongroom.vault.cards import holds_card_number

REQUESTS: Final = 2000
BULK_ITEMS: Final = 100
BULKS: Final = 20
ROUNDS: Final = 5
REFERENCES: Final = 200_000

Request = tuple[dict[str, Any], bytes]
Made = TypeVar("Made")


class Unguarded(CardGuard):
    """A guard that lets everything pass: what the API would cost without one."""

    def refusal_of_head(self, scope: Mapping[str, Any]) -> Invalid | None:  # noqa: ARG002
        """None."""
        return None

    def is_plainly_clear(self, scope: Mapping[str, Any], body: bytes) -> bool:  # noqa: ARG002
        """Yes."""
        return True

    def check_body(self, body: bytes) -> None:
        """Nothing."""


def detector_us(seed: int = 1) -> float:
    """Microseconds for head and body of a typical create; the best of ROUNDS."""
    draw = random.Random(seed)
    token = _token(draw)
    guard = CardGuard()

    def look(requests: list[Request]) -> None:
        for scope, body in requests:
            if guard.is_plainly_clear(scope, body):
                continue
            if guard.refusal_of_head(scope) is not None:
                raise AssertionError("a typical request was refused")
            guard.check_body(body)

    return 1e6 * _best(lambda: [_request(draw, token) for _ in range(REQUESTS)], look) / REQUESTS


def bulk_us_per_kib(seed: int = 1) -> float:
    """Microseconds for each KiB of a bulk of BULK_ITEMS; the best of ROUNDS."""
    draw = random.Random(seed)
    sizes = []

    def make() -> list[bytes]:
        bulks = [
            json.dumps({"payments": [_body(draw) for _ in range(BULK_ITEMS)]}).encode()
            for _ in range(BULKS)
        ]
        sizes.append(sum(map(len, bulks)) / 1024)
        return bulks

    def look(bulks: list[bytes]) -> None:
        guard = CardGuard()
        for bulk in bulks:
            guard.check_body(bulk)

    return 1e6 * _best(make, look) / sizes[0]


def refused_share(digits: int = 16, seed: int = 1) -> float:
    """Of random numbers of so many digits, the share that looks like a card number."""
    draw, last = random.Random(seed), 10**digits
    texts = (b"%0*d" % (digits, draw.randrange(last)) for _ in range(REFERENCES))
    return sum(map(holds_card_number, texts)) / REFERENCES


def _best(make: Callable[[], Made], look: Callable[[Made], None]) -> float:
    found = []
    for _ in range(ROUNDS):
        made = make()
        started = time.process_time()
        look(made)
        found.append(time.process_time() - started)
    return min(found)


def _token(draw: random.Random) -> str:
    entity = new_entity_id(draw.randrange(1 << 50))
    secret = base64.urlsafe_b64encode(draw.randbytes(32)).rstrip(b"=").decode()
    return write_token("dev", new_id(draw.randrange(1 << 50), entity), secret)


def _uuid(draw: random.Random) -> uuid.UUID:
    return uuid.UUID(int=draw.getrandbits(128), version=4)


def _body(draw: random.Random) -> dict[str, Any]:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return {
        "idempotency_key": str(_uuid(draw)),
        "amount": draw.randrange(100, 100_000),
        "currency": "EUR",
        "merchant_reference": f"order-{draw.randrange(10**8)}",
        "instrument": {"gateway": "stripe", "token": "pm_1" + "".join(draw.choices(letters, k=23))},
        "description": "Two tickets, row 7, for the evening show",
        "metadata": {"cart": str(draw.randrange(1000)), "campaign": "autumn-2026"},
    }


def _request(draw: random.Random, token: str) -> Request:
    body = _body(draw)
    key = body.pop("idempotency_key")
    raw = json.dumps(body).encode()
    headers = {
        "host": "payments.example:8080",
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
        "user-agent": "shop/4.2 python-httpx/0.27.2",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "content-length": str(len(raw)),
        "idempotency-key": key,
        "x-request-id": f"checkout-{draw.getrandbits(48):012x}",
    }
    # Bytes of their own for each request, as a parser makes them: no hash is known beforehand.
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"raw_path": b"/v1/payments", "query_string": b"", "headers": pairs}, raw


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "detector_us": round(detector_us(), 2),
                "bulk_us_per_kib": round(bulk_us_per_kib(), 2),
                "refused_percent": round(100 * refused_share(), 1),
            }
        )
    )
