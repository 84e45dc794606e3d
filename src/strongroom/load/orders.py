"""The requests that a run sends: templates with random keys and references put in."""

import os
from typing import Final

_KEY_CHARACTERS: Final = 36  # 144 random bits
_REFERENCE_CHARACTERS: Final = 18  # 72
_ITEM_CHARACTERS: Final = _KEY_CHARACTERS + _REFERENCE_CHARACTERS
_CHUNK_ITEMS: Final = 1024
_KEY: Final = b"k" * _KEY_CHARACTERS
_REFERENCE: Final = b"r" * _REFERENCE_CHARACTERS
"""Stand in a template where a key and a reference go."""
CREATE_PATH: Final = "/v1/payments"
BULK_PATH: Final = "/v1/payments/bulk"

_FEWER_DIGITS: Final = bytes.maketrans(b"01234", b"ghijk")
"""So that no reference looks like a card number by chance: one in 10,000 of plain hex would."""


class Orders:
    """Whole HTTP/1.1 requests, each for payments that nobody asked for before.

    `bulk` payments a request, or single requests where it is None; `instrument`: each brings a
    test card of the stand-in.
    """

    def __init__(
        self, authority: str, api_key: str, *, bulk: int | None = None, instrument: bool = True
    ) -> None:
        self.payments_each = bulk or 1
        card = b'"instrument":{"gateway":"stripe","token":"pm_card_visa"},' if instrument else b""
        fields = (
            b'"amount":1999,"currency":"EUR","merchant_reference":"order-%b",'
            b'%b"description":"Two tickets, row 7","metadata":{"channel":"web"}'
            % (_REFERENCE, card)
        )
        if bulk is None:
            path, key, body = CREATE_PATH, b"Idempotency-Key: %b\r\n" % _KEY, b"{%b}" % fields
        else:
            path, key = BULK_PATH, b""
            items = [b'{"idempotency_key":"%b",%b}' % (_KEY, fields)] * bulk
            body = b'{"payments":[%b]}' % b",".join(items)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {api_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        ).encode()
        whole = head.replace(b"%", b"%%") + key + b"\r\n" + body
        self._template = whole.replace(_KEY, b"%b").replace(_REFERENCE, b"%b")
        self._noise = b""
        self._at = 0

    def next(self) -> bytes:
        """The next request's bytes."""
        count = self.payments_each
        at, end = self._at, self._at + count * _ITEM_CHARACTERS
        if end > len(self._noise):
            chunk = max(count, _CHUNK_ITEMS) * _ITEM_CHARACTERS
            self._noise = os.urandom(chunk // 2).hex().encode().translate(_FEWER_DIGITS)
            at, end = 0, count * _ITEM_CHARACTERS
        self._at = end
        noise = self._noise
        if count == 1:
            middle = at + _KEY_CHARACTERS
            return self._template % (noise[at:middle], noise[middle:end])
        parts = []
        for start in range(at, end, _ITEM_CHARACTERS):
            middle = start + _KEY_CHARACTERS
            parts.append(noise[start:middle])
            parts.append(noise[middle : start + _ITEM_CHARACTERS])
        return self._template % tuple(parts)
