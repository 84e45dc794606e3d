"""The context that a key is wrapped in, as bytes that only this context has.

AWS KMS writes contexts into its own log in the clear: ids and names of tables go in, nothing else.
"""

from collections.abc import Mapping
from typing import Final

from strongroom.errors import InvariantBroken
from strongroom.vault.kms import CONTEXT_PAIRS_MAX, WRAPPED_BYTES_MAX
from strongroom.vault.secret import Secret

CONTEXT_BYTES_MAX: Final = 2048
"""AWS KMS takes 8,192 characters of JSON."""


def canonical(context: Mapping[str, str]) -> bytes:
    """The pairs in the order of their names, each text after its length: no two contexts alike."""
    parts = [len(context).to_bytes(2, "big")]
    for pair in sorted(context.items()):
        for text in pair:
            content = text.encode()
            parts += [len(content).to_bytes(4, "big"), content]
    return b"".join(parts)


def check_fit(key: Secret, context: Mapping[str, str]) -> None:
    """Raises InvariantBroken for a key or a context that some KMS would not take.

    One without a context would be bound to nothing.
    """
    if not 1 <= len(key.reveal()) <= WRAPPED_BYTES_MAX:
        raise InvariantBroken(f"a KMS wraps 1 to {WRAPPED_BYTES_MAX} bytes")
    if not 1 <= len(context) <= CONTEXT_PAIRS_MAX or len(canonical(context)) > CONTEXT_BYTES_MAX:
        raise InvariantBroken(
            f"a key is wrapped in 1 to {CONTEXT_PAIRS_MAX} pairs, {CONTEXT_BYTES_MAX} bytes in all"
        )
