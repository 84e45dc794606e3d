"""How far witnesses are behind, from what lies in the logs' folders, and how it is told."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from msgspec.structs import replace

from strongroom.config import WitnessAt, replace_file
from strongroom.ids import to_text
from strongroom.log.cosignatures import CosigningKey, cosigned
from strongroom.log.entries import Entry, written_at
from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.submitting import CONTRADICTIONS, REFUSALS, Submitter, WitnessRefuses
from strongroom.log.tiles import TileFolder
from strongroom.log.tree import NO_LEAVES, leaf_hash
from strongroom.log.witnessed import cosigned_by
from strongroom.telemetry.metrics import Metrics
from strongroom.telemetry.port import Behind
from strongroom.telemetry.signing import SigningGauges
from tests.unit.examples import START
from tests.unit.hands import Hands
from tests.unit.test_metrics import samples

ORIGIN = "example.com/payments"
NAME = "witness.example/w1"
KEY = NoteKey.new(ORIGIN)
WITNESS = CosigningKey.new(NAME)
NOWHERE = "http://127.0.0.1:9"
EVENT = Entry(
    kind="payment.changed", subject_id=UUID(int=1), version=1, at=START, row_format=1,
    row_digest=bytes(32), actor="test", payload=b"{}",
)  # fmt: skip


def entry(number: int) -> bytes:
    """Its event was written so many seconds after the start."""
    return replace(EVENT, version=number + 1, at=START + timedelta(seconds=number)).content()


class Published:
    """A log's folder as the signer leaves it."""

    def __init__(self, path: Path) -> None:
        self.path, self.entries = path, list[bytes]()

    def grow(self, entries: Sequence[bytes]) -> None:
        TileFolder(self.path).append(len(self.entries), entries)
        self.entries += entries
        TileFolder(self.path).write_checkpoint(self.note())

    def note(self) -> bytes:
        root = NO_LEAVES.extended([leaf_hash(one) for one in self.entries]).root()
        return sign_note(Checkpoint(ORIGIN, len(self.entries), root).text(), KEY)

    def cosign(self) -> None:
        text = self.note().partition(b"\n\n")[0] + b"\n"
        made = cosigned(self.note(), [WITNESS.cosign(text, 1_700_000_000)], WITNESS.verifier)
        replace_file(self.path / cosigned_by(WITNESS.verifier), made, 0o644)


class Rig:
    """A submitter whose witness does not answer, and a clock that is moved by hand."""

    def __init__(self, path: Path) -> None:
        self.path, self.hands = path, Hands(START)
        self.logs = [Published(path / to_text("ent", UUID(int=number))) for number in (1, 2)]
        self.restart()

    def restart(self) -> None:
        at = WitnessAt(url=NOWHERE, key=WITNESS.verifier.text())
        self.submitter = Submitter(self.path, [at], self.hands)

    async def step(self) -> Behind:
        async with aiohttp.ClientSession() as session:
            for log in (one for one in self.logs if one.entries):
                await self.submitter.step(session, NOWHERE, WITNESS.verifier, log.path)
        return self.seen

    @property
    def seen(self) -> Behind:
        [found] = self.submitter.behind()
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_witness_is_behind_by_the_age_of_the_oldest_event_of_all_logs(rig: Rig) -> None:
    assert rig.seen == Behind(NAME, 0, 0.0, 0)
    first, second = rig.logs
    first.grow([entry(number) for number in range(300)])
    first.cosign()
    first.grow([entry(300), entry(301)])
    second.grow([entry(305)])
    rig.hands.turn(400)
    assert await rig.step() == Behind(NAME, 3, 100.0, 0)
    rig.hands.turn(50)
    assert rig.seen.seconds == 150.0, "it grows though nobody looks again"


async def test_a_new_submitter_knows_since_when(rig: Rig) -> None:
    rig.logs[0].grow([entry(0)])
    rig.logs[0].cosign()
    rig.logs[0].grow([entry(1)])
    rig.hands.turn(1000)
    before = await rig.step()
    rig.restart()
    assert await rig.step() == before == Behind(NAME, 1, 999.0, 0)


async def test_what_is_cosigned_is_not_behind_however_old_it_is(rig: Rig) -> None:
    rig.logs[0].grow([entry(0), entry(1)])
    rig.logs[0].cosign()
    rig.hands.turn(10_000_000)
    assert await rig.step() == Behind(NAME, 0, 0.0, 0)


async def test_the_word_of_another_witness_counts_for_nothing(rig: Rig) -> None:
    rig.logs[0].grow([entry(0), entry(1)])
    rig.logs[0].cosign()
    file = rig.logs[0].path / cosigned_by(WITNESS.verifier)
    file.write_bytes(rig.logs[0].note())
    rig.hands.turn(30)
    assert await rig.step() == Behind(NAME, 2, 30.0, 0)


async def test_an_entry_that_cannot_be_read_ages_from_when_it_was_seen(rig: Rig) -> None:
    rig.logs[0].grow([b"no entry"])
    rig.hands.turn(77)
    await rig.step()
    rig.hands.turn(5)
    assert rig.seen == Behind(NAME, 1, 5.0, 0)


async def test_a_witness_that_saw_another_history_is_told_until_it_cosigns(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | None] = [
        *(WitnessRefuses(reason) for reason in (*CONTRADICTIONS, "log_unknown")),
        WitnessRefuses("saw_more"), OSError(), None,
    ]  # fmt: skip

    async def answer(*_: object) -> None:
        if said := answers.pop(0):
            raise said
        [standing] = rig.submitter._standing.values()
        standing.size = 1

    monkeypatch.setattr(rig.submitter, "_submit", answer)
    rig.logs[0].grow([entry(0)])
    told = []
    while answers:
        told.append((await rig.step()).contradicted)
        for standing in rig.submitter._standing.values():
            standing.next_at = 0.0
    assert told == [1, 1, 1, 0, 1, 1, 0], "who is away has not taken it back"
    assert rig.seen == Behind(NAME, 0, 0.0, 0)


def test_each_contradiction_is_a_refusal() -> None:
    assert CONTRADICTIONS - set(REFUSALS.values()) == {"saw_more"}


async def test_two_keys_in_one_name_are_one_series(tmp_path: Path) -> None:
    other = CosigningKey.new(NAME)
    ats = [WitnessAt(url=NOWHERE, key=one.verifier.text()) for one in (WITNESS, other)]
    log = Published(tmp_path / to_text("ent", UUID(int=1)))
    log.grow([entry(0)])
    hands = Hands(START)
    submitter = Submitter(tmp_path, ats, hands)
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(
            *(submitter.step(session, NOWHERE, one.verifier, log.path) for one in (WITNESS, other))
        )
    hands.turn(4)
    assert submitter.behind() == [Behind(NAME, 2, 4.0, 0)]


def test_without_a_witness_there_is_none_behind(tmp_path: Path) -> None:
    assert Submitter(tmp_path, [], Hands(START)).behind() == []


def test_the_gauges_are_there_before_anything_happened() -> None:
    metrics = Metrics()
    metrics.add(SigningGauges(lambda: {"gap": 0}, list))
    assert samples(metrics, "strongroom_logs_stopped") == {'reason="gap"': 0}
    for name in ("log_uncosigned_seconds", "log_uncosigned_entries", "logs_contradicted"):
        assert f"# TYPE strongroom_{name} gauge".encode() in metrics.text()


def test_the_gauges_say_what_is_now() -> None:
    metrics, found = Metrics(), [Behind("w1", 3, 4.5, 1), Behind("w2", 0, 0.0, 0)]
    metrics.add(SigningGauges(lambda: {"gap": 2}, lambda: found))
    assert samples(metrics, "strongroom_logs_stopped") == {'reason="gap"': 2}
    assert samples(metrics, "strongroom_log_uncosigned_entries") == {
        'witness="w1"': 3, 'witness="w2"': 0,
    }  # fmt: skip
    assert samples(metrics, "strongroom_log_uncosigned_seconds")['witness="w1"'] == 4.5
    assert samples(metrics, "strongroom_logs_contradicted")['witness="w1"'] == 1
    found.clear()
    assert samples(metrics, "strongroom_log_uncosigned_entries") == {}


def test_when_an_entry_was_written_is_read_from_what_it_says() -> None:
    assert written_at(entry(7)) == START + timedelta(seconds=7)
    for bad in (b"", b"no entry", entry(7).replace(b"strongroom/1", b"strongroom/2"), b"\xff\n"):
        assert written_at(bad) is None
