"""Client tokens of Braintree's Drop-in, and which card a nonce of it stands for."""

from typing import Any

from braintree import BraintreeGateway
from braintree.exceptions.not_found_error import NotFoundError

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.braintree.connections import Connections, Heard
from strongroom.gateways.fields import UNNAMED, CardSeen, ClientToken
from strongroom.gateways.port import Account, Credentials, MerchantAccount
from strongroom.payments.states import Call, NotSent, Unknown
from strongroom.vault.secret import Secret

REFUSED = "client_token_refused"


class BraintreeFields:
    """For all of a process's Braintree accounts; its threads are not those that move money."""

    def __init__(self, clock: Clock, credentials: Credentials, *, mode: Mode) -> None:
        self._connections = Connections(clock, credentials, mode)

    async def client_token(
        self, account: Account, merchant_account: MerchantAccount
    ) -> tuple[ClientToken | NotSent | Unknown, Call]:
        """One without a customer: it shows nobody's saved cards, and can save or verify none."""

        def generate(gateway: BraintreeGateway) -> Heard[ClientToken | NotSent]:
            wanted = {"merchant_account_id": merchant_account.merchant_account_id}
            try:
                made = gateway.client_token.generate(wanted)
            except ValueError:  # the SDK's way of saying that Braintree refused
                return Heard(NotSent(REFUSED))
            return Heard(ClientToken(Secret(made)))

        return await self._connections.ask(account, "client_token", generate)

    async def card_of(
        self, account: Account, token: str
    ) -> tuple[CardSeen | NotSent | Unknown, Call]:
        """Its first and last digits and its brand: a nonce tells no more of the number.

        Two cards of one bank in a thousand share them, so a limit counts their tries together.
        """

        def find(gateway: BraintreeGateway) -> Heard[CardSeen | NotSent]:
            try:
                return Heard(_seen(gateway.payment_method_nonce.find(token)))
            except NotFoundError:
                return Heard(CardSeen(None))

        return await self._connections.ask(account, "find_nonce", find)

    async def close(self) -> None:
        """Lets go of connections."""
        self._connections.close()


def _seen(found: Any) -> CardSeen | NotSent:
    """A nonce of a code alone, or of no card, names none."""
    parts = [found.details.get(name) for name in ("bin", "last_four", "card_type")]
    if found.type != "CreditCard" or not all(isinstance(part, str) and part for part in parts):
        return NotSent(UNNAMED)
    return CardSeen(" ".join(parts))
