"""The stand-in's PaymentIntents, driven by the official SDK."""

import pytest
import stripe


def test_create_then_confirm_by_id_charges_once(stand_in):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(
        {
            "amount": 1099,
            "currency": "EUR",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "payment_method": "pm_card_mastercard",
            "description": "one order",
            "metadata": {"order": "7", "note": "x"},
        }
    )
    assert intent.status == "requires_confirmation"
    assert intent.currency == "eur"
    assert stand_in.charges(payment_intent=intent.id) == []

    done = intents.confirm(intent.id, {"expand": ["latest_charge", "payment_method"]})
    assert (done.status, done.amount_received) == ("succeeded", 1099)
    assert done.latest_charge.paid
    assert done.latest_charge.metadata["order"] == "7"
    assert done.payment_method.card.brand == "mastercard"
    assert stand_in.client().v1.charges.retrieve(done.latest_charge.id).amount_captured == 1099
    listed = stand_in.client().v1.charges.list({"payment_intent": intent.id})
    assert [charge.id for charge in listed.data] == [done.latest_charge.id]

    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.confirm(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.http_status == 400
    assert refused.value.error.payment_intent.status == "succeeded"
    [charge] = stand_in.charges(payment_intent=intent.id)
    assert (charge["amount"], charge["currency"]) == (1099, "eur")


@pytest.mark.asyncio
async def test_async_sdk_with_aiohttp(stand_in, pay):
    http = stripe.AIOHTTPClient(timeout=10)
    client = stand_in.async_client(http_client=http)
    try:
        intent = await client.v1.payment_intents.create_async(
            pay(metadata={"who": "async"}), {"idempotency_key": "async-1"}
        )
        assert intent.status == "succeeded"
        again = await client.v1.payment_intents.retrieve_async(intent.id)
        assert again.latest_charge == intent.latest_charge
        [charge] = stand_in.charges(payment_intent=intent.id)
        assert charge["idempotency_key"] == "async-1"
    finally:
        await http.close_async()


def test_two_intents_of_one_order_are_two_charges(stand_in, pay):
    for _ in range(2):
        stand_in.client().v1.payment_intents.create(pay(metadata={"order": "twice"}))
    assert len(stand_in.charges(**{"metadata[order]": "twice"})) == 2


def test_cancel_ends_every_open_status(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    for more in (
        {"confirm": False},
        {"confirm": False, "payment_method": ""},
        {"payment_method": "pm_card_threeDSecure2Required"},
        {"capture_method": "manual"},
    ):
        intent = intents.create(pay(**more))
        canceled = intents.cancel(intent.id, {"cancellation_reason": "duplicate"})
        assert (canceled.status, canceled.cancellation_reason) == ("canceled", "duplicate")
        assert stand_in.charges(payment_intent=intent.id) == []
        for step in (intents.confirm, intents.cancel, intents.capture):
            with pytest.raises(stripe.InvalidRequestError) as refused:
                step(intent.id)
            assert refused.value.code == "payment_intent_unexpected_state"


def test_manual_capture_takes_money_only_when_captured(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(pay(capture_method="manual"))
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 2000)
    assert stand_in.charges(payment_intent=intent.id) == []
    assert len(stand_in.charges(payment_intent=intent.id, kind="held")) == 1
    with pytest.raises(stripe.InvalidRequestError):
        intents.capture(intent.id, {"amount_to_capture": 2001})
    taken = intents.capture(intent.id, {"amount_to_capture": 1500})
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 1500, 0)
    [charge] = stand_in.charges(payment_intent=intent.id)
    assert charge["amount"] == 1500


def test_update_before_and_after_confirmation(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create({"amount": 500, "currency": "usd", "metadata": {"a": "1", "b": "2"}})
    assert intent.status == "requires_payment_method"
    changed = intents.update(
        intent.id,
        {"amount": 700, "metadata": {"b": "", "c": "3"}, "payment_method": "pm_card_visa"},
    )
    assert (changed.amount, changed.status) == (700, "requires_confirmation")
    assert changed.metadata.to_dict() == {"a": "1", "c": "3"}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.confirm(intent.id)  # redirecting methods are on and there is no way back
    assert refused.value.param == "return_url"
    done = intents.confirm(intent.id, {"return_url": "https://shop.example/back"})
    assert (done.status, done.amount_received) == ("succeeded", 700)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.update(intent.id, {"amount": 800})
    assert refused.value.code == "payment_intent_unexpected_state"
    assert intents.update(intent.id, {"description": "late note"}).description == "late note"


def test_list_pages_newest_first_and_filters_by_customer(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    made = [intents.create(pay(confirm=False, customer="cus_pages")).id for _ in range(5)]
    page = intents.list({"customer": "cus_pages", "limit": 2})
    assert [intent.id for intent in page.data] == made[:2:-1]
    assert page.has_more
    assert [intent.id for intent in page.auto_paging_iter()] == made[::-1]
    newer = intents.list({"customer": "cus_pages", "limit": 2, "ending_before": made[0]})
    assert [intent.id for intent in newer.data] == [made[2], made[1]]
    assert intents.list({"customer": "cus_pages", "created": {"lt": 1000}}).data == []


def test_search_lags_behind_writes(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = intents.create(pay(confirm=False, metadata={"order": "lag-1"}))
    query = {"query": "metadata['order']:'lag-1' AND amount>100"}
    assert intents.search(query).data == []
    stand_in.advance(61)
    assert [found.id for found in intents.search(query).data] == [intent.id]
    intents.confirm(intent.id)
    # The index still shows the intent as it stood; the object itself is up to date.
    assert intents.search(query).data[0].status == "requires_confirmation"
    assert intents.retrieve(intent.id).status == "succeeded"
    stand_in.knobs(search_lag_seconds=0)
    assert intents.search(query).data[0].status == "succeeded"
    both = {"query": 'metadata["order"]:"lag-1" AND status:"succeeded" AND -currency:"eur"'}
    assert len(intents.search(both).data) == 1
    for broken in ("metadata:'x'", "amount:'a'", "nope:'x'", "status:'a' AND", "x", "amount~5"):
        with pytest.raises(stripe.InvalidRequestError):
            intents.search({"query": broken})


def test_search_pages(stand_in, pay):
    stand_in.knobs(search_lag_seconds=0)
    intents = stand_in.client().v1.payment_intents
    made = [intents.create(pay(confirm=False, metadata={"n": "77"})).id for _ in range(3)]
    page = intents.search({"query": "metadata['n']:'77'", "limit": 2})
    assert page.has_more
    assert [intent.id for intent in page.auto_paging_iter()] == made[::-1]


def test_payment_methods_are_made_from_test_ids(stand_in):
    methods = stand_in.client().v1.payment_methods
    made = methods.retrieve("pm_card_amex")
    assert made.card.brand == "amex"
    assert made.id.startswith("pm_")
    assert made.id != "pm_card_amex"
    assert methods.retrieve(made.id).id == made.id
    with pytest.raises(stripe.InvalidRequestError) as refused:
        methods.retrieve("pm_nobody")
    assert refused.value.http_status == 404


def test_an_unsaved_method_pays_once_and_a_saved_one_for_its_customer_only(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    once = intents.create(pay()).payment_method
    with pytest.raises(stripe.InvalidRequestError):
        intents.create(pay(once))
    saved = intents.create(
        pay("pm_card_authenticationRequiredSetupForOffSession", off_session=True, customer="cus_a",
            setup_future_usage="off_session")
    )  # fmt: skip
    assert saved.status == "succeeded"
    again = pay(saved.payment_method, off_session=True, customer="cus_a")
    assert intents.create(again).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        intents.create(again | {"customer": "cus_b"})
