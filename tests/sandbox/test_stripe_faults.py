"""Fault knobs: what the caller sees, and what was charged all the same."""

import threading
import time
import urllib.error

import pytest
import stripe

IMPATIENT_SECONDS = 2.0
"""Long enough for what the server does before it withholds its answer."""


def create(stand_in, parameters, key=None, timeout=30.0):
    client = stand_in.client(http_client=stripe.RequestsClient(timeout=timeout))
    options = {} if key is None else {"idempotency_key": key}
    return client.v1.payment_intents.create(parameters, options)


@pytest.mark.parametrize(
    ("fault", "charged"),
    [("withhold_before", 0), ("withhold_after", 1), ("drop_before", 0), ("drop_after", 1)],
)
def test_no_answer(stand_in, pay, fault, charged):
    order = f"silent-{fault}"
    rule = {
        "match": {"operation": "payment_intents.create|confirm", "metadata": {"order": order},
                  "first_n": 1},
        "fault": fault,
        "hold_seconds": 20,
    }  # fmt: skip
    stand_in.knobs(rule)
    parameters = pay(metadata={"order": order})
    with pytest.raises(stripe.APIConnectionError):
        create(stand_in, parameters, order, timeout=IMPATIENT_SECONDS)
    assert len(stand_in.charges(**{"metadata[order]": order})) == charged
    assert stand_in.control("GET", "/_knobs")["rules"][0]["hits"] == 1
    # The same key, sent again, tells the truth and charges no second time.
    assert create(stand_in, parameters, order).status == "succeeded"
    assert len(stand_in.charges(**{"metadata[order]": order})) == 1


def test_clearing_the_rules_closes_withheld_requests(stand_in, pay):
    stand_in.knobs({"fault": "withhold_after", "hold_seconds": 90})
    errors = []

    def call():
        try:
            create(stand_in, pay(), timeout=60)
        except stripe.APIConnectionError as error:
            errors.append(error)

    worker = threading.Thread(target=call)
    worker.start()
    deadline = time.monotonic() + 60
    while stand_in.control("GET", "/_ledger/summary")["withheld"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stand_in.control("DELETE", "/_knobs")
    worker.join(60)
    assert len(errors) == 1
    assert stand_in.control("GET", "/_ledger/summary")["withheld"] == 0


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ("error_429", stripe.RateLimitError, 429),
        ("error_503", stripe.APIError, 503),
        ("error_500_before", stripe.APIError, 500),
        ("malformed", stripe.APIError, 200),
    ],
)
def test_errors(stand_in, pay, fault, error, status):
    stand_in.knobs({"match": {"operation": "payment_intents.create"}, "fault": fault})
    with pytest.raises(error) as failed:
        create(stand_in, pay(metadata={"order": fault}), fault)
    assert failed.value.http_status == status
    charged = len(stand_in.charges(**{"metadata[order]": fault}))
    assert charged == (1 if fault == "malformed" else 0)
    stand_in.control("DELETE", "/_knobs")
    assert create(stand_in, pay(metadata={"order": fault}), fault).status == "succeeded"
    assert len(stand_in.charges(**{"metadata[order]": fault})) == 1


def test_wrong_answers_do_not_change_what_was_charged(stand_in, pay):
    stand_in.knobs(
        {"match": {"payment_method": "pm_card_visa"}, "fault": "wrong_amount"},
        {"match": {"payment_method": "pm_card_amex"}, "fault": "wrong_currency"},
    )
    assert create(stand_in, pay()).amount == 2001
    odd = create(stand_in, pay("pm_card_amex"))
    assert odd.currency == "eur"
    assert create(stand_in, pay("pm_card_discover")).amount == 2000
    [charge] = stand_in.charges(payment_intent=odd.id)
    assert (charge["amount"], charge["currency"]) == (2000, "usd")


def test_rules_match_later_requests_by_the_intents_own_data(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = create(stand_in, pay(confirm=False, metadata={"order": "later"}))
    stand_in.knobs(
        {"match": {"operation": "payment_intents.retrieve", "metadata": {"order": "later"},
                   "payment_method": "pm_card_visa"}, "fault": "error_503"},
    )  # fmt: skip
    with pytest.raises(stripe.APIError):
        intents.retrieve(intent.id)
    assert intents.confirm(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("succeed", "status", "charged"),
    [(True, "succeeded", 1), (False, "requires_payment_method", 0)],
)
def test_a_payment_may_stay_in_processing(stand_in, pay, succeed, status, charged):
    intents = stand_in.client().v1.payment_intents
    stand_in.knobs({"match": {"operation": "payment_intents.create"}, "fault": "processing"})
    intent = create(stand_in, pay())
    assert (intent.status, intent.processing.type) == ("processing", "card")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.confirm(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert stand_in.charges(payment_intent=intent.id) == []
    settled = {"payment_intent": intent.id, "succeed": succeed}
    assert stand_in.control("POST", "/_settle", settled) == {"status": status}
    assert intents.retrieve(intent.id).status == status
    assert len(stand_in.charges(payment_intent=intent.id)) == charged
    with pytest.raises(urllib.error.HTTPError):
        stand_in.control("POST", "/_settle", settled)
    assert intents.cancel(create(stand_in, pay()).id).status == "canceled"


def test_a_delay_holds_the_answer_back(stand_in, pay):
    stand_in.knobs({"fault": "delay", "delay_ms": 200})
    started = time.monotonic()
    create(stand_in, pay())
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "explode"},
        {"fault": "delay", "delay_ms": -1},
        {"fault": "delay", "colour": "red"},
        {"fault": "delay", "match": {"probability": 2}},
        {"match": {}},
    ],
)
def test_wrong_rules_are_refused_and_change_nothing(stand_in, rule):
    stand_in.knobs({"fault": "delay"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        stand_in.knobs(rule)
    assert refused.value.code == 400
    assert len(stand_in.control("GET", "/_knobs")["rules"]) == 1
