"""Between database rows and the values that `decide` works on."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from strongroom.errors import InvariantBroken
from strongroom.ids import BUCKETS, bucket_of
from strongroom.payments.refunds import Refund
from strongroom.payments.states import ROW_FORMAT, Attempt, Payment, digest_of
from strongroom.payments.ways import Refusal, Way

_SINCE_FORMAT_2: Final = frozenset(
    {"capture", "capture_minor", "capture_before", "refunding_minor", "refunded_minor"}
)
_SINCE_FORMAT_3: Final = frozenset({"disputed_minor", "withheld_minor"})
_SINCE_FORMAT_4: Final = frozenset({"ways", "decline"})
_LATER: Final = {
    1: _SINCE_FORMAT_2 | _SINCE_FORMAT_3 | _SINCE_FORMAT_4,
    2: _SINCE_FORMAT_3 | _SINCE_FORMAT_4,
    3: _SINCE_FORMAT_4,
}
"""By row format, the fields that came after it."""
_ways: Final = msgspec.json.Decoder(tuple[Way, ...])
_refusal: Final = msgspec.json.Decoder(Refusal)


class Row(Protocol):
    """One row by column name, as asyncpg gives it."""

    def __getitem__(self, name: str, /) -> Any:
        """The column's value."""
        ...


def payment_of(row: Row) -> Payment:
    """The payment in a row of the table payments."""
    next_action = row["next_action"]
    return Payment(
        legal_entity_id=row["legal_entity_id"],
        payment_id=row["payment_id"],
        version=row["version"],
        status=row["status"],
        status_reason=row["status_reason"],
        review=row["review"],
        amount_minor=row["amount_minor"],
        captured_minor=row["captured_minor"],
        currency=row["currency"],
        merchant_reference=row["merchant_reference"],
        description=row["description"],
        metadata=msgspec.json.decode(row["metadata"]),
        return_url=row["return_url"],
        gateway=row["gateway"],
        gateway_account_id=row["gateway_account_id"],
        instrument_token=row["instrument_token"],
        capture=row["capture"],
        capture_minor=row["capture_minor"],
        capture_before=row["capture_before"],
        refunding_minor=row["refunding_minor"],
        refunded_minor=row["refunded_minor"],
        disputed_minor=row["disputed_minor"],
        withheld_minor=row["withheld_minor"],
        attempt_no=row["attempt_no"],
        ways=() if row["ways"] is None else _ways.decode(row["ways"]),
        decline=None if row["decline"] is None else _refusal.decode(row["decline"]),
        closing=row["closing"],
        closing_reason=row["closing_reason"],
        next_action=None if next_action is None else msgspec.json.decode(next_action),
        not_after=row["not_after"],
        gateway_key_seed=row["gateway_key_seed"],
        digest_salt=row["digest_salt"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def digest_in_format(payment: Payment, row_format: int) -> bytes:
    """The digest of the payment's row as the version computed it that wrote the event.

    Raises InvariantBroken for a format that this version does not know.
    """
    if row_format == ROW_FORMAT:
        return payment.row_digest()
    if row_format not in _LATER:
        raise InvariantBroken(f"row format {row_format}")
    known = {
        name: getattr(payment, name)
        for name in payment.__struct_fields__
        if name not in _LATER[row_format]
    }
    older = msgspec.defstruct("PaymentOfOlderFormat", [(name, Any) for name in known])(**known)
    return digest_of(older)


def attempt_of(row: Row) -> Attempt:
    """The attempt in a row of the table attempts."""
    return Attempt(
        attempt_no=row["attempt_no"],
        kind=row["kind"],
        state=row["state"],
        gateway=row["gateway"],
        gateway_account_id=row["gateway_account_id"],
        gateway_key=row["gateway_key"],
        staged=row["staged"],
        gateway_object_id=row["gateway_object_id"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        parameters=msgspec.json.decode(row["parameters"]),
        opened_at=row["opened_at"],
    )


def refund_of(row: Row) -> Refund:
    """The refund in a row of the table refunds."""
    parameters = row["parameters"]
    return Refund(
        legal_entity_id=row["legal_entity_id"],
        refund_id=row["refund_id"],
        payment_id=row["payment_id"],
        status=row["status"],
        status_reason=row["status_reason"],
        review=row["review"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        reason=row["reason"],
        metadata=msgspec.json.decode(row["metadata"]),
        gateway=row["gateway"],
        gateway_account_id=row["gateway_account_id"],
        gateway_key=row["gateway_key"],
        gateway_object_id=row["gateway_object_id"],
        parameters=None if parameters is None else msgspec.json.decode(parameters),
        opened_at=row["opened_at"],
        digest_salt=row["digest_salt"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def ids_of(rows: Sequence[Row], name: str) -> tuple[list[UUID], list[UUID]]:
    """Legal entities and ids as two columns, for a statement that looks up by key."""
    return [row["legal_entity_id"] for row in rows], [row[name] for row in rows]


def job_bucket(payment: Payment) -> int:
    """The bucket of the payment's job.

    What is captured on request lies apart from the rest: workers of the first version would charge
    it at once, and they do not serve these buckets.
    """
    apart = BUCKETS if payment.capture == "manual" else 0
    return bucket_of(payment.legal_entity_id) + apart


def job_buckets(buckets: Iterable[int]) -> list[int]:
    """The buckets of jobs that a worker serves who serves these legal entities' buckets."""
    return [bucket + apart for bucket in buckets for apart in (0, BUCKETS)]


def json_text(value: object) -> str:
    """JSON as text, for a jsonb parameter."""
    return msgspec.json.encode(value).decode()
