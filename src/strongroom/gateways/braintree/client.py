"""The Braintree adapter: one call moves money, under a key and with a reference of its own.

Nothing is made before that call, so after a lost answer the transaction is searched by its
order_id, which no other attempt has. An empty search proves nothing. The same request under the
same api_request_key answers with the same transaction, in its present status, for 30 days
(developer.paypal.com/braintree/graphql/reference/types/charge-payment-method-input).

A capture and a void are allowed by the transaction's status once, and need no key.
"""

from collections.abc import Mapping
from typing import Any, Final

from braintree import BraintreeGateway, TransactionSearch

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.braintree import refunds
from strongroom.gateways.braintree.connections import Connections, Heard
from strongroom.gateways.braintree.money import from_braintree, to_braintree
from strongroom.gateways.braintree.reading import (
    VOIDABLE,
    object_id_of,
    order_id_of,
    read_refusal,
    read_transaction,
)
from strongroom.gateways.port import Account, Credentials, MerchantAccount, Prepared
from strongroom.ids import to_text
from strongroom.payments.refunds import Refund, RefundAnswer, Refused
from strongroom.payments.states import (
    Answer,
    Attempt,
    Authorized,
    Call,
    Declined,
    NotSent,
    NotShown,
    Payment,
    Unknown,
)
from strongroom.payments.ways import charge_token

MERCHANT_ACCOUNT_MISSING: Final = "merchant_account_missing"


class BraintreeAdapter:
    """One adapter for all of a process's Braintree accounts."""

    staged = False
    per_currency = True

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    def parameters(
        self, payment: Payment, merchant_account: MerchantAccount | None, *, saves: bool = False
    ) -> Mapping[str, Any]:
        """Parameters of the sale; references only, no personal data."""
        options: dict[str, Any] = {"submit_for_settlement": payment.capture == "automatic"}
        sale: dict[str, Any] = {
            "amount": to_braintree(payment.amount_minor, payment.currency),
            "order_id": f"{to_text('pay', payment.payment_id)}.{payment.attempt_no}",
            "options": options,
        }
        saved = charge_token(payment.instrument_token)
        if saved is None:
            sale["payment_method_nonce"] = payment.instrument_token
            if saves:
                options["store_in_vault_on_success"] = True
        else:
            sale["payment_method_token"] = saved.token
            if saved.away is not None:
                sale["transaction_source"] = saved.away
        is_away = saved is not None and saved.away is not None
        if merchant_account is not None:
            sale["merchant_account_id"] = merchant_account.merchant_account_id
            if merchant_account.three_d_secure and not is_away:
                options["three_d_secure"] = {"required": True}
        return {"sale": sale}

    async def prepare(self, account: Account, attempt: Attempt) -> tuple[Prepared | Answer, Call]:
        """Nothing is prepared here: the sale is one call."""
        del account, attempt
        return NotSent("not_staged"), self._connections.without_asking("prepare", "not_staged")

    async def send(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """The sale, under the attempt's key."""
        if "merchant_account_id" not in attempt.parameters["sale"]:
            # Braintree would take its default one, and with it another currency.
            call = self._connections.without_asking("sale", MERCHANT_ACCOUNT_MISSING)
            return Declined("config_error", MERCHANT_ACCOUNT_MISSING, object_open=False), call

        def sell(gateway: BraintreeGateway) -> Heard[Answer]:
            sale = dict(attempt.parameters["sale"])
            sale["api_request_key"] = attempt.gateway_key
            return _of_result(gateway.transaction.sale(sale), attempt)

        return await self._connections.ask(account, "sale", sell)

    async def look(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """The transaction by its id, or by our reference; NotShown when the search is empty."""

        def find(gateway: BraintreeGateway) -> Heard[Answer]:
            return _found(_find(gateway, attempt), attempt)

        return _as_look(*await self._connections.ask(account, "find", find))

    async def cancel(self, account: Account, attempt: Attempt) -> tuple[Answer, Call]:
        """Voids what can be voided; otherwise answers with what it has become."""

        def void(gateway: BraintreeGateway) -> Heard[Answer]:
            found = _find(gateway, attempt)
            if not isinstance(found, str) and found.status in VOIDABLE and _is_of(found, attempt):
                result = gateway.transaction.void(found.id)
                if result is not None and result.is_success:
                    return _found(result.transaction, attempt)
                found = gateway.transaction.find(found.id)
                if found.status in VOIDABLE:
                    return Heard(Unknown("cancel_refused"), object_id_of(found), found.status)
            return _found(found, attempt)

        return await self._connections.ask(account, "void", void)

    async def capture(
        self, account: Account, attempt: Attempt, amount_minor: int
    ) -> tuple[Answer, Call]:
        """Submits what is held for settlement, which is possible once; the rest is released."""
        amount = to_braintree(amount_minor, attempt.currency)
        if from_braintree(amount, attempt.currency) != amount_minor:
            call = self._connections.without_asking("capture", "amount_not_representable")
            return Declined("config_error", call.outcome, object_open=True), call

        def submit(gateway: BraintreeGateway) -> Heard[Answer]:
            found = _find(gateway, attempt)
            if isinstance(found, str) or found.status != "authorized":
                return _found(found, attempt)
            held = _found(found, attempt)
            if not isinstance(held.said, Authorized):
                return held
            result = gateway.transaction.submit_for_settlement(found.id, amount)
            if result is not None and result.is_success:
                return _found(result.transaction, attempt)
            found = gateway.transaction.find(found.id)
            if found.status != "authorized" or result is None:
                return _found(found, attempt)
            refused = read_refusal(result)
            if isinstance(refused, Declined):
                refused = Declined(refused.decline, refused.raw_code, object_open=True)
            return Heard(refused, held.object_id, found.status)

        answer, call = await self._connections.ask(account, "capture", submit)
        return answer, call

    def refund_parameters(
        self, payment: Payment, attempt: Attempt, refund: Refund
    ) -> Mapping[str, Any]:
        """Parameters of the refund; references only, no personal data."""
        return refunds.refund_parameters(payment, attempt, refund)

    async def refund(self, account: Account, refund: Refund) -> tuple[RefundAnswer, Call]:
        """A refund under a key of its own, or a void; see refunds.py."""
        parameters = refund.parameters
        if parameters is None or parameters.get("transaction") is None:
            call = self._connections.without_asking("refund", "parameters_missing")
            return NotSent(call.outcome), call
        if from_braintree(parameters["amount"], refund.currency) != refund.amount_minor:
            call = self._connections.without_asking("refund", "amount_not_representable")
            return Refused(call.outcome), call
        return await self._connections.ask(
            account, "refund", lambda gateway: refunds.give_back(gateway, refund, parameters)
        )

    async def look_at_refund(self, account: Account, refund: Refund) -> tuple[RefundAnswer, Call]:
        """The refund by its id, or by our reference among those that its sale names."""
        parameters = refund.parameters
        if parameters is None or parameters.get("transaction") is None:
            call = self._connections.without_asking("find_refund", "parameters_missing")
            return Unknown(call.outcome), call
        answer, call = await self._connections.ask(
            account, "find_refund", lambda gateway: refunds.look_for(gateway, refund, parameters)
        )
        if isinstance(answer, NotSent):
            return Unknown(answer.why), call
        return answer, call

    async def close(self) -> None:
        """Lets go of connections."""
        self._connections.close()


def _find(gateway: BraintreeGateway, attempt: Attempt) -> Any:
    """The attempt's Transaction; or a word: absent, or several.

    Raises what the SDK raises, also where an id that is known is not there.
    """
    if attempt.gateway_object_id is not None:
        return gateway.transaction.find(attempt.gateway_object_id)
    reference = order_id_of(attempt)
    found = gateway.transaction.search(TransactionSearch.order_id == reference)
    ids = list(found.ids)
    if not ids:
        return "absent"
    if len(ids) > 1:
        return "several"
    return gateway.transaction.find(ids[0])


def _is_of(found: Any, attempt: Attempt) -> bool:
    """Whether a Transaction bears the attempt's reference: nothing else is touched."""
    return bool(found.type == "sale" and found.order_id == order_id_of(attempt))


def _found(found: Any, attempt: Attempt) -> Heard[Answer]:
    if isinstance(found, str):
        return Heard(NotShown() if found == "absent" else Unknown("several_at_gateway"))
    answer = read_transaction(found, attempt)
    known = None if isinstance(answer, Unknown) else object_id_of(found)
    return Heard(answer, known, str(found.status))


def _of_result(result: Any, attempt: Attempt) -> Heard[Answer]:
    """What the answer to a sale says: a Transaction in any status, or errors without one."""
    if result is None:
        return Heard(Unknown("gateway_error"))
    if result.transaction is not None:
        return _found(result.transaction, attempt)
    return Heard(read_refusal(result))


def _as_look(answer: Answer, call: Call) -> tuple[Answer, Call]:
    """That a look was not sent says nothing of the attempt."""
    return (Unknown(answer.why), call) if isinstance(answer, NotSent) else (answer, call)
