"""What a gateway can be asked for so that a browser has card fields of it."""

from typing import Protocol

from msgspec import Struct

from strongroom.gateways.port import Account, Asking, MerchantAccount
from strongroom.payments.states import NotSent, Unknown
from strongroom.vault.secret import Secret


class ClientToken(Struct, frozen=True):
    """With it a browser can make tokens of cards; of nobody in particular."""

    token: Secret


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
