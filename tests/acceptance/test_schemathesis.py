"""Random walks through the API, drawn by Schemathesis from the OpenAPI document.

No answer is undocumented, none is a 500, nothing that breaks the document is accepted, and nothing
that keeps to it is refused but for a reason that no schema can say. `make fuzz` does the same for
as long as you like.
"""

import pytest

from strongroom.http.reference.table import OPERATIONS
from tests.acceptance.conftest import Merchant, new_merchant
from tests.acceptance.running import Running
from tests.fuzz.books import close_books
from tests.fuzz.gateway import faulty_gateway
from tests.fuzz.rounds import run
from tests.fuzz.walks import Target

SEED = 20_260_101
CASES, SECONDS_MAX = 1_200, 120.0
"""Whichever comes first; what has begun then is brought to its end."""
CASES_MIN, OF_EACH_MIN = 250, 1
WORKERS, WALKS = 2, 8


@pytest.mark.slow
def test_every_answer_on_random_walks_is_documented_and_right(
    running: Running, other_merchant: Merchant
) -> None:
    mine = new_merchant(running, "Walker Ltd")
    target = Target(running.api_url, mine.api_key, other_merchant.api_key)
    with faulty_gateway(running):
        found = run(
            target, cases=CASES, first_seed=SEED, workers=WORKERS, walks=WALKS,
            seconds_max=SECONDS_MAX,
        )  # fmt: skip
    tally = found.tally
    print(f"seeds {min(found.seeds)} to {max(found.seeds)}, {found.seconds:.0f} s")
    print(tally.table())
    for wrong in found.failures:
        pytest.fail(f"`make fuzz ARGS='--seed {wrong.seed}'`: {wrong.failure}")
    assert tally.cases >= CASES_MIN
    asked = {operation.id: tally.of(operation.id) for operation in OPERATIONS if operation.scope}
    assert {name: count for name, count in asked.items() if count < OF_EACH_MIN} == {}
    assert_deep(target, running, tally.cases)


def assert_deep(target: Target, running: Running, cases: int) -> None:
    """Money was held, taken and given back, for a fair part of the requests; none of it twice."""
    books = close_books(target, running.stripe_url, running.knob_token)
    print(books.table())
    assert books.charges >= cases / 40
    assert books.refunded >= cases / 80
    assert books.captured_by_hand >= cases / 400
    assert books.refunds["succeeded"] >= cases / 60
    assert set(books.payments) >= {"requires_payment_method", "authorized", "canceled"}
