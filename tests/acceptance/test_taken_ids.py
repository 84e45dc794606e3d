"""A fresh id that another row has by chance costs a retry, and never the other row."""

import json
from collections.abc import AsyncIterator

import pytest

from strongroom.http import creation, refunds
from strongroom.ids import from_text
from tests.acceptance.client import Api, fresh, item, order
from tests.acceptance.inside import Inside, Said, asked, create, inside, say
from tests.acceptance.running import Running


@pytest.fixture
async def process(running: Running) -> AsyncIterator[Inside]:
    async with inside(running) as parts:
        yield parts


async def test_a_payment_id_that_is_taken_is_safe_to_retry(
    process: Inside, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await api.pay(order(token=None))
    taken = from_text("pay", first.id)
    body, key, one = order(token=None), fresh("key"), item(None)
    with monkeypatch.context() as drawn:
        drawn.setattr(creation, "new_ids", lambda *_: [taken])
        single = await create(process, api.api_key, body, key)
        bulk = await process.operations.bulk(
            asked(api.api_key, {"payments": [one]}, None, "/v1/payments/bulk")
        )
    [result] = json.loads(bulk.body)["results"]
    assert (single.status, result["status"]) == (503, 503)
    for problem in (json.loads(single.body), result["problem"]):
        assert (problem["code"], problem["retry_safe"]) == ("accept_contended", True)
        assert problem["retry_after_seconds"] == 1
    assert ("retry-after", "1") in single.headers
    assert await api.payment(first.id) == first.json
    retry = await api.pay(body, key=key)
    assert (retry.status, retry.replayed) == (201, False)
    assert retry.id != first.id


async def test_a_refund_id_that_is_taken_is_safe_to_retry(
    process: Inside, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = await api.pay(order(), wait=20)
    body, key = {"payment": paid.id, "amount": 100}, fresh("key")
    first = await api.post("/v1/refunds", body, wait=20)
    before = await api.payment(paid.id)

    async def refund() -> Said:
        headers = {
            "authorization": f"Bearer {api.api_key}",
            "idempotency-key": key,
            "content-type": "application/json",
        }
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        return await say(process.plain, "/v1/refunds", lines, [json.dumps(body).encode()])

    with monkeypatch.context() as drawn:
        drawn.setattr(refunds, "new_id", lambda *_: from_text("ref", first.id))
        said = await refund()
    assert (said.status, json.loads(said.body)["code"]) == (503, "accept_contended")
    assert dict(said.headers)[b"retry-after"] == b"1"
    assert await api.payment(paid.id) == before
    retry = await refund()
    assert retry.status == 202
    assert json.loads(retry.body)["id"] != first.id
