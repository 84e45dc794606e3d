"""What the vault costs: a field against the bare primitive, calls of the KMS, the detector.

`measure(server)` is all of them, on a fresh deployment.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final
from uuid import UUID

import tink
from tink import aead, proto_keyset_format, secret_key_access

from bench.cluster import Deployment, Server
from bench.detector import detector_us
from bench.measures import Outcome
from strongroom.clock import SystemClock, microseconds_since_epoch
from strongroom.config import Home
from strongroom.database import connect_pool
from strongroom.ids import new_entity_id, new_id
from strongroom.vault.envelope import Column, FieldKey, Kind, new_keyset
from strongroom.vault.kms import Kms
from strongroom.vault.opening import CONNECTIONS, Vault, open_kms
from strongroom.vault.secret import Secret
from strongroom.vault.tombstones import Tombstones

FIELD_BYTES: Final = 64
"""A name, an address, a description: most are shorter."""
FIELD_TIMES: Final = 5_000
ROUNDS: Final = 11
READS: Final = 1_000_000
SUBJECTS: Final = 10_000
PAGE: Final = 500
PLACE: Final = (Column("customers", "name").label, bytes(16))


def vault_ratio(*, times: int = FIELD_TIMES, rounds: int = ROUNDS) -> dict[str, float]:
    """Sealing and opening a field, over the same primitive's own time; medians, interleaved."""
    keyset = new_keyset()
    entity = new_entity_id(1)
    key = FieldKey(Kind.SUBJECT, entity, new_id(1, entity), 1, keyset)
    handle = proto_keyset_format.parse(keyset.reveal(), secret_key_access.TOKEN)
    raw: aead.Aead = handle.primitive(aead.Aead)
    content = bytes(FIELD_BYTES)
    label, row = PLACE
    bound = entity.bytes + label + row

    def field() -> None:
        if key.open(label, row, key.seal(label, row, content)) != content:
            raise tink.TinkError("it did not open")

    def bare() -> None:
        raw.decrypt(raw.encrypt(content, bound), bound)

    field_us, bare_us = list[float](), list[float]()
    for _ in range(rounds):
        bare_us.append(_each_us(bare, times))
        field_us.append(_each_us(field, times))
    return {
        "vault_ratio": median(f / b for f, b in zip(field_us, bare_us, strict=True)),
        "field_us": median(field_us),
        "bare_us": median(bare_us),
    }


def _each_us(work: Callable[[], None], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times * 1e6


class CountingKms:
    """Counts what the KMS behind it is asked."""

    def __init__(self, inner: Kms) -> None:
        self._inner, self.calls = inner, 0

    @property
    def root_key(self) -> str:
        return self._inner.root_key

    async def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        return await self._inner.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        self.calls += 1
        return await self._inner.unwrap(wrapped, context)

    async def close(self) -> None:
        await self._inner.close()


async def kms_calls(deployment: Deployment, *, reads: int = READS) -> dict[str, float]:
    """Reads of keys of SUBJECTS subjects, at random, by a process that begins with none."""
    home, entity = Home(deployment.home), deployment.legal_entity
    making = await _vault(home, open_kms(home, home.settings()))
    subjects = await _made(making, entity)
    await making.close()
    kms = CountingKms(open_kms(home, home.settings()))
    vault, chance = await _vault(home, kms), random.Random(7)
    order = [chance.choice(subjects) for _ in range(reads)]
    began = time.perf_counter()
    for start in range(0, SUBJECTS, PAGE):
        await vault.subjects.of_all(entity, subjects[start : start + PAGE])
    loaded = time.perf_counter()
    for subject in order:
        await vault.subjects.of(entity, subject)
    ended = time.perf_counter()
    await vault.close()
    return {
        "kms_calls_per_million": kms.calls * READS / reads,
        "kms_calls": kms.calls,
        "load_us": (loaded - began) / SUBJECTS * 1e6,
        "read_us": (ended - loaded) / reads * 1e6,
    }


async def _vault(home: Home, kms: Kms) -> Vault:
    url = home.secret("keys_api_url")
    pool = await connect_pool(url, size_max=CONNECTIONS, application="strongroom-bench")
    return Vault(pool, kms, Tombstones(home.tombstones()))


async def _made(vault: Vault, entity: UUID) -> list[UUID]:
    now = SystemClock().now()
    moment = microseconds_since_epoch(now)
    subjects = [new_id(moment + number, entity) for number in range(SUBJECTS)]
    for start in range(0, SUBJECTS, PAGE):
        await vault.subjects.create_all(entity, subjects[start : start + PAGE], now)
    return subjects


def measure(server: Server, *, reads: int = READS) -> Outcome:
    """All of it, on a fresh deployment."""
    with server.deployment() as deployment:
        calls = asyncio.run(kms_calls(deployment, reads=reads))
    ratio = vault_ratio()
    figures = {
        "detector_us": detector_us(),
        "vault_ratio": ratio.pop("vault_ratio"),
        "kms_calls_per_million": calls.pop("kms_calls_per_million"),
    }
    return Outcome(figures, {name: round(value, 2) for name, value in (ratio | calls).items()})
