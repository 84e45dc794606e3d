"""The spans of a payment, as a collector gets them from the API and the worker."""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from msgspec import Struct

from strongroom.config import Home, Settings
from strongroom.ids import from_text
from strongroom.telemetry.traces import ATTRIBUTES, place_of
from tests.acceptance.client import Api, StandIn, order, until
from tests.acceptance.collector import Collector, Seen, collecting
from tests.acceptance.running import Running, up

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRUSTED = {
    "traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01",
    "X-Request-Id": "checkout.7-A",
}
OF_API = {"POST /v1/payments", "commit accept"}
OF_WORKER = {"claim", "stripe prepare", "commit object_ids", "stripe send", "commit settle"}
CANARY = "canary-2f9c"
AMOUNT = 71_999_917
"""So long that no id has its digits by chance."""


class Traced(Struct, frozen=True):
    """A deployment that traces every payment."""

    running: Running
    api: Api
    stripe: StandIn
    collector: Collector


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced() -> AsyncIterator[Traced]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-traces-"))
    try:
        async with collecting() as collector, aiohttp.ClientSession() as session:
            Home(folder / "home").write_settings(
                Settings(
                    traces_url=collector.url, traces_one_in=1, traces_trust_callers=True,
                    gateway_deadline_seconds=2.0,
                )
            )  # fmt: skip
            with up(folder / "home") as running:
                yield Traced(
                    running,
                    Api(session, running.api_url, running.api_key),
                    StandIn(session, running.stripe_url, running.knob_token),
                    collector,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trace_of(payment_id: str) -> int:
    return place_of(from_text("pay", payment_id)).trace_id


def by_name(spans: list[Seen]) -> dict[str, Seen]:
    return {span.name: span for span in spans}


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_one_payment_is_one_trace_through_api_and_worker(traced):
    answer = await traced.api.post("/v1/payments", order(), wait=10, headers=TRUSTED)
    assert answer.json["status"] == "succeeded"
    place = place_of(from_text("pay", answer.id))
    spans = await traced.collector.until(place.trace_id, OF_API | OF_WORKER)
    found = by_name(spans)
    root = found.pop("POST /v1/payments")
    assert (root.span_id, root.parent_id) == (place.span_id, 0)
    assert {span.parent_id for span in found.values()} == {root.span_id}
    assert {found[name].service for name in OF_WORKER} == {"strongroom-worker"}
    assert {root.service, found["commit accept"].service} == {"strongroom-api"}
    assert root.attributes == {
        "http.request.method": "POST", "http.route": "/v1/payments",
        "http.response.status_code": 201, "request.id": "checkout.7-A", "payment.id": answer.id,
    }  # fmt: skip
    assert found["stripe send"].attributes["gateway.answer"] == "approved"
    settled = found["commit settle"].attributes
    assert (settled["payment.status"], settled["payment.event"]) == (
        "succeeded", "payment.succeeded",
    )  # fmt: skip
    order_of_work = ["commit accept", "claim", "stripe prepare", "stripe send", "commit settle"]
    starts = [found[name].started for name in order_of_work]
    assert starts == sorted(starts)
    assert all(root.started <= span.started <= span.ended for span in found.values())


async def test_the_trace_of_a_trusted_caller_and_the_payments_own_name_each_other(traced):
    answer = await traced.api.post("/v1/payments", order(), headers=TRUSTED)
    own = place_of(from_text("pay", answer.id))
    (root,) = await traced.collector.until(own.trace_id, {"POST /v1/payments"}) and [
        span for span in traced.collector.spans if span.span_id == own.span_id
    ]
    caller = (int(CALLER_TRACE, 16), int(CALLER_SPAN, 16))
    assert root.links == [caller]
    await traced.collector.until(caller[0], {"POST /v1/payments"})
    (beside,) = [span for span in traced.collector.spans if span.links == [tuple(own)]]
    assert (beside.trace_id, beside.parent_id) == caller


async def test_a_refund_and_a_decline_are_seen_in_the_trace_of_their_payment(traced):
    paid = await traced.api.pay(order(), wait=10)
    await traced.api.post("/v1/refunds", {"payment": paid.id, "amount": 100}, wait=10)
    spans = await traced.collector.until(
        trace_of(paid.id), {"commit commands", "stripe refund", "commit settle_refunds"}
    )
    assert by_name(spans)["stripe refund"].service == "strongroom-worker"
    declined = await traced.api.pay(order("pm_card_chargeDeclined"), wait=10)
    spans = await traced.collector.until(trace_of(declined.id), {"stripe cancel", "commit settle"})
    assert by_name(spans)["stripe send"].attributes["gateway.answer"] == "declined"


async def test_no_span_says_anything_of_a_customer_or_a_secret(traced):
    body = order(
        amount=AMOUNT, merchant_reference=CANARY, description=CANARY, metadata={CANARY: CANARY},
        return_url=f"https://{CANARY}.example/x",
    )  # fmt: skip
    key = f"key-{CANARY}"
    answer = await traced.api.post(
        "/v1/payments", body, key=key, wait=10, headers={"X-Request-Id": f"{CANARY} 1"}
    )
    assert answer.status == 201
    await traced.collector.until(trace_of(answer.id), OF_API | OF_WORKER)
    secret = (traced.running.home / "secrets" / "stripe_key").read_text().strip()
    said_of = traced.collector.without_ids()
    for word in (CANARY, traced.running.api_key, secret, "pm_card_visa", str(AMOUNT), "EUR"):
        assert word.encode() not in said_of
    said: set[str] = set()
    for span in traced.collector.spans:
        said |= span.attributes.keys()
    assert said <= ATTRIBUTES


@pytest.mark.slow
async def test_logs_and_metrics_go_on_when_the_collector_does_not_answer(tmp_path):
    home = tmp_path / "home"
    Home(home).write_settings(Settings(traces_url="http://127.0.0.1:9/v1/traces", traces_one_in=1))
    with up(home) as running:
        async with aiohttp.ClientSession() as session:
            api = Api(session, running.api_url, running.api_key)
            paid = [await api.pay(order(), wait=10) for _ in range(3)]
            assert {answer.json["status"] for answer in paid} == {"succeeded"}

            async def counted() -> bool:
                text = await _page(session, running.metrics_urls["worker"])
                return bool(re.search(r'authorizations_total{.*result="approved"} 3', text))

            await until(counted)
    texts: dict[str, Any] = running.log_texts()
    assert "Max retries" not in texts["api.log"] + texts["worker.log"]


async def _page(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.text()
