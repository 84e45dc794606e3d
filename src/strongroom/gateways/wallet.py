"""What a gateway that saves instruments can be asked for. Adapters share this port, not code."""

from typing import Protocol
from uuid import UUID

from strongroom.customers.saving import Made, Saving, SavingAnswer
from strongroom.gateways.port import Account, Asking
from strongroom.payments.states import NotSent, Unknown


class Wallet(Protocol):
    """One gateway's saved instruments. No method raises for what the network or it does.

    Nothing personal is sent: a gateway knows a customer by our id.
    """

    def make_customer(
        self, account: Account, customer_id: UUID, key: str
    ) -> Asking[Made | NotSent | Unknown]:
        """Makes the customer there, once for one key."""
        ...

    def prepare(
        self, account: Account, saving: Saving, gateway_customer: str
    ) -> Asking[Made | SavingAnswer]:
        """Makes the object that will save the instrument once it is confirmed by its id."""
        ...

    def keep(
        self, account: Account, saving: Saving, gateway_customer: str
    ) -> Asking[Made | SavingAnswer]:
        """What the payment's object has paid with becomes the customer's, once: Saved."""
        ...

    def save(self, account: Account, saving: Saving) -> Asking[SavingAnswer]:
        """Confirms that object, once, however often it is called."""
        ...

    def look(self, account: Account, saving: Saving) -> Asking[SavingAnswer]:
        """What has become of it; NotSent only where it says that it was not confirmed."""
        ...

    def cancel(self, account: Account, saving: Saving) -> Asking[SavingAnswer]:
        """Makes sure that it saves nothing: Canceled, or what it is instead."""
        ...

    def look_at_saved(self, account: Account, saving: Saving) -> Asking[SavingAnswer]:
        """What the instrument is now: Saved with its card, or Detached."""
        ...

    def detach(self, account: Account, saving: Saving) -> Asking[SavingAnswer]:
        """Detached, also when it was before."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...
