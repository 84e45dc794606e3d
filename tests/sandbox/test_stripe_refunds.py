"""The stand-in's refunds, driven by the official SDK; its ledger says what really came back."""

import asyncio
import urllib.error

import pytest
import stripe


def paid(stand_in, pay, method="pm_card_visa", **more):
    return stand_in.client().v1.payment_intents.create(pay(method, **more))


def entry_of(stand_in, intent):
    [entry] = stand_in.charges(payment_intent=intent.id)
    return entry


def ledger_refunds(stand_in, **query):
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return stand_in.control("GET", f"/_ledger/refunds?limit=10000&{text}")["data"]


def test_a_full_refund_gives_everything_back(stand_in, pay):
    client = stand_in.client()
    intent = paid(stand_in, pay)
    refund = client.v1.refunds.create(
        {"payment_intent": intent.id, "reason": "duplicate", "metadata": {"why": "twice"}},
        {"idempotency_key": f"full-{intent.id}"},
    )
    assert (refund.amount, refund.currency, refund.status) == (2000, "usd", "succeeded")
    assert (refund.payment_intent, refund.charge) == (intent.id, intent.latest_charge)
    assert (refund.reason, refund.metadata["why"]) == ("duplicate", "twice")
    charge = client.v1.charges.retrieve(intent.latest_charge, {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded) == (2000, True)
    assert [found.id for found in charge.refunds.data] == [refund.id]
    [entry] = ledger_refunds(stand_in, payment_intent=intent.id)
    assert (entry["id"], entry["amount"], entry["status"]) == (refund.id, 2000, "succeeded")
    assert entry["idempotency_key"] == f"full-{intent.id}"
    assert entry_of(stand_in, intent)["refunded"] == 2000
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert (refused.value.code, refused.value.http_status) == ("charge_already_refunded", 400)


def test_partial_refunds_stop_at_what_was_captured(stand_in, pay):
    client = stand_in.client()
    intent = paid(stand_in, pay, capture_method="manual")
    client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 1000})
    before = stand_in.control("GET", "/_ledger/summary")["over_asked"]
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 600})
    assert client.v1.charges.retrieve(first.charge).refunded is False
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": first.charge, "amount": 600})
    assert (refused.value.param, refused.value.code) == ("amount", None)
    assert "greater than unrefunded amount on charge" in str(refused.value)
    rest = client.v1.refunds.create({"charge": first.charge})
    assert rest.amount == 400
    assert client.v1.charges.retrieve(first.charge).refunded is True
    entry = entry_of(stand_in, intent)
    assert (entry["captured"], entry["refunded"]) == (1000, 1000)
    summary = stand_in.control("GET", "/_ledger/summary")
    assert summary["over_asked"] == before + 1
    assert summary["over_refunded"] == []


@pytest.mark.parametrize(
    ("parameters", "param", "code", "status"),
    [
        ({}, None, "parameter_missing", 400),
        ({"payment_intent": "pi_none"}, "payment_intent", "resource_missing", 404),
        ({"charge": "ch_none"}, "charge", "resource_missing", 404),
        ({"payment_intent": "$", "amount": 0}, "amount", "parameter_invalid_integer", 400),
        ({"payment_intent": "$", "amount": "x"}, "amount", "parameter_invalid_integer", 400),
        ({"payment_intent": "$", "reason": "regret"}, "reason", None, 400),
        ({"payment_intent": "$", "colour": "red"}, "colour", "parameter_unknown", 400),
        ({"payment_intent": "$", "reverse_transfer": True}, "reverse_transfer", None, 400),
        ({"payment_intent": "$", "expand": ["customer"]}, "expand", None, 400),
    ],
)
def test_what_cannot_be_refunded(stand_in, pay, parameters, param, code, status):
    intent = paid(stand_in, pay)
    asked = {name: intent.id if value == "$" else value for name, value in parameters.items()}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        stand_in.client().v1.refunds.create(asked, {"idempotency_key": f"no-{intent.id}"})
    assert (refused.value.param, refused.value.code) == (param, code)
    assert refused.value.http_status == status
    assert entry_of(stand_in, intent)["refunded"] == 0


@pytest.mark.parametrize("more", [{"confirm": False}, {"capture_method": "manual"}])
def test_what_was_not_captured_is_not_refunded(stand_in, pay, more):
    intent = paid(stand_in, pay, **more)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        stand_in.client().v1.refunds.create({"payment_intent": intent.id})
    assert "does not have a successful charge to refund" in str(refused.value)


def test_a_refund_may_begin_as_pending(own_stripe, pay):
    refunds = own_stripe.client().v1.refunds
    own_stripe.knobs(refund_settle_seconds=60)
    intent = paid(own_stripe, pay, "pm_card_pendingRefund")
    refund = refunds.create({"payment_intent": intent.id, "amount": 1500})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    entry = entry_of(own_stripe, intent)
    assert (entry["refunded"], entry["refund_pending"]) == (0, 1500)
    # What is on its way cannot be given back a second time.
    with pytest.raises(stripe.InvalidRequestError):
        refunds.create({"payment_intent": intent.id, "amount": 501})
    own_stripe.kill()
    own_stripe.start()
    refunds = own_stripe.client().v1.refunds
    assert refunds.retrieve(refund.id).status == "pending"
    own_stripe.advance(60)
    assert refunds.retrieve(refund.id).status == "succeeded"
    assert entry_of(own_stripe, intent)["refunded"] == 1500


def test_a_refund_may_fail_after_it_succeeded(own_stripe, pay):
    client = own_stripe.client()
    intent = paid(own_stripe, pay, "pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    own_stripe.advance(5)
    failed = client.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    entry = entry_of(own_stripe, intent)
    assert (entry["refunded"], entry["refund_failed"]) == (0, 2000)
    again = client.v1.refunds.create({"payment_intent": intent.id})
    summary = own_stripe.control("GET", "/_ledger/summary")
    assert summary["refunds"] == {"failed": 1, "succeeded": 1}
    assert (summary["refunded"], summary["refund_failed"]) == ({"usd": 2000}, {"usd": 2000})
    assert again.id != refund.id


def test_a_test_decides_how_a_refund_ends(stand_in, pay):
    refunds = stand_in.client().v1.refunds
    stand_in.knobs({"match": {"operation": "refunds.create"}, "fault": "processing"})
    ends = {}
    for succeed in (True, False):
        refund = refunds.create({"payment_intent": paid(stand_in, pay).id})
        assert refund.status == "pending"
        decision = {"refund": refund.id, "succeed": succeed}
        ends[succeed] = stand_in.control("POST", "/_settle", decision)["status"]
        assert refunds.retrieve(refund.id).status == ends[succeed]
        with pytest.raises(urllib.error.HTTPError):
            stand_in.control("POST", "/_settle", {"refund": refund.id, "succeed": True})
    assert ends == {True: "succeeded", False: "failed"}


def test_any_refund_can_be_made_to_fail_once(stand_in, pay):
    refunds = stand_in.client().v1.refunds
    intent = paid(stand_in, pay)
    refund = refunds.create({"payment_intent": intent.id, "amount": 300})
    failure = {"refund": refund.id, "succeed": False, "failure_reason": "lost_or_stolen_card"}
    for wrong in ({"refund": "re_none", "succeed": False}, failure | {"failure_reason": "x"},
                  {"succeed": True}):  # fmt: skip
        with pytest.raises(urllib.error.HTTPError):
            stand_in.control("POST", "/_settle", wrong)
    assert stand_in.control("POST", "/_settle", failure) == {"status": "failed"}
    assert refunds.retrieve(refund.id).failure_reason == "lost_or_stolen_card"
    assert entry_of(stand_in, intent)["refunded"] == 0
    with pytest.raises(urllib.error.HTTPError):
        stand_in.control("POST", "/_settle", failure)


def test_a_repeated_key_refunds_once_and_shows_the_first_answer(own_stripe, pay):
    refunds = own_stripe.client().v1.refunds
    intent = paid(own_stripe, pay, "pm_card_refundFail")
    parameters, key = {"payment_intent": intent.id, "amount": 500}, {"idempotency_key": "again"}
    first = refunds.create(parameters, key)
    own_stripe.advance(10)
    own_stripe.kill()
    own_stripe.start()
    refunds = own_stripe.client().v1.refunds
    again = refunds.create(parameters, key)
    assert again.to_dict() == first.to_dict()
    assert again.status == "succeeded"
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert refunds.retrieve(first.id).status == "failed"
    with pytest.raises(stripe.IdempotencyError):
        refunds.create(parameters | {"amount": 501}, key)
    too_much = parameters | {"amount": 5000}
    messages = set()
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            refunds.create(too_much, {"idempotency_key": "too-much"})
        messages.add(str(refused.value.user_message))
    assert len(messages) == 1
    assert own_stripe.control("GET", "/_ledger/summary")["over_asked"] == 1
    assert len(ledger_refunds(own_stripe)) == 1


@pytest.mark.asyncio
async def test_fifty_refunds_at_once_give_back_no_more_than_was_taken(stand_in, pay):
    http = stripe.AIOHTTPClient(timeout=10)
    refunds = stand_in.async_client(http_client=http).v1.refunds
    intent = paid(stand_in, pay)
    try:
        results = await asyncio.gather(
            *(
                refunds.create_async(
                    {"payment_intent": intent.id, "amount": amount},
                    {"idempotency_key": f"race-{intent.id}-{number}"},
                )
                for number, amount in enumerate([2000, 1200, 700, 130] * 13)
            ),
            return_exceptions=True,
        )
    finally:
        await http.close_async()
    made = [result for result in results if isinstance(result, stripe.Refund)]
    others = [result for result in results if result not in made]
    assert all(isinstance(other, stripe.InvalidRequestError) for other in others)
    given_back = sum(refund.amount for refund in made)
    assert 0 < given_back <= 2000
    assert entry_of(stand_in, intent)["refunded"] == given_back


def test_refunds_are_listed_newest_first(stand_in, pay):
    client = stand_in.client()
    intent, other = paid(stand_in, pay), paid(stand_in, pay)
    made = [
        client.v1.refunds.create({"payment_intent": intent.id, "amount": amount}).id
        for amount in (1, 2, 3, 4, 5)
    ]
    client.v1.refunds.create({"payment_intent": other.id, "amount": 9})
    page = client.v1.refunds.list({"payment_intent": intent.id, "limit": 2})
    assert page.has_more
    assert [refund.id for refund in page.auto_paging_iter()] == made[::-1]
    by_charge = client.v1.refunds.list({"charge": intent.latest_charge})
    assert [refund.id for refund in by_charge.data] == made[::-1]
    older = client.v1.refunds.list({"payment_intent": intent.id, "ending_before": made[1]})
    assert [refund.id for refund in older.data] == [made[4], made[3], made[2]]
    expanded = client.v1.refunds.list(
        {"payment_intent": other.id, "expand": ["data.charge", "data.payment_intent"]}
    ).data[0]
    assert (expanded.charge.amount_refunded, expanded.payment_intent.id) == (9, other.id)
    assert client.v1.refunds.list({"created": {"lt": 1000}}).data == []
    assert client.v1.refunds.list({"payment_intent": paid(stand_in, pay).id}).data == []
    for wrong in ({"payment_intent": "pi_none"}, {"charge": "ch_none"}, {"colour": "red"},
                  {"starting_after": "re_none"}):  # fmt: skip
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.list(wrong)
    page = stand_in.control("GET", f"/_ledger/refunds?charge={intent.latest_charge}&limit=3")
    assert ([entry["id"] for entry in page["data"]], page["has_more"]) == (made[:3], True)


def test_only_metadata_of_a_refund_changes_and_a_card_refund_is_not_canceled(stand_in, pay):
    refunds = stand_in.client().v1.refunds
    intent = paid(stand_in, pay)
    refund = refunds.create({"payment_intent": intent.id, "metadata": {"a": "1", "b": "2"}})
    changed = refunds.update(refund.id, {"metadata": {"a": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    assert refunds.retrieve(refund.id).metadata.to_dict() == {"b": "2", "c": "3"}
    for refuse in (
        lambda: refunds.update(refund.id, {"amount": 1}),
        lambda: refunds.cancel(refund.id),
        lambda: refunds.retrieve("re_none"),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            refuse()


@pytest.mark.parametrize(
    ("fault", "given_back"),
    [("drop_before", 0), ("drop_after", 800), ("withhold_before", 0), ("withhold_after", 800),
     ("error_500_before", 0), ("error_500_saved", 0), ("error_500_after", 800), ("error_503", 0),
     ("error_429", 0), ("malformed", 800)],
)  # fmt: skip
def test_faults_around_a_refund(stand_in, pay, fault, given_back):
    order = {"order": f"refund-{fault}"}
    intent = paid(stand_in, pay, metadata=order)
    # The rule finds the refund by what it gives back.
    match = {"operation": "refunds.create", "metadata": order, "first_n": 1}
    stand_in.knobs({"match": match, "fault": fault, "hold_seconds": 10})
    client = stand_in.client(http_client=stripe.RequestsClient(timeout=2.0))
    asked = {"payment_intent": intent.id, "amount": 800}
    with pytest.raises(stripe.StripeError):
        client.v1.refunds.create(asked, {"idempotency_key": f"r-{intent.id}"})
    assert stand_in.control("GET", "/_knobs")["rules"][0]["hits"] == 1
    assert entry_of(stand_in, intent)["refunded"] == given_back


def test_a_lying_answer_does_not_change_what_came_back(stand_in, pay):
    intent = paid(stand_in, pay, metadata={"order": "lie"})
    stand_in.knobs({"match": {"operation": "refunds.*"}, "fault": "wrong_amount"})
    refund = stand_in.client().v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    assert refund.amount == 101
    assert entry_of(stand_in, intent)["refunded"] == 100
