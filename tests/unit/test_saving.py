"""What becomes of a card that is to be saved, whatever its gateway answers and whenever."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from msgspec.structs import replace

from strongroom.customers.saving import (
    SAME_KEY_WINDOW,
    Card,
    Detached,
    NotAdopted,
    Saved,
    Saving,
    SavingAnswer,
    adoption,
    answered,
    given_up,
    step_of,
    wait_of,
)
from strongroom.ids import new_entity_id, new_id
from strongroom.payments.states import (
    ActionRequired,
    Canceled,
    Declined,
    NotSent,
    Unknown,
)
from strongroom.payments.ways import ChargeToken

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENTITY = new_entity_id(1)
CARD = Card(brand="visa", last4="4242", exp_month=12, exp_year=2034)
NEW = Saving(
    legal_entity_id=ENTITY, payment_method_id=new_id(1, ENTITY), customer_id=new_id(2, ENTITY),
    version=1, status="processing", not_after=NOW + timedelta(hours=1), digest_salt=bytes(16),
    created_at=NOW, updated_at=NOW, gateway="stripe", gateway_account_id=new_id(3, ENTITY),
    offered="pm_card_visa",
)  # fmt: skip
OPEN = replace(NEW, setup_object="seti_1")
WAITING = replace(OPEN, status="requires_action", next_action={"type": "x"})
THEIRS = replace(NEW, offered="cus_1/pm_1")
READY = replace(OPEN, status="ready", token="pm_1")
LEAVING = replace(READY, status="detaching")
ANSWERS: tuple[SavingAnswer, ...] = (
    Saved("pm_1", CARD), ActionRequired({"type": "y"}), Declined("expired_card", "x", True),
    Canceled(), Detached(), NotAdopted("x"), NotSent("x"), Unknown("x"),
)  # fmt: skip
LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("saving", "after", "step"),
    [
        (NEW, timedelta(), "prepare"),
        (NEW, SAME_KEY_WINDOW, "give_up"),
        (THEIRS, timedelta(), "adopt"),
        (THEIRS, SAME_KEY_WINDOW, "give_up"),
        (OPEN, timedelta(), "look"),
        (OPEN, timedelta(hours=2), "cancel"),
        (WAITING, timedelta(minutes=59), "look"),
        (WAITING, timedelta(hours=1), "cancel"),
        (LEAVING, timedelta(days=900), "detach"),
        (READY, timedelta(), "refresh"),
        (replace(READY, status="failed"), timedelta(), "rest"),
    ],
)
def test_what_is_due_depends_on_what_is_on_disk_and_on_the_time(
    saving: Saving, after: timedelta, step: str
) -> None:
    assert step_of(saving, NOW + after) == step


@pytest.mark.parametrize(("saving", "answer"), list(product((OPEN, WAITING, LEAVING), ANSWERS)))
def test_every_change_is_one_version_on_and_none_without_a_word(
    saving: Saving, answer: SavingAnswer
) -> None:
    after = answered(saving, answer, LATER)
    if after is saving:
        return
    assert after.version == saving.version + 1
    assert after.updated_at == LATER
    assert after.row_digest() != saving.row_digest()
    assert not isinstance(answer, NotSent | Unknown)


def test_nothing_but_the_gateways_word_saves_or_lets_go() -> None:
    for saving, answer in product((OPEN, WAITING, LEAVING), ANSWERS):
        after = answered(saving, answer, LATER)
        assert (after.status == "ready") is (isinstance(answer, Saved) and saving is not LEAVING)
        assert (after.status == "detached") is isinstance(answer, Detached)


def test_an_answer_that_comes_late_does_not_bring_back_what_is_let_go() -> None:
    assert answered(LEAVING, Saved("pm_1", CARD), LATER) is LEAVING


def test_the_same_action_again_is_no_change() -> None:
    assert answered(WAITING, ActionRequired({"type": "x"}), LATER) is WAITING


def test_who_gives_up_says_why() -> None:
    assert (given_up(NEW, LATER).status, given_up(NEW, LATER).status_reason) == (
        "failed",
        "gateway_unavailable",
    )


def test_waits_grow_and_end() -> None:
    for saving in (OPEN, WAITING, LEAVING):
        waits = [wait_of(saving, tries) for tries in range(40)]
        assert waits == sorted(waits)
        assert timedelta(0) < waits[0] <= waits[-1] <= timedelta(minutes=15)


@pytest.mark.parametrize(
    ("answer", "follows"),
    [
        (Saved("pm_1", CARD, "cus_1"), Saved("pm_1", CARD, "cus_1")),
        (Saved("pm_1", CARD, "cus_2"), NotAdopted("not_of_this_customer")),
        (Saved("pm_1", CARD, None), NotAdopted("not_of_this_customer")),
        (Saved("pm_1", None, "cus_1"), NotAdopted("not_a_card")),
        (Saved("pm_2", CARD, "cus_1"), Unknown("another_object")),
        (Detached(), NotAdopted("not_of_this_customer")),
        (Detached(known=False), NotAdopted("unknown_at_gateway")),
        (NotSent("x"), NotSent("x")),
        (Unknown("x"), Unknown("x")),
    ],
)
def test_what_is_adopted_is_that_customers_card_as_the_gateway_says(
    answer: SavingAnswer, follows: SavingAnswer
) -> None:
    assert adoption(ChargeToken("cus_1", "pm_1"), answer) == follows


def test_what_was_not_adopted_is_failed_and_says_why() -> None:
    failed = answered(THEIRS, NotAdopted("not_a_card"), LATER)
    assert (failed.status, failed.status_reason, failed.token) == ("failed", "not_a_card", None)
