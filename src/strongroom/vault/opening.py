"""The vault of a process: which KMS a deployment uses, by its settings, and the keys over it."""

from typing import Final
from uuid import UUID

import asyncpg

from strongroom.config import AWS_KMS, KEY_FILE, ConfigurationError, Home, Settings
from strongroom.database import connect_pool
from strongroom.vault.envelope import FieldKey
from strongroom.vault.kept import KEPT_MAX, Kept
from strongroom.vault.keys import EntityKeys, Keyring
from strongroom.vault.kms import Kms
from strongroom.vault.subjects import Subjects
from strongroom.vault.tombstones import Tombstones

KEY_FILE_NAME: Final = "kms_root"
"""Below HOME/secrets."""
CONNECTIONS: Final = 2
"""To the database of the keys, which is asked once a minute for an entity or a subject."""
ENTITIES_KEPT_MAX: Final = 2_000
"""Subjects may fill what entities leave of KEPT_MAX."""


def open_kms(home: Home, settings: Settings) -> Kms:
    """The KMS of this deployment; nothing is asked of it yet, but a key file is read.

    Raises ConfigurationError for a key file in live mode, or one that cannot be used.
    """
    if settings.kms == KEY_FILE:
        if settings.mode == "live":
            raise ConfigurationError(
                "a key file guards nothing in live mode: make a symmetric key in AWS KMS, and "
                f'write "kms": "{AWS_KMS}ARN-OF-THE-KEY" into {home.path}/strongroom.json.'
            )
        from strongroom.vault.key_file import KeyFile

        return KeyFile(home.secrets / KEY_FILE_NAME)
    from strongroom.vault.aws_kms.adapter import AwsKms

    try:
        return AwsKms(
            settings.kms.removeprefix(AWS_KMS),
            former=[name.removeprefix(AWS_KMS) for name in settings.kms_former],
            endpoint_url=settings.kms_endpoint,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


class Vault:
    """The keys of one process, over the KMS and the database of the keys."""

    def __init__(self, pool: asyncpg.Pool, kms: Kms, tombstones: Tombstones) -> None:
        self._pool, self._kms = pool, kms
        entities: Kept[UUID, EntityKeys] = Kept(most=ENTITIES_KEPT_MAX)
        self.keyring = Keyring(pool, kms, entities)
        kept: Kept[tuple[UUID, UUID], FieldKey] = Kept(most=lambda: KEPT_MAX - len(entities))
        self.subjects = Subjects(pool, self.keyring, tombstones, kept)

    async def close(self) -> None:
        """Forgets all keys, and lets go of the KMS and the database."""
        await self.subjects.close()
        await self.keyring.close()
        await self._kms.close()
        await self._pool.close()


async def open_vault(home: Home, settings: Settings, login: str) -> Vault:
    """The vault of a process that logs in to the keys as `login`; nothing is asked of it yet.

    Raises ConfigurationError, also where the journal of destroyed subjects is not there.
    """
    if not home.has_secret(f"keys_{login}_url"):
        raise ConfigurationError(
            "the deployment has no database of keys yet: run `strongroom migrate` of this version."
        )
    tombstones = Tombstones(home.tombstones())
    kms = open_kms(home, settings)
    url = home.secret(f"keys_{login}_url")
    pool = await connect_pool(url, size_max=CONNECTIONS, application=f"strongroom-{login}")
    return Vault(pool, kms, tombstones)
