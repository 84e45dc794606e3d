"""What a running deployment tells of itself: request ids, metrics, logs."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.acceptance.client import Api, fresh, order, until
from tests.acceptance.running import Running
from tests.watching import family_of, watched_metrics

GIVEN = "shop.checkout-7_A"
MADE = re.compile(r"req_[a-p]{24}")


async def scrape(session: aiohttp.ClientSession, running: Running, name: str) -> str:
    async with session.get(running.metrics_urls[name]) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        return await answer.text()


async def scrape_all(session: aiohttp.ClientSession, running: Running) -> dict[str, str]:
    return {name: await scrape(session, running, name) for name in running.metrics_urls}


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found and all(f'{key}="{text}"' in (found[1] or "") for key, text in labels.items()):
            total += float(found[2])
    return total


def api_names(running: Running) -> list[str]:
    return [name for name in running.metrics_urls if name.startswith("api")]


@pytest.fixture(autouse=True)
async def every_process_runs(running: Running, session: aiohttp.ClientSession) -> None:
    """The API is ready before the worker is, and payments can wait for that; a scrape cannot."""

    async def answers() -> bool:
        try:
            return len(await scrape_all(session, running)) > 1
        except aiohttp.ClientConnectionError:
            return False

    await until(answers)


# Request ids.


@pytest.mark.parametrize("given", [GIVEN, None, "not one", "4242424242424241"])
async def test_every_answer_carries_a_request_id(api, given):
    headers = {"X-Request-Id": given} if given else {}
    paid = await api.post("/v1/payments", order(), headers=headers)
    asked = [
        paid,
        await api.post("/v1/payments", order(amount=-1), headers=headers),
        await api.post("/v1/payments", b"{", headers=headers),
        await api.post("/v1/payments", b"x" * 70_000, headers=headers),
        await api.with_key("sr_dev_x").post("/v1/payments", order(), headers=headers),
        await api.post(f"/v1/payments/{paid.id}/confirm", {}, headers=headers),
        await api.post("/v1/payments/pay_x/confirm", {}, headers=headers),
        await api.post("/nowhere", {}, headers=headers),
        await api.post("/healthz", {}, headers=headers),
        await api.post("/v1/payments?x=1", order(), headers=headers),
    ]
    assert {answer.status for answer in asked} >= {202, 400, 401, 404, 405, 413, 422}
    for answer in asked:
        (told,) = answer.headers.getall("X-Request-Id")
        assert told == GIVEN if given == GIVEN else MADE.fullmatch(told), answer
    assert len({answer.headers["X-Request-Id"] for answer in asked}) == (
        1 if given == GIVEN else len(asked)
    )


async def test_pages_and_reads_carry_one_too(api, running, session):
    for path in ("/healthz", "/readyz", "/returned", "/v1/payments"):
        headers = {"Authorization": f"Bearer {running.api_key}", "X-Request-Id": GIVEN}
        async with session.get(running.api_url + path, headers=headers) as answer:
            assert (answer.status, answer.headers["X-Request-Id"]) == (200, GIVEN)


async def test_requests_on_one_connection_do_not_share_an_id(running):
    """Pipelined: the second is read before the first is answered."""
    parts = urlsplit(running.api_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\r\n"
    two = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    writer.write(one + two)
    text = await reader.read()
    writer.close()
    ids = re.findall(rb"x-request-id: (\S+)", text)
    assert ids[0] == b"first"
    assert MADE.fullmatch(ids[1].decode())


# Metrics.


async def test_each_process_tells_of_itself_so_that_a_scrape_sees_no_halves(
    running: Running, session: aiohttp.ClientSession
) -> None:
    names = api_names(running)
    count = 40

    async def seen() -> list[float]:
        texts = [await scrape(session, running, name) for name in names]
        return [value(t, "strongroom_http_requests_total", route="GET /returned") for t in texts]

    before = await seen()
    for _ in range(count):
        async with aiohttp.ClientSession() as other, other.get(f"{running.api_url}/returned"):
            pass
    after = await seen()
    assert sum(after) - sum(before) == count
    assert await seen() == after  # asking tells the same again, whoever the kernel would pick
    assert len(names) == 1 or all(a > b for a, b in zip(after, before, strict=True))


async def test_metrics_are_not_on_the_public_port_and_only_on_loopback(running, session):
    async with session.get(f"{running.api_url}/metrics") as answer:
        assert answer.status == 404
    for url in running.metrics_urls.values():
        port = urlsplit(url).port
        for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                assert probe.connect_ex((address, port)) != 0
        async with session.get(url.replace("/metrics", "/")) as answer:
            assert answer.status == 404
        async with session.post(url) as answer:
            assert answer.status == 404


async def test_a_stranger_on_the_port_of_metrics_is_not_waited_for(running, session):
    parts = urlsplit(running.metrics_urls["worker"])
    silent = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(4)]
    _, loud = await asyncio.open_connection(parts.hostname, parts.port)
    loud.write(b"x" * 100_000)
    assert "strongroom_open" in await scrape(session, running, "worker")
    for _, writer in silent:
        writer.close()
    loud.close()


async def test_every_metric_that_is_watched_is_told_by_the_deployment(
    running: Running, session: aiohttp.ClientSession, api: Api
) -> None:
    await api.until((await api.pay(order())).id, "succeeded")
    wanted = {family_of(name) for name in watched_metrics()}

    async def told() -> bool:
        texts = "".join((await scrape_all(session, running)).values())
        return wanted <= set(re.findall(r"^# TYPE (\S+) ", texts, re.MULTILINE))

    try:
        await until(told)
    except TimeoutError:
        texts = "".join((await scrape_all(session, running)).values())
        missing = wanted - set(re.findall(r"^# TYPE (\S+) ", texts, re.MULTILINE))
        pytest.fail(f"watched and not told: {sorted(missing)}")


async def test_what_happens_to_a_payment_is_counted(running, session, api, owner):
    def authorizations(text: str, **labels: str) -> float:
        return value(text, "strongroom_authorizations_total", gateway="stripe", **labels)

    async def nothing_is_due() -> bool:  # of what other tests have left under way
        return not await owner.fetchval(
            "SELECT count(*) FROM jobs WHERE held OR run_at <= now() + interval '1 second'"
        )

    async def declined_too() -> bool:  # it is counted after the commit
        text = await scrape(session, running, "worker")
        asked = {"decline": "insufficient_funds"}
        return authorizations(text, **asked) > authorizations(before, **asked)

    await until(nothing_is_due)
    before = await scrape(session, running, "worker")
    await api.until((await api.pay(order())).id, "succeeded")
    declined = "pm_card_chargeDeclinedInsufficientFunds"
    await api.until((await api.pay(order(declined))).id, "failed")
    await until(declined_too)
    after = await scrape(session, running, "worker")
    for labels in ({"result": "approved"}, {"decline": "insufficient_funds"}):
        assert authorizations(after, **labels) - authorizations(before, **labels) == 1
    calls = "strongroom_gateway_call_seconds_count"
    assert value(after, calls, operation="send") - value(before, calls, operation="send") == 2


async def test_a_refusal_is_counted_by_its_code(running, session, api):
    async def refusals() -> float:
        texts = "\n".join([await scrape(session, running, name) for name in api_names(running)])
        return value(texts, "strongroom_refusals_total", code="payment_not_found")

    async def one_more() -> bool:
        return await refusals() > before

    before = await refusals()
    await api.get("/v1/payments/pay_x")
    await until(one_more)
    assert await refusals() == before + 1


async def test_an_open_payment_is_seen_with_its_age(running, session, api):
    await api.until((await api.pay(order("pm_card_threeDSecure2Required"))).id, "requires_action")

    async def told() -> bool:
        text = await scrape(session, running, "worker")
        labels = {"lane": "payments", "status": "requires_action"}
        return (
            value(text, "strongroom_open", **labels) >= 1
            and value(text, "strongroom_open_oldest_seconds", **labels) > 0
        )

    await until(told)


async def test_no_series_is_made_by_an_id_a_key_or_a_path(running, session, api):
    canary = fresh("canary")
    paid = await api.pay(order(merchant_reference=canary), key=canary)
    await api.get(f"/v1/payments/{paid.id}")
    await api.get(f"/{canary}")
    await api.get("/v1/payments", **{canary: "x"})
    for text in (await scrape_all(session, running)).values():
        for word in (canary, paid.id, running.legal_entity, "pay_0", "ent_0", "pm_card"):
            assert word not in text


# Logs.


async def test_the_way_of_a_payment_leaves_lines_for_batches_and_none_for_requests(running, api):
    names = [f"{name}.log" for name in api_names(running)]
    before = {name: len(running.log_texts()[name]) for name in names}
    paid = await asyncio.gather(*(api.pay(order(token=None)) for _ in range(40)))
    assert {answer.status for answer in paid} == {201}
    written: list[dict[str, object]] = []

    async def all_told() -> bool:  # the line of a batch may come after its answers
        texts = running.log_texts()
        new = [x for name in names for x in texts[name][before[name] :].splitlines(keepends=True)]
        lines = [json.loads(x) for x in new if x.endswith("\n")]
        written[:] = [line for line in lines if line["event"] == "batch_written"]
        accepted = [line for line in written if line["batch"] == "accept"]
        return sum(int(str(line["items"])) for line in accepted) >= 40

    await until(all_told)
    assert 1 <= len(written) < 40


async def test_no_log_says_what_a_request_said(running, api):
    canary = fresh("canary")
    body = order(
        merchant_reference=canary, description=canary, metadata={"a": canary},
        return_url=f"https://{canary}.example/",
    )  # fmt: skip
    await api.post("/v1/payments", body, key=canary, wait=10)
    await api.post("/v1/payments", body | {"instrument": {"gateway": canary, "token": canary}})
    await api.with_key(canary).post("/v1/payments", body)
    await api.post(f"/v1/payments/{canary}/confirm", {canary: canary})
    for name, text in running.log_texts().items():
        assert canary not in text, name


def test_what_is_switched_off_is_not_loaded():
    code = (
        "import sys\n"
        "from strongroom.telemetry.chosen import telemetry_of\n"
        "from strongroom.clock import SystemClock\n"
        "from strongroom.config import Settings\n"
        "from strongroom.telemetry.port import NO_TELEMETRY\n"
        "off = telemetry_of(Settings(telemetry=False), SystemClock(), 'x', 9)\n"
        "assert off is NO_TELEMETRY\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "on = telemetry_of(Settings(), SystemClock(), 'x', None)\n"
        "assert on is not NO_TELEMETRY\n"
        "assert 'opentelemetry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
