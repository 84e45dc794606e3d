"""What a collector gets of a span with a secret or a card number in it: neither."""

import asyncio
import random

from strongroom.clock import ShiftedClock
from strongroom.ids import new_entity_id, new_id, to_text
from strongroom.telemetry import logs
from strongroom.telemetry.traces import Traces
from strongroom.vault.cards import BLOT, holds_card_number
from strongroom.vault.secret import Secret
from tests.acceptance.collector import Collector, Seen, collecting
from tests.unit.disguises import DISGUISES, card_number

CANARY = "canary-81c2"


async def sent(spans: list[tuple[str, dict[str, object]]]) -> tuple[Collector, list[Seen]]:
    async with collecting() as collector:
        traces = Traces(collector.url, one_in=1, service="test", clock=ShiftedClock())
        for name, attributes in spans:
            traces.span(name, 0.1, attributes)  # type: ignore[arg-type]
        await asyncio.to_thread(traces.close)
        return collector, collector.spans


async def test_a_secret_is_left_out_and_counted() -> None:
    before = logs.TALLY.keys_dropped
    attributes = {"request.id": Secret(CANARY), "batch.name": Secret(CANARY), "batch.items": 3}
    collector, (span,) = await sent([("commit", attributes)])
    assert span.attributes == {"batch.items": 3}
    assert CANARY.encode() not in collector.raw
    assert logs.TALLY.keys_dropped == before + 2


async def test_a_card_number_is_in_no_name_or_value_whatever_its_disguise() -> None:
    draw = random.Random(7)
    texts = [
        disguise(card_number(draw), draw) for disguise in DISGUISES.values() for _ in range(20)
    ]
    spans: list[tuple[str, dict[str, object]]] = []
    for text in texts:
        spans += [
            (f"commit {text}", {"gateway.answer": text, "request.id": text, "batch.items": 1}),
            ("commit", {"batch.items": 4242424242424242}),
        ]
    _, seen = await sent(spans)
    assert len(seen) == len(spans)
    for span in seen:
        told = [span.name, *map(str, span.attributes.values())]
        assert not any(holds_card_number(text.encode()) for text in told)
        assert BLOT in "".join(told)


async def test_an_id_is_told_whole() -> None:
    identifier = to_text("pay", new_id(0, new_entity_id(0)))
    _, (span,) = await sent([("POST /v1/payments", {"payment.id": identifier})])
    assert (span.name, span.attributes) == ("POST /v1/payments", {"payment.id": identifier})
