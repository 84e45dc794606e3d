"""Whose rows the log has digests of, how a row is read, and what its digest is."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from strongroom.customers.persons import customer_of
from strongroom.customers.rows import saving_of
from strongroom.errors import InvariantBroken
from strongroom.ids import Prefix, to_text
from strongroom.payments.rows import Row, digest_in_format, payment_of, refund_of
from strongroom.settlement.payout_desk import payout_of
from strongroom.settlement.rows import dispute_of
from strongroom.tax.rows import calculation_of

ReadRow = Callable[[Row], Any]
DigestOf = Callable[[Any, int], bytes]


def _digest(row: Any, _: int) -> bytes:
    """Of a row whose digest has been computed in one way only."""
    return bytes(row.row_digest())


class Family(NamedTuple):
    """One kind of rows. `column` is that of their ids, `page` the statement that reads them.

    Events whose kind begins with `name` are theirs, or, where an event of a payment says their
    digest, have an object of this name that does.
    """

    name: str
    prefix: Prefix
    column: str
    page: str
    read: ReadRow
    digest: DigestOf = _digest

    def digest_of(self, row: Row, row_format: int = 0) -> bytes:
        """The digest of a row; empty for one that no version of ours can have written."""
        try:
            return self.digest(self.read(row), row_format)
        except (msgspec.MsgspecError, InvariantBroken, TypeError, ValueError):
            return b""

    def named(self, identifier: UUID) -> str:
        """What a person is told of it."""
        return f"{self.name.replace('_', ' ')} {to_text(self.prefix, identifier)}"


OWN: Final = (
    Family("payment", "pay", "payment_id", "payments_above", payment_of, digest_in_format),
    Family("payout", "pyt", "payout_id", "payouts_above", payout_of),
    Family("customer", "cus", "customer_id", "customers_above", customer_of),
    Family("payment_method", "pm", "payment_method_id", "methods_above", saving_of),
    Family("tax_calculation", "txc", "calculation_id", "calculations_above", calculation_of),
)
"""They have versions and events of their own."""
OF_PAYMENTS: Final = (
    Family("refund", "ref", "refund_id", "refunds_above", refund_of),
    Family("dispute", "dsp", "dispute_id", "disputes_above", dispute_of),
)
"""Events of their payment say their digest."""
BY_NAME: Final = {family.name: family for family in (*OWN, *OF_PAYMENTS)}
