"""How objects look on the wire. Every field is one of the SDK's own types (API 2026-10-28)."""

from typing import Any

from strongroom_sandbox.stripe.books import Books, Charge, Intent, Method, Refund
from strongroom_sandbox.stripe.cards import CARDS
from strongroom_sandbox.stripe.errors import DOC_URL, ErrorBody

ACTION_PATH = "/_3ds/"
EXPIRY_MONTH = 12
EXPIRY_YEAR = 2034
REFUNDS_SHOWN = 10  # a charge shows its newest refunds, when they are asked for

Json = dict[str, Any]


class Shapes:
    """Renders objects. ``public_url`` is where a browser finds this server."""

    def __init__(self, books: Books, public_url: str) -> None:
        self._books = books
        self._public_url = public_url

    def action_url(self, token: str) -> str:
        """Return the address of an authentication page."""
        return f"{self._public_url}{ACTION_PATH}{token}"

    def intent(self, intent: Intent, expand: tuple[str, ...] = ()) -> Json:
        """Render a PaymentIntent; ``expand`` may name latest_charge and payment_method."""
        charge: str | Json | None = intent.latest_charge
        method: str | Json | None = intent.payment_method
        if intent.latest_charge and "latest_charge" in expand:
            charge = self.charge(self._books.charges[intent.latest_charge])
        if intent.payment_method and "payment_method" in expand:
            method = self.method(self._books.methods[intent.payment_method])
        error = intent.last_payment_error
        return {
            "id": intent.id,
            "object": "payment_intent",
            "amount": intent.amount,
            "amount_capturable": intent.amount_capturable,
            "amount_details": {"tip": {}},
            "amount_received": intent.amount_received,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": None
            if intent.redirects is None
            else {"allow_redirects": intent.redirects, "enabled": True},
            "canceled_at": intent.canceled_at,
            "cancellation_reason": intent.cancellation_reason,
            "capture_method": intent.capture_method,
            "client_secret": intent.client_secret,
            "confirmation_method": intent.confirmation_method,
            "created": intent.created,
            "currency": intent.currency,
            "customer": intent.customer,
            "customer_account": None,
            "description": intent.description,
            "excluded_payment_method_types": None,
            "last_payment_error": None if error is None else self.error(error),
            "latest_charge": charge,
            "livemode": False,
            "managed_payments": {"enabled": False},
            "metadata": intent.metadata,
            "next_action": self._next_action(intent),
            "on_behalf_of": None,
            "payment_method": method,
            "payment_method_configuration_details": None,
            "payment_method_options": {
                "card": {
                    "installments": None,
                    "mandate_options": None,
                    "network": None,
                    "request_three_d_secure": intent.request_three_d_secure,
                }
            },
            "payment_method_types": intent.payment_method_types,
            "processing": {"type": "card", "card": {"customer_notification": None}}
            if intent.status == "processing"
            else None,
            "receipt_email": intent.receipt_email,
            "review": None,
            "setup_future_usage": intent.setup_future_usage,
            "shipping": intent.shipping,
            "source": None,
            "statement_descriptor": intent.statement_descriptor,
            "statement_descriptor_suffix": intent.statement_descriptor_suffix,
            "status": intent.status,
            "transfer_data": None,
            "transfer_group": None,
        }

    def _next_action(self, intent: Intent) -> Json | None:
        if intent.status != "requires_action" or intent.action_token is None:
            return None
        url = self.action_url(intent.action_token)
        return redirect(url, None if intent.uses_sdk else intent.return_url)

    def error(self, error: ErrorBody) -> Json:
        """Render an error: only the fields that apply, with the payment method as an object."""
        shown: Json = {"type": error.type, "message": error.message}
        for name in (
            "code", "param", "decline_code", "advice_code", "network_decline_code",
            "network_advice_code", "charge",
        ):  # fmt: skip
            value = getattr(error, name)
            if value is not None:
                shown[name] = value
        if error.code is not None:
            shown["doc_url"] = DOC_URL + error.code.replace("_", "-")
        if error.payment_method is not None:
            shown["payment_method"] = self.method(self._books.methods[error.payment_method])
        return shown

    def answer_error(self, error: ErrorBody, intent: Intent | None) -> Json:
        """Render the body of an error answer, with the intent it is about."""
        shown = self.error(error)
        if intent is not None:
            shown["payment_intent"] = self.intent(intent)
        return {"error": shown}

    def method(self, method: Method) -> Json:
        """Render a PaymentMethod of type card."""
        card = CARDS[method.card]
        return {
            "id": method.id,
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": _no_billing_details(),
            "card": {
                "brand": card.brand,
                "checks": _checks(card.cvc_check),
                "country": card.country,
                "display_brand": card.brand,
                "exp_month": method.exp_month,
                "exp_year": method.exp_year,
                "fingerprint": f"fp{card.brand}{card.country}{card.last4}".ljust(16, "0")[:16],
                "funding": card.funding,
                "generated_from": None,
                "last4": card.last4,
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "created": method.created,
            "customer": method.customer,
            "customer_account": None,
            "livemode": False,
            "metadata": {},
            "type": "card",
        }

    def charge(self, charge: Charge, expand: tuple[str, ...] = ()) -> Json:
        """Render a Charge; ``expand`` may name payment_intent and refunds."""
        failure = charge.failure
        intent: str | Json = charge.payment_intent
        if "payment_intent" in expand:
            intent = self.intent(self._books.intents[charge.payment_intent])
        shown = {
            "id": charge.id,
            "object": "charge",
            "amount": charge.amount,
            "amount_captured": charge.amount_captured,
            "amount_refunded": charge.amount_refunded,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": f"txn{charge.id[2:]}" if charge.captured else None,
            "billing_details": _no_billing_details(),
            "calculated_statement_descriptor": charge.statement_descriptor or "STRIPE STAND-IN",
            "captured": charge.captured,
            "created": charge.created,
            "currency": charge.currency,
            "customer": charge.customer,
            "description": charge.description,
            "disputed": bool(self._books.disputes_of(charge.id)),
            "failure_balance_transaction": None,
            "failure_code": None if failure is None else failure.code,
            "failure_message": None if failure is None else failure.message,
            "fraud_details": {},
            "livemode": False,
            "metadata": charge.metadata,
            "on_behalf_of": None,
            "outcome": _outcome(charge),
            "paid": charge.paid,
            "payment_intent": intent,
            "payment_method": charge.payment_method,
            "payment_method_details": {"type": "card", "card": _card_details(charge)},
            "receipt_email": charge.receipt_email,
            "receipt_number": None,
            "receipt_url": None,
            "refunded": charge.paid
            and charge.amount_refunded >= (charge.amount_captured or charge.amount),
            "review": None,
            "shipping": None,
            "source": None,
            "source_transfer": None,
            "statement_descriptor": charge.statement_descriptor,
            "statement_descriptor_suffix": charge.statement_descriptor_suffix,
            "status": "succeeded" if charge.paid else "failed",
            "transfer_data": None,
            "transfer_group": None,
        }
        if "refunds" in expand:
            shown["refunds"] = self._refunds_of(charge)
        return shown

    def _refunds_of(self, charge: Charge) -> Json:
        newest = self._books.refunds_of(charge.id)[::-1]
        return {
            "object": "list",
            "data": [self.refund(refund) for refund in newest[:REFUNDS_SHOWN]],
            "has_more": len(newest) > REFUNDS_SHOWN,
            "url": f"/v1/charges/{charge.id}/refunds",
        }

    def refund(self, refund: Refund, expand: tuple[str, ...] = ()) -> Json:
        """Render a Refund; ``expand`` may name charge and payment_intent."""
        charge: str | Json = refund.charge
        intent: str | Json = refund.payment_intent
        if "charge" in expand:
            charge = self.charge(self._books.charges[refund.charge])
        if "payment_intent" in expand:
            intent = self.intent(self._books.intents[refund.payment_intent])
        balance = None if refund.releases else f"txn{refund.id[2:]}"
        shown: Json = {
            "id": refund.id,
            "object": "refund",
            "amount": refund.amount,
            "balance_transaction": balance,
            "charge": charge,
            "created": refund.created,
            "currency": refund.currency,
            "customer": refund.customer,
            "customer_account": None,
            "destination_details": {
                "card": {"type": "reversal" if refund.releases else "refund"},
                "type": "card",
            },
            "metadata": refund.metadata,
            "payment_intent": intent,
            "payment_method": refund.payment_method,
            "reason": refund.reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": refund.status,
            "transfer_reversal": None,
        }
        if refund.status == "pending":
            shown["pending_reason"] = "processing"
        if refund.status == "failed":
            shown["failure_reason"] = refund.failure_reason
            shown["failure_balance_transaction"] = f"txn{refund.id[2:]}f"
        return shown


def redirect(url: str, return_url: str | None) -> Json:
    """By redirect where there is a way back, else by the provider's script."""
    if return_url is not None:
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": return_url, "url": url},
        }
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url},
    }


def _no_billing_details() -> Json:
    address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {"address": address, "email": None, "name": None, "phone": None, "tax_id": None}


def _checks(cvc_check: str) -> Json:
    return {
        "address_line1_check": None,
        "address_postal_code_check": None,
        "cvc_check": cvc_check,
    }


def _outcome(charge: Charge) -> Json:
    failure, card = charge.failure, CARDS[charge.card]
    shown: Json = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": card.risk_level,
        "seller_message": "Payment complete.",
        "type": "authorized",
    }
    if failure is not None:
        shown |= {
            "advice_code": failure.advice_code,
            "network_advice_code": failure.network_advice_code,
            "network_decline_code": failure.network_decline_code,
            "network_status": "not_sent_to_network" if charge.blocked else "declined_by_network",
            "reason": "highest_risk_level" if charge.blocked else failure.decline_code,
            "seller_message": "Blocked." if charge.blocked else "The bank declined the payment.",
            "type": "blocked" if charge.blocked else "issuer_declined",
        }
    return shown


def _card_details(charge: Charge) -> Json:
    card = CARDS[charge.card]
    authenticated: Json | None = None
    if charge.authenticated:
        authenticated = {
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": "05",
            "exemption_indicator": None,
            "result": "authenticated",
            "result_reason": None,
            "transaction_id": None,
            "version": "2.2.0",
        }
    shown: Json = {
        "amount_authorized": charge.amount if charge.paid else None,
        "authorization_code": "123456" if charge.paid else None,
        "brand": card.brand,
        "checks": _checks(card.cvc_check),
        "country": card.country,
        "exp_month": EXPIRY_MONTH,
        "exp_year": EXPIRY_YEAR,
        "extended_authorization": {"status": "disabled"},
        "fingerprint": f"fp{card.brand}{card.country}{card.last4}".ljust(16, "0")[:16],
        "funding": card.funding,
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card.last4,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "network_transaction_id": charge.id[3:18] if charge.paid else None,
        "overcapture": {
            "maximum_amount_capturable": charge.amount,
            "status": "unavailable",
        },
        "regulated_status": "unregulated",
        "three_d_secure": authenticated,
        "wallet": None,
    }
    if charge.capture_before is not None:
        shown["capture_before"] = charge.capture_before
    return shown
