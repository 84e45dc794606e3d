"""The routes below ``/merchants/ID``: what each reads, and what it does."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from strongroom_sandbox.braintree import (
    disputes,
    sale,
    search,
    settlement_shapes,
    settling,
    shapes,
    signatures,
    vault,
)
from strongroom_sandbox.braintree.books import Change
from strongroom_sandbox.braintree.cards import FAKE_NONCES
from strongroom_sandbox.braintree.errors import Refused
from strongroom_sandbox.braintree.scene import Outcome, Scene
from strongroom_sandbox.braintree.signatures import Signature
from strongroom_sandbox.braintree.wire import Tree, page

PATH = re.compile(r"[A-Za-z0-9_/-]{1,200}")
ACCOUNTS_PAGE = 50

Act = Callable[[Scene, str, Tree], Outcome]


@dataclass(frozen=True, slots=True)
class Operation:
    """``root``: the element that its parameters are in; ``signature`` None: they are criteria."""

    name: str
    act: Act
    root: str = ""
    signature: Signature | None = None
    keyed: bool = False
    paged: bool = False
    """Its id is the number of a page, which stands in the query."""


def _read(root: str, find: Callable[[Scene, str], object]) -> Act:
    def act(scene: Scene, object_id: str, _: Tree) -> Outcome:
        shown = find(scene, object_id)
        return Outcome(Change(time=scene.now), root=root, show=lambda _: shown)

    return act


def _find_transaction(scene: Scene, transaction_id: str) -> object:
    return shapes.transaction(scene.books, settling.found(scene, transaction_id))


def _find_account(scene: Scene, account: str) -> object:
    for each in vault.merchant_accounts(scene):
        if each["id"] == account:
            return each
    raise Refused(404)


def _all_accounts(scene: Scene, _: str) -> object:
    return page("merchant_account", vault.merchant_accounts(scene), ACCOUNTS_PAGE)


def _find_nonce(scene: Scene, nonce: str) -> object:
    made = scene.books.nonces.get(nonce)
    if made is None and nonce not in FAKE_NONCES:
        raise Refused(404)
    card, info = FAKE_NONCES[nonce] if made is None else (made.card, made.three_d_secure)
    return {
        "nonce": nonce,
        "type": "CreditCard",
        "default": False,
        "consumed": made is not None and made.consumed,
        "details": {"bin": card.bin, "last_four": card.last4, "card_type": card.brand},
        "three_d_secure_info": None if info is None else shapes.three_d_secure(info),
    }


def _search_ids(scene: Scene, _: str, criteria: Tree) -> Outcome:
    ids = search.find_ids(scene, criteria)
    shown = {"page_size": search.PAGE_SIZE, "ids": ids}
    return Outcome(Change(time=scene.now), root="search_results", show=lambda _: shown)


def _search(scene: Scene, _: str, criteria: Tree) -> Outcome:
    found = [shapes.transaction(scene.books, each) for each in search.find_page(scene, criteria)]
    shown = page("transaction", found, search.PAGE_SIZE)
    return Outcome(Change(time=scene.now), root="credit_card_transactions", show=lambda _: shown)


def _sale(scene: Scene, _: str, params: Tree) -> Outcome:
    return sale.sell(scene, params)


def _customer(scene: Scene, _: str, params: Tree) -> Outcome:
    return vault.create_customer(scene, params)


def _method(scene: Scene, _: str, params: Tree) -> Outcome:
    return vault.create_method(scene, params)


def _delete_customer(scene: Scene, customer: str, _: Tree) -> Outcome:
    return vault.delete_customer(scene, customer)


def _delete_method(scene: Scene, token: str, _: Tree) -> Outcome:
    return vault.delete_method(scene, token)


def _short_cut(name: str, scene: Scene, transaction_id: str, _: Tree) -> Outcome:
    return settling.short_cut(scene, transaction_id, name)


def _find_dispute(scene: Scene, dispute_id: str) -> object:
    return settlement_shapes.dispute_shape(scene.books, disputes.found(scene, dispute_id))


def _search_disputes(scene: Scene, number: str, criteria: Tree) -> Outcome:
    shown = disputes.search(scene, criteria, int(number))
    return Outcome(Change(time=scene.now), root="disputes", show=lambda _: shown)


def _remove_evidence(scene: Scene, ids: str, _: Tree) -> Outcome:
    return disputes.remove_evidence(scene, *ids.split("/"))


_T = "transactions"
_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/transactions"): Operation(
        f"{_T}.sale", _sale, "transaction", signatures.SALE, keyed=True
    ),
    ("GET", "/transactions/*"): Operation(f"{_T}.find", _read("transaction", _find_transaction)),
    ("POST", "/transactions/advanced_search_ids"): Operation(f"{_T}.search", _search_ids, "search"),
    ("POST", "/transactions/advanced_search"): Operation(f"{_T}.search_page", _search, "search"),
    ("PUT", "/transactions/*/submit_for_settlement"): Operation(
        f"{_T}.submit_for_settlement", settling.submit, "transaction", signatures.SUBMIT, keyed=True
    ),
    ("POST", "/transactions/*/submit_for_partial_settlement"): Operation(
        f"{_T}.submit_for_partial_settlement", settling.submit_part, "transaction",
        signatures.PARTIAL, keyed=True,
    ),
    ("PUT", "/transactions/*/void"): Operation(
        f"{_T}.void", settling.void, "transaction", signatures.VOID, keyed=True
    ),
    ("POST", "/transactions/*/refund"): Operation(
        f"{_T}.refund", settling.refund, "transaction", signatures.REFUND, keyed=True
    ),
    ("POST", "/transactions/*/reverse"): Operation(
        f"{_T}.reverse", settling.reverse, "transaction", signatures.VOID, keyed=True
    ),
    **{
        ("PUT", f"/transactions/*/{name}"): Operation(f"{_T}.{name}", partial(_short_cut, name))
        for name in settling.SHORT_CUTS
    },
    ("POST", "/customers"): Operation(
        "customers.create", _customer, "customer", signatures.CUSTOMER
    ),
    ("GET", "/customers/*"): Operation("customers.find", _read("customer", vault.find_customer)),
    ("DELETE", "/customers/*"): Operation("customers.delete", _delete_customer),
    ("POST", "/payment_methods"): Operation(
        "payment_methods.create", _method, "payment_method", signatures.METHOD
    ),
    ("GET", "/payment_methods/any/*"): Operation(
        "payment_methods.find", _read("credit_card", vault.find_method)
    ),
    ("GET", "/payment_methods/credit_card/*"): Operation(
        "payment_methods.find", _read("credit_card", vault.find_method)
    ),
    ("DELETE", "/payment_methods/any/*"): Operation("payment_methods.delete", _delete_method),
    ("DELETE", "/payment_methods/credit_card/*"): Operation(
        "payment_methods.delete", _delete_method
    ),
    ("GET", "/payment_method_nonces/*"): Operation(
        "nonces.find", _read("payment_method_nonce", _find_nonce)
    ),
    ("GET", "/disputes/*"): Operation("disputes.find", _read("dispute", _find_dispute)),
    ("POST", "/disputes/advanced_search"): Operation(
        "disputes.search", _search_disputes, "search", paged=True
    ),
    ("PUT", "/disputes/*/accept"): Operation("disputes.accept", disputes.accept),
    ("PUT", "/disputes/*/finalize"): Operation("disputes.finalize", disputes.finalize),
    ("POST", "/disputes/*/evidence"): Operation(
        "disputes.add_evidence", disputes.add_evidence, "evidence", signatures.EVIDENCE
    ),
    ("DELETE", "/disputes/*/evidence/*"): Operation("disputes.remove_evidence", _remove_evidence),
    ("GET", "/merchant_accounts/*"): Operation(
        "merchant_accounts.find", _read("merchant_account", _find_account)
    ),
    ("GET", "/merchant_accounts"): Operation(
        "merchant_accounts.all", _read("merchant_accounts", _all_accounts)
    ),
}  # fmt: skip


def route(method: str, path: str) -> tuple[Operation, str] | None:
    """The operation and the id in the path, or None."""
    if PATH.fullmatch(path) is None:
        return None
    path = path.rstrip("/")
    exact = _OPERATIONS.get((method, path))
    if exact is not None:
        return exact, ""
    parts = path.split("/")
    for places in ((2,), (3,), (2, 4)):
        ids = [parts[place] for place in places if place < len(parts) and parts[place]]
        if len(ids) == len(places):
            pattern = "/".join("*" if n in places else part for n, part in enumerate(parts))
            found = _OPERATIONS.get((method, pattern))
            if found is not None:
                return found, "/".join(ids)
    return None
