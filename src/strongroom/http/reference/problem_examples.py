"""Problem documents as a caller can meet them, made from the catalogue."""

from typing import Any

import msgspec

from strongroom.errors import TYPE_PREFIX, ProblemDocument
from strongroom.http.reference.shared import EXAMPLE_PAYMENT
from strongroom.problems import CATALOGUE, Known


def words_of(known: Known) -> dict[str, Any]:
    """Examples of all words that the texts of a problem are filled with."""
    return {"field": known.field, **known.words}


def problem_example(code: str) -> dict[str, Any]:
    """A problem document as a caller can meet it."""
    known = CATALOGUE[code]
    words = words_of(known)
    document = ProblemDocument(
        type=TYPE_PREFIX + code,
        title=known.title,
        status=known.status,
        code=code,
        detail=known.detail.format_map(words),
        retry_safe=known.retry_safe,
        retry_after_seconds=known.retry_after_seconds,
        what_to_do=known.what_to_do.format_map(words),
        field=known.field,
        payment_id=EXAMPLE_PAYMENT if known.names_payment else None,
    )
    value: dict[str, Any] = msgspec.to_builtins(document)
    return value
