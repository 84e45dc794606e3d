"""Saved cards at Braintree: a customer without personal data, and a token of our own choice.

Nothing is made before the card is saved, and `payment_method.create` takes no api_request_key. But
it takes the token that the card is to have, which no other card can have then: so that a card is
saved once, however often it is asked for, and whatever becomes of an answer can be learnt by that
token (developer.paypal.com/braintree/docs/reference/request/payment-method/create).
"""

from typing import Any, Final
from uuid import UUID

from braintree import BraintreeGateway
from braintree.exceptions import NotFoundError

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.customers.saving import Card, Detached, Made, Saved, Saving, SavingAnswer
from strongroom.gateways.braintree.connections import Connections, Heard
from strongroom.gateways.braintree.declines import (
    CODE_CHARACTERS_MAX,
    classify,
    classify_rejection,
)
from strongroom.gateways.port import Account, Credentials
from strongroom.payments.states import Call, Canceled, Declined, NotSent, Unknown

CUSTOMER_ID_TAKEN: Final = "91609"
TOKEN_TAKEN: Final = "91719"  # noqa: S105 - a code of theirs
NONCE_CODES: Final = frozenset({"91731", "91732", "91733", "91734", "93107", "93108", "93109"})
"""Used before, unknown or too old, locked, not of a card that is taken here."""
BRANDS: Final = {
    "American Express": "amex",
    "Diners Club": "diners",
    "Discover": "discover",
    "JCB": "jcb",
    "MasterCard": "mastercard",
    "Maestro": "maestro",
    "UnionPay": "unionpay",
    "Visa": "visa",
}
"""As Stripe calls them: callers see one name for one brand."""


class BraintreeWallet:
    """One adapter for all of a process's Braintree accounts."""

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def make_customer(
        self, account: Account, customer_id: UUID, key: str
    ) -> tuple[Made | NotSent | Unknown, Call]:
        """Makes a customer that has an id of ours and nothing else; there is one for each id."""
        del key
        wanted = customer_id.hex

        def make(gateway: BraintreeGateway) -> Heard[Made | NotSent | Unknown]:
            result = gateway.customer.create({"id": wanted})
            if result.is_success or CUSTOMER_ID_TAKEN in _codes(result):
                return Heard(Made(wanted), wanted)
            return Heard(Unknown(next(iter(_codes(result)), "gateway_error")))

        return await self._connections.ask(account, "create_customer", make)

    async def prepare(
        self, account: Account, saving: Saving, gateway_customer: str
    ) -> tuple[Made | SavingAnswer, Call]:
        """The token that the card is to have. Nothing is asked for it."""
        del account
        if gateway_customer != saving.customer_id.hex:
            call = self._connections.without_asking("choose_token", "another_customer")
            return Unknown(call.outcome), call
        call = self._connections.without_asking("choose_token", "chosen")
        return Made(saving.payment_method_id.hex), call

    async def keep(
        self, account: Account, saving: Saving, gateway_customer: str
    ) -> tuple[SavingAnswer, Call]:
        """What the sale has put into the vault (`store_in_vault_on_success`).

        It lies there at a customer that Braintree made for it; it is charged by its token alone.
        """
        del gateway_customer

        def find(gateway: BraintreeGateway) -> Heard[SavingAnswer]:
            sale = gateway.transaction.find(saving.setup_object)
            token = sale.credit_card_details.token
            if sale.id != saving.setup_object:
                return Heard(Unknown("another_object"))
            if not token:
                return Heard(Declined("config_error", "not_in_the_vault", object_open=False))
            try:
                found = gateway.payment_method.find(token)
            except NotFoundError:
                return Heard(Unknown("not_in_the_vault_yet"))
            return Heard(Saved(str(found.token), card_of(found)), token)

        return await self._connections.ask(account, "find_paid_with", find)

    async def save(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Saves the card under its token, once the issuer has verified it."""
        token = saving.setup_object or ""

        def create(gateway: BraintreeGateway) -> Heard[SavingAnswer]:
            result = gateway.payment_method.create(
                {
                    "customer_id": saving.customer_id.hex,
                    "payment_method_nonce": saving.offered,
                    "token": token,
                    "options": {"verify_card": True},
                }
            )
            if result.is_success:
                return Heard(_saved(result.payment_method, saving), token)
            refused = _refusal(result)
            if refused is not None:
                return Heard(refused)
            # The token is in use, or the nonce was used: by this very request, perhaps.
            found = _found(gateway, saving, absent=_no_instrument(result))
            return Heard(found, token if isinstance(found, Saved) else None)

        return await self._connections.ask(account, "create_method", create)

    async def look(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """The card under its token; where there is none it was not saved, and may still be."""
        answer, call = await self._find(account, saving, NotSent("not_confirmed_yet"))
        if isinstance(answer, NotSent) and answer.why != "not_confirmed_yet":
            return Unknown(answer.why), call
        return answer, call

    async def cancel(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Long after it was last asked for: what is not there by now will not be."""
        answer, call = await self._find(account, saving, Canceled())
        return (Unknown(answer.why) if isinstance(answer, NotSent) else answer), call

    async def look_at_saved(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """The card as it is now; one that is not there was deleted at Braintree."""
        return await self._find(account, saving, Detached())

    async def detach(self, account: Account, saving: Saving) -> tuple[SavingAnswer, Call]:
        """Deletes it; what Braintree does not know is deleted."""

        def delete(gateway: BraintreeGateway) -> Heard[SavingAnswer]:
            try:
                result = gateway.payment_method.delete(saving.token or "")
            except NotFoundError:
                return Heard(Detached())
            return Heard(Detached() if result.is_success else Unknown("still_attached"))

        return await self._connections.ask(account, "delete_method", delete)

    async def close(self) -> None:
        """Lets go of connections."""
        self._connections.close()

    async def _find(
        self, account: Account, saving: Saving, absent: SavingAnswer
    ) -> tuple[SavingAnswer, Call]:
        return await self._connections.ask(
            account, "find_method", lambda gateway: Heard(_found(gateway, saving, absent=absent))
        )


def _found(gateway: BraintreeGateway, saving: Saving, *, absent: SavingAnswer) -> SavingAnswer:
    """What stands under its token. Raises what the SDK raises."""
    try:
        return _saved(gateway.payment_method.find(saving.token or saving.setup_object), saving)
    except NotFoundError:
        return absent


def _saved(found: Any, saving: Saving) -> SavingAnswer:
    """Raises AttributeError and the like where it is not formed as one."""
    if found.token != (saving.token or saving.setup_object):
        return Unknown("another_object")
    if saving.token is None and found.customer_id != saving.customer_id.hex:
        return Unknown("another_customer")
    return Saved(str(found.token), card_of(found))


def card_of(found: Any) -> Card | None:
    """What may be shown of it; None for what is no card."""
    last4 = getattr(found, "last_4", None)
    if not isinstance(last4, str):
        return None
    brand = str(found.card_type)
    return Card(
        brand=BRANDS.get(brand, brand.lower()),
        last4=last4,
        exp_month=int(found.expiration_month),
        exp_year=int(found.expiration_year),
    )


def _codes(result: Any) -> list[str]:
    return [str(error.code) for error in result.errors.deep_errors]


def _refusal(result: Any) -> SavingAnswer | None:
    """What an ErrorResult says; None where its token or its nonce was used before."""
    verification = result.credit_card_verification
    if verification is not None:
        return _not_verified(verification)
    codes = _codes(result)
    if not codes:
        return Unknown("gateway_error")
    if TOKEN_TAKEN in codes or not NONCE_CODES.isdisjoint(codes):
        return None
    return Declined("config_error", codes[0][:CODE_CHARACTERS_MAX], object_open=False)


def _not_verified(verification: Any) -> Declined:
    """The issuer's word, or the gateway's, about a card that it was asked to verify."""
    if verification.status == "gateway_rejected":
        decline, raw = classify_rejection(getattr(verification, "gateway_rejection_reason", None))
        return Declined(decline, raw, object_open=False)
    decline, raw = classify(
        str(verification.processor_response_code or verification.status),
        getattr(verification, "processor_response_type", None),
        None,
    )
    return Declined(decline, raw, object_open=False)


def _no_instrument(result: Any) -> SavingAnswer:
    code = next((one for one in _codes(result) if one in NONCE_CODES), None)
    if code is None:
        return Unknown("token_in_use")
    return Declined("invalid_instrument", code, object_open=False)
