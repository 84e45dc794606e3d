"""What a nonce stands for, and when it is good."""

from dataclasses import dataclass

from strongroom_sandbox.braintree.books import NONCE_SECONDS, Nonce
from strongroom_sandbox.braintree.cards import (
    CONSUMED,
    FAKE_NONCES,
    LUHN_INVALID,
    Card,
    ThreeDSecure,
)
from strongroom_sandbox.braintree.errors import flaw
from strongroom_sandbox.braintree.scene import Scene


@dataclass(frozen=True, slots=True)
class Place:
    """Where a nonce is used: how flaws in it are told of there."""

    path: str
    card_path: str
    consumed: str
    unknown: str


IN_SALE = Place("transaction", "transaction.credit_card", "91564", "91565")
IN_VAULT = Place("credit_card", "credit_card", "91731", "91732")


def find_nonce(
    scene: Scene, nonce: str, place: Place
) -> tuple[Card, ThreeDSecure | None, Nonce | None]:
    """What a nonce stands for. Raises Invalid when it is unknown, too old or was used."""
    if nonce in FAKE_NONCES:
        return (*FAKE_NONCES[nonce], None)
    if nonce == LUHN_INVALID:
        raise flaw("number", "81715", "Credit card number is invalid.", place.card_path)
    made = scene.books.nonces.get(nonce)
    if nonce == CONSUMED or (made is not None and made.consumed):
        raise flaw(
            "payment_method_nonce", place.consumed,
            "Cannot use a payment_method_nonce more than once.", place.path,
        )  # fmt: skip
    if made is None or made.created < scene.now - NONCE_SECONDS:
        raise flaw(
            "payment_method_nonce", place.unknown,
            "Unknown or expired payment_method_nonce.", place.path,
        )  # fmt: skip
    return made.card, made.three_d_secure, made
