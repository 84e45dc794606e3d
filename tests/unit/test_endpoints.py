"""What becomes of telling an endpoint, and what it is told."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from strongroom.ids import new_entity_id, to_text
from strongroom.log.entries import Entry
from strongroom.log.readers import Placed
from strongroom.webhooks.endpoints import (
    DEAD_AFTER,
    GIVEN_UP_AFTER,
    JITTER,
    KINDS_MAX,
    NOT_SENT,
    REST_MAX,
    RETRIES,
    Endpoint,
    Health,
    Tried,
    health_after,
    kinds_of,
    rest_until,
    verdict,
    why_disabled,
)
from strongroom.webhooks.messages import message_body, message_id

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
ENTITY = new_entity_id(1_790_000_000_000_000)
WELL = Health()


def tried(
    outcome: str = "answered", status: int | None = 500, tries: int = 0,
    since: timedelta = GIVEN_UP_AFTER,
) -> Tried:  # fmt: skip
    return Tried(
        index=0, subject_id=ENTITY, tries=tries, first_at=NOW - since, outcome=outcome,
        status=status,
    )  # fmt: skip


TAKEN = tried("delivered", 204)


def placed(kind: str, payload: bytes, *, is_digested: bool = False) -> Placed:
    return Placed(
        7,
        Entry(
            kind=kind, subject_id=uuid4(), version=3, at=NOW, row_format=4, row_digest=b"d" * 32,
            actor="worker", payload=payload, is_digested=is_digested,
        ),
    )  # fmt: skip


def test_retries_take_three_days() -> None:
    assert DEAD_AFTER - timedelta(hours=1) < sum(RETRIES, timedelta()) <= DEAD_AFTER


@given(tries=some.integers(0, 30), chance=some.floats(0, 1))
def test_a_try_that_failed_is_made_again_or_given_up_and_never_forgotten(
    tries: int, chance: float
) -> None:
    found = verdict(tried(tries=tries), WELL, NOW, chance)
    assert found.state == ("waiting" if tries < len(RETRIES) else "given_up")
    if found.run_at is not None:
        wait = found.run_at - NOW
        assert RETRIES[tries] * (1 - JITTER) <= wait <= RETRIES[tries]


@given(tries=some.integers(0, 30), chance=some.floats(0, 1))
def test_nothing_is_given_up_before_its_time_or_while_nothing_goes_through(
    tries: int, chance: float
) -> None:
    early = tried(tries=tries, since=GIVEN_UP_AFTER - timedelta(seconds=1))
    assert verdict(early, WELL, NOW, chance).state == "waiting"
    probe = verdict(tried(tries=tries), Health(failures=1, failing_since=NOW), NOW, chance)
    assert (probe.state, probe.run_at, probe.counts) == ("waiting", None, False)


def test_one_success_makes_it_well() -> None:
    bad = Health(failures=3, failing_since=NOW)
    assert health_after(bad, [tried(), TAKEN], NOW) == WELL
    assert health_after(bad, [], NOW) == bad
    assert health_after(bad, [tried()], NOW + timedelta(1)) == Health(failures=4, failing_since=NOW)
    assert health_after(WELL, [tried()], NOW) == Health(failures=1, failing_since=NOW)
    assert health_after(bad, [tried(NOT_SENT, None)], NOW + timedelta(1)) == bad


@given(failures=some.integers(0, 10_000))
def test_a_rest_is_a_minute_at_most(failures: int) -> None:
    wait = rest_until(Health(failures=failures, failing_since=NOW), NOW) - NOW
    assert timedelta() <= wait <= REST_MAX
    assert (wait == timedelta()) == (failures == 0)


def test_why_it_is_disabled() -> None:
    since = Health(failures=1, failing_since=NOW)
    assert why_disabled(since, [tried()], NOW + DEAD_AFTER) == "dead"
    assert why_disabled(since, [tried()], NOW + DEAD_AFTER - timedelta(seconds=1)) is None
    assert why_disabled(WELL, [TAKEN, tried(status=410)], NOW) == "gone"
    assert why_disabled(WELL, [TAKEN], NOW) is None


def test_kinds_are_read() -> None:
    assert kinds_of("", ValueError) == ()
    assert kinds_of(" refund.*,payment.failed, payment.failed", ValueError) == (
        "payment.failed", "refund.*",
    )  # fmt: skip
    for wrong in ("payment", "payment.", "*", "payment.a b", "PAYMENT.x", "payment.x\ny", "a.b.c"):
        with pytest.raises(ValueError, match="kind"):
            kinds_of(wrong, ValueError)
    with pytest.raises(ValueError, match="at most"):
        kinds_of(",".join(f"payment.a{chr(97 + n // 26)}{chr(97 + n % 26)}"
                          for n in range(KINDS_MAX + 1)), ValueError)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("payment.succeeded", "pay"), ("refund.accepted", "pay"), ("dispute.opened", "pay"),
     ("attempt.abandoned", "pay"), ("tax.reported", "pay"), ("payout.paid", "pyt"),
     ("tax_calculation.asked", "txc"), ("alarm.raised", "alm"), ("customer.created", "cus"),
     ("payment_method.created", "pm"), ("webhook_endpoint.created", "whe")],
)  # fmt: skip
def test_a_message_names_what_it_is_about(kind: str, prefix: str) -> None:
    one = placed(kind, b"{}")
    message = msgspec.json.decode(message_body(ENTITY, one))
    assert message == {
        "type": kind,
        "timestamp": "2026-12-01T12:00:00.000000Z",
        "data": {
            "legal_entity": to_text("ent", ENTITY),
            "id": to_text(prefix, one.entry.subject_id),  # type: ignore[arg-type]
            "sequence": 3,
            "log_index": 7,
            "changed": {},
        },
    }


def test_a_message_tells_what_is_named_and_nothing_else() -> None:
    refund = "018f0000-0000-7000-8000-000000000001"
    payload = {
        "status": "succeeded", "captured_minor": 5, "idempotency_key": "key", "texts": "ab",
        "call": {"request_id": "req_1"}, "attempt": {"gateway_object_id": "pi_1"},
        "ways": [["stripe", "x"]], "route": {"rule": "r"}, "decline": {"code": "c"},
        "refund": {"id": refund, "amount_minor": 3, "gateway_object_id": "re_1", "row_digest": "d"},
        "dispute": {"id": refund, "status": "open", "disputed_minor": 2, "reason": "fraud"},
    }  # fmt: skip
    message = msgspec.json.decode(
        message_body(ENTITY, placed("payment.x", msgspec.json.encode(payload)))
    )
    assert message["data"]["changed"] == {
        "status": "succeeded",
        "captured_amount": 5,
        "refund": {"id": to_text("ref", UUID(refund)), "amount": 3},
        "dispute": {"id": to_text("dsp", UUID(refund)), "status": "open", "disputed_amount": 2},
    }


def test_of_a_payload_that_stands_as_its_digest_nothing_is_told() -> None:
    one = placed("payment.x", b"sha256 " + b"0" * 64, is_digested=True)
    assert msgspec.json.decode(message_body(ENTITY, one))["data"]["changed"] == {}
    empty = placed("payment.x", b"")
    assert msgspec.json.decode(message_body(ENTITY, empty))["data"]["changed"] == {}


def test_the_id_of_a_message_is_its_place_and_its_entry() -> None:
    one = placed("payment.x", b"{}")
    assert message_id(ENTITY, one).startswith(f"{to_text('ent', ENTITY)}_7_")
    assert message_id(ENTITY, one) == message_id(ENTITY, Placed(7, one.entry))
    other = Placed(7, replace(one.entry, version=4))
    assert message_id(ENTITY, other) != message_id(ENTITY, one)
    assert len(message_id(ENTITY, Placed(2**63 - 1, one.entry))) <= 64


def test_that_an_epoch_of_the_log_was_opened_is_told_of_the_legal_entity() -> None:
    one = placed("log.epoch_opened", b'{"epoch":2,"because":"x"}')
    told = msgspec.json.decode(message_body(ENTITY, one))["data"]
    assert (told["id"], told["changed"]) == (to_text("ent", one.entry.subject_id), {})


def test_what_is_about_us_is_told_to_those_alone_that_ask_for_it() -> None:
    everything, named = endpoint(), endpoint("alarm.*", "webhook_endpoint.disabled")
    for kind in ("alarm.raised", "webhook_endpoint.disabled"):
        assert (everything.wants(kind), named.wants(kind)) == (False, True)
    assert everything.wants("payment.succeeded")


def endpoint(*kinds: str) -> Endpoint:
    return Endpoint(
        legal_entity_id=ENTITY, endpoint_id=uuid4(), version=1, host="a.example", kinds=kinds,
        state="enabled", state_reason=None, created_at=NOW,
    )  # fmt: skip


def test_the_digest_covers_the_row() -> None:
    one = endpoint()
    assert one.row_digest() != replace(one, host="b.example").row_digest()
