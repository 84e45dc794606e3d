"""Client tokens of Braintree's Drop-in, made with the account's secret."""

from braintree import BraintreeGateway

from strongroom.clock import Clock
from strongroom.config import Mode
from strongroom.gateways.braintree.connections import Connections, Heard
from strongroom.gateways.fields import ClientToken
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

    async def close(self) -> None:
        """Lets go of connections."""
        self._connections.close()
