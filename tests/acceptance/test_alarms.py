"""`strongroom alarms` gathers what needs a person, from wherever it stands, with what to do."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from strongroom.ids import bucket_of, from_text
from tests.acceptance.client import Api
from tests.acceptance.running import Running
from tests.acceptance.test_webhooks_followed import quiet, waiting  # noqa: F401

STATUS = """
UPDATE payments SET status = $2, updated_at = now() - $3::text::interval WHERE payment_id = $1
"""
FROZEN = "INSERT INTO reviews VALUES ($1, $2, 'payments', $3, 'amount_mismatch', now())"


def lines(running: Running, subject: str) -> list[dict[str, Any]]:
    every = json.loads(running.command("alarms", "--json", "--limit", "1000"))
    return [line for line in every if line["subject"] == subject]


@pytest.fixture
async def payment(
    api: Api,
    owner: asyncpg.Connection,
    quiet: Any,  # noqa: F811
) -> AsyncIterator[str]:
    """One that nobody looks at, so that it stays as a test makes it."""
    made, _ = await waiting(api, owner)
    yield made
    await owner.execute(STATUS, from_text("pay", made), "requires_action", "0")
    await owner.execute("DELETE FROM reviews WHERE owner_id = $1", from_text("pay", made))


async def test_an_outcome_that_is_unknown_for_long_is_shown(
    running: Running, owner: asyncpg.Connection, payment: str
) -> None:
    one = from_text("pay", payment)
    await owner.execute(STATUS, one, "outcome_unknown", "29 minutes")
    assert lines(running, payment) == []
    await owner.execute(STATUS, one, "outcome_unknown", "31 minutes")
    [line] = lines(running, payment)
    assert (line["kind"], line["alarm"]) == ("outcome_unknown", None)
    assert line["what_to_do"] == "docs/runbooks/unknown-outcome-old.md"


async def test_what_is_under_review_is_shown_and_the_exit_code_tells(
    running: Running, owner: asyncpg.Connection, payment: str
) -> None:
    entity = from_text("ent", running.legal_entity)
    await owner.execute(FROZEN, entity, from_text("pay", payment), bucket_of(entity))
    [line] = lines(running, payment)
    assert (line["kind"], line["reason"]) == ("under_review", "amount_mismatch")
    assert f"{payment}  amount_mismatch" in running.command("alarms")
    with pytest.raises(AssertionError):
        running.command("alarms", "--check")


@pytest.mark.parametrize(
    ("name", "because"), [("alm_" + "0" * 26, "gone"), ("pay_x", "no alarm"), ("alm_x", " ")]
)
def test_what_is_no_open_alarm_cannot_be_cleared(name: str, because: str, running: Running) -> None:
    with pytest.raises(AssertionError, match="strongroom: "):
        running.command("alarms", "clear", name, "--because", because)
