"""How objects are shown: the elements that the SDK's classes read."""

from hashlib import sha256
from typing import Any

from strongroom_sandbox.braintree.books import Books, Customer, Method, Transaction
from strongroom_sandbox.braintree.cards import Card, ThreeDSecure, response_type, text_of
from strongroom_sandbox.braintree.currencies import decimal_text
from strongroom_sandbox.braintree.settlement_shapes import dispute_shape
from strongroom_sandbox.braintree.wire import Items, day, moment

FINGERPRINT_CHARACTERS = 32

Json = dict[str, Any]


def transaction(books: Books, one: Transaction) -> Json:
    """``<transaction>``, as `braintree.transaction` reads it."""
    declined = one.response is not None and not one.response.startswith("1")
    shown: Json = {
        "id": one.id,
        "global_id": f"transaction_{one.id}",
        "status": one.status,
        "type": one.kind,
        "currency_iso_code": one.currency,
        "amount": decimal_text(one.amount, one.currency),
        "merchant_account_id": one.merchant_account,
        "order_id": one.order_id,
        "channel": one.channel,
        "created_at": moment(one.created),
        "updated_at": moment(one.updated),
        "customer": {"id": one.customer},
        "refund_id": one.refunds[-1] if one.refunds else None,
        "refund_ids": list(one.refunds),
        "refunded_transaction_id": one.refunded_transaction,
        "gateway_rejection_reason": one.rejection,
        "processor_authorization_code": one.id[:6].upper() if one.network_transaction_id else None,
        "processor_response_code": one.response or "",
        "processor_response_text": "" if one.response is None else _response_text(one.response),
        "processor_response_type": response_type(one.response) if one.response else None,
        "additional_processor_response": f"{one.response} : {text_of(one.response or '')}"
        if declined
        else None,
        "processor_settlement_response_code": one.settlement_response or "",
        "processor_settlement_response_text": text_of(one.settlement_response)
        if one.settlement_response
        else "",
        "network_transaction_id": one.network_transaction_id,
        "authorization_expires_at": moment(one.expires_at) if one.expires_at else None,
        "settlement_batch_id": f"{day(one.updated)}_{one.merchant_account}"
        if one.status in ("settling", "settled")
        else None,
        "payment_instrument_type": "credit_card",
        "recurring": one.source == "recurring",
        "retried": False,
        "partial_settlement_transaction_ids": [],
        "credit_card": card(one.card, one.token),
        "status_history": Items(
            "status-event",
            [
                {
                    "timestamp": moment(each.at),
                    "status": each.status,
                    "amount": decimal_text(each.amount, one.currency),
                    "user": "standin",
                    "transaction_source": "api",
                }
                for each in one.history
            ],
        ),
        "disputes": Items(
            "dispute", [dispute_shape(books, books.disputes[each]) for each in one.disputes]
        ),
        "three_d_secure_info": None,
        "disbursement_details": _disbursed(books, one),
    }
    if one.three_d_secure is not None:
        shown["three_d_secure_info"] = three_d_secure(one.three_d_secure)
    return shown


def card(one: Card, token: str | None) -> Json:
    """A card inside a transaction."""
    return {
        "token": token,
        "bin": one.bin,
        "last_4": one.last4,
        "card_type": one.brand,
        "expiration_month": one.expiration_month,
        "expiration_year": one.expiration_year,
        "customer_location": "US" if one.country == "USA" else "International",
        "cardholder_name": None,
        "unique_number_identifier": fingerprint(one),
        "prepaid": one.prepaid,
        "debit": one.debit,
        "commercial": "Unknown",
        "country_of_issuance": one.country,
        "issuing_bank": "Unknown",
        "expired": False,
    }


def method(one: Method) -> Json:
    """``<credit-card>``: a card in the vault."""
    return card(one.card, one.token) | {
        "customer_id": one.customer,
        "created_at": moment(one.created),
        "updated_at": moment(one.created),
        "default": True,
        "global_id": f"paymentmethod_cc_{one.token}",
        "subscriptions": Items("subscription", []),
        "verifications": Items("verification", []),
    }


def customer(books: Books, one: Customer) -> Json:
    """``<customer>`` with its cards."""
    methods = books.methods_of(one.id)
    shown = [method(each) | {"default": each is methods[0]} for each in methods]
    return {
        "id": one.id,
        "global_id": f"customer_{one.id}",
        "created_at": moment(one.created),
        "updated_at": moment(one.created),
        "credit_cards": Items("credit-card", shown),
        "addresses": Items("address", []),
    }


def three_d_secure(one: ThreeDSecure) -> Json:
    """``<three-d-secure-info>``: only what stands here, server to server, may be trusted."""
    passed = one.liability_shifted
    return {
        "enrolled": one.enrolled,
        "status": one.status,
        "liability_shifted": one.liability_shifted,
        "liability_shift_possible": one.liability_shift_possible,
        "three_d_secure_version": one.version,
        "three_d_secure_authentication_id": one.authentication_id,
        "eci_flag": "05" if passed else "07",
        "cavv": "somebase64value" if passed else None,
        "xid": None,
        "ds_transaction_id": one.authentication_id,
        "pares_status": "Y" if passed else "N",
    }


def fingerprint(one: Card) -> str:
    """The same for the same card number."""
    text = f"{one.brand}:{one.bin}:{one.last4}:{one.country}:{one.debit}:{one.prepaid}"
    return sha256(text.encode()).hexdigest()[:FINGERPRINT_CHARACTERS]


def _response_text(code: str) -> str:
    match code:
        case "1000":
            return "Approved"
        case "1002":
            return "Processed"
        case _:
            return text_of(code)


def _disbursed(books: Books, one: Transaction) -> Json:
    paid = books.disbursements.get(one.disbursement or "")
    if paid is None:
        return {"disbursement_date": None, "settlement_amount": None, "success": None}
    return {
        "disbursement_date": day(paid.day),
        "settlement_amount": decimal_text(one.amount, one.currency),
        "settlement_currency_iso_code": one.currency,
        "settlement_currency_exchange_rate": "1",
        "funds_held": False,
        "success": paid.success,
    }
