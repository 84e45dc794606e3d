"""A deployment and a real Chromium; all that a page asks for is written down."""

import base64
import hashlib
import json
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.acceptance.client import fresh
from tests.acceptance.running import Running, up
from tests.browser.gateways import BRAINTREE, ROUTES, STRIPE, Gateway
from tests.plugins.parts import require

SEEN = Path(__file__).parent / "seen"
"""Screenshots of the last run; git ignores them."""
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESKTOP: ViewportSize = {"width": 1024, "height": 768}
PHONE: ViewportSize = {"width": 320, "height": 640}
CLIENT_SECONDS_MAX = 60
WAIT_MILLISECONDS = 60_000
PAINTED_MILLISECONDS = 300

expect.set_options(timeout=WAIT_MILLISECONDS)


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    """`strongroom up` with data of its own; dollars go to Braintree, with 3-D Secure."""
    require("chromium")
    folder = Path(tempfile.mkdtemp(prefix="strongroom-browser-"))
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "routes.toml").write_text(ROUTES)
    script = resources.files("strongroom_sandbox.braintree.dropin").joinpath("dropin.js")
    digest = base64.b64encode(hashlib.sha384(script.read_bytes()).digest()).decode()
    settings = {"mode": "dev", "checkout_integrity": {"braintree": f"sha384-{digest}"}}
    (home / "strongroom.json").write_text(json.dumps(settings))
    try:
        with up(home) as started:
            entity = started.legal_entity
            for line in started.command(
                "gateway-accounts", "currencies", "--entity", entity
            ).splitlines():
                account, currency, paid_to = line.split()[:3]
                if currency == BRAINTREE.currency:
                    started.command(
                        "gateway-accounts", "pay-to", account, currency, paid_to, "--three-d-secure"
                    )
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, until the last test here: its driver keeps a loop running in the main thread.

    While that runs, no test of another folder could run a coroutine.
    """
    require("chromium")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(found for name in names if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=[STRIPE, BRAINTREE], ids=lambda one: one.name)
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Whose fields are shown; each test is told once for each."""
    chosen: Gateway = request.param
    return chosen


class Shop:
    """A merchant: makes payments and links by the API."""

    def __init__(self, running: Running, gateway: Gateway) -> None:
        self.running, self.gateway = running, gateway

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = {
            "Authorization": f"Bearer {self.running.api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": fresh("browser"),
        }
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.running.api_url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=CLIENT_SECONDS_MAX) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def payment(self, **more: Any) -> dict[str, Any]:
        status, made = self.ask(
            "POST",
            "/v1/payments",
            {
                "amount": 1999,
                "currency": self.gateway.currency,
                "merchant_reference": fresh("order"),
                **more,
            },
        )
        assert status in (201, 202, 200), made
        found: dict[str, Any] = made
        return found

    def link(self, payment: dict[str, Any]) -> str:
        status, made = self.ask("POST", f"/v1/payments/{payment['id']}/checkout_link", {})
        assert status == 201, made
        url: str = made["url"]
        return url

    def state(self, payment: dict[str, Any]) -> dict[str, Any]:
        status, found = self.ask("GET", f"/v1/payments/{payment['id']}/checkout_link")
        assert status == 200, found
        shown: dict[str, Any] = found
        return shown

    def charges(self, reference: str) -> list[dict[str, Any]]:
        """What the provider took for an order, as its own ledger says."""
        if self.gateway is STRIPE:
            return [
                one for one in self._ledger(STRIPE, "")
                if one["metadata"].get("merchant_reference") == reference and one["captured"]
            ]  # fmt: skip
        _, found = self.ask("GET", f"/v1/payments?merchant_reference={reference}")
        return [
            charge for payment in found["data"]
            for charge in self._ledger(BRAINTREE, f"&order_prefix={payment['id']}.")
        ]  # fmt: skip

    def _ledger(self, gateway: Gateway, query: str) -> list[dict[str, Any]]:
        asked = urllib.request.Request(
            f"{gateway.url(self.running)}/_ledger/charges?limit=10000{query}",
            headers={"X-Knob-Token": self.running.knob_token},
        )
        with urllib.request.urlopen(asked, timeout=CLIENT_SECONDS_MAX) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]
        return found


@pytest.fixture
def shop(running: Running, gateway: Gateway) -> Shop:
    return Shop(running, gateway)


class Watched:
    """A page, everything that it asked for, and what its console said."""

    def __init__(self, context: BrowserContext, running: Running, gateway: Gateway) -> None:
        self.requests: list[Request] = []
        self.console: list[str] = []
        context.on("request", self._keep)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MILLISECONDS)
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self._running, self._gateway = running, gateway

    def _keep(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def card(self) -> Any:
        return self.page.frame_locator("#card iframe")

    def fill(self, number: str, expiry: str = "12 / 34", code: str = "123") -> None:
        self.card.get_by_label("Card number").fill(number)
        self.card.get_by_label(self._gateway.expiry_label).fill(expiry)
        self.card.get_by_label(self._gateway.code_label).fill(code)

    def pay(self, number: str) -> None:
        self.fill(number)
        button = self.page.get_by_role("button", name="Pay")
        # Chromium routes a click by where frames were painted last: right after a scroll it would
        # give it to the card's frame, which lay there before.
        button.scroll_into_view_if_needed()
        self.page.wait_for_timeout(PAINTED_MILLISECONDS)
        button.click()

    def at_the_bank(self, answer: str) -> None:
        """What the customer says to the bank, which asks on a page of its own or in a dialog."""
        leaves = self._gateway.leaves_the_page
        bank = self.page if leaves else self.page.frame_locator("dialog iframe")
        button = bank.get_by_role("button", name=answer)
        expect(button).to_be_visible()
        self.shoot("bank")
        button.click()
        if leaves:
            self.page.wait_for_url(re.compile("/pay/pay_"))

    def shoot(self, name: str) -> None:
        SEEN.mkdir(exist_ok=True)
        file = SEEN / f"{self._gateway.name}-{name}.png"
        self.page.screenshot(path=file, full_page=True)

    def origins(self) -> set[str]:
        """Where requests went; what the policy of the page stopped went nowhere."""
        parts = [urlsplit(one.url) for one in self.requests if one.failure != "csp"]
        return {f"{part.scheme}://{part.netloc}" for part in parts}

    def allowed_origins(self) -> set[str]:
        """Ours, the gateway's script and frame, and the gateway's page for 3-D Secure."""
        gateway = self._gateway
        bank = {gateway.url(self._running)} if gateway.leaves_the_page else set()
        return {self._running.checkout_url, gateway.script_origin(self._running)} | bank


@pytest.fixture
def watched(browser: Browser, running: Running, gateway: Gateway) -> Iterator[Watched]:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB")
    try:
        yield Watched(context, running, gateway)
    finally:
        context.close()


@pytest.fixture
def on_a_phone(browser: Browser, running: Running, gateway: Gateway) -> Iterator[Watched]:
    context = browser.new_context(viewport=PHONE, locale="de-DE", has_touch=True)
    try:
        yield Watched(context, running, gateway)
    finally:
        context.close()
