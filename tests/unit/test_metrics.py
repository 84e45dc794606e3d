"""Metrics: what is counted, and that nobody can make series without end."""

import re
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from strongroom.payments.states import (
    ActionRequired,
    Answered,
    Approved,
    Attempt,
    Call,
    Decision,
    Declined,
    NotSent,
    Payment,
    Rest,
)
from strongroom.telemetry.latencies import BOUNDS, ROUTES_MAX
from strongroom.telemetry.metrics import CODES_MAX, Metrics, label_of
from strongroom.telemetry.settled import authorization_of, count_settled
from tests.unit.examples import START as NOW
from tests.unit.examples import attempt, payment


def samples(metrics: Metrics, name: str) -> dict[str, float]:
    """By labels as written, the samples of this name."""
    return dict(_samples(metrics.text().decode(), name))


def _samples(text: str, name: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if found := re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line):
            yield found[1] or "", float(found[2])


def test_latencies_make_a_histogram_whose_buckets_add_up():
    metrics = Metrics()
    for seconds in (0.0, 0.001, 0.0011, 0.04, 9.0, 11.0):
        metrics.answers.count("GET /x", 200, seconds, False)
    metrics.answers.count("GET /x", 202, 30.0, True)
    buckets = samples(metrics, "strongroom_http_request_seconds_bucket")
    assert len(buckets) == len(BOUNDS) + 1
    counts = {re.search('le="(.*?)"', labels)[1]: count for labels, count in buckets.items()}
    assert (counts["0.001"], counts["0.0025"], counts["0.05"]) == (2, 3, 4)
    assert (counts["10.0"], counts["+Inf"]) == (5, 6)
    assert list(counts.values()) == sorted(counts.values())
    assert samples(metrics, "strongroom_http_request_seconds_count")['route="GET /x"'] == 6
    assert samples(metrics, "strongroom_http_requests_total") == {
        'route="GET /x",status="200"': 6, 'route="GET /x",status="202"': 1,
    }  # fmt: skip


def test_routes_and_codes_are_bounded():
    metrics = Metrics()
    for number in range(1000):
        metrics.answers.count(f"GET /{number}", 200, 0.1, False)
        metrics.refused(f"code_{number}")
    assert len(samples(metrics, "strongroom_http_request_seconds_count")) <= ROUTES_MAX + 1
    refusals = samples(metrics, "strongroom_refusals_total")
    assert len(refusals) <= CODES_MAX + 1
    assert sum(refusals.values()) == 1000


def test_what_an_alert_waits_for_is_there_at_zero():
    metrics = Metrics()
    assert samples(metrics, "strongroom_frozen_total") == {
        'lane="payments"': 0, 'lane="refunds"': 0
    }  # fmt: skip
    assert len(samples(metrics, "strongroom_errors_total")) == 1
    assert 'event="set_aside",level="error"' in samples(metrics, "strongroom_log_lines_total")
    assert len(samples(metrics, "strongroom_database_unreachable_total")) > 5


def test_answers_are_called_as_in_the_rest_of_the_program():
    assert label_of(ActionRequired) == "action_required"
    assert label_of(NotSent) == "not_sent"
    assert label_of(Approved) == "approved"


class Settlement:
    """An answer and what it was decided to become, each time it was tried."""

    def __init__(self, *tried: Decision) -> None:
        one: Attempt = attempt()
        call = Call(operation="send", started_at=NOW, duration_ms=1.0, outcome="x")
        self.answered = Answered(
            attempt=one, answer=Declined("fraud", "x", object_open=True), call=call, asked="send",
            tries=1,
        )  # fmt: skip
        self.tried = list(tried)


class Stands:
    def __init__(self, one: Payment) -> None:
        self.payment = one


def test_each_answer_is_counted_once_by_the_decision_that_was_committed():
    metrics = Metrics()
    before = payment()
    first = Decision(before.changed(NOW, status="failed"), Rest(), "payment.failed", None, "fraud")
    second = Decision(replace(first.payment, version=9), Rest(), "payment.failed", None, "fraud")
    nothing = Decision(before, Rest())
    frozen = Decision(before.changed(NOW, review="x"), Rest(), "payment.frozen")
    items = [Settlement(first, second), Settlement(nothing), Settlement(frozen), Settlement()]
    # The first COMMIT went through unheard: what stands was read again, and only equals it.
    stands = [
        Stands(replace(first.payment)),
        Stands(before),
        Stands(frozen.payment),
        Stands(before),
    ]
    count_settled(metrics, items, stands)
    assert samples(metrics, "strongroom_authorizations_total") == {
        'decline="fraud",gateway="stripe",result="declined"': 1
    }
    assert samples(metrics, "strongroom_changes_total") == {
        'kind="payment.failed"': 1, 'kind="payment.frozen"': 1
    }  # fmt: skip
    assert samples(metrics, "strongroom_frozen_total")['lane="payments"'] == 1


@pytest.mark.parametrize(
    ("kind", "decline", "capture", "authorization"),
    [
        ("payment.succeeded", None, "automatic", ("approved", "")),
        ("payment.authorized", None, "manual", ("approved", "")),
        ("payment.succeeded", None, "manual", None),
        ("payment.closing", "fraud", "automatic", ("declined", "fraud")),
        ("payment.failed", "fraud", "automatic", ("declined", "fraud")),
        ("payment.failed", None, "automatic", None),
        ("payment.capture_refused", "generic_decline", "manual", None),
        ("payment.outcome_unknown", None, "automatic", None),
    ],
)
def test_a_payment_is_authorized_or_declined_once(kind, decline, capture, authorization):
    one = replace(payment(), capture=capture)
    decision = Decision(one, Rest(), kind, None, decline)
    assert authorization_of(decision) == authorization
