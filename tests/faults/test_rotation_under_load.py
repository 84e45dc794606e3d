"""All keys of a legal entity with many subjects are rotated while its payments run over HTTP."""

import asyncio
import os
import signal
import time
from typing import Final
from urllib.parse import urlsplit

import pytest

from strongroom.local.probes import answers_ok
from strongroom.vault.kept import KEPT_SECONDS
from strongroom.vault.rotation import RETIRE_AFTER
from tests.acceptance.client import until
from tests.faults.conftest import MakeDeployment
from tests.faults.deployment import Deployment
from tests.faults.judge import judge, until_ended
from tests.faults.judge_refunds import judge_refunds, until_none_is_open
from tests.faults.sealed import Sealed, looking_into
from tests.faults.vault_commands import Command
from tests.faults.writers import Pace, Writers

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.needs("procfs")]

SUBJECTS: Final = int(os.environ.get("STRONGROOM_TEST_SUBJECTS", "20_000"))
"""100,000 is what is promised; with so many payments run until no kept key is from before."""
SETTLES: Final = SUBJECTS >= 100_000
STOCK: Final = 600
"""Payments that are there before; each second one has a refund."""
WARM_UP_SECONDS: Final = 3.0
BASELINE_SECONDS: Final = 8.0
"""Before the rotation, and half as long behind it."""
AFTER_SECONDS: Final = 7.0
"""Workers look for changed secrets every five."""
PAUSE_SECONDS_MAX: Final = 1.0
PAUSE_OF_BASELINE_MAX: Final = 3.0
"""A machine that pauses by itself is not held against us."""
ADOPTED_SECONDS_MAX: Final = 65.0
LOOK_SECONDS: Final = 0.05
BACK_SECONDS_MAX: Final = 60.0
END_SECONDS_MAX: Final = 90
AGE_SQL: Final = "SELECT clock_timestamp() - max(created_at) FROM entity_keys"
AGED_SQL: Final = "UPDATE entity_keys SET created_at = created_at - $1::interval"
"""Only once the API was seen to seal under the new version, which is what the day is for."""


class Rotating:
    """Who sits at the command line, and what the databases say meanwhile."""

    def __init__(self, deployment: Deployment, sealed: Sealed) -> None:
        self._deployment, self._sealed = deployment, sealed
        self._entity = str(deployment.ready["legal_entity"])

    def _command(self, *words: str) -> Command:
        return Command(self._deployment, *words)

    def _of_entity(self, *words: str) -> Command:
        return self._command(*words, "--entity", self._entity)

    async def rotate(self) -> None:
        """Killed half-way, then to its end: what was done is not done again."""
        first = self._of_entity("rotate", "--no-wait")
        while not await self._sealed.is_rewrapped(0.4, 2):
            assert first.process.poll() is None, first.said()
            await asyncio.sleep(LOOK_SECONDS)
        await first.kill()
        assert "version 2 made" in first.said()
        done = await self._sealed.mark_rewrapped(2)
        assert 0 < done < SUBJECTS
        begun = time.monotonic()
        said = await self._of_entity("rotate", "--no-wait").succeeds()
        seconds = time.monotonic() - begun
        left = SUBJECTS - done
        assert "going on with the rotation to version 2" in said
        assert f"{left} of {left}" in said
        assert await self._sealed.count_rewrapped(2) == SUBJECTS
        assert await self._sealed.rewrapped_again() == 0
        print(f"subject keys: {done} when killed, {left} more in {seconds:.1f} s")

    async def reencrypt(self) -> None:
        """Killed half-way, then until nothing is left; meanwhile processes seal on."""
        async with self._sealed.held_up_at(0.6):
            first = self._command("reencrypt")
            await self._sealed.until_resealing(waits=True)
            await first.kill()
        await self._sealed.until_resealing(waits=False)  # the transaction of who was killed
        before = (await self._sealed.versions())["texts"]
        assert before[1], before
        assert await self._sealed.mark_resealed(2) > 0
        await self._until_adopted()
        begun = time.monotonic()
        said = await self._command("reencrypt").succeeds()
        print(f"texts by version when killed: {dict(before)}; then {said.splitlines()[-1]}")
        print(f"  in {time.monotonic() - begun:.1f} s")
        assert await self._sealed.resealed_again() == 0
        assert "values sealed anew: 0" in await self._command("reencrypt").succeeds()

    async def rotate_root(self) -> None:
        """Both versions of the entity's keys come under a new root key."""
        said = await self._command("rotate-root").succeeds()
        assert "versions of legal entities' keys wrapped anew: 2" in said
        roots = await self._sealed.keys.fetch("SELECT DISTINCT root_key FROM entity_keys")
        assert len(roots) == 1

    async def retire(self) -> None:
        """Refused for a day; then the version before is gone. No test waits that long."""
        code, said = await self._of_entity("retire", "--yes").ended()
        assert code == 1
        assert "less than a day old" in said
        if SETTLES:
            age = await self._sealed.keys.fetchval(AGE_SQL)
            await asyncio.sleep(max(0.0, KEPT_SECONDS - age.total_seconds()))
        await self._sealed.keys.execute(AGED_SQL, RETIRE_AFTER)
        said = await self._of_entity("retire", "--yes").succeeds()
        assert "versions destroyed: 1" in said
        assert await self._sealed.keys.fetchval("SELECT min(version) FROM entity_keys") == 2

    async def _until_adopted(self) -> None:
        """Until the API seals under the new version: nothing comes under the one before."""
        async with asyncio.timeout(ADOPTED_SECONDS_MAX):
            before = await self._sealed.versions()
            while True:
                await asyncio.sleep(1)
                now = await self._sealed.versions()
                more = {v: now["texts"][v] - before["texts"][v] for v in (1, 2)}
                if more[1] == 0 and more[2] > 0:
                    return
                before = now


async def test_all_keys_are_rotated_while_payments_run(deploy: MakeDeployment) -> None:
    deployment = deploy(deadline_seconds=5.0)
    writers = Writers(deployment)
    async with looking_into(deployment) as sealed:
        begun = time.monotonic()
        await sealed.add_subjects(SUBJECTS)
        await writers.stock(STOCK)
        writers.check()
        print(f"ready to go in {time.monotonic() - begun:.1f} s")
        baseline, rotation = await rotated(Rotating(deployment, sealed), writers)
        print(f"rotation: {rotation}")
        complaints = deployment.complaints()
        await until_ended(deployment, END_SECONDS_MAX)
        await until_none_is_open(deployment, END_SECONDS_MAX)
        judged = await judge(deployment, writers.accepted)
        refunds = await judge_refunds(deployment, writers.refunded)
        print(f"{judged.charges} charges, {refunds} refunds, answers {dict(writers.answers)}")
        assert judged.statuses == {"succeeded": len(writers.written)}
        assert await sealed.judge_subjects(2) == SUBJECTS
        versions = await sealed.versions()
        texts, secrets = versions["texts"], versions["secrets"]
        assert texts == {2: len(writers.written) + len(writers.refunds)}
        assert secrets.keys() == {2}
        await read_by_all(deployment, writers)
    assert not complaints
    most = max(PAUSE_SECONDS_MAX, PAUSE_OF_BASELINE_MAX * baseline.longest_gap)
    assert rotation.longest_gap <= most, f"{rotation}; without one: {baseline}"


async def rotated(rotating: Rotating, writers: Writers) -> tuple[Pace, Pace]:
    """All four commands under load; how fast answers came without them at worst, and then."""
    writers.begin()
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        start = time.monotonic()
        await asyncio.sleep(BASELINE_SECONDS)
        rotation = time.monotonic()
        for step in (rotating.rotate, rotating.reencrypt, rotating.rotate_root, rotating.retire):
            begun = time.monotonic()
            await step()
            ended = time.monotonic()
            print(f"{step.__name__}: {ended - begun:.1f} s, {writers.pace(begun, ended)}")
            writers.check()
        await asyncio.sleep(AFTER_SECONDS)
        end = time.monotonic()
        await asyncio.sleep(BASELINE_SECONDS / 2)
    finally:
        await writers.end()
    writers.check()
    quiet = [writers.pace(start, rotation), writers.pace(end, time.monotonic())]
    print(f"before: {quiet[0]}\nafterwards: {quiet[1]}")
    return max(quiet, key=lambda pace: pace.longest_gap), writers.pace(rotation, end)


async def read_by_all(deployment: Deployment, writers: Writers) -> None:
    """By the API that kept keys from before, and by processes that never saw the old version."""
    many = await writers.read_all()
    port = urlsplit(deployment.ready["api_url"]).port
    for name in ("api", "worker"):
        deployment.signal(name, signal.SIGKILL)
    await until(lambda: answers_ok(port, "/readyz"), BACK_SECONDS_MAX)
    assert await writers.read_all() == many
    await writers.stock(1)
    writers.check()
