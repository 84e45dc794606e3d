"""The page as HTML, and our own assets with what assures a browser that they are the right ones."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined
from msgspec import Struct

from strongroom.checkout.paying import Shown
from strongroom.ids import to_text
from strongroom.money import EXPONENTS, as_decimal_text

PACKAGE: Final = "strongroom.checkout"
NONCE_BYTES: Final = 16
GATEWAY_NAMES: Final = {"stripe": "Stripe", "braintree": "Braintree"}


class Asset(Struct, frozen=True):
    """A file of ours: its path changes with its content, so it may be kept for ever."""

    path: str
    integrity: str
    content_type: str
    content: bytes


def load_asset(name: str, content_type: str) -> Asset:
    """A file of this folder."""
    content = resources.files(PACKAGE).joinpath(name).read_bytes()
    digest = hashlib.sha384(content).digest()
    integrity = "sha384-" + base64.b64encode(digest).decode()
    return Asset(f"/assets/{digest.hex()[:16]}/{name}", integrity, content_type, content)


SCRIPT: Final = load_asset("page.js", "text/javascript; charset=utf-8")
STYLE: Final = load_asset("page.css", "text/css; charset=utf-8")
ASSETS: Final = {asset.path: asset for asset in (SCRIPT, STYLE)}

_environment: Final = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_template: Final = _environment.from_string(
    resources.files(PACKAGE).joinpath("page.html").read_text("utf-8")
)


def new_nonce() -> str:
    """Of one answer: 128 random bits."""
    return secrets.token_urlsafe(NONCE_BYTES)


def page_of(shown: Shown, nonce: str, integrity: Mapping[str, str]) -> bytes:
    """The page of a link. `integrity` has digests of gateways' scripts, where one is known."""
    currency, chosen = shown.payment.currency, shown.chosen
    return _template.render(
        title=f"Pay {shown.merchant}",
        shown=shown,
        page=None if chosen is None else chosen.page,
        integrity="" if chosen is None else integrity.get(chosen.page.gateway, ""),
        account="" if chosen is None else to_text("gwa", chosen.account.gateway_account_id),
        gateway="" if chosen is None else GATEWAY_NAMES[chosen.account.gateway],
        amount=as_decimal_text(shown.payment.amount_minor, currency),
        decimals=EXPONENTS[currency],
        nonce=nonce,
        script=SCRIPT,
        style=STYLE,
    ).encode()


def plain_page(title: str, message: str, nonce: str) -> bytes:
    """A page that says one thing."""
    return _template.render(
        title=title,
        message=message,
        shown=None,
        page=None,
        nonce=nonce,
        script=SCRIPT,
        style=STYLE,
    ).encode()
