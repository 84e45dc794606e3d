"""How each documented problem is met: one entry a code, for every operation that names it.

Most are a good request with one thing changed. A new code is one more entry in PROVOKED; a pair
that no request can meet has its reason in LEFT_OUT.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.http import front_door
from strongroom.ids import from_text
from tests.acceptance import nouns, troubles
from tests.acceptance.client import Answer, fresh, order
from tests.acceptance.good_requests import AMOUNT, Sent, World, cart
from tests.acceptance.raw import exchange, send_raw
from tests.acceptance.served import served

Provoke = Callable[[World, str], Awaitable[Answer]]

_A_BUG = "only a bug makes it fail: it asks nobody, and nothing of the request goes into it"
LEFT_OUT: dict[tuple[str, str], str] = {
    ("get_openapi", "internal_error"): _A_BUG,
    ("get_docs", "internal_error"): _A_BUG,
    ("get_readyz", "internal_error"): "only a bug: whatever the database says is not_ready",
}
"""By operation and code, why no request can meet it."""


def changed(change: Callable[[Sent], Sent]) -> Provoke:
    """A good request with something changed."""

    async def provoke(world: World, operation_id: str) -> Answer:
        return await world.send(change(await world.good(operation_id)))

    return provoke


def fields(**values: Any) -> Provoke:
    """A good request with these fields of the body."""
    return changed(lambda sent: sent.with_fields(**values))


def on(**stands: Callable[[World], Awaitable[str]]) -> Provoke:
    """A good request to a payment that stands elsewhere, by the name of the operation."""

    async def provoke(world: World, operation_id: str) -> Answer:
        good = await world.good(operation_id)
        return await world.send(good.of(await stands[operation_id.partition("_")[0]](world)))

    return provoke


# What can be seen from the request alone.


async def malformed(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    lines = f"{sent.operation.method} {sent.path} HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n"
    answer = await exchange(world.running.api_url, [lines.encode()])
    return answer.as_documented(sent.operation.method, sent.path)


def repeated(sent: Sent) -> Sent:
    inner = sent.body[1:-1]
    return sent.with_body(b"{%b,%b}" % (inner, inner))


def without_a_field(sent: Sent) -> Sent:
    if sent.operation.id in ("confirm_payment", "save_payment_method"):
        return sent.with_body({"instrument": {"gateway": "stripe"}})
    return sent.with_body({})


def token(value: str) -> Provoke:
    return fields(instrument={"gateway": "stripe", "token": value})


def other_scope(world: World, sent: Sent) -> Sent:
    other = next(scope for scope in sorted(world.keys) if scope != sent.operation.scope)
    return sent.with_other("Authorization", f"Bearer {world.keys[other]}")


async def scope_missing(world: World, operation_id: str) -> Answer:
    return await world.send(other_scope(world, await world.good(operation_id)))


async def stalled(world: World, operation_id: str) -> Answer:
    """Headers that announce a body, and half of it."""
    sent = await world.good(operation_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front_door, "BODY_SECONDS_MAX", 0.05)
        async with served(world.running) as (url, _):
            head = [f"{sent.operation.method} {sent.path} HTTP/1.1", "Host: x", "Connection: close"]
            head += [f"{name}: {value}" for name, value in sent.headers]
            head += [f"Content-Length: {len(sent.body)}", "", ""]
            answer = await exchange(url, ["\r\n".join(head).encode() + sent.body[:1]])
    return answer.as_documented(sent.operation.method, sent.path)


async def nothing_to_pay(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    if operation_id == "create_tax_calculation":
        return await world.send(sent.with_body(cart(0)))
    return await world.send(sent.with_fields(amount=0))


# What stands against it.


async def reused(world: World, operation_id: str) -> Answer:
    """The same key for something else."""
    sent = await world.good(operation_id)
    first = await world.send(sent)
    assert first.status < 300, first
    if operation_id == "save_payment_method":
        return await world.send(sent.with_fields(return_url="https://shop.example/other"))
    if operation_id in ("detach_payment_method", "agree_to_payment_method"):
        other = await world.good(operation_id)
        return await world.send(replace(sent, path=other.path))
    if operation_id == "create_tax_calculation":
        return await world.send(sent.with_body(cart(1)))
    if operation_id.endswith("_customer"):
        return await world.send(sent.with_fields(name="Another"))
    if operation_id == "create_payment":
        return await world.send(sent.with_fields(amount=AMOUNT + 1))
    other = await world.good(operation_id)
    if "dispute" in other.path:
        return await world.send(other.with_other("Idempotency-Key", sent.key))
    return await world.send(sent.of(other.payment or ""))


async def reference_taken(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    assert (await world.send(sent)).status < 300
    return await world.send(sent.with_other("Idempotency-Key", fresh("key")))


async def account_missing(world: World, operation_id: str) -> Answer:
    sent = (await world.good(operation_id)).with_other(
        "Authorization", f"Bearer {world.poor.api_key}"
    )
    if operation_id == "save_payment_method":
        customer = (await world.poor.post("/v1/customers", {})).id
        sent = replace(sent, path=f"/v1/customers/{customer}/payment_methods")
    if sent.payment is not None:
        sent = sent.of((await world.poor.pay(order(None))).id)
    return await world.send(sent)


async def no_merchant_account(world: World, operation_id: str) -> Answer:
    sent = (await world.good(operation_id)).with_other(
        "Authorization", f"Bearer {world.poor.api_key}"
    )
    if sent.payment is not None:
        sent = sent.of((await world.poor.pay(order(None))).id)
    nonce = {"gateway": "braintree", "token": "fake-valid-nonce"}
    return await world.send(sent.with_fields(instrument=nonce))


async def not_representable(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    if operation_id == "create_tax_calculation":
        return await world.send(sent.with_body(cart(10**8)))
    if operation_id == "confirm_payment":
        return await world.send(sent.of(await world.bare(amount=10**8)))
    if operation_id == "create_refund":
        # A part of what can be given back, and all the same too fine for the gateway.
        sent = sent.of(await world.paid(amount=1000, currency="KWD"))
        return await world.send(sent.with_fields(amount=5))
    return await world.send(sent.with_fields(amount=10**8))


async def payment_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    if operation_id in ("list_refunds", "list_disputes"):
        # A payment that is not there has no refunds; one that cannot be there is not found.
        return await world.send(sent.with_query("payment=pay_"))
    return await world.send(sent.of("pay_" + "0" * 26))


async def under_review(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    await world.owner.execute(
        "UPDATE payments SET review = 'amount_mismatch' WHERE payment_id = $1",
        from_text("pay", sent.payment or ""),
    )
    return await world.send(sent)


async def canceled(world: World) -> str:
    payment = await world.bare()
    await world.api.cancel(payment)
    await world.api.until(payment, "canceled")
    return payment


async def late(world: World) -> str:
    """Too late to be sent, a moment before it is canceled for that."""
    payment = await world.bare()
    await world.owner.execute(
        "UPDATE payments SET not_after = created_at WHERE payment_id = $1",
        from_text("pay", payment),
    )
    return payment


async def closing(world: World) -> str:
    """Its cancel finds no gateway."""
    payment = await world.held()
    await world.stripe.knobs(
        {"fault": "error_503", "match": {"operation": "payment_intents.cancel|retrieve"}}
    )
    assert (await world.api.cancel(payment)).status == 202
    return payment


async def in_capture(world: World) -> str:
    """Its capture finds no gateway."""
    payment = await world.held()
    await world.stripe.knobs(
        {"fault": "error_503", "match": {"operation": "payment_intents.capture|retrieve"}}
    )
    assert (await world.api.capture(payment)).status == 202
    return payment


async def unknown(world: World) -> str:
    await world.stripe.knobs(
        {"fault": "drop_after", "match": {"operation": "payment_intents.confirm"}},
        {"fault": "error_503", "match": {"operation": "payment_intents.retrieve"}},
    )
    made = await world.api.pay(order())
    await world.api.until(made.id, "outcome_unknown")
    return made.id


async def refund_not_found(world: World, operation_id: str) -> Answer:
    sent = await world.good(operation_id)
    return await send_raw(
        world.running.api_url, "/v1/refunds/ref_" + "0" * 26, list(sent.headers), b"", method="GET"
    )


PROVOKED: dict[str, Provoke] = {
    "request_malformed": malformed,
    "too_many_connections": troubles.too_many_connections,
    "card_number_refused": changed(lambda sent: sent.with_header("X-Note", "4111 1111 1111 1111")),
    "header_repeated": changed(
        lambda sent: sent.with_header("Prefer", "wait=0").with_header("Prefer", "wait=0")
    ),
    "header_not_ascii": changed(lambda sent: sent.with_header("Prefer", "é")),
    "api_key_invalid": changed(lambda sent: sent.without_header("Authorization")),
    "scope_missing": scope_missing,
    "key_not_checked": troubles.without_a_database,
    "vault_unavailable": troubles.without_a_kms,
    "internal_error": troubles.without_rights,
    "parameter_unknown": changed(lambda sent: sent.with_query("colour=red")),
    "parameter_repeated": changed(lambda sent: sent.with_query("limit=1&limit=1")),
    "parameter_invalid": changed(lambda sent: sent.with_query("limit=0")),
    "query_malformed": changed(lambda sent: sent.with_query("limit=%ff")),
    "body_too_slow": stalled,
    "body_too_large": changed(
        lambda sent: sent.with_body(sent.body.ljust(sent.operation.body_bytes_max + 1))
    ),
    "content_type_not_json": changed(lambda sent: sent.with_other("Content-Type", "text/plain")),
    "json_malformed": changed(lambda sent: sent.with_body(sent.body + b"{")),
    "field_unknown": changed(lambda sent: sent.with_body({"colour": "red"})),
    "field_type_wrong": changed(lambda sent: sent.with_body([])),
    "field_repeated": changed(repeated),
    "field_missing": changed(without_a_field),
    "idempotency_key_missing": changed(lambda sent: sent.without_header("Idempotency-Key")),
    "idempotency_key_malformed": changed(
        lambda sent: sent.with_other("Idempotency-Key", "two words")
    ),
    "idempotency_key_misplaced": changed(lambda sent: sent.with_header("Idempotency-Key", "a")),
    "idempotency_key_reused": reused,
    "bulk_size": changed(lambda sent: sent.with_body({name: [] for name in sent.json})),
    "amount_invalid": nothing_to_pay,
    "amount_not_representable": not_representable,
    "currency_unknown": fields(currency="EUX"),
    "merchant_reference_length": fields(merchant_reference=""),
    "merchant_reference_characters": fields(merchant_reference="a\0"),
    "merchant_reference_taken": reference_taken,
    "description_length": fields(description="x" * 1001),
    "description_characters": fields(description="a\0"),
    "metadata_too_large": fields(metadata={str(number): "" for number in range(51)}),
    "metadata_length": fields(metadata={"": "a"}),
    "metadata_characters": fields(metadata={"a": "\0"}),
    "not_after_invalid": fields(not_after="2020-01-01T00:00:00Z"),
    "instrument_token_malformed": token("tok_1"),
    "gateway_customer_malformed": fields(
        instrument={"gateway": "stripe", "token": "pm_card_visa", "gateway_customer": "ada"}
    ),
    "return_url_invalid": fields(return_url="http://shop.example"),
    "country_invalid": fields(country="Germany"),
    "instrument_alternatives_too_many": fields(
        instrument={"gateway": "stripe", "token": "pm_card_visa"}
        | {"alternatives": [{"gateway": "stripe", "token": "pm_card_visa"}] * 5}
    ),
    "gateway_account_unknown": fields(
        instrument={"gateway": "stripe", "token": "pm_card_visa"}
        | {"account": "gwa_01m7xymr1mfnzbqf5r8f0krvww"}
    ),
    "gateway_account_missing": account_missing,
    "merchant_account_missing": no_merchant_account,
    "payment_not_found": payment_not_found,
    "refund_not_found": refund_not_found,
    "dispute_not_found": nouns.dispute_not_found,
    "customer_field_invalid": nouns.customer_field_invalid,
    "customer_not_found": nouns.customer_not_found,
    "customer_erased": nouns.customer_erased,
    "payout_not_found": nouns.payout_not_found,
    "tax_calculation_not_found": nouns.calculation_not_found,
    "tax_calculation_unknown": fields(tax_calculation="txc_" + "0" * 26),
    "tax_calculation_expired": nouns.calculation_expired,
    "tax_calculation_differs": nouns.calculation_of_other_money,
    "tax_calculation_taken": nouns.calculation_taken,
    "tax_service_missing": nouns.no_tax_service,
    "tax_field_invalid": fields(line_items=[]),
    "dispute_is_over": nouns.over,
    "dispute_answer_under_way": nouns.being_answered,
    "evidence_length": fields(evidence={"customer_name": ""}),
    "evidence_characters": fields(evidence={"customer_name": "a\0"}),
    "instrument_ambiguous": fields(off_session=True),
    "payment_method_not_found": nouns.method_not_found,
    "payment_method_not_ready": nouns.method_not_ready,
    "consent_missing": nouns.consent_missing,
    "gateway_account_retired": nouns.account_retired,
    "checkout_link_not_found": nouns.checkout_link_not_found,
    "checkout_not_set_up": nouns.checkout_not_set_up,
    "log_not_signed": nouns.of_an_empty_log,
    "log_not_cosigned": nouns.of_an_empty_log,
    "log_unavailable": troubles.without_logs,
    "log_window_exceeded": troubles.without_a_witness,
    "log_epoch_not_found": changed(
        lambda sent: replace(sent, path=sent.path.replace("/epochs/1/", "/epochs/0/"))
    ),
    "tile_not_found": changed(
        lambda sent: replace(sent, path=sent.path.replace("tile/0/000", "tile/63/000"))
    ),
    "payment_under_review": under_review,
    "payment_is_over": on(confirm=canceled, capture=World.paid, cancel=World.paid, make=World.paid),
    "payment_has_an_instrument": on(confirm=World.paid, make=World.held),
    "payment_is_closing": on(confirm=closing, capture=closing, make=closing),
    "not_after_passed": on(confirm=late, make=late),
    "instrument_missing": changed(lambda sent: sent.with_body({})),
    "payment_not_authorized": on(capture=World.bare),
    "capture_under_way": on(capture=in_capture, cancel=in_capture),
    "capture_exceeds_authorized": fields(amount=AMOUNT + 1),
    "outcome_not_known": on(cancel=unknown),
    "payment_not_refundable": on(create=World.bare),
    "refund_exceeds_captured": fields(amount=AMOUNT + 1),
    "refused_by_database": troubles.refused_by_database,
    "queue_full": troubles.queue_full,
    "accept_contended": troubles.accept_contended,
    "accept_unknown": troubles.cut_off_later,
    "database_unavailable": troubles.cut_off,
    "not_ready": troubles.without_a_database,
}
"""By code."""
