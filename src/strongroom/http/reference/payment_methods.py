"""The operations on payment methods, as the table has them."""

from typing import Final

from strongroom.http.consents import ConsentBody
from strongroom.http.fields import WAIT_SECONDS_MAX
from strongroom.http.payment_methods import (
    OF_CUSTOMER,
    PATH,
    DetachPaymentMethod,
    PaymentMethodList,
    PaymentMethodParameters,
    PaymentMethodView,
    SavePaymentMethod,
)
from strongroom.http.reference.operation import (
    IDEMPOTENCY_KEY,
    LOCATION,
    PREFER,
    PREFERENCE_APPLIED,
    REPLAYED,
    Answer,
    Example,
    Operation,
)
from strongroom.http.reference.shared import (
    CONSENT_GIVEN,
    CONSENT_SHOWN,
    CUSTOMER_ID,
    OF_A_MOVE,
    PAYMENT_METHOD_ID,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_A_LIST,
    WITH_AN_IDEMPOTENCY_KEY,
    card,
    payment_method,
)

TAG: Final = "Payment methods"
_LEADS_ON: Final = {"payment_method_id": "/id"}
_OF_A_METHOD: Final = (
    *WITH_A_KEY,
    *WITH_A_BODY,
    *WITH_AN_IDEMPOTENCY_KEY,
    "database_unavailable",
    "vault_unavailable",
)

SAVE: Final = Operation(
    id="save_payment_method",
    method="POST",
    path=OF_CUSTOMER,
    tag=TAG,
    summary="Save a payment method",
    description="Saves an instrument at its gateway, so that it can be charged later, also while "
    "the customer is away. No money is taken. In `requires_action` the customer has an hour to "
    "open `next_action.url`; it is `ready` or `failed` after that by itself. With "
    "`gateway_customer` an instrument that the gateway keeps for that customer already is adopted: "
    "it has to be there, a card, and of that customer; the gateway is only asked for it.",
    answering=lambda rooms, call: rooms.methods.save(call.asked, call.path["customer_id"]),
    scope="customers:write",
    parameters=(CUSTOMER_ID, IDEMPOTENCY_KEY, PREFER),
    body=SavePaymentMethod,
    answers=(
        Answer(
            status=201,
            description="It is on disk, and has come further than `processing` already.",
            type=PaymentMethodView,
            headers=OF_A_MOVE[:2],
            links=_LEADS_ON,
        ),
        Answer(
            status=202,
            description="It is on disk and on its way: `processing`.",
            type=PaymentMethodView,
            headers=OF_A_MOVE,
            links=_LEADS_ON,
        ),
        Answer(
            status=200,
            description="This key made it earlier; here it is as it now stands.",
            type=PaymentMethodView,
            headers=OF_A_MOVE,
            links=_LEADS_ON,
        ),
    ),
    problems=(
        *_OF_A_METHOD,
        "field_missing",
        "field_repeated",
        "customer_field_invalid",
        "instrument_token_malformed",
        "gateway_customer_malformed",
        "gateway_account_unknown",
        "return_url_invalid",
        "gateway_account_missing",
        "customer_not_found",
        "customer_erased",
    ),
    examples=(
        Example(
            name="payment_method",
            summary="A card",
            key="customer-17-card",
            wait=10,
            after="customer",
            body={"instrument": card("pm_card_visa"), "consent": CONSENT_GIVEN},
            status=201,
            answer=payment_method(),
            headers={"Preference-Applied": "wait=10"},
        ),
    ),
)

LIST: Final = Operation(
    id="list_payment_methods",
    method="GET",
    path=OF_CUSTOMER,
    tag=TAG,
    summary="List a customer's payment methods",
    description="Newest first, those that failed and those that were detached too.",
    answering=lambda rooms, call: rooms.methods.list_page(
        call.asked, call.path["customer_id"], call.query
    ),
    scope="customers:read",
    parameters=(CUSTOMER_ID,),
    query=PaymentMethodParameters,
    answers=(
        Answer(
            status=200,
            description="A page.",
            type=PaymentMethodList,
            links={"payment_method_id": "/data/0/id", "cursor": "/next_cursor"},
        ),
    ),
    problems=(*WITH_A_KEY, *WITH_A_LIST, "customer_not_found"),
    examples=(
        Example(
            name="payment_methods",
            summary="What a customer can pay with",
            after="payment_method",
            status=200,
            answer={"data": [payment_method()], "next_cursor": None},
        ),
    ),
)

GET: Final = Operation(
    id="get_payment_method",
    method="GET",
    path=PATH + "/{payment_method_id}",
    tag=TAG,
    summary="Read a payment method",
    description=f"As it now stands; with `Prefer: wait=N` (at most {WAIT_SECONDS_MAX} seconds) "
    "once it is no longer `processing`.",
    answering=lambda rooms, call: rooms.methods.get(call.asked, call.path["payment_method_id"]),
    scope="customers:read",
    parameters=(PAYMENT_METHOD_ID, PREFER),
    answers=(
        Answer(
            status=200,
            description="The payment method.",
            type=PaymentMethodView,
            headers=(PREFERENCE_APPLIED,),
        ),
    ),
    problems=(
        *WITH_A_KEY,
        "database_unavailable",
        "vault_unavailable",
        "parameter_unknown",
        "payment_method_not_found",
    ),
    examples=(
        Example(
            name="read_payment_method",
            summary="A card that is saved",
            after="payment_method",
            status=200,
            answer=payment_method(),
        ),
    ),
)

CONSENT: Final = Operation(
    id="agree_to_payment_method",
    method="POST",
    path=PATH + "/{payment_method_id}/consent",
    tag=TAG,
    summary="Record a consent",
    description="That its customer agreed to be charged by it while away. The newest counts; those "
    "before it are kept. From where it was given is sealed under the customer's key.",
    answering=lambda rooms, call: rooms.methods.agree(call.asked, call.path["payment_method_id"]),
    scope="customers:write",
    parameters=(PAYMENT_METHOD_ID, IDEMPOTENCY_KEY),
    body=ConsentBody,
    answers=(
        Answer(
            status=200,
            description="The payment method, with the consent.",
            type=PaymentMethodView,
            headers=(LOCATION, REPLAYED),
            links=_LEADS_ON,
        ),
    ),
    problems=(
        *_OF_A_METHOD,
        "field_missing",
        "field_repeated",
        "customer_field_invalid",
        "payment_method_not_found",
        "payment_method_not_ready",
        "customer_erased",
    ),
    examples=(
        Example(
            name="consent",
            summary="A subscription",
            key="customer-17-consent",
            after="payment_method",
            body=CONSENT_GIVEN | {"purpose": "recurring"},
            status=200,
            answer=payment_method(consent=CONSENT_SHOWN | {"purpose": "recurring"}, version=4),
        ),
    ),
)

DETACH: Final = Operation(
    id="detach_payment_method",
    method="POST",
    path=PATH + "/{payment_method_id}/detach",
    tag=TAG,
    summary="Detach a payment method",
    description="Lets go of it at the gateway as well, which is tried until it is known: "
    "`detaching`, then `detached`. It can never be charged again.",
    answering=lambda rooms, call: rooms.methods.detach(call.asked, call.path["payment_method_id"]),
    scope="customers:write",
    parameters=(PAYMENT_METHOD_ID, IDEMPOTENCY_KEY),
    body=DetachPaymentMethod,
    answers=(
        Answer(
            status=200,
            description="The payment method, on its way or gone already.",
            type=PaymentMethodView,
            headers=(LOCATION, REPLAYED),
            links=_LEADS_ON,
        ),
    ),
    problems=(*_OF_A_METHOD, "payment_method_not_found", "payment_method_not_ready"),
    examples=(
        Example(
            name="detach_payment_method",
            summary="Let go of a card",
            key="customer-17-card-gone",
            after="payment_method",
            body={},
            status=200,
            answer=payment_method(
                status="detaching", consent=CONSENT_SHOWN | {"purpose": "recurring"}, version=5
            ),
        ),
    ),
)

PAYMENT_METHODS: Final = (SAVE, LIST, GET, CONSENT, DETACH)
"""The operations of this file."""
