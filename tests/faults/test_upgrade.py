"""An upgrade under load: the version before serves while its database is brought up to date."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import pytest

from tests.faults.deployment import SOURCE
from tests.faults.judge import judge, statuses, until_ended
from tests.faults.traffic import Made, Traffic
from tests.faults.versions import Program, TwoVersions

pytestmark = [
    pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs", "git", "git-history"),
]  # fmt: skip

STOCK: Final[dict[str | None, int]] = {
    "pm_card_visa": 250,
    "pm_card_chargeDeclined": 50,
    "pm_card_threeDSecure2Required": 40,
    "pm_card_fr": 40,  # its outcome is withheld
    None: 40,
}
"""What was there before: a card, or none, and how many payments."""
WITHHELD: Final = (
    {"fault": "withhold_after", "match": {
        "operation": "payment_intents.confirm", "payment_method": "pm_card_fr"}},
    {"fault": "withhold_before", "match": {
        "operation": "payment_intents.retrieve", "payment_method": "pm_card_fr"}},
)  # fmt: skip
STOCKED_AT_ONCE: Final = 150
STOCKED_SECONDS_MAX: Final = 90.0
PHASE_SECONDS: Final = 2.5
END_SECONDS_MAX: Final = 120.0
CUT_OFF_MAX: Final = 20
PLACED_SECONDS_MAX: Final = 30.0
UNPLACED_SQL: Final = """
SELECT 1 FROM events e WHERE NOT EXISTS (SELECT FROM log_entries l
  WHERE l.legal_entity_id = e.legal_entity_id AND l.subject_id = e.payment_id
    AND l.version = e.version)
"""
READY: Final = ("api_ready", "api_ready")
STOCKED_STATUSES: Final = {
    "succeeded", "failed", "requires_action", "outcome_unknown", "requires_payment_method",
}  # fmt: skip
EXPECTED_COMPLAINTS: Final = {"waiting_for_older_workers", "line_opened"}
"""The second where looks at outcomes that are withheld have failed ten times."""
CUT_OFF_BEFORE: Final = "library_log asyncio connection.py:"
"""Of the version before alone: told to stop, it cut off a request in its transaction, and rolled
that back."""


@pytest.fixture
def versions() -> Iterator[TwoVersions]:
    deployment = TwoVersions(deadline_seconds=2.0)
    try:
        deployment.set_up()
        yield deployment
    finally:
        print(f"\nlogged: {dict(deployment.complaints())}")
        deployment.remove()


async def stocked(versions: TwoVersions) -> Traffic:
    """Payments of the version before in each status that they can be in for long."""
    stock = Traffic(versions)
    cards = [card for card, many in STOCK.items() for _ in range(many)]
    random.shuffle(cards)
    async with aiohttp.ClientSession() as session:
        for start in range(0, len(cards), STOCKED_AT_ONCE):
            some = cards[start : start + STOCKED_AT_ONCE]
            await asyncio.gather(*(stock.create(session, card) for card in some))
    assert not stock.failed
    begun = time.monotonic()
    while True:
        found = await statuses(versions)
        if not found["processing"]:
            return stock
        assert time.monotonic() - begun < STOCKED_SECONDS_MAX, found
        await asyncio.sleep(0.2)


async def finish_all(versions: TwoVersions, traffic: Traffic) -> None:
    """What waits for its customer gets what it waits for, from the new version."""
    rows = await versions.fetch(
        "SELECT merchant_reference, next_action->>'url' AS url FROM payments "
        "WHERE status IN ('requires_payment_method', 'requires_action')"
    )
    made = {one.body["merchant_reference"]: one for one in traffic.made}
    async with aiohttp.ClientSession() as session:
        for row in rows:
            if row["url"] is None:
                await traffic.confirm(session, made[row["merchant_reference"]])
            else:
                await traffic.act(session, {"url": row["url"]})


async def until_placed(versions: TwoVersions) -> float:
    """Events of both versions get their place in the log; returns the seconds that took."""
    begun = time.monotonic()
    while unplaced := len(await versions.fetch(UNPLACED_SQL)):
        assert time.monotonic() - begun < PLACED_SECONDS_MAX, f"{unplaced} events have no place"
        await asyncio.sleep(0.2)
    return time.monotonic() - begun


async def replay_all(traffic: Traffic) -> int:
    """Every request that was ever accepted, sent once more: each names its payment."""
    async with aiohttp.ClientSession() as session:
        for one in traffic.made:
            await traffic.replay(session, one)
    return len(traffic.made)


async def use_what_is_new(traffic: Traffic, paid: Made) -> tuple[str, str]:
    """A hold and its capture, and a refund of what the version before took; their statuses."""
    async with aiohttp.ClientSession() as session:

        async def ask(path: str, body: dict[str, Any], key: str) -> Any:
            answer = await traffic.ask(
                session, "new", "POST", path, body, key, {"Prefer": "wait=20"}
            )
            assert answer is not None, traffic.failed
            return answer

        held = await ask(
            "/v1/payments",
            {"amount": 5000, "currency": "EUR", "merchant_reference": "held", "capture": "manual",
             "instrument": {"gateway": "stripe", "token": "pm_card_visa"}},
            "held",
        )  # fmt: skip
        assert held["status"] == "authorized", held
        captured = await ask(f"/v1/payments/{held['id']}/capture", {}, "captured")
        refund = await ask("/v1/refunds", {"payment": paid.payment_id, "amount": 400}, "refunded")
    return captured["status"], refund["status"]


async def command(versions: TwoVersions, *words: str, code: int = 0) -> str:
    """What a command of the new version says; requests go on meanwhile."""
    return await asyncio.to_thread(versions.run, SOURCE, *words, code=code)


async def swap(versions: TwoVersions, old: list[Program], new: list[Program], said: str) -> None:
    """The new ones serve before the first of the old ones is told to stop."""
    for program in new:
        await versions.says(program, said)
    for program in old:
        assert await versions.retire(program) == [0], program.log()


@dataclass(slots=True)
class Clockwork:
    """Lets traffic go on for a while, and says how it fared."""

    traffic: Traffic
    begun: float = field(default_factory=time.monotonic)
    answered: int = 0

    async def phase(self, name: str) -> None:
        await asyncio.sleep(PHASE_SECONDS)
        many = sum(self.traffic.answers.values())
        print(
            f"{time.monotonic() - self.begun:5.1f} s  {name}: {many - self.answered} answers, "
            f"the slowest after {self.traffic.slowest_seconds:.2f} s"
        )
        self.answered, self.traffic.slowest_seconds = many, 0.0


async def test_an_upgrade_under_load_fails_no_request_and_loses_no_payment(
    versions: TwoVersions,
) -> None:
    old_apis = [versions.api(versions.before) for _ in range(2)]
    old_worker = versions.worker(versions.before)
    for program, said in zip((*old_apis, old_worker), (*READY, "worker_ready"), strict=True):
        await versions.says(program, said)
    await versions.set_knobs(*WITHHELD, former_parameters=True)
    stock = await stocked(versions)
    before = await statuses(versions)
    print(f"there before: {dict(before)}")
    assert set(before) == STOCKED_STATUSES
    traffic = Traffic(versions, made=list(stock.made), number=len(stock.made))
    await traffic.begin()
    clockwork = Clockwork(traffic)
    await clockwork.phase("the version before, alone")

    assert "lacks 0002" in await command(versions, "api", "--port", str(versions.port), code=1)
    print(await command(versions, "migrate"))
    paid = (await statuses(versions))["succeeded"]
    await clockwork.phase("the version before, on the new schema")
    assert (await statuses(versions))["succeeded"] > paid
    assert "still use" in await command(versions, "migrate", "--finish", code=1)

    new_apis = [versions.api(SOURCE) for _ in range(2)]
    await versions.says(new_apis[0], "waiting_for_older_workers")
    swapped = time.monotonic()
    await swap(versions, [old_worker], [versions.worker(SOURCE)], "worker_ready")
    await clockwork.phase("new workers, old and new APIs")
    await swap(versions, old_apis, new_apis, "api_ready")
    swapped_until = time.monotonic() + 1
    await clockwork.phase("the new version, beside the view")
    print(await command(versions, "migrate", "--finish"))
    (versions.home / "secrets" / "stripe_key").unlink()  # nobody reads it any more
    await clockwork.phase("the new version, alone")
    paid_before = next(one for one in stock.made if one.card == "pm_card_visa")
    assert await use_what_is_new(traffic, paid_before) == ("succeeded", "succeeded")
    await traffic.end()

    await all_is_well(versions, traffic)
    print(f"{len(traffic.cut_off)} requests cut off while processes were told to stop")
    assert all(swapped < one.at < swapped_until for one in traffic.cut_off)
    assert len(traffic.cut_off) <= CUT_OFF_MAX


def unexpected(versions: TwoVersions) -> list[str]:
    """The warnings and errors that neither version has a reason for."""
    before = {one.log_file.stem for one in versions.programs if one.source == versions.before}
    found = []
    for complaint in versions.complaints():
        program, _, said = complaint.partition(": ")
        cut_off = program in before and said.startswith(CUT_OFF_BEFORE)
        if said not in EXPECTED_COMPLAINTS and not cut_off:
            found.append(complaint)
    return found


async def all_is_well(versions: TwoVersions, traffic: Traffic) -> None:
    """Every payment comes to its end, charged once, and each key still stands for its payment."""
    await versions.clear_knobs()
    await finish_all(versions, traffic)
    print(f"all ended after another {await until_ended(versions, END_SECONDS_MAX):.1f} s")
    print(f"{await replay_all(traffic)} requests replayed")
    judged = await judge(versions, traffic.accepted)
    print(f"{dict(judged.statuses)}, {judged.charges} charges, attempts {judged.attempts_most}")
    print(f"answers: {dict(traffic.answers)}")
    print(f"all events have their place after {await until_placed(versions):.1f} s")
    assert not traffic.failed, traffic.failed[:5]
    assert not unexpected(versions)
