"""A stand-in for a collector: takes spans by OTLP over HTTP, as protobuf, and keeps them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from strongroom.local.ports import LOOPBACK, free_ports

SPANS_SECONDS_MAX = 60


class Seen(Struct, frozen=True):
    """A span as the collector got it; ids as integers, times in nanoseconds."""

    service: str
    name: str
    trace_id: int
    span_id: int
    parent_id: int
    started: int
    ended: int
    attributes: dict[str, str | int]
    links: list[tuple[int, int]]


class Collector:
    """What came so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Seen] = []
        self.raw = b""
        self._came = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        """POST /v1/traces."""
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        asked = ExportTraceServiceRequest.FromString(body)
        async with self._came:
            self.raw += body
            self.spans += _spans(asked)
            self._came.notify_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def without_ids(self) -> bytes:
        """What came, without the random bytes of the ids, which hold any short word by chance."""
        left = self.raw
        for span in self.spans:
            left = left.replace(span.trace_id.to_bytes(16, "big"), b"")
            for one in (span.span_id, span.parent_id):
                left = left.replace(one.to_bytes(8, "big"), b"")
        return left

    async def until(self, trace_id: int, names: set[str]) -> list[Seen]:
        """The spans of a trace, once all of these names are among them."""
        async with asyncio.timeout(SPANS_SECONDS_MAX), self._came:
            while True:
                found = [span for span in self.spans if span.trace_id == trace_id]
                if names <= {span.name for span in found}:
                    return found
                await self._came.wait()


def _spans(asked: ExportTraceServiceRequest) -> list[Seen]:
    return [
        Seen(
            service=next(
                a.value.string_value for a in of.resource.attributes if a.key == "service.name"
            ),
            name=span.name,
            trace_id=int.from_bytes(span.trace_id, "big"),
            span_id=int.from_bytes(span.span_id, "big"),
            parent_id=int.from_bytes(span.parent_span_id, "big"),
            started=span.start_time_unix_nano,
            ended=span.end_time_unix_nano,
            attributes={a.key: a.value.string_value or a.value.int_value for a in span.attributes},
            links=[
                (int.from_bytes(link.trace_id, "big"), int.from_bytes(link.span_id, "big"))
                for link in span.links
            ],
        )
        for of in asked.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on loopback; it ends with the block."""
    port = free_ports()
    collector = Collector(f"http://{LOOPBACK}:{port}/v1/traces")
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    try:
        yield collector
    finally:
        await runner.cleanup()
