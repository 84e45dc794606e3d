"""What proves to a receiver that a webhook is ours: Standard Webhooks 1.0.0, symmetric.

The HMAC-SHA256, under the receiver's own secret, of `ID.SECONDS.BODY`; one signature for each
secret that is in use, so that one can take another's place while both are good
(https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets as chance
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from strongroom.errors import InvariantBroken
from strongroom.vault.secret import Secret

PREFIX: Final = b"whsec_"
KEY_BYTES: Final = 32
KEY_BYTES_MIN: Final = 24
KEY_BYTES_MAX: Final = 64
"""Of a key, by the specification."""
SECRETS_MAX: Final = 4
"""That sign one message."""
BODY_BYTES_MAX: Final = 262_144

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Without a dot, which parts the fields that are signed."""


class SecretMalformed(Exception):
    """It is no secret for signing webhooks; what it is, is not shown."""


class Message(Struct, frozen=True, kw_only=True):
    """One webhook. `id` stays the same over all tries; `at`, aware, is when this try is made."""

    id: str
    at: datetime
    body: bytes


def new_secret() -> Secret:
    """A secret that nobody has yet: `whsec_` and 32 bytes of chance in base64."""
    return Secret(PREFIX + base64.b64encode(chance.token_bytes(KEY_BYTES)))


def checked_secret(secret: Secret) -> Secret:
    """The secret, if it is `whsec_` and 24 to 64 bytes in base64. Raises SecretMalformed."""
    _key(secret)
    return secret


def signed_headers(message: Message, secrets: Sequence[Secret]) -> dict[str, str]:
    """The three headers that go with the message's body; signatures in the order of the secrets.

    Raises SecretMalformed, and InvariantBroken for a message or a number of secrets that cannot be.
    """
    if _ID.fullmatch(message.id) is None or message.at.utcoffset() is None:
        raise InvariantBroken("a webhook has no id that can be signed, or no moment in UTC")
    if len(message.body) > BODY_BYTES_MAX or not 1 <= len(secrets) <= SECRETS_MAX:
        raise InvariantBroken("a webhook is too large, or signed by none or by too many secrets")
    seconds = str(int(message.at.timestamp()))
    content = b".".join((message.id.encode(), seconds.encode(), message.body))
    return {
        "webhook-id": message.id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: Secret, content: bytes) -> str:
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _key(secret: Secret) -> bytes:
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(PREFIX) or not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise SecretMalformed
    return key
