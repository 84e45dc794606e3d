"""What an endpoint is told of an entry of the log. Pure.

A message says what changed and names it; how it stands now the receiver asks for by its id. Nothing
is in it that is not in the log, so no personal value and no token is.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import msgspec

from strongroom.clock import rfc3339
from strongroom.ids import Prefix, to_text
from strongroom.log.readers import Placed

PREFIXES: Final[Mapping[str, Prefix]] = {
    "payout": "pyt",
    "tax_calculation": "txc",
    "alarm": "alm",
    "customer": "cus",
    "payment_method": "pm",
    "webhook_endpoint": "whe",
    "api_key": "key",
    "gateway_account": "gwa",
    "legal_entity": "ent",
    "encryption_key": "ent",
    "data_subject": "ent",
    "payment_bundle": "ent",
    "log": "ent",
}
"""Of what an event of this family is; of others it is a payment: its refunds, disputes, taxes."""
NAMES: Final = {
    "status": "status",
    "status_reason": "status_reason",
    "review": "review",
    "amount_minor": "amount",
    "currency": "currency",
    "merchant_reference": "merchant_reference",
    "captured_minor": "captured_amount",
    "refunding_minor": "refunding_amount",
    "refunded_minor": "refunded_amount",
    "disputed_minor": "disputed_amount",
}
"""What of an event is told, and as what: by the API's names."""
PARTS: Final[Mapping[str, Prefix]] = {"refund": "ref", "dispute": "dsp"}
"""What else an event of a payment can be about."""


def prefix_of(kind: str) -> Prefix:
    """How the id of an event's subject begins."""
    return PREFIXES.get(kind.partition(".")[0], "pay")


def message_id(legal_entity_id: UUID, placed: Placed) -> str:
    """The same at each try and each replay, so that a receiver knows what it has.

    Some of the entry's hash is in it: after a restore another entry may stand in its place.
    """
    digest = sha256(placed.entry.content()).hexdigest()[:8]
    return f"{to_text('ent', legal_entity_id)}_{placed.index}_{digest}"


def message_body(legal_entity_id: UUID, placed: Placed) -> bytes:
    """Canonical JSON: `type`, `timestamp` and `data`, as Standard Webhooks has them.

    `data.sequence` counts the events of `data.id` without a gap, `data.log_index` those of the log.
    """
    entry = placed.entry
    return msgspec.json.encode(
        {
            "type": entry.kind,
            "timestamp": rfc3339(entry.at),
            "data": {
                "legal_entity": to_text("ent", legal_entity_id),
                "id": to_text(prefix_of(entry.kind), entry.subject_id),
                "sequence": entry.version,
                "log_index": placed.index,
                "changed": {} if entry.is_digested else _changed(entry.payload),
            },
        },
        order="deterministic",
    )


def _changed(payload: bytes) -> dict[str, Any]:
    content = msgspec.json.decode(payload) if payload else {}
    told = _named(content)
    for part, prefix in PARTS.items():
        if part in content:
            told[part] = {"id": to_text(prefix, UUID(content[part]["id"])), **_named(content[part])}
    return told


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content[key] for key, name in NAMES.items() if key in content}
