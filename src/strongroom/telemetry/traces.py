"""Traces: spans of a few payments, sent to a collector by OTLP over HTTP.

A span costs tens of microseconds, so whether a payment is traced is decided before the SDK is
touched, from random bits of the payment's id; and the ids of its trace and of its first span are
a digest of that id. So every process that meets the payment, now or days later, comes to the same
decision and the same trace, and nothing has to be stored with the job or the event to carry it on.

Attributes come from an allow-list. Spans are made when they are over, with the times that they had.
"""

import random
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, Literal, NamedTuple
from uuid import UUID

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from strongroom.clock import Clock, microseconds_since_epoch
from strongroom.telemetry.logs import TALLY, bounded, holds_secret
from strongroom.vault.cards import BLOT, blotted, holds_card_number

ATTRIBUTES: Final = frozenset(
    {
        "batch.items",
        "batch.name",
        "gateway.answer",
        "gateway.http_status",
        "gateway.name",
        "gateway.operation",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "payment.event",
        "payment.id",
        "payment.status",
        "request.id",
    }
)
"""What a span may say. No body, key, token, amount or anything of a customer."""
EXACT: Final = frozenset({"payment.id", "request.id"})
"""Ids that we made or checked: told whole. Other values are bounded as in logs."""
QUEUE_MAX: Final = 2048
EXPORT_MAX: Final = 512
EXPORT_DELAY_MILLISECONDS: Final = 1000
EXPORT_SECONDS_MAX: Final = 3.0
_RANDOM_BITS_OF_ID: Final = 30
_PERSON: Final = b"strongroom trace"
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

Kind = Literal["server", "client", "internal"]
_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}


class Place(NamedTuple):
    """A span, as another process can name it: 128 and 64 bits."""

    trace_id: int
    span_id: int


def place_of(payment_id: UUID) -> Place:
    """The first span of a payment's own trace: where it was taken in."""
    digest = blake2b(payment_id.bytes, digest_size=24, person=_PERSON).digest()
    return Place(int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:], "big") or 1)


def callers_place(traceparent: bytes) -> Place | None:
    """The caller's span, where the header is well-formed and its trace is sampled (W3C level 1)."""
    parts = traceparent.split(b"-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    version, trace, span, flags = parts[:4]
    if version == b"ff" or (version == b"00" and len(parts) != 4):
        return None
    if not all(set(part) <= set(b"0123456789abcdef") for part in parts[:4]):
        return None
    place = Place(int(trace, 16), int(span, 16))
    return place if all(place) and int(flags, 16) & TraceFlags.SAMPLED else None


class _PlannedIds(IdGenerator):
    """Random ids, except where the next span is to have ids of our choice."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - ids of spans are no secrets
        self.planned: Place | None = None

    def generate_trace_id(self) -> int:
        return self.planned.trace_id if self.planned else self._random.getrandbits(128) or 1

    def generate_span_id(self) -> int:
        return self.planned.span_id if self.planned else self._random.getrandbits(64) or 1


class Traces:
    """Makes and sends spans; one in `one_in` payments is traced."""

    def __init__(self, url: str, *, one_in: int, service: str, clock: Clock) -> None:
        self._clock = clock
        self._below = (1 << _RANDOM_BITS_OF_ID) // one_in
        self._ids = _PlannedIds()
        session = requests.Session()
        session.trust_env = False  # no proxy and no credentials that happen to be set here
        exporter = OTLPSpanExporter(
            endpoint=url, headers={}, timeout=EXPORT_SECONDS_MAX, session=session
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": service}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE_MAX,
                max_export_batch_size=EXPORT_MAX,
                schedule_delay_millis=EXPORT_DELAY_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer("strongroom")

    def has(self, payment_id: UUID) -> bool:
        """Whether this payment is traced."""
        return (payment_id.int >> 32) & ((1 << _RANDOM_BITS_OF_ID) - 1) < self._below

    def span(
        self,
        name: str,
        seconds: float,
        attributes: Mapping[str, str | int],
        *,
        parent: Place | None = None,
        place: Place | None = None,
        kind: Kind = "internal",
        links: Sequence[Place] = (),
        failed: bool = False,
    ) -> None:
        """A span that took `seconds` and is over now; `place` where its ids are not to be random.

        An attribute that is a secret is left out, and counted as a dropped key of a log is.
        Raises KeyError for an attribute that is not on the allow-list.
        """
        unknown = attributes.keys() - ATTRIBUTES
        if unknown:
            names = sorted(map(blotted, unknown))
            raise KeyError(f"attributes that are not on the allow-list: {names}")
        told = {key: value for key, value in attributes.items() if not holds_secret(value)}
        TALLY.keys_dropped += len(attributes) - len(told)
        ended = microseconds_since_epoch(self._clock.now()) * 1000
        self._ids.planned = place
        span = self._tracer.start_span(
            blotted(name),
            context=_below(parent),
            kind=_KINDS[kind],
            attributes={
                key: _exact(value) if key in EXACT else _plain(value) for key, value in told.items()
            },
            links=[Link(_context(link)) for link in links],
            start_time=ended - int(seconds * 1e9),
        )
        self._ids.planned = None
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(end_time=ended)

    def close(self) -> None:
        """Sends what is left, as far as the collector takes it; blocks for some seconds at most."""
        self._provider.shutdown()


def _context(place: Place) -> SpanContext:
    return SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=_SAMPLED)


def _below(parent: Place | None) -> Context:
    context = Context()
    return set_span_in_context(NonRecordingSpan(_context(parent)), context) if parent else context


def _exact(value: str | int) -> str | int:
    return BLOT if holds_card_number(str(value).encode()) else value


def _plain(value: str | int) -> str | int:
    safe = bounded(value)
    return safe if isinstance(safe, str | int) else str(safe)
