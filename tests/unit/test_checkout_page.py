"""What a page may load of each gateway in live mode, where no test of ours has a browser."""

import tomllib
from importlib import resources
from uuid import UUID

import msgspec
import pytest

from strongroom.checkout.policy import page_headers
from strongroom.config import Settings
from strongroom.gateways.port import Account, Charge, MerchantAccount, PageParts
from strongroom.sources import PAGES

INVENTORY = tomllib.loads(
    resources.files("strongroom.checkout").joinpath("scripts.toml").read_text("utf-8")
)["script"]


def page_of(gateway: str, *, environment: str = "live", asks: bool = True) -> PageParts:
    account = Account(
        legal_entity_id=UUID(int=1),
        gateway_account_id=UUID(int=2),
        gateway=gateway,
        environment=environment,
        base_url=None,
        publishable_key="pk_live_" + "x" * 20 if gateway == "stripe" else None,
    )
    paid_to = MerchantAccount("eur", asks) if gateway == "braintree" else None
    page = PAGES[gateway](
        account, Charge(amount_minor=1999, currency="EUR", merchant_account=paid_to)
    )
    assert page is not None
    return page


def policy_of(page: PageParts) -> dict[str, set[str]]:
    [(_, policy), _] = page_headers("n0nce", "/reports/x", page)
    rules = (rule.split(" ") for rule in policy.decode().split("; "))
    return {name: set(sources) for name, *sources in rules}


@pytest.mark.parametrize("gateway", PAGES)
def test_the_script_and_all_that_it_may_load_are_in_the_inventory(gateway: str) -> None:
    page = page_of(gateway)
    own = next(one for one in INVENTORY if one["name"] == gateway)
    assert page.script_url == own["origin"] + own["path"]
    listed = {
        origin
        for one in INVENTORY
        if one.get("gateway") == gateway
        for origin in one["origin"].split(", ")
    }
    if gateway == "stripe":
        listed.add("https://*.js.stripe.com")
    assert set(page.script_origins) <= listed
    rules = policy_of(page)
    assert rules["script-src"] == {"'nonce-n0nce'", *page.script_origins}
    assert rules["default-src"] == {"'none'"}


@pytest.mark.parametrize("environment", ["live", "sandbox"])
def test_without_3d_secure_no_bank_has_a_frame_in_the_page(environment: str) -> None:
    without = policy_of(page_of("braintree", environment=environment, asks=False))
    assert without["frame-src"] == {"https://assets.braintreegateway.com"}
    assert not any("cardinal" in one for sources in without.values() for one in sources)
    other = "sandbox" if environment == "live" else "live"
    hosts = {one for one in without["connect-src"] if "api." in one}
    assert hosts.isdisjoint(
        {f"https://api.{'sandbox.' if other == 'sandbox' else ''}braintreegateway.com"}
    )
    asking = page_of("braintree", environment=environment)
    assert asking.authenticates == "19.99"
    assert "https:" in policy_of(asking)["frame-src"], "nobody has a list of the banks"


def test_an_account_without_the_currency_has_no_page() -> None:
    account = Account(
        legal_entity_id=UUID(int=1),
        gateway_account_id=UUID(int=2),
        gateway="braintree",
        environment="live",
        base_url=None,
    )
    assert PAGES["braintree"](account, Charge(amount_minor=1999, currency="GBP")) is None


@pytest.mark.parametrize(
    "wrong",
    [{"stripe": "sha384-" + "A" * 64}, {"braintree": "sha1-x"}, {"braintree": '" onload="'}],
)
def test_a_digest_that_is_none_is_refused(wrong: dict[str, str]) -> None:
    """A digest that was not read would be one that holds nothing."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"checkout_integrity": wrong}, Settings)
    good = {"braintree": "sha384-" + "A" * 64}
    assert msgspec.convert({"checkout_integrity": good}, Settings).checkout_integrity == good
