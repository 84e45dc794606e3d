"""The port to a KMS: it wraps keys of legal entities, and is never called for a single field.

Adapters: `key_file` for dev, `aws_kms` for production. PKCS#11 has room beside them: a token that
wraps 32 to 2,000 bytes in a context fits the same two methods.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from strongroom.vault.secret import Secret

KMS_SECONDS_MAX: Final = 2.0
"""From asking to giving up, tries included. Callers wait for it, so it is short."""
CONTEXT_PAIRS_MAX: Final = 8
WRAPPED_BYTES_MAX: Final = 4096
"""What a KMS takes at once (AWS KMS Encrypt: 4,096 bytes of plaintext)."""


class Kms(Protocol):
    """A root key that never leaves its KMS.

    `context` is authenticated, not encrypted: text pairs that say what the key is for. What was
    wrapped in one context is refused in any other.
    """

    @property
    def root_key(self) -> str:
        """The name of the root key that `wrap` uses; it is stored beside what it wrapped."""
        ...

    async def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """The key as only this KMS can open it. Raises KmsUnavailable and KmsRefused."""
        ...

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """What was wrapped. Raises KmsUnavailable and KmsRefused, within KMS_SECONDS_MAX."""
        ...

    async def close(self) -> None:
        """Lets go of connections and threads."""
        ...
