"""The operations on tax calculations, as the table has them."""

from typing import Any, Final

from strongroom.http.fields import WAIT_SECONDS_MAX, TaxCalculationId
from strongroom.http.reference.operation import (
    IDEMPOTENCY_KEY,
    LOCATION,
    PREFER,
    PREFERENCE_APPLIED,
    REPLAYED,
    Answer,
    Example,
    Operation,
    Parameter,
)
from strongroom.http.reference.problem_examples import problem_example
from strongroom.http.reference.shared import (
    EXAMPLE_CALCULATION,
    WITH_A_BODY,
    WITH_A_KEY,
    WITH_AN_IDEMPOTENCY_KEY,
)
from strongroom.http.tax import PATH, WAIT_DEFAULT_SECONDS, TaxCalculationView
from strongroom.http.tax_bodies import CreateTaxCalculation

TAG: Final = "Taxes"
CALCULATION_ID: Final = Parameter("calculation_id", "path", TaxCalculationId, required=True)
HEADERS: Final = (LOCATION, PREFERENCE_APPLIED, REPLAYED)
LINKS: Final = {"calculation_id": "/id"}


def _rate(taxable: int, tax: int) -> dict[str, Any]:
    return {
        "country": "DE",
        "state": None,
        "type": "vat",
        "percent": "19.0",
        "reason": "standard_rated",
        "taxable_amount": taxable,
        "tax_amount": tax,
    }


def calculation(**changes: Any) -> dict[str, Any]:
    """A calculation as an answer shows it, for examples."""
    return {
        "id": EXAMPLE_CALCULATION,
        "status": "ready",
        "status_reason": None,
        "currency": "EUR",
        "total": 11900,
        "tax_amount_exclusive": 1900,
        "tax_amount_inclusive": 0,
        "line_items": [
            {
                "reference": "ticket",
                "amount": 10000,
                "tax_amount": 1900,
                "tax_behavior": "exclusive",
                "tax_code": "txcd_10000000",
                "rates": [_rate(10000, 1900)],
            }
        ],
        "shipping_cost": None,
        "usable_until": "2027-01-20T12:00:00Z",
        "payment": None,
        "transactions": [],
        "gateway": "stripe",
        "gateway_calculation": "taxcalc_1Qw5Zk2eZvKYlo2C",
        "created_at": "2026-11-21T12:00:00Z",
        "updated_at": "2026-11-21T12:00:01Z",
        "version": 2,
        **changes,
    }


CREATE: Final = Operation(
    id="create_tax_calculation",
    method="POST",
    path=PATH,
    tag=TAG,
    summary="Calculate taxes",
    description="What has to be paid for an order, tax included, as the tax service of a gateway "
    "account of yours says. Take its `total` as the amount of a payment that names it as "
    "`tax_calculation`: once that has succeeded it is reported to the tax service, and its refunds "
    f"are too. It answers when the service has, or after {WAIT_DEFAULT_SECONDS} seconds unless "
    f"`Prefer: wait=N` says otherwise (at most {WAIT_SECONDS_MAX}). The customer's address and tax "
    "ids are sealed until the service has answered, and deleted then.",
    answering=lambda rooms, call: rooms.taxes.create(call.asked),
    scope="taxes:write",
    parameters=(IDEMPOTENCY_KEY, PREFER),
    body=CreateTaxCalculation,
    answers=(
        Answer(
            status=201,
            description="It is `ready`, or the service refused and it is `failed`.",
            type=TaxCalculationView,
            headers=HEADERS,
            links=LINKS,
        ),
        Answer(
            status=202,
            description="The service has not answered yet. Read it later.",
            type=TaxCalculationView,
            headers=HEADERS,
            links=LINKS,
        ),
        Answer(
            status=200,
            description="This key made it earlier; here it is as it now stands.",
            type=TaxCalculationView,
            headers=HEADERS,
            links=LINKS,
        ),
    ),
    problems=(
        *WITH_A_KEY,
        *WITH_A_BODY,
        *WITH_AN_IDEMPOTENCY_KEY,
        "field_missing",
        "field_repeated",
        "currency_unknown",
        "amount_invalid",
        "amount_not_representable",
        "tax_field_invalid",
        "tax_service_missing",
        "database_unavailable",
        "vault_unavailable",
    ),
    examples=(
        Example(
            name="ticket",
            summary="A ticket for somebody in Berlin",
            key="cart-77",
            body={
                "currency": "EUR",
                "line_items": [{"amount": 10000, "reference": "ticket"}],
                "customer": {"address": {"country": "DE", "postal_code": "10115"}},
            },
            status=201,
            answer=calculation(),
        ),
    ),
)

GET: Final = Operation(
    id="get_tax_calculation",
    method="GET",
    path=PATH + "/{calculation_id}",
    tag=TAG,
    summary="Read a tax calculation",
    description="With the payment that has named it, and what of it was reported.",
    answering=lambda rooms, call: rooms.taxes.get(call.asked, call.path["calculation_id"]),
    scope="taxes:read",
    parameters=(CALCULATION_ID, PREFER),
    answers=(
        Answer(
            status=200,
            description="The calculation.",
            type=TaxCalculationView,
            headers=(PREFERENCE_APPLIED,),
        ),
    ),
    problems=(
        *WITH_A_KEY,
        "database_unavailable",
        "parameter_unknown",
        "tax_calculation_not_found",
    ),
    examples=(
        Example(
            name="tax_calculation",
            summary="The calculation of before",
            after="ticket",
            status=200,
            answer=calculation(),
        ),
        Example(
            name="no_such_tax_calculation",
            summary="A calculation of somebody else",
            status=404,
            answer=problem_example("tax_calculation_not_found"),
        ),
    ),
)

TAXES: Final = (CREATE, GET)
