"""Which parameters each operation takes. What is not in here is refused, as Braintree does.

Compound parameters are trees; ``ANY`` takes whatever is below it, and is not kept. Raw card data
is in none: it goes from a browser to the gateway.
"""

from typing import Any, Final

from strongroom_sandbox.braintree.errors import Refused
from strongroom_sandbox.braintree.wire import Tree

ANY: Final = "any"
TEXT_CHARACTERS_MAX = 4_000

Signature = dict[str, Any]


def _flat(names: str) -> Signature:
    return dict.fromkeys(names.split())


_ADDRESS: Signature = _flat(
    "company country_code_alpha2 country_code_alpha3 country_code_numeric country_name "
    "extended_address first_name last_name locality phone_number postal_code region street_address"
)
_CUSTOMER: Signature = _flat("id company email fax first_name last_name phone website")

SALE: Signature = {
    **_flat(
        "type amount api_request_key order_id merchant_account_id payment_method_nonce "
        "payment_method_token customer_id channel device_data purchase_order_number tax_amount "
        "tax_exempt transaction_source sca_exemption recurring three_d_secure_authentication_id "
        "discount_amount shipping_amount shipping_tax_amount ships_from_postal_code"
    ),
    "billing": _ADDRESS,
    "shipping": _ADDRESS,
    "customer": _CUSTOMER,
    "custom_fields": ANY,
    "descriptor": _flat("name phone url"),
    "external_vault": _flat("status previous_network_transaction_id"),
    "line_items": ANY,
    "risk_data": ANY,
    "options": {
        **_flat(
            "submit_for_settlement store_in_vault store_in_vault_on_success skip_avs skip_cvv "
            "skip_advanced_fraud_checking add_billing_address_to_payment_method"
        ),
        "three_d_secure": _flat("required"),
    },
}
SUBMIT: Signature = {
    **_flat("amount api_request_key order_id purchase_order_number tax_amount tax_exempt"),
    "descriptor": _flat("name phone url"),
    "line_items": ANY,
}
PARTIAL: Signature = SUBMIT | _flat("final_capture")
VOID: Signature = _flat("api_request_key")
REFUND: Signature = _flat("amount api_request_key order_id merchant_account_id surcharge_amount")
CLIENT_TOKEN: Signature = {
    **_flat("version customer_id merchant_account_id payment_method_id proxy_merchant_id"),
    "domains": ANY,
    "options": _flat(
        "fail_on_duplicate_payment_method fail_on_duplicate_payment_method_for_customer "
        "make_default verify_card"
    ),
}
CUSTOMER: Signature = {
    **_CUSTOMER,
    **_flat("payment_method_nonce device_data default_payment_method_token"),
    "custom_fields": ANY,
    "risk_data": ANY,
}
METHOD: Signature = {
    **_flat("customer_id payment_method_nonce token device_data cardholder_name"),
    "billing_address": _ADDRESS,
    "options": _flat(
        "make_default verify_card verification_merchant_account_id verification_amount "
        "fail_on_duplicate_payment_method fail_on_duplicate_payment_method_for_customer "
        "skip_advanced_fraud_checking"
    ),
}
EVIDENCE: Signature = _flat("comments category sequence_number document_upload_id")


def checked(given: object, signature: Signature) -> Tree:
    """The parameters, none of them unknown. Raises Refused (403) naming those that are."""
    if given is None:
        return {}
    unknown: list[str] = []
    _look(given, signature, "", unknown)
    if unknown or not isinstance(given, dict):
        raise Refused(403, "unknown parameters: " + ", ".join(unknown[:5]))
    return given


def _look(given: object, signature: Signature, path: str, unknown: list[str]) -> None:
    if not isinstance(given, dict):
        unknown.append(path or "all of it")
        return
    for name, value in given.items():
        place = f"{path}[{name}]" if path else name
        if name not in signature:
            unknown.append(place[:80])
        elif isinstance(signature[name], dict):
            if value is not None:
                _look(value, signature[name], place, unknown)
        elif signature[name] is None and isinstance(value, dict | list):
            unknown.append(place[:80])


def is_true(value: object) -> bool:
    """A boolean as the SDK writes it."""
    return value in ("true", "1")
