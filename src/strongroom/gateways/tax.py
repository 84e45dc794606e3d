"""What a gateway's tax service can be asked for. Adapters share this port, not code."""

from typing import Protocol

from strongroom.gateways.port import Account, Asking
from strongroom.payments.refunds import Refused
from strongroom.payments.states import NotSent, Unknown
from strongroom.tax.calculations import Asked, Calculated, Recorded

CalculationAnswer = Calculated | Refused | NotSent | Unknown
RecordAnswer = Recorded | Refused | NotSent | Unknown


class Taxes(Protocol):
    """One gateway's tax service. No method raises for what the network or it does."""

    def calculate(self, account: Account, asked: Asked, key: str) -> Asking[CalculationAnswer]:
        """Calculates, once for one key; nothing is reported by it."""
        ...

    def record(
        self, account: Account, calculation_id: str, reference: str, key: str
    ) -> Asking[RecordAnswer]:
        """Reports a calculation, once for one reference.

        Recorded without an id: the reference was used before, so it stands there.
        """
        ...

    def reverse(
        self,
        account: Account,
        original_id: str,
        amount_minor: int,
        currency: str,
        reference: str,
        key: str,
    ) -> Asking[RecordAnswer]:
        """Takes back so much of what was reported, tax included, as `record` does."""
        ...

    def undo(
        self, account: Account, original_id: str, reference: str, key: str
    ) -> Asking[RecordAnswer]:
        """Makes a reversal undone, as `record` does."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...
