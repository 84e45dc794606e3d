"""Idempotency keys (docs.stripe.com/api/idempotent_requests)."""

import asyncio
import threading
import time

import pytest
import stripe

ARRIVED_SECONDS_MAX = 60


def create(stand_in, parameters, key):
    return stand_in.client().v1.payment_intents.create(parameters, {"idempotency_key": key})


def headers_of(result):
    return {name.lower(): value for name, value in result.last_response.headers.items()}


def test_a_replay_gives_the_first_answer_and_charges_once(stand_in, pay):
    parameters = pay(metadata={"order": "replay"})
    first = create(stand_in, parameters, "replay-1")
    second = create(stand_in, parameters, "replay-1")
    assert "idempotent-replayed" not in headers_of(first)
    assert headers_of(second)["idempotent-replayed"] == "true"
    assert headers_of(second)["idempotency-key"] == "replay-1"
    assert second.to_dict() == first.to_dict()
    assert len(stand_in.charges(**{"metadata[order]": "replay"})) == 1


def test_a_replay_shows_the_past_not_the_present(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    first = create(stand_in, pay(confirm=False), "past-1")
    intents.confirm(first.id)
    assert create(stand_in, pay(confirm=False), "past-1").status == "requires_confirmation"
    expanded = pay(capture_method="manual", expand=["latest_charge"])
    held = create(stand_in, expanded, "past-2")
    intents.capture(held.id)
    assert create(stand_in, expanded, "past-2").latest_charge.captured is False


def test_declines_and_state_errors_are_replayed(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    bodies = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            create(stand_in, pay("pm_card_chargeDeclined"), "declined-1")
        bodies.append(declined.value.json_body)
    assert bodies[0] == bodies[1]
    intent = create(stand_in, pay(confirm=False), "state-0")
    with pytest.raises(stripe.InvalidRequestError):
        intents.capture(intent.id, {}, {"idempotency_key": "state-1"})
    intents.confirm(intent.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.capture(intent.id, {}, {"idempotency_key": "state-1"})
    assert refused.value.error.payment_intent.status == "requires_confirmation"
    assert refused.value.headers["Idempotent-Replayed"] == "true"


def test_other_parameters_or_another_path_are_an_idempotency_error(stand_in, pay):
    intents = stand_in.client().v1.payment_intents
    intent = create(stand_in, pay(confirm=False), "mismatch-1")
    calls = [
        lambda: create(stand_in, pay(confirm=False, amount=2001), "mismatch-1"),
        lambda: intents.confirm(intent.id, {}, {"idempotency_key": "mismatch-1"}),
    ]
    for call in calls:
        with pytest.raises(stripe.IdempotencyError) as refused:
            call()
        assert refused.value.http_status == 400
        assert refused.value.json_body["error"]["type"] == "idempotency_error"
    assert intents.retrieve(intent.id).status == "requires_confirmation"


def test_refused_parameters_do_not_use_up_the_key(stand_in, pay):
    for wrong in ({"colour": "red"}, {"amount": 1}, {"currency": "xxx"}):
        with pytest.raises(stripe.InvalidRequestError):
            create(stand_in, pay(**wrong), "unused-1")
    assert create(stand_in, pay(), "unused-1").status == "succeeded"


@pytest.mark.parametrize("key", ["k" * 256, "schlüssel"])
def test_keys_are_short_ascii(stand_in, pay, key):
    with pytest.raises((stripe.InvalidRequestError, UnicodeError)):
        create(stand_in, pay(), key)


def test_keys_expire_after_a_day_of_the_servers_clock(stand_in, pay):
    first = create(stand_in, pay(), "day-1")
    stand_in.advance(23 * 3600)
    assert create(stand_in, pay(), "day-1").id == first.id
    stand_in.advance(3601)
    assert create(stand_in, pay(), "day-1").id != first.id


def test_a_key_in_flight_is_a_conflict(stand_in, pay):
    stand_in.knobs(
        {"match": {"metadata": {"order": "slow"}, "first_n": 1}, "fault": "delay", "delay_ms": 2000}
    )
    parameters, results = pay(metadata={"order": "slow"}), []
    worker = threading.Thread(
        target=lambda: results.append(create(stand_in, parameters, "flight-1"))
    )
    worker.start()
    try:
        deadline = time.monotonic() + ARRIVED_SECONDS_MAX
        while not stand_in.control("GET", "/_knobs")["rules"][0].get("hits"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(stripe.APIError) as refused:
            create(stand_in, parameters, "flight-1")
    finally:
        worker.join()
    assert refused.value.http_status == 409
    assert refused.value.error.code == "idempotency_key_in_use"
    assert refused.value.headers["Stripe-Should-Retry"] == "true"
    assert create(stand_in, parameters, "flight-1").id == results[0].id
    assert len(stand_in.charges(**{"metadata[order]": "slow"})) == 1


@pytest.mark.asyncio
async def test_a_storm_of_one_key_charges_once(stand_in, pay):
    http = stripe.AIOHTTPClient(timeout=10)
    client = stand_in.async_client(http_client=http, max_network_retries=8)
    parameters = pay(metadata={"order": "storm"})
    try:
        found = await asyncio.gather(
            *(
                client.v1.payment_intents.create_async(parameters, {"idempotency_key": "storm"})
                for _ in range(40)
            )
        )
    finally:
        await http.close_async()
    assert len({intent.id for intent in found}) == 1
    assert len(stand_in.charges(**{"metadata[order]": "storm"})) == 1


def test_server_errors_are_replayed_once_execution_began(stand_in, pay):
    stand_in.knobs({"match": {"first_n": 1}, "fault": "error_500_after"})
    replayed = []
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            create(stand_in, pay(metadata={"order": "five"}), "five-1")
        assert failed.value.http_status == 500
        replayed.append("Idempotent-Replayed" in (failed.value.headers or {}))
    assert replayed == [False, True]
    assert len(stand_in.charges(**{"metadata[order]": "five"})) == 1

    stand_in.knobs({"match": {"first_n": 1}, "fault": "error_500_saved"})
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            create(stand_in, pay(metadata={"order": "saved"}), "five-2")
    assert stand_in.charges(**{"metadata[order]": "saved"}) == []

    stand_in.knobs({"match": {"first_n": 1}, "fault": "error_500_before"})
    with pytest.raises(stripe.APIError):
        create(stand_in, pay(metadata={"order": "before"}), "five-3")
    assert create(stand_in, pay(metadata={"order": "before"}), "five-3").status == "succeeded"
