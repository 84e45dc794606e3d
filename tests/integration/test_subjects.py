"""Keys of subjects in a real database: made, read, refused, destroyed."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator

import pytest

from strongroom.database import begin
from strongroom.errors import InvariantBroken
from strongroom.ids import new_id, to_text
from strongroom.vault import errors
from strongroom.vault.destruction import destroy
from strongroom.vault.envelope import header_of, new_keyset
from strongroom.vault.keys import add_version
from strongroom.vault.rotation import entity_keys
from strongroom.vault.subjects import LABEL, SQL
from tests.integration.conftest import NOW, Deployment
from tests.integration.vaults import MOMENT, PLACE, Ours, our_vault

READS = int(os.environ.get("STRONGROOM_TEST_READS", "200_000"))
"""A million is what is promised; they take half a minute."""
KMS_CALLS_MAX = 100
SUBJECTS_READ = 10_000
DESTROYED_SECONDS_MAX = 60


@pytest.fixture
async def ours(deployment: Deployment) -> AsyncIterator[Ours]:
    async with our_vault(deployment) as made:
        yield made


async def test_what_a_subject_seals_another_process_opens(ours):
    [subject] = await ours.made(1)
    sealed = await ours.subjects.seal(ours.entity, subject, *PLACE, b"Ada")
    other = await ours.another_vault()
    assert await other.subjects.open(ours.entity, subject, *PLACE, sealed) == b"Ada"
    assert header_of(sealed).key_id == subject
    await other.close()


async def test_two_that_make_the_same_subject_get_the_same_key(ours):
    subject, other = ours.new_subject(), await ours.another_vault()
    one, two = await asyncio.gather(
        *(vault.subjects.create(ours.entity, subject, NOW) for vault in (ours.vault, other))
    )
    assert two.open(*PLACE, one.seal(*PLACE, b"Ada")) == b"Ada"
    await other.close()


async def test_an_unknown_subject_has_no_key(ours):
    with pytest.raises(errors.KeyMissing) as raised:
        await ours.subjects.of(ours.entity, ours.new_subject())
    assert not isinstance(raised.value, errors.SubjectDestroyed)


async def test_the_id_of_a_subject_carries_its_entity(ours):
    theirs = new_id(MOMENT, ours.deployment.theirs.legal_entity_id)
    with pytest.raises(InvariantBroken):
        await ours.subjects.create(ours.entity, theirs, NOW)


async def test_a_key_in_the_row_of_another_subject_is_refused(ours):
    one, two = await ours.made(2)
    await ours.execute(
        "UPDATE subject_keys k SET wrapped = other.wrapped FROM subject_keys other "
        "WHERE k.subject_id = $1 AND other.subject_id = $2", one, two,
    )  # fmt: skip
    other = await ours.another_vault()
    with pytest.raises(errors.WrongPlace):
        await other.subjects.of(ours.entity, one)
    found = await other.subjects.of_all(ours.entity, [one, two])
    assert list(found.keys) == [two], "one bad row spoils no page"
    assert isinstance(found.refused[one], errors.WrongPlace)
    await other.close()


async def test_a_key_of_another_entity_is_refused(ours):
    [subject] = await ours.made(1)
    theirs = ours.deployment.theirs.legal_entity_id
    stranger = new_id(MOMENT, theirs)
    await ours.subjects.create(theirs, stranger, NOW)
    async with ours.owner.transaction():
        await ours.owner.execute(f"SET LOCAL strongroom.legal_entities = '{ours.entity},{theirs}'")
        await ours.owner.execute(
            "UPDATE subject_keys k SET wrapped = other.wrapped FROM subject_keys other "
            "WHERE k.subject_id = $1 AND other.subject_id = $2", subject, stranger,
        )  # fmt: skip
    other = await ours.another_vault()
    with pytest.raises(errors.ForeignEntity):
        await other.subjects.of(ours.entity, subject)
    await other.close()


async def test_another_entity_does_not_get_a_key_that_is_kept(ours):
    [subject] = await ours.made(1)
    with pytest.raises(errors.KeyMissing):
        await ours.subjects.of(ours.deployment.theirs.legal_entity_id, subject)


async def test_many_are_read_by_one_statement_and_by_one_reader(ours):
    subjects = await ours.made(500)
    other = await ours.another_vault()
    reads = 0
    read = other.subjects._read

    async def counted(*values):
        nonlocal reads
        reads += 1
        return await read(*values)

    other.subjects._read = counted
    found = await asyncio.gather(*(other.subjects.of_all(ours.entity, subjects) for _ in range(5)))
    assert reads == 1
    assert all(list(one.keys) != [] and len(one.keys) == 500 for one in found)
    for subject in subjects:
        assert other.subjects.at_hand(ours.entity, subject) is not None
    await other.close()


async def test_a_destroyed_subject_is_refused_at_the_next_use_of_a_key_that_is_kept(ours):
    subject, other = await ours.made(2)
    key = await ours.subjects.of(ours.entity, subject)
    sealed = key.seal(*PLACE, b"Ada")
    assert await destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
    for ask in (
        ours.subjects.of(ours.entity, subject),
        ours.subjects.open(ours.entity, subject, *PLACE, sealed),
        ours.subjects.create(ours.entity, subject, NOW),
    ):
        with pytest.raises(errors.SubjectDestroyed):
            await ask
    found = await ours.subjects.of_all(ours.entity, [subject, other])
    assert list(found.keys) == [other]
    assert isinstance(found.refused[subject], errors.SubjectDestroyed)
    assert len(ours.subjects._kept) == 1, "the key itself is gone from memory too"


async def test_destroying_is_done_once_and_may_be_asked_twice(ours):
    [subject] = await ours.made(1)
    assert await destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
    assert not await destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
    assert [one.subject_id for one in ours.tombstones.of(ours.entity)] == [subject]


async def test_a_destroyed_subject_whose_file_is_lost_is_refused_by_the_database(ours):
    [subject] = await ours.made(1)
    await destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
    folder = ours.tombstones.folder / to_text("ent", ours.entity)
    (folder / f"{to_text('sub', subject)}.json").unlink()
    other = await ours.another_vault()
    with pytest.raises(errors.SubjectDestroyed):
        await other.subjects.of(ours.entity, subject)
    with pytest.raises(errors.SubjectDestroyed):
        await other.subjects.create(ours.entity, subject, NOW)
    await other.close()


async def test_one_that_is_destroyed_while_it_is_read_is_not_handed_out(ours):
    [subject] = await ours.made(1)
    other = await ours.another_vault()
    read = other.subjects._read

    async def late(*values):
        found = await read(*values)
        await destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
        return found

    other.subjects._read = late
    with pytest.raises(errors.SubjectDestroyed):
        await other.subjects.of(ours.entity, subject)
    await other.close()


@pytest.mark.parametrize("commits", [True, False])
async def test_a_key_that_is_made_while_its_subject_is_destroyed_does_not_stay(ours, commits):
    """Who makes it saw no tombstone, and is not seen by who destroys: neither has committed yet."""
    subject = ours.new_subject()
    keys = await ours.vault.keyring.entity(ours.entity)
    wrapped = keys.wrap(LABEL, subject.bytes, new_keyset())
    async with ours.looking() as maker:
        await begin(maker, [ours.entity])
        made = await maker.fetch(
            SQL["add_subject_keys"], [ours.entity], [subject], [wrapped], keys.newest, NOW
        )
        assert len(made) == 1
        destroying = asyncio.create_task(
            destroy(ours.owner, ours.tombstones, ours.entity, subject, NOW)
        )
        await asyncio.sleep(0.3)
        await maker.execute("COMMIT" if commits else "ROLLBACK")
        assert await asyncio.wait_for(destroying, DESTROYED_SECONDS_MAX) == commits
        await begin(maker, [ours.entity], read_only=True)
        left = await maker.fetch("SELECT FROM subject_keys WHERE subject_id = $1", subject)
        assert left == []
        await maker.execute("ROLLBACK")


@pytest.mark.parametrize("how", ["gone", "another's"])
async def test_without_the_journal_nothing_is_read(ours, how):
    [subject] = await ours.made(1)
    folder = ours.tombstones.folder
    if how == "gone":
        folder.rename(folder.with_name("elsewhere"))
    else:
        (folder / "journal.json").write_text(
            '{"format": "strongroom tombstones 1", '
            '"journal_id": "00000000-0000-4000-8000-000000000000"}'
        )
    for ask in (
        ours.subjects.of(ours.entity, subject),
        ours.subjects.of_all(ours.entity, [subject]),
        ours.subjects.create(ours.entity, ours.new_subject(), NOW),
    ):
        with pytest.raises(errors.TombstonesMissing):
            await ask


async def test_the_journal_of_another_deployment_is_noticed_by_what_the_keys_say(ours):
    [subject] = await ours.made(1)
    folder = ours.tombstones.folder
    (folder / "journal.json").write_text(
        '{"format": "strongroom tombstones 1", '
        '"journal_id": "00000000-0000-4000-8000-000000000000"}'
    )
    other = await ours.another_vault()  # it begins with the wrong one
    with pytest.raises(errors.TombstonesMissing):
        await other.subjects.of(ours.entity, subject)
    with pytest.raises(errors.TombstonesMissing):
        await other.subjects.create(ours.entity, ours.new_subject(), NOW)
    await other.close()


async def test_a_value_under_a_newer_version_than_is_kept_is_read_at_once(ours):
    before = await ours.vault.keyring.entity(ours.entity)
    assert before.newest == 1
    await add_version(ours.owner, ours.kms, ours.entity, NOW, only_first=False)
    newer = await entity_keys(ours.owner, ours.kms, ours.entity)
    sealed = newer.seal(*PLACE, b"text")
    calls = ours.kms.calls
    keys = await ours.vault.keyring.opening(ours.entity, [sealed])
    assert keys.open(*PLACE, sealed) == b"text"
    assert ours.kms.calls == calls + 2, "both versions are unwrapped, once"
    other = await ours.another_vault()
    subject = ours.new_subject()
    await other.subjects.create(ours.entity, subject, NOW)  # wraps under version 2
    assert await ours.subjects.of(ours.entity, subject)
    await other.close()


async def test_a_made_up_version_costs_no_call_of_the_kms(ours):
    keys = await ours.vault.keyring.entity(ours.entity)
    sealed = keys.seal(*PLACE, b"text")
    made_up = sealed[:3] + (9_999).to_bytes(4, "big") + sealed[7:]
    calls = ours.kms.calls
    for _ in range(20):
        same = await ours.vault.keyring.opening(ours.entity, [made_up, sealed])
        with pytest.raises(errors.KeyMissing):
            same.open(*PLACE, made_up)
    assert ours.kms.calls == calls


@pytest.mark.slow
async def test_the_kms_is_not_called_for_reads(ours):
    subjects = await ours.made(SUBJECTS_READ)
    other, chance = await ours.another_vault(), random.Random(7)
    before, began = ours.kms.calls, time.monotonic()
    for start in range(0, SUBJECTS_READ, 500):
        await other.subjects.of_all(ours.entity, subjects[start : start + 500])
    for _ in range(READS):
        await other.subjects.of(ours.entity, chance.choice(subjects))
    print(f"{(time.monotonic() - began) / READS * 1e6:.1f} µs a read")
    assert len(other.subjects._kept) + len(other.keyring._kept) <= SUBJECTS_READ
    assert ours.kms.calls - before <= KMS_CALLS_MAX * READS / 1_000_000
    await other.close()
