"""The page's own origin over plain HTTP, as an attacker meets it."""

import asyncio
import json
import re
from collections import Counter
from typing import Any

import asyncpg
import pytest

from strongroom.ids import from_text
from tests.acceptance.client import Api, fresh, order
from tests.acceptance.running import Running
from tests.acceptance.visitor import Visitor, linked

DECLINED = "pm_card_chargeDeclined"


@pytest.fixture(autouse=True)
async def no_limits_yet(owner: asyncpg.Connection) -> None:
    """All tests come from one address."""
    await owner.execute("DELETE FROM checkout_limits")


async def charged(stripe: Any, reference: str) -> int:
    found = [one for charges in (await stripe.charges()).values() for one in charges]
    of_order = [one for one in found if one["metadata"].get("merchant_reference") == reference]
    return sum(1 for one in of_order if one["captured"])


async def test_the_headers_of_the_page(api: Api, running: Running) -> None:
    _, visitor = await linked(api, running)
    pages = [await visitor.page(), await visitor.page(), await visitor.get("/nothing")]
    policies = [page.headers["Content-Security-Policy"] for page in pages]
    assert len(set(policies)) == 3, "each answer has a nonce of its own"
    for page, policy in zip(pages, policies, strict=True):
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["frame-ancestors"] == "'none'"
        assert "unsafe" not in policy
        assert "*" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert page.headers["Cache-Control"] == "no-store"
        assert "camera=()" in page.headers["Permissions-Policy"]
        assert b"<style" not in page.body
        assert not re.search(rb"<script(?![^>]*\ssrc=)", page.body)
        assert not re.search(rb'\s(?:on\w+|style)="', page.body)


async def test_what_a_merchant_writes_is_text(api: Api, running: Running) -> None:
    text = "<script>alert(1)</script>\"'&"
    _, visitor = await linked(api, running, description=text, merchant_reference=text + fresh("o"))
    body = (await visitor.page()).body
    assert b"<script>alert" not in body
    assert b"&lt;script&gt;alert(1)" in body


async def test_only_a_digest_of_the_link_is_kept(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor = await linked(api, running)
    row = await owner.fetchrow(
        "SELECT * FROM checkout_links WHERE payment_id = $1", from_text("pay", payment)
    )
    secret = visitor.token.partition(".")[2]
    assert len(secret) == 43
    assert row is not None
    assert secret not in str(dict(row))
    answer = await api.get(f"/v1/payments/{payment}/checkout_link")
    assert answer.json["url"] is None


async def test_a_wrong_address_finds_nothing(api: Api, running: Running) -> None:
    payment, visitor = await linked(api, running)
    other, _ = await linked(api, running)
    secret = visitor.token.partition(".")[2]
    wrong = [
        payment, f"{payment}.", f"{payment}.{'x' * 43}", f"{other}.{secret}",
        f"{payment}.{secret[:-1]}", f"{payment}.{secret}x", f"pay_{'0' * 26}.{secret}",
        f"%00{visitor.token}", f"{payment}.{secret.swapcase()}",
    ]  # fmt: skip
    for token in wrong:
        stranger = Visitor(running, token)
        assert (await stranger.page()).status == 404, token
        assert (await stranger.attempt(1)).status == 404, token
    assert (await visitor.state())["step"] == "open"


async def test_another_name_for_the_server_shows_no_page(api: Api, running: Running) -> None:
    _, visitor = await linked(api, running)
    for host in ("127.0.0.1", "evil.example", visitor.host + ".evil.example", ""):
        answer = await visitor.get(f"/pay/{visitor.token}", Host=host)
        assert answer.status in (400, 421), host
        assert b"Example Ltd" not in answer.body


async def test_no_other_site_can_pay(api: Api, running: Running) -> None:
    payment, visitor = await linked(api, running)
    assert (await visitor.attempt(1, Origin="https://evil.example")).status == 404
    assert (await visitor.attempt(1, Origin="null")).status == 404
    assert (await visitor.attempt(1, Content_Type="text/plain")).status == 404
    assert (await api.get(f"/v1/payments/{payment}")).json["status"] == "requires_payment_method"
    assert (await visitor.state())["number"] == 1


async def test_a_card_number_is_refused_unread(api: Api, running: Running) -> None:
    _, visitor = await linked(api, running)
    answer = await visitor.attempt(1, "4242424242424242")
    assert answer.status == 422
    assert json.loads(answer.body)["code"] == "card_number_refused"
    assert (await visitor.attempt(1, "pm_4242424242424242")).status == 422
    made_up = answer.headers["X-Request-Id"].encode()  # may have any digits in it
    assert b"4242" not in answer.body.replace(made_up, b"")
    assert (await visitor.state())["number"] == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"try": 1}', b'{"try": "1", "account": "%s", "token": "pm_card_visa"}',
     b'{"try": 1, "account": "%s", "token": "pm_card_visa", "amount": 1}',
     b'{"try": 1, "account": "%s", "token": "tok_visa"}', b'{"try": 1, "token": "pm_card_visa"}',
     b'{"try": 1, "account": "%s", "token": null}', b"[" * 3000],
)  # fmt: skip
async def test_what_is_no_try_is_refused(api: Api, running: Running, body: bytes) -> None:
    _, visitor = await linked(api, running)
    path = f"/pay/{visitor.token}/tries"
    body = body.replace(b"%s", visitor.account.encode())
    answer = await visitor.send(
        "POST", path, body, Origin=visitor.origin, Content_Type="application/json"
    )
    assert 400 <= answer.status < 500, answer
    assert (await visitor.state())["number"] == 1


async def test_one_try_sent_many_times_charges_once(
    api: Api, running: Running, stripe: Any
) -> None:
    reference = fresh("order")
    payment, visitor = await linked(api, running, merchant_reference=reference)
    answers = await asyncio.gather(*(visitor.attempt(1) for _ in range(20)))
    assert {answer.status for answer in answers} <= {202, 409}
    await visitor.until("paid")
    assert (await visitor.attempt(1)).status == 202
    assert (await visitor.attempt(2)).status == 409
    assert await charged(stripe, reference) == 1
    assert (await api.get(f"/v1/payments/{payment}/checkout_link")).json["tries"] == 1


async def test_tries_after_a_decline_that_race_charge_once(
    api: Api, running: Running, stripe: Any
) -> None:
    reference = fresh("order")
    payment, visitor = await linked(
        api, running, merchant_reference=reference, description="Row 7", metadata={"cart": "9"}
    )
    assert (await visitor.attempt(1, DECLINED)).status == 202
    told = await visitor.until("open")
    assert (told["number"], "was declined" in told["message"]) == (2, True)
    await asyncio.gather(*(visitor.attempt(number) for number in (2, 3, 2, 4, 3, 2)))
    await visitor.until("paid")
    assert await charged(stripe, reference) == 1
    link = (await api.get(f"/v1/payments/{payment}/checkout_link")).json
    current = (await api.get(f"/v1/payments/{link['current_payment']}")).json
    assert (link["status"], current["status"]) == ("paid", "succeeded")
    assert (current["description"], current["metadata"]) == ("Row 7", {"cart": "9"})
    assert (current["amount"], current["merchant_reference"]) == (1999, reference)


async def test_an_order_that_is_paid_elsewhere_is_not_paid_here(
    api: Api, running: Running, stripe: Any
) -> None:
    reference = fresh("order")
    _, visitor = await linked(api, running, merchant_reference=reference)
    await visitor.attempt(1, DECLINED)
    await visitor.until("open")
    paid = await api.pay(order(merchant_reference=reference), wait=20)
    assert paid.json["status"] == "succeeded"
    answer = await visitor.attempt(2)
    assert json.loads(answer.body)["message"].startswith("This order is being paid in another way")
    assert await charged(stripe, reference) == 1


async def test_a_link_ends_when_it_is_revoked_replaced_or_its_payment_canceled(
    api: Api, running: Running
) -> None:
    payment, first = await linked(api, running)
    answer = await api.post(f"/v1/payments/{payment}/checkout_link", {})
    assert (await first.page()).status == 404
    second = Visitor(running, answer.json["url"].rpartition("/")[2])
    await api.post(f"/v1/payments/{payment}/checkout_link/revoke", {})
    assert (await second.state())["step"] == "closed"
    assert (await second.attempt(1)).status == 409
    payment, third = await linked(api, running)
    await api.cancel(payment)
    assert (await third.until("closed"))["message"].startswith("This payment was canceled")
    assert (await third.attempt(1)).status == 409


async def test_a_link_that_has_expired(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor = await linked(api, running)
    await owner.execute(
        "UPDATE checkout_links SET expires_at = created_at WHERE payment_id = $1",
        from_text("pay", payment),
    )
    assert (await visitor.state())["message"].startswith("This link has expired")
    assert (await visitor.attempt(1)).status == 409


async def test_a_foreign_legal_entity_has_no_part_in_it(
    api: Api, other_api: Api, running: Running
) -> None:
    payment, visitor = await linked(api, running)
    for method, end in (("GET", ""), ("POST", ""), ("POST", "/revoke")):
        path = f"/v1/payments/{payment}/checkout_link{end}"
        answer = await (other_api.get(path) if method == "GET" else other_api.post(path, {}))
        assert answer.status in (404, 422), answer
    assert (await visitor.state())["step"] == "open"


async def test_the_way_back_from_the_bank_needs_the_cookie(api: Api, running: Running) -> None:
    payment, visitor = await linked(api, running)
    cookie = (await visitor.page()).headers["Set-Cookie"]
    assert "HttpOnly; SameSite=Lax" in cookie
    assert f"Path=/back/{payment}" in cookie
    lost = await visitor.get(f"/back/{payment}")
    assert (lost.status, b"Example Ltd" in lost.body) == (200, False)
    path = f"/back/{payment}?payment_intent=pi_1&redirect_status=succeeded"
    back = await visitor.get(path, Cookie=cookie.partition(";")[0])
    assert (back.status, back.headers["Location"]) == (303, f"/pay/{visitor.token}")


async def test_reports_are_counted_bounded_and_hold_no_address(
    api: Api, running: Running, owner: asyncpg.Connection
) -> None:
    payment, visitor = await linked(api, running)
    await owner.execute("DELETE FROM checkout_reports")

    async def report(blocked: str, directive: str = "script-src-elem") -> int:
        page = f"{visitor.origin}/pay/{visitor.token}"
        body = {"csp-report": {"document-uri": page, "effective-directive": directive,
            "blocked-uri": blocked, "script-sample": "secret()"}}  # fmt: skip
        answer = await visitor.send(
            "POST", f"/reports/{payment}", json.dumps(body).encode(),
            Content_Type="application/csp-report",
        )  # fmt: skip
        await asyncio.sleep(0.25)  # a few a second are taken
        return answer.status

    assert await report("https://evil.example/skim.js?card=1") == 204
    assert await report("https://evil.example/other.js") == 204
    assert await report("https://4242424242424242.example/x", "made-up") == 204
    rows = await owner.fetch("SELECT directive, blocked, reports FROM checkout_reports")
    counted = Counter[tuple[str, str]]()
    for row in rows:  # by day, of which there are two where midnight lies between
        counted[row["directive"], row["blocked"]] += row["reports"]
    assert counted == {("script-src-elem", "https://evil.example"): 2, ("other", "other"): 1}
    for body in (b"", b"{}", b"[" * 2000, b"x" * 9000):
        await visitor.send("POST", f"/reports/{payment}", body)
    await asyncio.gather(
        *(visitor.send("POST", f"/reports/{payment}",
            json.dumps({"csp-report": {"blocked-uri": f"https://{n}.example"}}).encode())
          for n in range(60))
    )  # fmt: skip
    assert await owner.fetchval("SELECT count(*) FROM checkout_reports") < 30
