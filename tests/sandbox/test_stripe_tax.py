"""Stripe Tax in the stand-in, driven by the official SDK: calculations, transactions, reversals."""

import uuid
from typing import Any

import pytest
import stripe

DAY = 24 * 3600


@pytest.fixture
def order() -> str:
    """A reference that no other test has; what begins with it is this test's."""
    return uuid.uuid4().hex


def ledger(stand_in: Any, order: str) -> list[dict[str, Any]]:
    found = stand_in.control("GET", "/_ledger/tax")["data"]
    return [entry for entry in found if entry["reference"].startswith(order)]


BERLIN = {"address": {"country": "DE", "postal_code": "10115"}, "address_source": "billing"}


def calculate(stand_in: Any, *lines: dict[str, Any], **more: Any) -> Any:
    asked = {
        "currency": "eur",
        "line_items": list(lines) or [{"amount": 10_000, "reference": "L1"}],
        "customer_details": BERLIN,
        "expand": ["line_items.data.tax_breakdown"],
        **more,
    }
    return stand_in.client().v1.tax.calculations.create(asked)


def report(stand_in: Any, calculation: Any, reference: str, **options: Any) -> Any:
    return stand_in.client().v1.tax.transactions.create_from_calculation(
        {"calculation": calculation.id, "reference": reference, "expand": ["line_items"]}, options
    )


def reverse(stand_in: Any, original: Any, reference: str, **more: Any) -> Any:
    asked = {"original_transaction": original.id, "reference": reference, **more}
    return stand_in.client().v1.tax.transactions.create_reversal(asked | {"expand": ["line_items"]})


def refused(call: Any, *arguments: Any, **more: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as raised:
        call(*arguments, **more)
    return raised.value


def total(taxed: Any) -> int:
    lines = [*taxed.line_items.data, *([taxed.shipping_cost] if taxed.shipping_cost else [])]
    return sum(
        one.amount + (one.amount_tax if one.tax_behavior == "exclusive" else 0) for one in lines
    )


def test_tax_is_added_to_an_exclusive_price_and_found_in_an_inclusive_one(stand_in):
    made = calculate(
        stand_in,
        {"amount": 10_000, "reference": "book"},
        {"amount": 11_900, "reference": "lamp", "tax_behavior": "inclusive"},
        shipping_cost={"amount": 500},
    )
    assert (made.object, made.currency, made.livemode) == ("tax.calculation", "eur", False)
    assert (made.tax_amount_exclusive, made.tax_amount_inclusive) == (1995, 1900)
    assert made.amount_total == 10_000 + 1900 + 11_900 + 500 + 95
    assert made.shipping_cost.amount_tax == 95
    lines = {line.reference: line for line in made.line_items.data}
    assert (lines["book"].amount_tax, lines["lamp"].amount_tax) == (1900, 1900)
    [of_book] = lines["book"].tax_breakdown
    assert (of_book.taxability_reason, of_book.taxable_amount) == ("standard_rated", 10_000)
    assert of_book.tax_rate_details.percentage_decimal == "19.0"
    now = stand_in.control("GET", "/_clock")["now"]
    assert made.expires_at == pytest.approx(now + 90 * DAY, abs=5)
    assert sum(one.amount for one in made.tax_breakdown) == 3895


def test_lines_are_shown_where_they_are_asked_for_and_in_pages(stand_in):
    many = [{"amount": number, "reference": f"L{number}"} for number in range(1, 26)]
    calculations = stand_in.client().v1.tax.calculations
    bare = calculate(stand_in, *many, expand=[])
    assert bare.line_items is None
    shown = calculations.retrieve(bare.id, {"expand": ["line_items"]})
    assert (len(shown.line_items.data), shown.line_items.has_more) == (10, True)
    assert shown.line_items.data[0].tax_breakdown is None
    listed = [
        line.reference
        for line in calculations.line_items.list(bare.id, {"limit": 7}).auto_paging_iter()
    ]
    assert listed == [one["reference"] for one in many]


@pytest.mark.parametrize(
    ("customer", "more", "reason", "tax"),
    [
        ({"country": "BR"}, {}, "not_collecting", 0),
        ({"country": "FR"}, {"tax_ids": [{"type": "eu_vat", "value": "FR12345678901"}]},
         "reverse_charge", 0),
        ({"country": "DE"}, {"tax_ids": [{"type": "eu_vat", "value": "DE123456789"}]},
         "standard_rated", 1900),
        ({"country": "FR"}, {"taxability_override": "customer_exempt"}, "customer_exempt", 0),
        ({"country": "US", "postal_code": "10001", "state": "NY"}, {}, "standard_rated", 888),
    ],
)  # fmt: skip
def test_who_is_taxed_follows_from_place_and_person(stand_in, customer, more, reason, tax):
    details = {"address": customer, "address_source": "billing", **more}
    made = calculate(stand_in, customer_details=details)
    [line] = made.line_items.data
    assert (line.tax_breakdown[0].taxability_reason, line.amount_tax) == (reason, tax)
    assert made.customer_details.address.country == customer["country"]


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"customer_details": {"address": {"country": "US"}, "address_source": "billing"}},
         "customer_tax_location_invalid", "customer_details[address]"),
        ({"customer_details": {"address": {"country": "Germany"}, "address_source": "billing"}},
         "customer_tax_location_invalid", "customer_details[address][country]"),
        ({"customer_details": BERLIN | {"tax_ids": [{"type": "eu_vat", "value": "1"}]}},
         "tax_id_invalid", "customer_details[tax_ids][0][value]"),
        ({"line_items": [{"amount": 1, "tax_code": "books"}]},
         "resource_missing", "line_items[0][tax_code]"),
        ({"line_items": [{"amount": 1, "reference": "a"}, {"amount": 1, "reference": "a"}]},
         None, "line_items"),
        ({"line_items": [{"amount": -1}]}, None, "line_items[0][amount]"),
        ({"line_items": [{"amount": 1, "colour": "red"}]},
         "parameter_unknown", "line_items[0][colour]"),
        ({"line_items": [{"amount": 1}] * 101}, None, "line_items"),
        ({"currency": "xxx"}, None, "currency"),
        ({"customer_details": {"address": {"country": "DE"}}},
         "parameter_missing", "customer_details[address_source]"),
    ],
)  # fmt: skip
def test_what_cannot_be_calculated_is_refused(stand_in, change, code, param):
    error = refused(calculate, stand_in, **change)
    assert (error.http_status, error.code, error.param) == (400, code, param)


def test_a_transaction_reports_a_calculation_once_for_a_reference(stand_in, order):
    made = calculate(stand_in, shipping_cost={"amount": 500, "tax_behavior": "inclusive"})
    sale = report(stand_in, made, order, idempotency_key=f"{order}-1")
    assert (sale.type, sale.reference, sale.reversal) == ("transaction", order, None)
    assert total(sale) == made.amount_total
    assert report(stand_in, made, order, idempotency_key=f"{order}-1").id == sale.id
    error = refused(report, stand_in, made, order, idempotency_key=f"{order}-2")
    assert (error.http_status, error.param) == (400, "reference")
    shown = stand_in.client().v1.tax.transactions.retrieve(sale.id)
    assert (shown.reference, shown.line_items) == (order, None)
    [entry] = ledger(stand_in, order)
    assert (entry["reference"], entry["total"]) == (order, made.amount_total)


def test_a_calculation_ends_after_ninety_days(stand_in, order):
    made = calculate(stand_in)
    stand_in.advance(90 * DAY)
    assert refused(report, stand_in, made, f"{order}-late").param == "calculation"
    error = refused(stand_in.client().v1.tax.calculations.retrieve, made.id)
    assert error.http_status == 404


def test_a_flat_amount_is_shared_out_over_what_is_left(stand_in, order):
    made = calculate(
        stand_in, {"amount": 1000, "reference": "a"}, {"amount": 2000, "reference": "b"}
    )
    sale = report(stand_in, made, order)
    [first, second] = sale.line_items.data
    part = reverse(
        stand_in, sale, f"{order}-back-1", mode="partial",
        line_items=[{"original_line_item": first.id, "reference": "a", "amount": -1000,
                     "amount_tax": -190}],
    )  # fmt: skip
    assert (part.type, part.reversal.original_transaction) == ("reversal", sale.id)
    flat = reverse(stand_in, sale, f"{order}-back-2", mode="partial", flat_amount=-1190)
    assert [(one.amount, one.amount_tax) for one in flat.line_items.data] == [(0, 0), (-1000, -190)]
    assert flat.line_items.data[1].reversal.original_line_item == second.id
    too_much = refused(
        reverse, stand_in, sale, f"{order}-back-3", mode="partial", flat_amount=-1191
    )
    assert too_much.param == "flat_amount"
    rest = reverse(stand_in, sale, f"{order}-back-3", mode="partial", flat_amount=-1190)
    assert total(rest) == -1190
    left = ledger(stand_in, order)
    assert sum(entry["total"] for entry in left) == 0
    assert sum(entry["tax"] for entry in left) == 0


def test_a_partial_reversal_is_undone_by_a_full_one_of_it(stand_in, order):
    sale = report(stand_in, calculate(stand_in), order)
    part = reverse(stand_in, sale, f"{order}-ref", mode="partial", flat_amount=-5000)
    undone = reverse(stand_in, part, f"{order}-ref-undone", mode="full")
    assert total(undone) == 5000
    assert (
        refused(reverse, stand_in, part, f"{order}-again", mode="full").param
        == "original_transaction"
    )
    assert (
        refused(reverse, stand_in, undone, f"{order}-again", mode="full").param
        == "original_transaction"
    )
    whole = reverse(stand_in, sale, f"{order}-ref-2", mode="partial", flat_amount=-11_900)
    assert total(whole) == -11_900


def test_a_full_reversal_takes_everything_back_and_only_once(stand_in, order):
    sale = report(stand_in, calculate(stand_in, shipping_cost={"amount": 100}), order)
    assert total(reverse(stand_in, sale, f"{order}-back", mode="full")) == -total(sale)
    error = refused(reverse, stand_in, sale, f"{order}-back-2", mode="partial", flat_amount=-1)
    assert error.param == "original_transaction"


@pytest.mark.parametrize(
    "asked",
    [
        {"mode": "partial"}, {"mode": "full", "flat_amount": -1},
        {"mode": "partial", "flat_amount": 1}, {"mode": "half"},
        {"mode": "partial", "flat_amount": -1, "colour": "red"},
    ],
)  # fmt: skip
def test_a_reversal_that_says_nothing_clear_is_refused(stand_in, order, asked):
    sale = report(stand_in, calculate(stand_in), order)
    assert refused(reverse, stand_in, sale, f"{order}-back", **asked).http_status == 400
    assert len(ledger(stand_in, order)) == 1


def test_thirty_partial_reversals_are_all(stand_in, order):
    sale = report(stand_in, calculate(stand_in), order)
    for number in range(30):
        reverse(stand_in, sale, f"{order}-{number}", mode="partial", flat_amount=-1)
    assert refused(reverse, stand_in, sale, f"{order}-one-more", mode="partial", flat_amount=-1)


def test_what_was_reported_outlives_a_crash(stand_in, order):
    made = calculate(stand_in)
    sale = report(stand_in, made, order)
    part = reverse(stand_in, sale, f"{order}-back", mode="partial", flat_amount=-100)
    stand_in.kill()
    stand_in.start()
    assert stand_in.client().v1.tax.transactions.retrieve(part.id).reference == f"{order}-back"
    assert refused(report, stand_in, made, order).param == "reference"
    rest = reverse(stand_in, sale, f"{order}-rest", mode="partial", flat_amount=-11_800)
    assert total(rest) == -11_800


def test_nothing_else_below_tax_is_a_path(stand_in):
    key = {"Authorization": "Bearer sk_test_standInSecret0123456789"}
    for path in ("/v1/tax", "/v1/tax/rates", "/v1/tax/calculations/a/b", "/v1/tax/transactions"):
        status, _, _ = stand_in.raw("GET", path, **key)
        assert status == 404, path
