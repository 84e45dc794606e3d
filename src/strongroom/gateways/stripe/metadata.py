"""What of ours an object of Stripe says that it belongs to; to be checked, never believed."""

import re
from typing import Any, Final
from uuid import UUID

from strongroom.ids import MalformedId, Prefix, from_text

PAYMENT: Final = "strongroom_payment"
ATTEMPT: Final = "strongroom_attempt"
REFUND: Final = "strongroom_refund"
METHOD: Final = "strongroom_payment_method"
"""Our marks in the metadata of what we make."""
ATTEMPT_MAX: Final = 2**31 - 1
_ATTEMPT: Final = re.compile(r"[1-9][0-9]{0,9}")


def payment_id_of(metadata: Any) -> UUID | None:
    """The payment that it names, if it names one."""
    return _id_of(metadata, "pay", PAYMENT)


def refund_id_of(metadata: Any) -> UUID | None:
    """The refund that it names, if it names one."""
    return _id_of(metadata, "ref", REFUND)


def method_id_of(metadata: Any) -> UUID | None:
    """The payment method that it names."""
    return _id_of(metadata, "pm", METHOD)


def attempt_no_of(metadata: Any) -> int | None:
    """The attempt of the payment that it names."""
    text = _said(metadata, ATTEMPT)
    if not isinstance(text, str) or not _ATTEMPT.fullmatch(text):
        return None
    return int(text) if int(text) <= ATTEMPT_MAX else None


def _id_of(metadata: Any, prefix: Prefix, name: str) -> UUID | None:
    text = _said(metadata, name)
    if not isinstance(text, str):
        return None
    try:
        return from_text(prefix, text)
    except MalformedId:
        return None


def _said(metadata: Any, name: str) -> Any:
    """What stands under a name, in an object of the SDK or in plain JSON."""
    return metadata.get(name) if isinstance(metadata, dict) else getattr(metadata, name, None)
