"""Around everything that is served: each request gets an id, and each answer is counted.

Before that, a request with a card number in its head is refused: its id and its traceparent are not
even read.

On the accept path this is what telemetry costs a request, so it is written for speed: one walk over
the headers, and no coroutine of its own around the messages that are sent.
"""

from collections.abc import Awaitable
from typing import Final

import msgspec
import structlog

from strongroom.clock import monotonic_seconds
from strongroom.errors import Invalid, described
from strongroom.http.card_guard import CLEAR_BODY, GUARD, CardGuard
from strongroom.http.exchange import BODY_BYTES_MAX, internal_error, problem_reply
from strongroom.http.front_door import Application, Message, Receive, Scope, Send, write_reply
from strongroom.telemetry.port import NO_TELEMETRY, NoTelemetry
from strongroom.telemetry.request_ids import CURRENT, HEADER, is_well_formed, new_request_id

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER: Final = "other"
LOOKED: Final = "strongroom.refusal_of_head"
"""In a scope that was looked at: why it is refused, or None."""
_PREFER: Final = b"prefer"
_TRACEPARENT: Final = b"traceparent"
_READ: Final = frozenset({HEADER, _PREFER, _TRACEPARENT})

log = structlog.get_logger()


class _Coded(msgspec.Struct):
    """Of a problem document, what is counted."""

    code: str


_code_of: Final = msgspec.json.Decoder(_Coded)


class Traffic:
    """An ASGI application around `application`.

    `front_paths` are served before any router, so their path is their route. `trusts_callers`:
    their traceparent is taken up. `guard` refuses card numbers.
    """

    def __init__(
        self,
        application: Application,
        telemetry: NoTelemetry = NO_TELEMETRY,
        *,
        front_paths: frozenset[str] = frozenset(),
        trusts_callers: bool = False,
        guard: CardGuard = GUARD,
    ) -> None:
        self._application = application
        self._telemetry, self._answered = telemetry, telemetry.answered
        self._front_posts = {path: f"POST {path}" for path in front_paths}
        self._trusts_callers, self._guard = trusts_callers, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started = monotonic_seconds()
        given = traceparent = None
        waited = False
        refusal = scope[LOOKED] if LOOKED in scope else self.look(scope)
        for name, value in scope["headers"] if refusal is None else ():
            if name in _READ:
                if name == HEADER:
                    given = value if given is None else b""  # two ids are none
                elif name == _PREFER:
                    waited = value.startswith(b"wait")
                else:
                    traceparent = value if self._trusts_callers else None
        request_id = given if given and is_well_formed(given) else new_request_id()
        CURRENT.set(request_id)
        status = 0

        def tell(message: Message) -> Awaitable[None]:
            nonlocal status
            if not status:
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, request_id)]
            elif status >= 400:
                self._count_refusal(message.get("body", b""))
            return send(message)

        try:
            if refusal is None:
                await self._application(scope, receive, tell)
            else:
                await write_reply(tell, problem_reply(refusal))
        except Exception as bug:  # noqa: BLE001 - no bug may leave a caller without an answer
            log.error("application_failed", **described(bug))
            if not status:
                await write_reply(tell, problem_reply(internal_error()))
        seconds = monotonic_seconds() - started
        self._answered(self._route(scope), status, seconds, waited, traceparent)

    def look(self, scope: Scope, body: bytearray | None = None) -> Invalid | None:
        """Looks for card numbers in the head of a request: why it is refused, or None.

        The scope keeps it. A server looks as soon as all headers have come: later, when requests of
        others were read in between, it costs three times as much. So `body`, where it came with
        them and the front door would look at it before anything else, is looked at with them: it
        is not refused here, but one that is clear is not looked at again.
        """
        if (
            body is not None
            and len(body) <= BODY_BYTES_MAX
            and scope["path"] in self._front_posts
            and self._guard.is_plainly_clear(scope, seen := bytes(body))
        ):
            scope[LOOKED], scope[CLEAR_BODY] = None, seen
            return None
        refusal = scope[LOOKED] = self._guard.refusal_of_head(scope)
        return refusal

    def around(self, application: Application) -> "Traffic":
        """The same around another application."""
        return Traffic(application, self._telemetry, guard=self._guard)

    def _route(self, scope: Scope) -> str:
        """Method and route, of which there are few; never a path that a caller made up."""
        method, path = scope["method"], scope["path"]
        front = self._front_posts.get(path)
        if front is None:
            path = scope.get("path_template") or OTHER
        elif method == "POST":
            return front
        return f"{method if method in METHODS else OTHER} {path}"

    def _count_refusal(self, body: bytes) -> None:
        try:
            self._telemetry.refused(_code_of.decode(body).code)
        except msgspec.MsgspecError:
            self._telemetry.refused(OTHER)  # no problem document
