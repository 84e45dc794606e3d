"""An account's secret: merchant id, public key and private key, in one text."""

from typing import NamedTuple

from strongroom.vault.secret import Secret


class Keys(NamedTuple):
    """What the SDK signs in with."""

    merchant_id: str
    public_key: str
    private_key: str

    def __repr__(self) -> str:
        return "Keys(…)"


def keys_of(secret: Secret) -> Keys:
    """The parts of a secret whose form was checked. Raises ValueError, which does not show it."""
    parts = secret.reveal_text().split(":")
    if len(parts) != len(Keys._fields):
        raise ValueError("this is no secret of Braintree's")
    return Keys(*parts)
