"""api_request_keys, fault knobs and the ledger: what the caller sees, and what was charged."""

import threading
import time
import uuid

import braintree
import pytest
from braintree.exceptions.http.connection_error import ConnectionError as Broken
from braintree.exceptions.http.timeout_error import ReadTimeoutError
from braintree.exceptions.server_error import ServerError
from braintree.exceptions.service_unavailable_error import ServiceUnavailableError
from braintree.exceptions.too_many_requests_error import TooManyRequestsError

from tests.sandbox.braintree_server import VISA, codes, gate, own_braintree, shared_braintree

__all__ = ["gate", "own_braintree", "shared_braintree"]

SALE = "transactions.sale"
IMPATIENT_SECONDS = 2.0
"""Long enough for what the server does before it withholds its answer."""


def sale(key: str, **more):
    return {
        "amount": "10.00",
        "payment_method_nonce": VISA,
        "order_id": key,
        "api_request_key": key,
        "options": {"submit_for_settlement": True},
        **more,
    }


def fresh() -> str:
    return uuid.uuid4().hex


def test_the_same_request_under_one_key_is_one_transaction(gate):
    key = fresh()
    transactions = gate.gateway().transaction
    first = transactions.sale(sale(key))
    assert transactions.sale(sale(key)).transaction.id == first.transaction.id
    assert len(gate.charges(order_id=key)) == 1
    assert codes(transactions.sale(sale(key, amount="11.00"))) == ["915232"]
    held = gate.sold(order_id=fresh())
    voided = transactions.void(held.id, {"api_request_key": key + "v"})
    again = transactions.void(held.id, {"api_request_key": key + "v"})
    assert voided.transaction.id == again.transaction.id == held.id
    assert codes(transactions.void(first.transaction.id, {"api_request_key": key + "v"})) == [
        "915232"
    ]


def test_a_declined_sale_stays_declined_under_its_key(gate):
    key = fresh()
    transactions = gate.gateway().transaction
    first = transactions.sale(sale(key, amount="2001.00"))
    again = transactions.sale(sale(key, amount="2001.00"))
    assert not again.is_success
    assert again.transaction.id == first.transaction.id
    assert again.transaction.processor_response_code == "2001"


def test_a_refund_under_one_key_gives_back_once(gate):
    key = fresh()
    sold = gate.settled(order_id=key)
    transactions = gate.gateway().transaction
    asked = {"amount": "3.00", "api_request_key": key}
    first = transactions.refund(sold.id, dict(asked)).transaction
    assert transactions.refund(sold.id, dict(asked)).transaction.id == first.id
    assert [each["amount"] for each in gate.refunds(transaction=sold.id)] == [300]


def test_keys_of_requests_that_failed_are_told_apart(gate):
    transactions, failed, broken = gate.gateway().transaction, fresh(), fresh()
    assert codes(transactions.sale(sale(failed, amount="x"))) == ["81503"]
    assert codes(transactions.sale(sale(failed, amount="x"))) == ["915234"]
    gate.knobs({"fault": "error_500_saved", "match": {"operation": SALE, "first_n": 1}})
    with pytest.raises(ServerError):
        transactions.sale(sale(broken))
    assert codes(transactions.sale(sale(broken))) == ["915235"]
    assert gate.charges(order_id=broken) == []
    assert codes(transactions.sale(sale("k" * 256))) == ["915230"]
    gate.knobs(api_request_keys=False)
    assert codes(transactions.sale(sale(fresh()))) == ["915231"]


def test_a_key_in_flight_is_told_so(gate):
    key, results = fresh(), []
    gate.knobs({"fault": "delay", "delay_ms": 1500, "match": {"operation": SALE, "first_n": 1}})
    slow = threading.Thread(
        target=lambda: results.append(gate.gateway().transaction.sale(sale(key)))
    )
    slow.start()
    deadline = time.monotonic() + 60
    while gate.control("GET", "/_knobs")["rules"][0].get("hits", 0) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert codes(gate.gateway().transaction.sale(sale(key))) == ["915233"]
    slow.join(60)
    assert results[0].is_success
    assert len(gate.charges(order_id=key)) == 1


@pytest.mark.parametrize(
    ("fault", "error", "charged"),
    [
        ("withhold_before", ReadTimeoutError, 0),
        ("withhold_after", ReadTimeoutError, 1),
        ("drop_before", Broken, 0),
        ("drop_after", Broken, 1),
        ("error_500_before", ServerError, 0),
        ("error_500_after", ServerError, 1),
        ("error_503", ServiceUnavailableError, 0),
        ("error_429", TooManyRequestsError, 0),
    ],
)
def test_an_answer_that_is_lost_and_asked_for_again(gate, fault, error, charged):
    key = fresh()
    match = {"operation": SALE, "metadata": {"order_id": key}, "first_n": 1}
    gate.knobs({"fault": fault, "match": match, "hold_seconds": 20})
    with pytest.raises(error):
        gate.gateway(seconds=IMPATIENT_SECONDS).transaction.sale(sale(key))
    assert len(gate.charges(order_id=key)) == charged
    # The same key, sent again, tells the truth and charges no second time.
    assert gate.gateway().transaction.sale(sale(key)).is_success
    assert len(gate.charges(order_id=key)) == 1


def test_answers_that_are_wrong(gate):
    transactions, key = gate.gateway().transaction, fresh()
    gate.knobs({"fault": "wrong_amount"})
    made = transactions.sale(sale(key)).transaction
    assert str(made.amount) == "11.00"
    gate.knobs({"fault": "wrong_currency"})
    assert transactions.find(made.id).currency_iso_code == "EUR"
    gate.knobs({"fault": "malformed"})
    with pytest.raises(Exception, match=r"no element found|unclosed|mismatched"):
        transactions.find(made.id)
    gate.control("DELETE", "/_knobs")
    found = transactions.find(made.id)
    assert (str(found.amount), found.currency_iso_code) == ("10.00", "USD")


def test_an_outcome_that_stays_open_is_settled_by_the_test(gate):
    key = fresh()
    gate.knobs({"fault": "processing", "match": {"metadata": {"order_id": key}}})
    made = gate.gateway().transaction.sale(sale(key)).transaction
    assert made.status == "authorizing"
    assert gate.charges(order_id=key) == []
    gate.control("POST", "/_settle", {"transaction": made.id})
    assert gate.gateway().transaction.find(made.id).status == "submitted_for_settlement"
    assert len(gate.charges(order_id=key)) == 1


def test_the_controls_want_their_token(gate):
    for path in ("/_knobs", "/_ledger/charges", "/_clock", "/_nonces"):
        assert gate.raw("GET", path)[0] == 403
        assert gate.raw("POST", path, "{}", X_Knob_Token="another-token")[0] == 403


def test_kill_9_under_load_loses_nothing(own_braintree):
    answered: dict[str, str | None] = {}
    stop = threading.Event()

    def work(worker: int) -> None:
        transactions = own_braintree.gateway(seconds=3).transaction
        for number in range(10_000):
            key = f"{worker}-{number}"
            try:
                answered[key] = transactions.sale(sale(key)).transaction.id
            except (Broken, ReadTimeoutError):
                answered.setdefault(key, None)
                return
            if stop.is_set():
                return

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    while len(answered) < 60:
        stop.wait(0.005)
    own_braintree.kill()
    stop.set()
    for worker in workers:
        worker.join()
    own_braintree.start()
    transactions = own_braintree.gateway().transaction
    for key, known in answered.items():
        charges = own_braintree.charges(order_id=key)
        if known is not None:
            assert [each["id"] for each in charges] == [known]
        again = transactions.sale(sale(key)).transaction
        assert known in (None, again.id)
        assert [each["id"] for each in own_braintree.charges(order_id=key)] == [again.id]
    assert own_braintree.control("GET", "/_ledger/summary")["twice"] == []


def test_a_moved_clock_and_a_hold_survive_a_restart(own_braintree):
    held = own_braintree.sold(order_id="held")
    own_braintree.advance(8 * 24 * 3600)
    own_braintree.kill()
    own_braintree.start()
    assert own_braintree.gateway().transaction.find(held.id).status == "authorization_expired"
    assert own_braintree.search(braintree.TransactionSearch.order_id == "held")[0].id == held.id


def test_a_ledger_that_was_touched_is_not_started_on(own_braintree):
    own_braintree.sold()
    own_braintree.kill()
    file = own_braintree.data / "ledger.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"amount":1000', b'"amount":1001', 1))
    assert "is not what was written" in own_braintree.refused()
