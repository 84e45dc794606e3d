"""What the routes work on: a request that was read within its limits, and a reply."""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.errors import PROBLEM_TYPE, Invalid, Problem

BODY_BYTES_MAX: Final = 64 * 1024
BODY_SECONDS_MAX: Final = 10.0
JSON: Final = "application/json"


class Asked(Struct, frozen=True, kw_only=True):
    """One request: header names in lower case, only those that mean something here."""

    method: str
    path: str
    authorization: str | None = None
    idempotency_key: str | None = None
    prefer: str | None = None
    content_type: str | None = None
    body: bytes = b""


class Reply(Struct, frozen=True):
    """Status, headers without content-length, and the body's bytes."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


HEADERS: Final = {
    b"authorization": "authorization",
    b"idempotency-key": "idempotency_key",
    b"prefer": "prefer",
    b"content-type": "content_type",
}


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of HEADERS as text, by the field of Asked that they fill.

    Raises Invalid when one of them stands there twice or is not plain text.
    """
    found: dict[str, str] = {}
    for name, value in raw:
        field = HEADERS.get(name)
        if field is None:
            continue
        if field in found:
            raise Invalid("header_repeated")
        try:
            found[field] = value.decode("ascii")
        except UnicodeDecodeError:
            raise Invalid("header_not_ascii") from None
    return found


def problem_reply(problem: Problem) -> Reply:
    """The reply that tells a caller about a refusal."""
    headers: tuple[tuple[str, str], ...] = ()
    if problem.retry_after_seconds is not None:
        headers += (("retry-after", str(problem.retry_after_seconds)),)
    if problem.status == 401:
        headers += (("www-authenticate", "Bearer"),)
    return Reply(problem.status, problem.document(), headers, PROBLEM_TYPE)


def json_reply(status: int, value: object, *headers: tuple[str, str]) -> Reply:
    """A reply whose body is the value as JSON."""
    return Reply(status, msgspec.json.encode(value), headers)


def internal_error() -> Problem:
    """What a caller sees of a bug: nothing but that there was one."""
    return Problem("internal_error")
