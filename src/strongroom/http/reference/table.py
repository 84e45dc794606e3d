"""The table: every operation of the API. A new route is one entry here, and nothing else."""

from typing import Final

from strongroom.http.reference.checkout_links import CHECKOUT_LINKS
from strongroom.http.reference.commands import COMMANDS
from strongroom.http.reference.customers import CUSTOMERS
from strongroom.http.reference.disputes import DISPUTES
from strongroom.http.reference.log import LOG
from strongroom.http.reference.operation import Operation
from strongroom.http.reference.payment_methods import PAYMENT_METHODS
from strongroom.http.reference.payments import PAYMENTS
from strongroom.http.reference.payouts import PAYOUTS
from strongroom.http.reference.probes import WITHOUT_A_KEY
from strongroom.http.reference.refunds import REFUNDS
from strongroom.http.reference.tax import TAXES

OPERATIONS: Final[tuple[Operation, ...]] = (
    *LOG,  # first: its examples are of a log before the first payment
    *PAYMENTS,
    *COMMANDS,
    *CHECKOUT_LINKS,
    *REFUNDS,
    *DISPUTES,
    *CUSTOMERS,
    *PAYOUTS,
    *PAYMENT_METHODS,
    *TAXES,
    *WITHOUT_A_KEY,
)
