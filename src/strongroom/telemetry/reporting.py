"""The telemetry of one process: what its parts tell becomes metrics, and spans of some payments."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Histogram

from strongroom.clock import Clock
from strongroom.errors import described
from strongroom.gateways.port import Gateway
from strongroom.ids import to_text
from strongroom.payments.acceptance import Created
from strongroom.payments.states import Call
from strongroom.telemetry.desks import WatchedDesk
from strongroom.telemetry.disputes_due import DisputesDue
from strongroom.telemetry.gateways import BROKEN_OFF, WatchedGateway
from strongroom.telemetry.hints import OpenHints
from strongroom.telemetry.log_lag import LogLag
from strongroom.telemetry.metrics import Metrics, label_of
from strongroom.telemetry.open_work import OpenWork
from strongroom.telemetry.port import Behind, NoTelemetry
from strongroom.telemetry.readings import Readings
from strongroom.telemetry.request_ids import current_request_id
from strongroom.telemetry.scrape import MetricsPage
from strongroom.telemetry.secrets_due import SecretsDue
from strongroom.telemetry.settled import committed, count_refunds, count_settled
from strongroom.telemetry.signing import SigningGauges
from strongroom.work.worker import Desk

if TYPE_CHECKING:  # the SDK takes 5 MB, so it is loaded only where spans are sent
    from strongroom.telemetry.traces import Place, Traces

TRACED_AT_ONCE_MAX: Final = 4096
CLOSE_SECONDS_MAX: Final = 5.0

Item = TypeVar("Item")

log = structlog.get_logger()

SUBJECTS: Final[Mapping[str, Callable[[Any], UUID]]] = {
    "accept": lambda request: request.payment.payment_id,
    "commands": lambda order: order.payment_id,
    "object_ids": lambda item: item.payment.payment_id,
    "settle": lambda settlement: settlement.payment.payment_id,
    "settle_refunds": lambda settlement: settlement.refund.payment_id,
}
"""By batch, the payment that one of its items is about."""


CLAIMED: Final[Mapping[str, Callable[[Any], tuple[str, UUID]]]] = {
    "payments": lambda item: (item.attempt.gateway_key, item.payment.payment_id),
    "refunds": lambda item: (item.refund.gateway_key, item.refund.payment_id),
}
"""By lane that has a trace of its payment: its key at the gateway, and which payment it is."""


class Telemetry(NoTelemetry):
    """Counts always; makes spans where there is a collector to send them to.

    `port`, on loopback, is where the metrics are served.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        deadline_seconds: float,
        port: int | None = None,
        traces: "Traces | None" = None,
    ) -> None:
        self.metrics = Metrics()
        self._count_answer = self.metrics.answers.count
        self._page = MetricsPage(self.metrics.text, port) if port is not None else None
        self._readings: list[Readings] = []
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._traces = traces
        self._asked: OrderedDict[str, list[UUID]] = OrderedDict()
        """By request, the traced payments that it asks for."""
        self._calls: dict[tuple[str, str, type[object] | None], Histogram] = {}
        """What counts the calls of a gateway by operation and kind of answer: a look-up in the
        library costs as much as the counting."""
        self._keys: OrderedDict[str, UUID] = OrderedDict()
        """By the attempt's key at the gateway, the traced payment that a worker is at."""

    def watched_gateway(self, name: str, gateway: Gateway) -> Gateway:
        """As the port says."""
        return WatchedGateway(name, gateway, self)

    def watched_desk(self, lane: str, desk: Desk[Item], in_flight_max: int) -> Desk[Item]:
        """As the port says."""
        return WatchedDesk(lane, desk, self, in_flight_max=in_flight_max)

    def read_open_work(self, pool: asyncpg.Pool, buckets: Sequence[int]) -> None:
        """As the port says."""
        self._read(OpenWork(pool, self._clock, buckets))

    def read_secrets_due(self, pool: asyncpg.Pool) -> None:
        """As the port says."""
        self._read(SecretsDue(pool))
        self._read(DisputesDue(pool, self._clock))

    def read_hints(self, pool: asyncpg.Pool, buckets: Sequence[int]) -> None:
        """As the port says."""
        self._read(OpenHints(pool, self._clock, buckets))

    def read_log_lag(self, url: str) -> None:
        """As the port says."""
        self._read(LogLag(url, self._clock))

    def watch_signing(
        self, stopped: Callable[[], Mapping[str, int]], behind: Callable[[], Sequence[Behind]]
    ) -> None:
        """As the port says."""
        self.metrics.add(SigningGauges(stopped, behind))

    def log_protected(self, step: str, witness: str, seconds: float) -> None:
        """As the port says."""
        self.metrics.log_windows.labels(step, witness).observe(max(0.0, seconds))

    def webhook_received(self, gateway: str, lane: str, stored: str) -> None:
        """As the port says."""
        self.metrics.webhooks.labels(gateway, lane, stored).inc()

    def call_withheld(self, gateway: str, operation: str, why: str) -> None:
        """As the port says."""
        self.metrics.withheld.labels(gateway, operation, why).inc()

    def line_turned(self, gateway: str, operation: str, before: str, after: str) -> None:
        """As the port says."""
        self.metrics.resting.labels(gateway, operation).inc(
            (after != "closed") - (before != "closed")
        )

    def watch(self, name: str, label: str, read: Callable[[], float]) -> None:
        """As the port says."""
        self.metrics.watched.add(name, label, read)

    def answered(
        self, route: str, status: int, seconds: float, waited: bool, traceparent: bytes | None
    ) -> None:
        """As the port says."""
        self._count_answer(route, status, seconds, waited)
        if self._traces is not None and (self._asked or traceparent):
            try:
                self._trace_request(self._traces, route, status, seconds, traceparent)
            except Exception as fault:  # noqa: BLE001 - an answer must not be lost for its telling
                log.error("telemetry_failed", **described(fault))

    def refused(self, code: str) -> None:
        """As the port says."""
        self.metrics.refused(code)

    def payment_taken_in(self, payment_id: UUID) -> None:
        """As the port says."""
        if self._traces is not None and self._traces.has(payment_id):
            _keep(self._asked, current_request_id() or "", []).append(payment_id)

    def batch_written(
        self, batch: str, items: Sequence[Any], results: Sequence[Any], seconds: float
    ) -> None:
        """As the port says."""
        try:
            self.metrics.batch_items.labels(batch).observe(len(items))
            self.metrics.batch_seconds.labels(batch).observe(seconds)
            if batch == "accept":
                kinds: Counter[type] = Counter(map(type, results))
                self.metrics.accepted.inc(kinds[Created])
            elif batch == "settle":
                count_settled(self.metrics, items, results)
            elif batch == "settle_refunds":
                count_refunds(self.metrics, results)
            if self._traces is not None and batch in SUBJECTS:
                self._trace_batch(self._traces, batch, items, results, seconds)
        except Exception as fault:  # noqa: BLE001 - what is on disk must not fail for its telling
            log.error("telemetry_failed", **described(fault))

    def claimed(self, lane: str, items: Sequence[Any], seconds: float) -> None:
        """As the port says."""
        self.metrics.last_claim.labels(lane).set(self._clock.now().timestamp())
        if not items:
            return
        self.metrics.claimed.labels(lane).inc(len(items))
        told = CLAIMED.get(lane)
        if self._traces is None or told is None:
            return
        for item in items:
            key, payment_id = told(item)
            if self._traces.has(payment_id):
                _keep(self._keys, key, payment_id)
                self._traces.span(
                    "claim",
                    seconds,
                    {"payment.id": to_text("pay", payment_id), "batch.items": len(items)},
                    parent=_place_of(payment_id),
                )

    def call_ended(
        self,
        gateway: str,
        operation: str,
        key: str,
        heard: tuple[object, Call] | None,
        seconds: float,
    ) -> None:
        """A call to a gateway is over; `heard` is None when it was broken off."""
        try:
            answer = type(heard[0]) if heard else None
            calls = self._calls.get((gateway, operation, answer))
            if calls is None:
                labels = (gateway, operation, label_of(answer) if answer else BROKEN_OFF)
                calls = self._calls[gateway, operation, answer] = self.metrics.calls.labels(*labels)
            calls.observe(seconds)
            if heard and seconds > self._deadline_seconds:
                self.metrics.late_answers.labels(gateway, operation).inc()
            if self._keys and self._traces is not None and key in self._keys:
                self._trace_call(self._traces, gateway, operation, key, heard, seconds)
        except Exception as fault:  # noqa: BLE001 - an answer must not be lost for its telling
            log.error("telemetry_failed", **described(fault))

    def start(self) -> None:
        """As the port says."""
        if self._page is not None:
            self._page.start()
        for readings in self._readings:
            readings.start()

    async def close(self) -> None:
        """As the port says; spans that are left are sent, if that takes no more than seconds."""
        for readings in self._readings:
            await readings.close()
        if self._page is not None:
            await self._page.close()
        if self._traces is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await asyncio.to_thread(self._traces.close)
        except TimeoutError:
            log.warning("spans_not_sent")

    def _read(self, readings: Readings) -> None:
        self._readings.append(readings)
        self.metrics.add(readings)

    def _trace_request(
        self, traces: "Traces", route: str, status: int, seconds: float, traceparent: bytes | None
    ) -> None:
        """A span in the trace of each traced payment, and one in the caller's; linked both ways."""
        request_id = current_request_id() or ""
        method, _, path = route.partition(" ")
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": path,
            "http.response.status_code": status,
            "request.id": request_id,
        }
        caller = _callers_place(traceparent) if traceparent else None
        payments = self._asked.pop(request_id, ())
        for payment_id in payments:
            traces.span(
                route,
                seconds,
                attributes | {"payment.id": to_text("pay", payment_id)},
                place=_place_of(payment_id),
                kind="server",
                links=(caller,) if caller else (),
                failed=status >= 500,
            )
        if caller:
            traces.span(
                route,
                seconds,
                attributes,
                parent=caller,
                kind="server",
                links=[_place_of(payment_id) for payment_id in payments],
                failed=status >= 500,
            )

    def _trace_batch(
        self,
        traces: "Traces",
        batch: str,
        items: Sequence[Any],
        results: Sequence[Any],
        seconds: float,
    ) -> None:
        subject = SUBJECTS[batch]
        for item, result in zip(items, results, strict=True):
            payment_id = subject(item)
            if not traces.has(payment_id):
                continue
            attributes: dict[str, str | int] = {
                "payment.id": to_text("pay", payment_id),
                "batch.name": batch,
                "batch.items": len(items),
            }
            if batch == "settle":
                attributes["payment.status"] = result.payment.status
                decision = committed(item, result)
                if decision is not None and decision.kind is not None:
                    attributes["payment.event"] = decision.kind
            traces.span(f"commit {batch}", seconds, attributes, parent=_place_of(payment_id))

    def _trace_call(
        self,
        traces: "Traces",
        gateway: str,
        operation: str,
        key: str,
        heard: tuple[object, Call] | None,
        seconds: float,
    ) -> None:
        payment_id = self._keys[key]
        answer = label_of(type(heard[0])) if heard else BROKEN_OFF
        attributes: dict[str, str | int] = {
            "payment.id": to_text("pay", payment_id),
            "gateway.name": gateway,
            "gateway.operation": operation,
            "gateway.answer": answer,
        }
        if heard and heard[1].http_status is not None:
            attributes["gateway.http_status"] = heard[1].http_status
        traces.span(
            f"{gateway} {operation}",
            seconds,
            attributes,
            parent=_place_of(payment_id),
            kind="client",
            failed=answer in ("unknown", BROKEN_OFF),
        )


def _place_of(payment_id: UUID) -> "Place":
    from strongroom.telemetry.traces import place_of

    return place_of(payment_id)


def _callers_place(traceparent: bytes) -> "Place | None":
    from strongroom.telemetry.traces import callers_place

    return callers_place(traceparent)


def _keep(kept: "OrderedDict[str, Any]", key: str, value: Any) -> Any:
    """The value under this key, `value` if there was none; the oldest make room."""
    if key not in kept and len(kept) >= TRACED_AT_ONCE_MAX:
        kept.popitem(last=False)
    return kept.setdefault(key, value)
