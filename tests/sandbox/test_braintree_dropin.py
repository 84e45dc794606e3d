"""The origin of the browser script: its files, nonces of test card numbers, 3D Secure."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.plugins.parts import require
from tests.sandbox.braintree_server import MERCHANT, codes, gate, own_braintree, shared_braintree

__all__ = ["gate", "own_braintree", "shared_braintree"]

HOST = {"Host": "js.braintree.localhost"}
API = f"/merchants/{MERCHANT}/client_api/v1"
VISA = "4111111111111111"
CHALLENGED = "4000000000001091"
PASSES = {"status": "authenticate_successful", "liabilityShifted": True}


def fingerprint(server, **params) -> str:
    token = server.gateway().client_token.generate(params)
    given: str = json.loads(base64.b64decode(token))["authorizationFingerprint"]
    return given


def post(server, path, content, **headers):
    status, _, body = server.raw(
        "POST", path, json.dumps(content), **HOST, **{"Content_Type": "application/json", **headers}
    )
    return status, json.loads(body) if body else None


def enter(server, number=VISA, **more):
    card = {"number": number, "expirationMonth": "12", "expirationYear": "34", "cvv": "123"}
    content = {"authorizationFingerprint": fingerprint(server), "creditCard": card | more}
    return post(server, API + "/payment_methods/credit_cards", content)


def nonce_of(server, number=VISA):
    status, body = enter(server, number)
    assert status == 200, body
    return body["creditCards"][0]["nonce"]


def look_up(server, nonce, amount="10.00", account="usd"):
    content = {
        "authorizationFingerprint": fingerprint(server, merchant_account_id=account),
        "amount": amount,
    }
    return post(server, f"{API}/payment_methods/{nonce}/three_d_secure/lookup", content)


def finish(server, token):
    content = {"authorizationFingerprint": fingerprint(server), "outcome": "done"}
    return post(server, f"{API}/challenges/{token}/result", content)


def at_the_bank(server, token, outcome):
    return post(server, f"/web/dropin/1/challenges/{token}", {"outcome": outcome})[0]


def test_a_number_makes_a_nonce_that_pays_once(gate):
    nonce = nonce_of(gate)
    sold = gate.sell(payment_method_nonce=nonce)
    assert sold.transaction.credit_card_details.masked_number == "411111******1111"
    assert codes(gate.sell(payment_method_nonce=nonce)) == ["91564"]


@pytest.mark.parametrize(
    ("number", "code"),
    [("4000111111111115", "2000"), ("5105105105105100", "2000"), ("3566002020360505", "3000")],
)
def test_a_card_that_declines(gate, number, code):
    declined = gate.sell(payment_method_nonce=nonce_of(gate, number)).transaction
    assert declined.processor_response_code == code


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"number": "4111111111111112"}, "81715"),
        ({"number": ""}, "81715"),
        ({"number": "4242424242424242"}, "81717"),
        ({"expirationMonth": "13"}, "81712"),
        ({"expirationYear": "20"}, "81713"),
        ({"expirationYear": "²²"}, "81713"),
        ({"cvv": "12"}, "81707"),
    ],
)
def test_what_is_wrong_is_told_without_the_number(gate, changed, code):
    status, body = enter(gate, **changed)
    assert status == 422
    assert body["fieldErrors"][0]["fieldErrors"][0]["code"] == code
    assert not re.search(r"[0-9]{12}", json.dumps(body))


def test_only_a_client_token_of_ours_opens(gate):
    card = {"number": VISA, "expirationMonth": "12", "expirationYear": "34", "cvv": "123"}
    good = fingerprint(gate)
    until, account, digest = good.split(".")
    for wrong in ("", good + "x", f"{int(until) + 9}.{account}.{digest}", f"1.{account}.{digest}"):
        content = {"authorizationFingerprint": wrong, "creditCard": card}
        assert post(gate, API + "/payment_methods/credit_cards", content)[0] == 403
    content = {"authorizationFingerprint": good, "creditCard": card, "colour": "red"}
    assert post(gate, API + "/payment_methods/credit_cards", content)[0] == 422


def test_a_client_token_is_good_for_a_day(own_braintree):
    card = {"number": VISA, "expirationMonth": "12", "expirationYear": "34", "cvv": "123"}
    content = {"authorizationFingerprint": fingerprint(own_braintree), "creditCard": card}
    own_braintree.advance(24 * 3600 + 1)
    assert post(own_braintree, API + "/payment_methods/credit_cards", content)[0] == 403


def test_another_site_cannot_make_nonces(gate):
    card = {"number": VISA, "expirationMonth": "12", "expirationYear": "34", "cvv": "123"}
    content = {"authorizationFingerprint": fingerprint(gate), "creditCard": card}
    path = API + "/payment_methods/credit_cards"
    assert post(gate, path, content, Sec_Fetch_Site="cross-site")[0] == 403
    assert post(gate, path, content, Content_Type="text/plain")[0] == 403


def test_the_number_is_kept_nowhere(own_braintree):
    nonce_of(own_braintree)
    enter(own_braintree, "4242424242424242")
    for file in own_braintree.data.parent.rglob("*"):
        if file.is_file():
            held = file.read_bytes().replace(b" ", b"")
            assert VISA.encode() not in held, file
            assert b"4242424242424242" not in held, file


@pytest.mark.parametrize(
    ("number", "status", "shifted"),
    [
        (VISA, "lookup_not_enrolled", False),
        ("4000000000001000", "authenticate_successful", True),
        ("4000000000001018", "authenticate_failed", False),
    ],
)
def test_a_lookup_uses_a_nonce_up_and_makes_one_that_knows_its_outcome(
    gate, number, status, shifted
):
    nonce = nonce_of(gate, number)
    answer, body = look_up(gate, nonce)
    assert (answer, body["challenge"]) == (200, None)
    made = body["paymentMethod"]
    assert made["threeDSecureInfo"]["status"] == status
    assert look_up(gate, nonce)[0] == 404
    assert codes(gate.sell(payment_method_nonce=nonce)) == ["91564"]
    info = gate.gateway().payment_method_nonce.find(made["nonce"]).three_d_secure_info
    assert (info.status, info.liability_shifted) == (status, shifted)


def test_the_amount_that_was_authenticated_is_the_one_that_is_charged(gate):
    _, body = look_up(gate, nonce_of(gate, "4000000000001000"), amount="10.00")
    nonce = body["paymentMethod"]["nonce"]
    assert codes(gate.sell(payment_method_nonce=nonce, amount="11.00")) == ["91585"]
    assert codes(gate.sell(payment_method_nonce=nonce, merchant_account_id="eur")) == ["91584"]
    assert gate.sell(payment_method_nonce=nonce).is_success
    assert look_up(gate, nonce_of(gate), amount="1e9")[0] == 422


@pytest.mark.parametrize(("outcome", "shifted"), [("passed", True), ("failed", False)])
def test_a_challenge_ends_as_the_bank_says(gate, outcome, shifted):
    _, body = look_up(gate, nonce_of(gate, CHALLENGED))
    token = body["challenge"]
    assert at_the_bank(gate, token, outcome) == 200
    # Who has answered cannot think again, and an end is fetched once.
    assert at_the_bank(gate, token, "passed") == 404
    status, body = finish(gate, token)
    assert status == 200
    assert body["paymentMethod"]["threeDSecureInfo"]["liabilityShifted"] is shifted
    assert finish(gate, token)[0] == 404
    required = {"three_d_secure": {"required": True}}
    sold = gate.sell(payment_method_nonce=body["paymentMethod"]["nonce"], options=required)
    assert sold.is_success is shifted


def test_a_page_that_claims_success_has_failed_where_the_bank_was_not_asked(gate):
    _, body = look_up(gate, nonce_of(gate, CHALLENGED))
    _, body = finish(gate, body["challenge"])
    assert body["paymentMethod"]["threeDSecureInfo"]["liabilityShifted"] is False


@pytest.mark.parametrize(
    "name", ["js/dropin.js", "fields.html", "fields.js", "fields.css", "challenge.html"]
)
def test_its_files_are_served_on_their_own_host_alone(gate, name):
    status, headers, body = gate.raw("GET", "/web/dropin/1/" + name, **HOST)
    assert status == 200
    assert body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert gate.raw("GET", "/web/dropin/1/" + name)[0] == 404


def test_its_host_serves_nothing_else(gate):
    for path in (f"/merchants/{MERCHANT}/transactions/x", "/_knobs", "/_ledger/charges", "/"):
        assert gate.raw("GET", path, **HOST)[0] == 404, path


PAGE = """<!doctype html><html lang="en"><title>Shop</title>
<div id="here"></div><button id="pay">Pay</button><p id="said"></p>
<script src="{script}"></script><script src="/shop.js"></script></html>"""
SHOP = """
const said = document.getElementById("said");
braintree.dropin.create({{ authorization: "{token}", container: "#here" }}).then((drop) => {{
  drop.on("paymentMethodRequestable", () => {{ said.dataset.complete = "yes"; }});
  document.getElementById("pay").addEventListener("click", () => {{
    drop.requestPaymentMethod({{ threeDSecure: {{ amount: "10.00" }} }}).then(
      (payload) => {{ said.textContent = JSON.stringify(payload); }},
      (error) => {{ said.textContent = "refused: " + error.message; }},
    );
  }});
  said.dataset.ready = "yes";
}});
"""


class Shop(ThreadingHTTPServer):
    """A page that loads the script from the stand-in, under a policy as strict as can be."""

    def __init__(self, server) -> None:
        super().__init__(("127.0.0.1", 0), Serving)
        self.origin = server.url.replace("127.0.0.1", "js.braintree.localhost")
        self.page = PAGE.format(script=self.origin + "/web/dropin/1/js/dropin.js")
        self.script = SHOP.format(token=server.gateway().client_token.generate())
        self.url = f"http://shop.localhost:{self.server_address[1]}/"


class Serving(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        is_page = self.path == "/"
        body = (self.server.page if is_page else self.server.script).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if is_page else "text/javascript")
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src 'self' {self.server.origin}; "
            f"frame-src {self.server.origin}; style-src 'self'",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop(gate) -> Iterator[Shop]:
    server = Shop(gate)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def page(shop) -> Iterator[object]:
    require("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        opened = browser.new_page()
        opened.set_default_timeout(60_000)
        opened.goto(shop.url)
        opened.wait_for_selector("#said[data-ready=yes]", state="attached")
        yield opened
        browser.close()


def fill(page, number: str) -> None:
    fields = page.frame_locator("#here iframe")
    fields.get_by_label("Card number").fill(number)
    fields.get_by_label("Expiration").fill("1234")
    fields.get_by_label("Security code").fill("123")


def said(page) -> str:
    page.wait_for_selector("#said:not(:empty)", state="attached")
    text: str = page.locator("#said").text_content()
    return text


@pytest.mark.needs("chromium")
def test_in_a_browser_a_card_is_typed_into_a_frame_of_another_origin(gate, page, shop):
    asked: list[tuple[str, str]] = []
    page.on("request", lambda request: asked.append((request.url, request.post_data or "")))
    fill(page, VISA)
    page.wait_for_selector("#said[data-complete=yes]", state="attached")
    page.click("#pay")
    payload = json.loads(said(page))
    assert payload["details"]["lastFour"] == "1111"
    assert gate.sell(payment_method_nonce=payload["nonce"]).is_success
    assert {url.partition("//")[2].partition("/")[0] for url, _ in asked} == {
        shop.origin.partition("//")[2]
    }
    assert VISA not in page.content()


@pytest.mark.needs("chromium")
@pytest.mark.parametrize(
    ("button", "shifted"), [("Complete authentication", True), ("Fail authentication", False)]
)
def test_in_a_browser_a_challenge_is_passed_or_failed(gate, page, button, shifted):
    fill(page, CHALLENGED)
    page.click("#pay")
    page.frame_locator("dialog iframe").get_by_role("button", name=button).click()
    payload = json.loads(said(page))
    assert payload["liabilityShifted"] is shifted
    required = {"three_d_secure": {"required": True}}
    sold = gate.sell(payment_method_nonce=payload["nonce"], options=required)
    assert sold.is_success is shifted


@pytest.mark.needs("chromium")
def test_in_a_browser_escape_leaves_the_challenge_and_a_wrong_number_is_told(gate, page):
    fill(page, "4242424242424242")
    page.click("#pay")
    assert said(page) == "refused: Credit card is invalid"
    page.evaluate("document.getElementById('said').textContent = ''")
    fill(page, CHALLENGED)
    page.click("#pay")
    button = page.frame_locator("dialog iframe").get_by_role("button", name="Fail")
    # The frame goes with the key, and then nobody is left who would tell that it came.
    with suppress(PlaywrightTimeout):
        button.press("Escape", timeout=10_000)
    assert json.loads(said(page))["liabilityShifted"] is False
