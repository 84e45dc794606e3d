"""Customers and payment methods in the vault of the gateway, and what a browser needs to begin."""

import base64
import hmac
from hashlib import sha256

import msgspec
from msgspec.structs import replace

from strongroom_sandbox.braintree.books import Change, Customer, Method
from strongroom_sandbox.braintree.cards import response_type, text_of
from strongroom_sandbox.braintree.errors import Refused, flaw
from strongroom_sandbox.braintree.nonces import IN_VAULT, find_nonce
from strongroom_sandbox.braintree.scene import Outcome, Scene, new_id
from strongroom_sandbox.braintree.shapes import card as show_card
from strongroom_sandbox.braintree.shapes import customer as show_customer
from strongroom_sandbox.braintree.shapes import method as show_method
from strongroom_sandbox.braintree.signatures import is_true
from strongroom_sandbox.braintree.wire import Items, Tree

CUSTOMER_ID_CHARACTERS_MAX = 36
CLIENT_TOKEN_SECONDS = 24 * 3600
CLIENT_TOKEN_VERSIONS = ("2", "3")
PASS_PARTS = 3
PASS_CHARACTERS_MAX = 200


def create_customer(scene: Scene, params: Tree) -> Outcome:
    """Make a customer, with a payment method where a nonce is given. Raises Invalid."""
    wanted = params.get("id")
    if wanted is not None:
        _check_id(wanted, "customer", code="91610")
        if scene.books.customer(wanted) is not None:
            raise flaw("id", "91609", "Customer ID has already been taken.", "customer")
    made = Customer(id=wanted or new_id(), created=scene.now)
    change = Change(time=scene.now, customers=[made])
    if params.get("payment_method_nonce") is not None:
        _save(scene, change, made.id, params["payment_method_nonce"], None)
    return Outcome(
        change, root="customer", show=lambda books: show_customer(books, made), status=201
    )


def find_customer(scene: Scene, customer_id: str) -> Tree:
    """``<customer>``. Raises Refused (404)."""
    found = scene.books.customer(customer_id)
    if found is None:
        raise Refused(404)
    return show_customer(scene.books, found)


def delete_customer(scene: Scene, customer_id: str) -> Outcome:
    """Forget a customer with all payment methods. Raises Refused (404)."""
    found = scene.books.customer(customer_id)
    if found is None:
        raise Refused(404)
    gone = [replace(each, deleted=True) for each in scene.books.methods_of(customer_id)]
    change = Change(time=scene.now, customers=[replace(found, deleted=True)], methods=gone)
    return Outcome(change)


def create_method(scene: Scene, params: Tree) -> Outcome:
    """Save what a nonce stands for. With ``verify_card`` it has to be approved. Raises Invalid."""
    customer, nonce = params.get("customer_id"), params.get("payment_method_nonce")
    if customer is None:
        raise flaw("customer_id", "91704", "Customer ID is required.", "credit_card")
    if scene.books.customer(customer) is None:
        raise flaw("customer_id", "91705", "Customer ID is invalid.", "credit_card")
    if nonce is None:
        raise flaw("number", "81714", "Credit card number is required.", "credit_card")
    token = params.get("token")
    if token is not None:
        _check_id(token, "credit_card", attribute="token", code="91718")
        if scene.books.method(token) is not None:
            raise flaw("token", "91719", "Token has already been taken.", "credit_card")
    change = Change(time=scene.now)
    made = _save(scene, change, customer, nonce, token)
    if is_true((params.get("options") or {}).get("verify_card")) and made.card.decline is not None:
        # The nonce is used up by it, as it is by a sale that is declined.
        change.methods.clear()
        return _not_verified(change, made)
    return Outcome(change, root="credit_card", show=lambda _: show_method(made), status=201)


def find_method(scene: Scene, token: str) -> Tree:
    """``<credit-card>``. Raises Refused (404)."""
    found = scene.books.method(token)
    if found is None:
        raise Refused(404)
    return show_method(found)


def delete_method(scene: Scene, token: str) -> Outcome:
    """Forget a payment method. Raises Refused (404)."""
    found = scene.books.method(token)
    if found is None:
        raise Refused(404)
    return Outcome(Change(time=scene.now, methods=[replace(found, deleted=True)]))


def merchant_accounts(scene: Scene) -> list[Tree]:
    """``<merchant-account>`` of each, the default first."""
    return [
        {
            "id": account,
            "currency_iso_code": currency,
            "status": "active",
            "default": number == 0,
            "sub_merchant_account": False,
        }
        for number, (account, currency) in enumerate(scene.accounts.items())
    ]


def client_token(scene: Scene, params: Tree, merchant: str, secret: bytes, url: str) -> str:
    """What a browser starts with: where to go, and a pass for a day. Raises Invalid."""
    if str(params.get("version")) not in CLIENT_TOKEN_VERSIONS:
        raise flaw("version", "92806", "Version is invalid.", "client_token")
    customer, account = params.get("customer_id"), params.get("merchant_account_id")
    if customer is not None and scene.books.customer(customer) is None:
        raise flaw("customer_id", "92804", "Customer does not exist.", "client_token")
    if account is not None and account not in scene.accounts:
        raise flaw(
            "merchant_account_id", "92807", "Merchant account does not exist.", "client_token"
        )
    account = account or next(iter(scene.accounts))
    content = {
        "version": 2,
        "authorizationFingerprint": sign_pass(secret, account, scene.now + CLIENT_TOKEN_SECONDS),
        "merchantId": merchant,
        "merchantAccountId": account,
        "clientApiUrl": f"{url}/merchants/{merchant}/client_api",
        "environment": "standin",
        "threeDSecureEnabled": True,
    }
    return base64.b64encode(msgspec.json.encode(content)).decode()


def sign_pass(secret: bytes, account: str, until: int) -> str:
    """A pass of a browser for one merchant account, good until then (Unix seconds)."""
    text = f"{until}.{account}"
    return f"{text}.{hmac.new(secret, text.encode(), sha256).hexdigest()}"


def account_of_pass(keys: list[bytes], shown: str, now: int) -> str | None:
    """The merchant account of a pass that one of our keys signed and that is still good."""
    parts = shown.split(".")
    if len(parts) != PASS_PARTS or len(shown) > PASS_CHARACTERS_MAX or not shown.isascii():
        return None
    until, account, _ = parts
    if not until.isdigit() or int(until) <= now:
        return None
    made = [sign_pass(key, account, int(until)) for key in keys]
    fits = [hmac.compare_digest(one.encode(), shown.encode()) for one in made]
    return account if any(fits) else None


def _save(scene: Scene, change: Change, customer: str, nonce: str, token: str | None) -> Method:
    card, _, made = find_nonce(scene, nonce, IN_VAULT)
    if made is not None:
        change.nonces.append(replace(made, consumed=True))
    method = Method(token=token or new_id(), customer=customer, card=card, created=scene.now)
    change.methods.append(method)
    return method


def _not_verified(change: Change, tried: Method) -> Outcome:
    code = tried.card.decline or ""
    verification = {
        "id": new_id(),
        "status": "processor_declined",
        "processor_response_code": code,
        "processor_response_text": text_of(code),
        "processor_response_type": response_type(code),
        "credit_card": show_card(tried.card, None),
    }
    content = {
        "errors": {"errors": Items("error", [])},
        "message": text_of(code),
        "verification": verification,
    }
    return Outcome(change, root="api_error_response", show=lambda _: content, status=422)


def _check_id(text: str, path: str, *, attribute: str = "id", code: str) -> None:
    plain = text.replace("-", "").replace("_", "")
    if len(text) > CUSTOMER_ID_CHARACTERS_MAX or not (plain.isascii() and plain.isalnum()):
        raise flaw(attribute, code, "ID is invalid.", path)
