"""Keys are rotated while others read, make and destroy; who is killed goes on where he was."""

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from strongroom.clock import monotonic_seconds
from strongroom.ids import new_id, to_text
from strongroom.vault import errors, rotation
from strongroom.vault import keys as vault_keys
from strongroom.vault.destruction import destroy
from strongroom.vault.envelope import header_of, new_keyset
from strongroom.vault.errors import KmsUnavailable
from strongroom.vault.key_file import add_root_key
from strongroom.vault.keys import SEAL_SECONDS, add_version
from strongroom.vault.opening import KEY_FILE_NAME
from strongroom.vault.secret import Secret
from strongroom.vault.subjects import LABEL
from tests.acceptance.running import environment, program
from tests.integration.conftest import NOW, Deployment
from tests.integration.vaults import MOMENT, PLACE, CountingKms, Ours, our_vault

SUBJECTS = int(os.environ.get("STRONGROOM_TEST_SUBJECTS", "20_000"))
"""100,000 is what is promised; making and rotating them takes a minute."""
PAUSE_SECONDS_MAX = 1.0
INSERTED_AT_ONCE = 5_000
ROTATE_SECONDS_MAX = 300


@pytest.fixture
async def ours(deployment: Deployment) -> AsyncIterator[Ours]:
    async with our_vault(deployment) as made:
        yield made


async def filled(ours: Ours, count: int):
    """So many subjects, as if processes had made them."""
    keys = await ours.vault.keyring.entity(ours.entity)
    subjects = [new_id(MOMENT + number, ours.entity) for number in range(count)]
    for start in range(0, count, INSERTED_AT_ONCE):
        part = subjects[start : start + INSERTED_AT_ONCE]
        wrapped = [keys.wrap(LABEL, subject.bytes, new_keyset()) for subject in part]
        await ours.execute(
            "INSERT INTO subject_keys SELECT $1, s, 1, w, $4 "
            "FROM unnest($2::uuid[], $3::bytea[]) AS item (s, w)",
            ours.entity, part, wrapped, NOW,
        )  # fmt: skip
    return subjects


def rotate(ours: Ours, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*program("vault", *(words or ("rotate", "--no-wait", "--entity",
            to_text("ent", ours.entity)))), "--home", os.fspath(ours.deployment.home.path)],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


async def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, told = await asyncio.to_thread(process.communicate, timeout=ROTATE_SECONDS_MAX)
    return process.returncode, said + told


class Traffic:
    """Readers that keep nothing, makers that know the first version only, and one who destroys."""

    def __init__(self, ours: Ours, subjects) -> None:
        self.ours, self.subjects = ours, subjects
        self.destroyed, self.made = set[UUID](), list[UUID]()
        self.longest, self.reads = 0.0, 0
        self._chance, self._ends = random.Random(7), False

    async def run(self) -> None:
        reading, making = await self.ours.another_vault(), await self.ours.another_vault()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(self._loop(self._read, reading))
                group.create_task(self._loop(self._make, making))
                group.create_task(self._loop(self._destroy, reading))
        finally:
            await reading.close()
            await making.close()

    def end(self) -> None:
        self._ends = True

    async def _loop(self, work, vault) -> None:
        while not self._ends:
            began = time.monotonic()
            await work(vault)
            self.longest = max(self.longest, time.monotonic() - began)
            await asyncio.sleep(0.005)

    async def _read(self, vault) -> None:
        subject = self._chance.choice(self.subjects)
        try:
            key = await vault.subjects.of(self.ours.entity, subject)
            assert key.open(*PLACE, key.seal(*PLACE, b"Ada")) == b"Ada"
        except errors.SubjectDestroyed:
            assert subject in self.destroyed
        vault.subjects._kept.drop((self.ours.entity, subject))
        self.reads += 1

    async def _make(self, vault) -> None:
        subject = self.ours.new_subject()
        await vault.subjects.create(self.ours.entity, subject, NOW)
        self.made.append(subject)

    async def _destroy(self, _) -> None:
        subject = self._chance.choice(self.subjects)
        self.destroyed.add(subject)
        await destroy(self.ours.owner, self.ours.tombstones, self.ours.entity, subject, NOW)
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.faults
async def test_an_entity_is_rotated_while_others_work_and_a_kill_is_made_good(ours):
    subjects = await filled(ours, SUBJECTS)
    sealed = await ours.subjects.seal(ours.entity, subjects[0], *PLACE, b"before")
    traffic = Traffic(ours, subjects[1:])
    running = asyncio.create_task(traffic.run())
    async with ours.looking() as looking:
        first = rotate(ours)
        while not 0 < await rotation.count_left(looking, ours.entity, 2) < SUBJECTS * 0.7:
            assert first.poll() is None, first.communicate()
            await asyncio.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        await ended(first)
        left = await rotation.count_left(looking, ours.entity, 2)
        assert 0 < left < SUBJECTS
        code, said = await ended(rotate(ours))
        assert "going on with the rotation to version 2" in said
        traffic.end()
        await running
        assert code == (1 if "run this again" in said else 0), said
        # What was made under the old version meanwhile is left for the next run, which ends it.
        code, said = await ended(rotate(ours))
        assert code == 0, said
        assert await rotation.count_left(looking, ours.entity, 2) == 0
    print(f"{traffic.reads} reads, {len(traffic.made)} made, longest {traffic.longest:.3f} s")
    assert traffic.longest < PAUSE_SECONDS_MAX
    assert traffic.reads > 50
    assert traffic.made
    other = await ours.another_vault()
    everybody = [*subjects, *traffic.made]
    for start in range(0, len(everybody), 5_000):
        found = await other.subjects.of_all(ours.entity, everybody[start : start + 5_000])
        assert found.refused.keys() <= traffic.destroyed
        assert all(isinstance(why, errors.SubjectDestroyed) for why in found.refused.values())
    assert await other.subjects.open(ours.entity, subjects[0], *PLACE, sealed) == b"before"
    keys = await other.keyring.entity(ours.entity)
    assert keys.newest == 2
    await other.close()


async def test_a_key_that_is_destroyed_while_it_is_rewrapped_stays_away(ours, monkeypatch):
    [gone, kept] = await ours.made(2)
    await add_version(ours.owner, ours.kms, ours.entity, NOW, only_first=False)
    keys = await rotation.entity_keys(ours.owner, ours.kms, ours.entity)
    rewrapped = rotation._rewrapped

    async with ours.looking() as other:

        def late(*values):
            after = rewrapped(*values)
            asyncio.run_coroutine_threadsafe(
                destroy(other, ours.tombstones, ours.entity, gone, NOW), loop
            ).result(10)
            return after

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(rotation, "_rewrapped", late)
        done = await rotation.rewrap_subjects(ours.owner, keys)
    assert (done.rewrapped, done.refused) == (1, 0)
    assert await rotation.count_left(ours.owner, ours.entity, 2) == 0
    found = await (await ours.another_vault()).subjects.of_all(ours.entity, [gone, kept])
    assert list(found.keys) == [kept]


async def test_a_damaged_key_stops_no_rotation_and_is_told(ours):
    subjects = await ours.made(3)
    await ours.execute(
        "UPDATE subject_keys SET wrapped = 'damaged' WHERE subject_id = $1", subjects[1]
    )
    told = []
    await add_version(ours.owner, ours.kms, ours.entity, NOW, only_first=False)
    keys = await rotation.entity_keys(ours.owner, ours.kms, ours.entity)
    done = await rotation.rewrap_subjects(ours.owner, keys, lambda *at: told.append(at))
    assert (done.rewrapped, done.refused) == (2, 1)
    assert told == [(2, 3)]
    code, said = await ended(rotate(ours))
    assert code == 1
    assert "1 keys of subjects cannot be unwrapped" in said


async def test_a_rotation_that_settles_is_gone_on_with(ours):
    [subject] = await ours.made(1)
    code, said = await ended(rotate(ours))
    assert (code, "version 2 made" in said) == (0, True), said
    code, said = await ended(rotate(ours))
    assert (code, "going on with the rotation to version 2" in said) == (0, True), said
    assert "nothing is left under older ones" in said
    other = await ours.another_vault()
    assert await other.subjects.of(ours.entity, subject)
    await other.close()


async def test_the_root_key_is_rotated_and_a_stop_half_way_is_made_good(ours):
    sealed = (await ours.vault.keyring.entity(ours.entity)).seal(*PLACE, b"text")
    file = ours.deployment.home.secrets / KEY_FILE_NAME
    before = ours.kms.root_key
    code, said = await ended(rotate(ours, "rotate-root"))
    assert code == 0, said
    assert "wrapped anew: 2" in said
    both = [ours.entity, ours.deployment.theirs.legal_entity_id]
    add_root_key(file)
    stopping = StoppingKms(ours.kms, wraps=1)
    await stopping.unwrap_nothing()
    with pytest.raises(KmsUnavailable):
        await rotation.rewrap_entities(ours.owner, stopping, both)
    assert await rotation.count_entities_left(ours.owner, stopping, both) == 1
    code, said = await ended(rotate(ours, "rotate-root"))
    assert code == 0, said
    assert "wrapped anew: 1" in said
    assert len(json.loads(file.read_bytes())["root_keys"]) == 3, "none was made to go on"
    other = await ours.another_vault()
    assert (await other.keyring.entity(ours.entity)).open(*PLACE, sealed) == b"text"
    assert other._kms.root_key != before
    await other.close()


# Destroying older versions.


async def aged(ours: Ours, by: timedelta) -> None:
    """So much time passes for the newest version."""
    await ours.execute(
        "UPDATE entity_keys SET created_at = created_at - $1::interval WHERE version = 2", by
    )


async def test_no_version_is_destroyed_before_the_next_is_a_day_old(ours):
    await ours.made(1)
    code, said = await ended(rotate(ours))
    assert code == 0, said
    retire = ("retire", "--yes", "--entity", to_text("ent", ours.entity))
    await ended(rotate(ours, "reencrypt"))
    await aged(ours, rotation.RETIRE_AFTER - timedelta(minutes=30))
    code, said = await ended(rotate(ours, *retire))
    assert (code, "run this again in 0.5 hours" in said) == (1, True), said
    assert await rotation.retire(ours.owner, ours.entity, 2) == 0, "nor by who asks nobody"
    await aged(ours, timedelta(minutes=30))
    code, said = await ended(rotate(ours, *retire))
    assert (code, said) == (0, "versions destroyed: 1\n")
    assert await rotation.retire(ours.owner, ours.entity, 2) == 0


async def test_a_versions_age_is_told_by_the_clock_of_its_database(ours):
    """Whatever the machine that makes one says what time it is."""
    assert await rotation.begin_rotation(ours.owner, ours.kms, ours.entity) == 2
    version, age = await rotation.newest_version(ours.owner, ours.entity)
    assert version == 2
    assert timedelta() < age < timedelta(minutes=1)
    assert await rotation.retire(ours.owner, ours.entity, 2) == 0


async def test_two_rotations_at_once_make_one_version(ours, monkeypatch):
    """The other one comes between the look at the newest version and making the next."""
    count_left = rotation.count_left

    async def slow(connection, *values):
        left = await count_left(connection, *values)
        if connection is not other:
            assert await rotation.begin_rotation(other, ours.kms, ours.entity) == 2
        return left

    async with ours.looking() as other:
        monkeypatch.setattr(rotation, "count_left", slow)
        assert await rotation.begin_rotation(ours.owner, ours.kms, ours.entity) is None
        assert (await rotation.newest_version(other, ours.entity))[0] == 2


async def test_keys_that_were_read_long_ago_open_and_do_not_seal(ours, monkeypatch):
    keys = await ours.vault.keyring.entity(ours.entity)
    sealed, wrapped = keys.seal(*PLACE, b"text"), keys.wrap(*PLACE, new_keyset())
    now = monotonic_seconds()
    monkeypatch.setattr(vault_keys, "monotonic_seconds", lambda: now + SEAL_SECONDS + 1)
    with pytest.raises(errors.KeysOutdated):
        keys.seal(*PLACE, b"text")
    with pytest.raises(errors.KeysOutdated):
        keys.wrap(*PLACE, new_keyset())
    assert keys.open(*PLACE, sealed) == b"text"
    assert keys.unwrap(*PLACE, wrapped)


async def test_the_age_of_keys_counts_from_before_they_were_read(ours):
    """Whoever reads for long may read a version that is the newest no more."""
    began = ours.vault.keyring._kept.now()
    unwrap = ours.kms._inner.unwrap

    async def slow(*values):
        await asyncio.sleep(0.5)
        return await unwrap(*values)

    ours.kms._inner.unwrap = slow
    await ours.vault.keyring.entity(ours.entity)
    _, age = ours.vault.keyring._kept.get_with_age(ours.entity)
    assert 0.5 <= age <= ours.vault.keyring._kept.now() - began


class StoppingKms(CountingKms):
    """A KMS that is gone after so many wraps."""

    def __init__(self, inner: CountingKms, wraps: int) -> None:
        super().__init__(inner)
        self._wraps = wraps

    async def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        if self._wraps == 0:
            raise KmsUnavailable
        self._wraps -= 1
        return await super().wrap(key, context)

    async def unwrap_nothing(self) -> None:
        """Has the file read again, which a key file does when it is asked next."""
        await self._inner.wrap(new_keyset(), {"for": "nothing"})


async def test_a_rotated_entity_seals_under_the_newest_version(ours):
    await add_version(ours.owner, ours.kms, ours.entity, NOW, only_first=False)
    ours.vault.keyring.forget(ours.entity)
    keys = await ours.vault.keyring.entity(ours.entity)
    assert header_of(keys.seal(*PLACE, b"text")).version == 2
