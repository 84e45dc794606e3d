"""Before every way in: what holds something that looks like a card number is refused.

Path, query and headers are looked at before anything else is done with a request, also before it is
known who asks: nothing of what is refused is looked up, counted, logged or traced. A body is looked
at as soon as it is whole; that of a large bulk once its key was found good (front_door.read_all).
The refusal names the place, never the value.

Most headers of a caller are the same each time. Of those that were found clean a hash is kept, and
they are not read again; the headers themselves, which hold API keys, are not kept.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from strongroom.errors import Invalid
from strongroom.vault.cards import holds_card_number, is_plainly_clear

Header = tuple[bytes, bytes]

KNOWN_MAX: Final = 4096
_BETWEEN: Final = b"\x1e"
"""Neither a gap between digits nor a letter of base64: parts do not run into each other."""
_SPAN_IDS: Final = {
    b"x-datadog-trace-id": re.compile(rb"[0-9]{17,20}"),
    b"x-datadog-parent-id": re.compile(rb"[0-9]{17,20}"),
    b"x-cloud-trace-context": re.compile(rb"[0-9a-f]{32}/[0-9]{17,20}(?:;o=[01])?"),
}
"""Random numbers of 64 bits that agents add to each request: one in forty looks like a card.

Nothing here reads these headers.
"""
NEW_EACH_TIME: Final = frozenset(
    {
        b"idempotency-key",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"stripe-signature",
        *_SPAN_IDS,
    }
)
"""Headers that are not worth keeping in mind."""


CLEAR_BODY: Final = "strongroom.clear_body"
"""In a scope: the body in which nothing was found; any other has to be looked at."""


class CardGuard:
    """Looks at requests for one process."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def refusal_of_head(self, scope: Mapping[str, Any]) -> Invalid | None:
        """Why a request is refused before it is looked at; `scope` is that of ASGI."""
        parts, new = self._unknown_of(scope)
        if holds_card_number(_BETWEEN.join(parts)):
            place = _place(scope)
            if place is not None:
                return _refusal(place)
        self._remember(new)
        return None

    def is_plainly_clear(self, scope: Mapping[str, Any], body: bytes) -> bool:
        """Whether neither head nor body holds a card number, by one look at both together.

        It costs less than two, and nearly all requests end here; where it says False, the head and
        the body are still to be looked at.
        """
        parts, new = self._unknown_of(scope)
        parts.append(body)
        if not is_plainly_clear(_BETWEEN.join(parts)):
            return False
        self._remember(new)
        return True

    def check_body(self, body: bytes) -> None:
        """Raises Invalid for a body with a card number."""
        if holds_card_number(body):
            raise _refusal("body")

    def _unknown_of(self, scope: Mapping[str, Any]) -> tuple[list[bytes], list[Header]]:
        """What is to be looked at of a head, and the headers of it that are worth remembering."""
        known = self._known
        parts: list[bytes] = [scope["raw_path"], scope["query_string"]]
        new: list[Header] = []
        for header in scope["headers"]:
            if hash(header) in known:
                continue
            if header[0] in NEW_EACH_TIME:
                parts.append(header[1])
            else:
                parts += header
                new.append(header)
        return parts, new

    def _remember(self, headers: Iterable[Header]) -> None:
        for header in headers:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known.add(hash(header))


GUARD: Final = CardGuard()
"""That of this process."""


def _place(scope: Mapping[str, Any]) -> str | None:
    """Where it stands; None where all that looks like one is an id of a span."""
    if holds_card_number(scope["raw_path"]):
        return "path"
    if holds_card_number(scope["query_string"]):
        return "query"
    for name, value in scope["headers"]:
        span_id = _SPAN_IDS.get(name)
        if span_id is not None and span_id.fullmatch(value):
            continue
        if holds_card_number(name) or holds_card_number(value):
            return "header"
    return None


def _refusal(place: str) -> Invalid:
    return Invalid("card_number_refused", place=place)
