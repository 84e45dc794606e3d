"""What is watched does what it did, and is counted; a telling that fails costs nothing else."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from strongroom.clock import ShiftedClock
from strongroom.gateways.port import Prepared
from strongroom.ids import Prefix
from strongroom.payments.refunds import Refunded
from strongroom.payments.states import Approved, Call, Unknown
from strongroom.telemetry.desks import WatchedDesk
from strongroom.telemetry.gateways import WatchedGateway
from strongroom.telemetry.reporting import Telemetry
from strongroom.telemetry.scrape import MetricsPage
from strongroom.work.batch import Batcher
from tests.unit.examples import START, attempt, payment
from tests.unit.test_metrics import samples

DEADLINE_SECONDS = 0.05
ACCOUNT: Any = object()
CALL = Call(operation="x", started_at=START, duration_ms=1.0, outcome="x")


class Scripted:
    """A gateway that answers what it was told to; it is slow where it is asked to be."""

    staged = True
    per_currency = False

    def __init__(self, answer: object, seconds: float = 0.0) -> None:
        self.answer = answer
        self.seconds = seconds
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        async def ask(*arguments: Any) -> tuple[object, Call]:
            self.asked.append((name, arguments))
            await asyncio.sleep(self.seconds)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer, CALL

        return ask

    def parameters(self, *of: object, saves: bool = False) -> dict[str, Any]:
        return {"of": of}

    def refund_parameters(self, *of: object) -> dict[str, Any]:
        return {"of": of}

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(ShiftedClock(), deadline_seconds=DEADLINE_SECONDS)


class HasKey:
    gateway_key = "sr_1"


async def test_every_call_goes_through_unchanged_and_is_counted(telemetry):
    inner: Any = Scripted(Approved(1, "EUR"))
    gateway = WatchedGateway("stripe", inner, telemetry)
    one = attempt()
    account: Any = object()
    refund: Any = HasKey()
    assert gateway.staged is True
    assert gateway.parameters(payment(), None) == {"of": (payment(), None)}
    assert gateway.refund_parameters(payment(), one, refund) == {"of": (payment(), one, refund)}
    for name, arguments in (
        ("prepare", (account, one)), ("send", (account, one)), ("look", (account, one)),
        ("cancel", (account, one)), ("capture", (account, one, 5)), ("refund", (account, refund)),
        ("look_at_refund", (account, refund)),
    ):  # fmt: skip
        assert await getattr(gateway, name)(*arguments) == (Approved(1, "EUR"), CALL)
        assert inner.asked[-1] == (name, arguments)
        counted = samples(telemetry.metrics, "strongroom_gateway_call_seconds_count")
        assert counted[f'answer="approved",gateway="stripe",operation="{name}"'] == 1
    await gateway.close()
    assert inner.closed


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        (Prepared("pi_1"), "prepared"),
        (Unknown("x"), "unknown"),
        (Refunded("re_1", "succeeded", 1, "EUR"), "refunded"),
    ],
)
async def test_answers_are_told_apart(telemetry, answer, label):
    inner: Any = Scripted(answer)
    await WatchedGateway("stripe", inner, telemetry).send(ACCOUNT, attempt())
    (labels,) = samples(telemetry.metrics, "strongroom_gateway_call_seconds_count")
    assert f'answer="{label}"' in labels


async def test_an_answer_after_the_deadline_is_late_and_one_that_never_comes_is_broken_off(
    telemetry,
):
    slow: Any = Scripted(Approved(1, "EUR"), seconds=DEADLINE_SECONDS * 2)
    gateway = WatchedGateway("stripe", slow, telemetry)
    in_flight = "strongroom_gateway_calls_in_flight"
    task = asyncio.create_task(gateway.send(ACCOUNT, attempt()))
    await asyncio.sleep(0)
    assert samples(telemetry.metrics, in_flight) == {'gateway="stripe"': 1}
    await task
    assert samples(telemetry.metrics, "strongroom_gateway_late_answers_total") == {
        'gateway="stripe",operation="send"': 1
    }
    task = asyncio.create_task(gateway.look(ACCOUNT, attempt()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    counted = samples(telemetry.metrics, "strongroom_gateway_call_seconds_count")
    assert counted['answer="broken_off",gateway="stripe",operation="look"'] == 1
    assert samples(telemetry.metrics, in_flight) == {'gateway="stripe"': 0}


async def test_a_failing_adapter_fails_as_before(telemetry):
    broken: Any = Scripted(ValueError("canary"))
    with pytest.raises(ValueError, match="canary"):
        await WatchedGateway("stripe", broken, telemetry).send(ACCOUNT, attempt())


class OneItem:
    """A desk with an item that takes until it is told to end."""

    prefix: Prefix = "pay"

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.did: list[str] = []

    def start(self) -> None:
        self.did.append("start")

    async def drain(self) -> None:
        self.did.append("drain")

    async def claim(self, most: int) -> list[str]:
        return ["item"][:most]

    async def set_aside(self) -> list[Any]:
        return []

    async def advance(self, item: str, lease_ends: float) -> None:
        self.did.append(item)
        await self.told.wait()


async def test_a_desk_tells_what_it_claims_and_what_is_in_flight(telemetry):
    inner = OneItem()
    desk = WatchedDesk("payments", inner, telemetry, in_flight_max=7)
    desk.start()
    (item,) = await desk.claim(5)
    task = asyncio.create_task(desk.advance(item, 0.0))
    await asyncio.sleep(0)
    metrics = telemetry.metrics
    assert samples(metrics, "strongroom_in_flight") == {'lane="payments"': 1}
    assert samples(metrics, "strongroom_in_flight_max") == {'lane="payments"': 7}
    assert samples(metrics, "strongroom_claimed_total") == {'lane="payments"': 1}
    assert samples(metrics, "strongroom_last_claim_timestamp_seconds")['lane="payments"'] > 1e9
    inner.told.set()
    await task
    assert samples(metrics, "strongroom_in_flight") == {'lane="payments"': 0}
    assert await desk.set_aside() == []
    await desk.drain()
    assert inner.did == ["start", "item", "drain"]


async def test_a_batch_is_counted_once_it_is_written_also_when_that_took_two_tries(telemetry):
    tries: list[int] = []

    async def flush(items: Any) -> list[int]:
        tries.append(len(items))
        if len(tries) == 1:
            raise OSError
        return [item + 1 for item in items]

    batcher: Batcher[int, int] = Batcher(
        flush, owner=lambda _: 1, writers=1, telemetry=telemetry.batch("accept")
    )
    futures = [batcher.submit(number) for number in range(3)]
    queue = "strongroom_queue_items"
    assert samples(telemetry.metrics, queue) == {'batch="accept"': 3}
    batcher.start()
    assert await asyncio.gather(*futures) == [1, 2, 3]
    await batcher.drain()
    assert samples(telemetry.metrics, "strongroom_batch_items_sum") == {'batch="accept"': 3}
    assert samples(telemetry.metrics, "strongroom_batch_items_count") == {'batch="accept"': 1}
    assert samples(telemetry.metrics, queue) == {'batch="accept"': 0}


async def test_what_is_on_disk_does_not_fail_for_its_telling(telemetry):
    """A settlement of another shape than the one that is counted."""

    async def flush(items: Any) -> list[int]:
        return list(items)

    batcher: Batcher[int, int] = Batcher(
        flush, owner=lambda _: 1, writers=1, telemetry=telemetry.batch("settle")
    )
    batcher.start()
    with capture_logs() as logged:
        assert await batcher.submit(5) == 5
    await batcher.drain()
    assert [line["event"] for line in logged] == ["telemetry_failed", "batch_written"]


async def test_a_port_that_is_taken_is_had_when_it_becomes_free(telemetry, monkeypatch):
    monkeypatch.setattr("strongroom.telemetry.scrape.BIND_AGAIN_SECONDS", 0.02)
    other = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    page = MetricsPage(telemetry.metrics.text, port)
    with capture_logs() as logged:
        page.start()
        await asyncio.sleep(0.1)
        other.close()
        await other.wait_closed()
        text = b""
        async with asyncio.timeout(30):
            while b"200 OK" not in text:
                await asyncio.sleep(0.02)
                text = await _get(port)
        await page.close()
    assert {line["event"] for line in logged} == {"metrics_port_taken", "metrics_ready"}
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head
    assert b"# TYPE strongroom_errors_total counter" in body


async def _get(port: int) -> bytes:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    text = await reader.read()
    writer.close()
    return text
