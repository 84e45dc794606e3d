"""What a gateway can be asked for about the card fields that a browser has of it."""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from strongroom.gateways.port import Account, Asking, MerchantAccount
from strongroom.payments.states import NotSent, Unknown
from strongroom.vault.secret import Secret


class ClientToken(Struct, frozen=True):
    """With it a browser can make tokens of cards; of nobody in particular."""

    token: Secret


UNNAMED: Final = "card_unnamed"
"""The gateway says nothing that a card could be counted by; asking again changes nothing."""


class CardSeen(Struct, frozen=True):
    """What a gateway calls the card of a token: the same in whatever token it comes.

    None for a token that the gateway does not know, which it will take no money by.
    """

    mark: str | None


class CardReader(Protocol):
    """A gateway that says which card its fields made a token of. No method raises."""

    def card_of(self, account: Account, token: str) -> Asking[CardSeen | NotSent | Unknown]:
        """Which card it is; the token can be used afterwards. NotSent(UNNAMED) for what is none."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class FieldsGateway(Protocol):
    """A gateway whose fields want a token for a browser. No method raises for what it does."""

    def client_token(
        self, account: Account, merchant_account: MerchantAccount
    ) -> Asking[ClientToken | NotSent | Unknown]:
        """A new one, for cards that will be charged in the currency of this merchant account."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class Fields(NamedTuple):
    """The adapters of card fields, by gateway: whose want a client token, and whose cards."""

    client_tokens: Mapping[str, FieldsGateway]
    cards: Mapping[str, CardReader]
