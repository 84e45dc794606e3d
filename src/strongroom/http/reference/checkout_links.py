"""The operations on checkout links, as the table has them."""

from typing import Any, Final

from strongroom.http.checkout_links import CheckoutLinkView, MakeCheckoutLink
from strongroom.http.listing import CREATE_PATH
from strongroom.http.reference.operation import Answer, Example, Operation
from strongroom.http.reference.shared import (
    EXAMPLE_PAYMENT,
    PAYMENT_ID,
    WITH_A_BODY,
    WITH_A_KEY,
)

PATH: Final = CREATE_PATH + "/{payment_id}/checkout_link"
TAG: Final = "Checkout links"


def _link(**changes: Any) -> dict[str, Any]:
    return {
        "payment": EXAMPLE_PAYMENT,
        "current_payment": EXAMPLE_PAYMENT,
        "status": "open",
        "tries": 0,
        "url": None,
        "expires_at": "2026-11-21T10:25:00.116724Z",
        **changes,
    }


MAKE: Final = Operation(
    id="make_checkout_link",
    method="POST",
    path=PATH,
    tag=TAG,
    summary="Make a checkout link",
    description="The address of a page on which your customer pays a payment that is in "
    "`requires_payment_method`: card fields are the gateway's, so card data reaches neither you "
    "nor this API. Whoever has the address can pay, until the payment's `not_after`. It is shown "
    "once; asked again, a new one takes its place. A payment that is declined there is `failed`, "
    "and the customer's next try is another payment for the same `merchant_reference`: look at "
    "`current_payment`, and revoke the link before you give the order up.",
    answering=lambda rooms, call: rooms.checkout_links.make(call.asked, call.path["payment_id"]),
    scope="payments:write",
    parameters=(PAYMENT_ID,),
    body=MakeCheckoutLink,
    answers=(
        Answer(
            status=201,
            description="The link; no other shows its address.",
            type=CheckoutLinkView,
            links={"payment_id": "/payment"},
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *WITH_A_BODY,
        "database_unavailable",
        "payment_not_found",
        "payment_under_review",
        "payment_is_over",
        "payment_has_an_instrument",
        "payment_is_closing",
        "not_after_passed",
        "checkout_not_set_up",
    ),
    examples=(
        Example(
            name="checkout_link",
            summary="A page for a payment without an instrument",
            after="for_a_page",
            body={},
            status=201,
            answer=_link(
                url="http://checkout.localhost:8083/pay/pay_01m7xymr1mfnzbqf5r8f0krvww."
                "NlcW3R0Jm6vYx2aQ7tLkUeBzOoHsDfGi-PyCnEwXrTa"
            ),
        ),
    ),
)

GET: Final = Operation(
    id="get_checkout_link",
    method="GET",
    path=PATH,
    tag=TAG,
    summary="Read a checkout link",
    description="What has become of it, without its address.",
    answering=lambda rooms, call: rooms.checkout_links.get(call.asked, call.path["payment_id"]),
    scope="payments:read",
    parameters=(PAYMENT_ID,),
    answers=(
        Answer(
            status=200,
            description="The link.",
            type=CheckoutLinkView,
            links={"payment_id": "/payment"},
        ),
    ),
    problems=(*WITH_A_KEY, "parameter_unknown", "database_unavailable", "checkout_link_not_found"),
    examples=(
        Example(
            name="read_checkout_link",
            summary="Read it",
            after="checkout_link",
            status=200,
            answer=_link(),
        ),
    ),
)

REVOKE: Final = Operation(
    id="revoke_checkout_link",
    method="POST",
    path=PATH + "/revoke",
    tag=TAG,
    summary="Revoke a checkout link",
    description="No try begins by it any more. One that was begun goes on: cancel its payment to "
    "stop that.",
    answering=lambda rooms, call: rooms.checkout_links.revoke(call.asked, call.path["payment_id"]),
    scope="payments:write",
    parameters=(PAYMENT_ID,),
    body=MakeCheckoutLink,
    answers=(
        Answer(
            status=200,
            description="The link.",
            type=CheckoutLinkView,
            links={"payment_id": "/payment"},
        ),
    ),
    problems=(*WITH_A_KEY, *WITH_A_BODY, "database_unavailable", "checkout_link_not_found"),
    examples=(
        Example(
            name="revoke_checkout_link",
            summary="Revoke it",
            after="checkout_link",
            body={},
            status=200,
            answer=_link(status="closed"),
        ),
    ),
)

CHECKOUT_LINKS: Final = (MAKE, GET, REVOKE)
