"""The table: every operation of the API. A new route is one entry here, and nothing else."""

from typing import Final

from strongroom.http.reference.commands import COMMANDS
from strongroom.http.reference.operation import Operation
from strongroom.http.reference.payments import PAYMENTS
from strongroom.http.reference.probes import WITHOUT_A_KEY
from strongroom.http.reference.refunds import REFUNDS

OPERATIONS: Final[tuple[Operation, ...]] = (
    *PAYMENTS,
    *COMMANDS,
    *REFUNDS,
    *WITHOUT_A_KEY,
)
