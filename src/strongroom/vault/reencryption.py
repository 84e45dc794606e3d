"""Values under the newest keys: a whole deployment, or one legal entity, while it serves.

Every kind of sealed value has its own way to a newer key, beside the noun that owns it; here they
are taken in turn.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from strongroom.clock import Clock
from strongroom.database import Connection
from strongroom.vault import rotation
from strongroom.vault.keys import EntityKeys
from strongroom.vault.kms import Kms

Progress = Callable[[int, int], None]
"""Hears how many of how many are done."""


class Kind(Protocol):
    """One kind of sealed value, in the database of the payments."""

    async def count_stale(self, connection: Connection, keys: EntityKeys) -> int:
        """How many are still to be sealed under the newest key."""
        ...

    async def reseal(
        self,
        connection: Connection,
        keys: EntityKeys,
        at: datetime,
        progress: Callable[[int], None],
    ) -> list[str]:
        """Seals them under it, a page a transaction; returns which could not be done, and why."""
        ...


class Left(NamedTuple):
    """What is still sealed under older versions, and how old the newest is."""

    values: int
    subject_keys: int
    newest: int
    newest_age: timedelta

    @property
    def is_nothing(self) -> bool:
        """Whether no value and no key is left under an older version."""
        return not self.values and not self.subject_keys


class Owners(NamedTuple):
    """Connections of both databases' owners, and the KMS."""

    payments: Connection
    keys: Connection
    kms: Kms


async def reencrypt(
    owners: Owners,
    legal_entity_ids: Sequence[UUID],
    kinds: Sequence[Kind],
    clock: Clock,
    progress: Progress,
) -> tuple[int, list[str]]:
    """Seals all values of these entities under their newest keys.

    Returns how many were done, and which could not be, and why; those are left as they are. What
    was done stays when it is stopped. Raises what the vault and the databases raise.
    """
    keyed = [await rotation.entity_keys(owners.keys, owners.kms, one) for one in legal_entity_ids]
    total = 0
    for keys in keyed:
        for kind in kinds:
            total += await kind.count_stale(owners.payments, keys)
    done, refused = 0, list[str]()

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(done, max(total, done))

    for keys in keyed:
        for kind in kinds:
            refused += await kind.reseal(owners.payments, keys, clock.now(), more)
    return done, refused


async def left(owners: Owners, legal_entity_id: UUID, kinds: Sequence[Kind]) -> Left:
    """What is still under older versions of an entity's keys. Raises as `reencrypt` does."""
    keys = await rotation.entity_keys(owners.keys, owners.kms, legal_entity_id)
    newest, age = await rotation.newest_version(owners.keys, legal_entity_id)
    values = 0
    for kind in kinds:
        values += await kind.count_stale(owners.payments, keys)
    subject_keys = await rotation.count_left(owners.keys, legal_entity_id, newest)
    return Left(values, subject_keys, newest, age)
