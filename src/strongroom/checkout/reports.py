"""What browsers report that the page's policy stopped: names of rules and origins, counted by day.

Nothing else of a report is kept: it holds the page's address, and that its secret. Anybody can send
reports, so they are few a second, and few a day for a legal entity.
"""

from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import msgspec
from msgspec import Struct, field

from strongroom.checkout.links import SQL, Link
from strongroom.clock import monotonic_seconds
from strongroom.database import writing
from strongroom.vault.cards import holds_card_number

BODY_BYTES_MAX: Final = 8 * 1024
OF_A_DAY_MAX: Final = 200
"""Different ones of a legal entity; one that is known is counted up."""
A_SECOND_MAX: Final = 5
"""Of one process; those beyond are dropped."""
KEPT: Final = timedelta(days=90)
ORIGIN_CHARACTERS_MAX: Final = 100
OTHER: Final = "other"
DIRECTIVES: Final = frozenset(
    "default-src script-src script-src-elem script-src-attr style-src style-src-elem "
    "style-src-attr connect-src frame-src img-src font-src media-src object-src worker-src "
    "manifest-src base-uri form-action frame-ancestors".split()
)
KEYWORDS: Final = frozenset("inline eval wasm-eval self data blob".split())


class _Report(Struct, frozen=True):
    effective: str = field(name="effective-directive", default="")
    violated: str = field(name="violated-directive", default="")
    blocked: str = field(name="blocked-uri", default="")


class _Sent(Struct, frozen=True):
    report: _Report = field(name="csp-report")


_decode: Final = msgspec.json.Decoder(_Sent).decode


def read_report(body: bytes) -> tuple[str, str]:
    """Directive and what was blocked, both from a short list or an origin. Raises ValueError."""
    try:
        report = _decode(body).report
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("no report") from None
    directive = report.effective or report.violated.partition(" ")[0]
    return directive if directive in DIRECTIVES else OTHER, _origin_of(report.blocked)


def _origin_of(blocked: str) -> str:
    if blocked in KEYWORDS:
        return blocked
    try:
        parts = urlsplit(blocked)
        host, port = parts.hostname, parts.port
    except ValueError:
        return OTHER
    if not host or parts.scheme not in ("http", "https", "ws", "wss"):
        return OTHER
    origin = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
    if len(origin) > ORIGIN_CHARACTERS_MAX or not origin.isascii() or not origin.isprintable():
        return OTHER
    return OTHER if holds_card_number(origin.encode()) else origin


class Reports:
    """Keeps reports, for one process."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._second, self._taken = 0, 0

    def takes_one(self) -> bool:
        """Whether one more is taken in this second."""
        second = int(monotonic_seconds())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        return self._taken <= A_SECOND_MAX

    async def keep(self, link: Link, body: bytes, now: datetime) -> None:
        """Counts a report on a link's page. Raises ValueError for what is none."""
        directive, blocked = read_report(body)
        entity, day = link.legal_entity_id, now.date()
        async with writing(self._pool, [entity]) as connection:
            await connection.execute(SQL["forget_reports"], entity, day - KEPT)
            await connection.execute(
                SQL["add_report"], entity, day, directive, blocked, now, OF_A_DAY_MAX
            )
