"""The error tree: what can go wrong in front of a caller, as RFC 9457 problem documents.

    Problem
    ├── Invalid            400 405 415 422   it cannot be understood, or breaks a rule
    ├── Unauthenticated    401               no key, unknown key, revoked key
    ├── Forbidden          403               the key may not do this
    ├── Missing            404               no such thing for this legal entity
    ├── Conflict           409               the present state forbids it
    ├── TooLarge           413
    └── Unavailable        408 503           nothing was decided; the same may be sent again

Each is raised by a code of the catalogue in problems.py, which gives it an HTTP status, whether the
same request may be sent again, and words. Nothing of the request is echoed: details name fields
and rules, never values.
"""

import traceback
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from strongroom.problems import CATALOGUE

PROBLEM_TYPE: Final = "application/problem+json"
FRAMES_LOGGED: Final = 6
TYPE_PREFIX: Final = "urn:strongroom:problem:"


class InvariantBroken(Exception):
    """Something that the code relies on does not hold: a bug, or an edit from outside."""


def described(error: BaseException) -> dict[str, object]:
    """What a log may say of an error: its type and where it came from, innermost last.

    Never its message: the driver's holds the row that failed, a gateway's holds what it was sent.
    """
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_LOGGED:]
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    return {"error": type(error).__name__, "where": where}


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """RFC 9457 members and ours; `code` is stable, all texts may change."""

    type: Annotated[str, Meta(description="A name for the code: urn:strongroom:problem:CODE.")]
    title: Annotated[str, Meta(description="What all problems of this status share.")]
    status: Annotated[int, Meta(description="The HTTP status.")]
    code: Annotated[str, Meta(description="What is wrong, for programs; it never changes.")]
    detail: Annotated[str, Meta(description="What is wrong, for people; names no values.")]
    retry_safe: Annotated[
        bool,
        Meta(description="The very same request may be sent again: it can succeed, and only once."),
    ]
    what_to_do: Annotated[str, Meta(description="What the caller can do, for people.")]
    retry_after_seconds: Annotated[
        int | None, Meta(description="What Retry-After says, for an item of a bulk too.")
    ] = None
    field: Annotated[
        str | None, Meta(description="The field or query parameter that breaks the rule.")
    ] = None
    payment_id: Annotated[str | None, Meta(description="The payment that stands in the way.")] = (
        None
    )


class Problem(Exception):
    """A refusal with everything that its caller needs to know.

    `words` fill the braces in the texts of the catalogue. A code that is not in the catalogue, or
    a word that is missing, is a bug: InvariantBroken.
    """

    def __init__(
        self,
        code: str,
        *,
        field: str | None = None,
        payment_id: str | None = None,
        **words: object,
    ) -> None:
        super().__init__(code)
        known = CATALOGUE.get(code)
        if known is None:
            raise InvariantBroken(f"the problem {code} is not in the catalogue")
        self.code = code
        self.status = known.status
        self.title = known.title
        self.retry_safe = known.retry_safe
        self.retry_after_seconds = known.retry_after_seconds
        try:
            self.detail = known.detail.format(field=field, **words)
            self.what_to_do = known.what_to_do.format(field=field, **words)
        except KeyError as missing:
            raise InvariantBroken(f"the problem {code} needs the word {missing}") from None
        self.field = field
        self.payment_id = payment_id

    def as_document(self) -> ProblemDocument:
        """What the caller is told."""
        return ProblemDocument(
            type=TYPE_PREFIX + self.code,
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            retry_safe=self.retry_safe,
            what_to_do=self.what_to_do,
            retry_after_seconds=self.retry_after_seconds,
            field=self.field,
            payment_id=self.payment_id,
        )

    def document(self) -> bytes:
        """The problem document as JSON bytes."""
        return msgspec.json.encode(self.as_document())


class Invalid(Problem):
    """The request cannot be understood (400, 405, 415) or breaks a rule (422)."""


class Unauthenticated(Problem):
    """No key, an unknown one, or a revoked one; which of them is not said."""


class Forbidden(Problem):
    """The credential is good but may not do this."""


class Missing(Problem):
    """No such resource for this legal entity; foreign and unknown ids look the same."""


class Conflict(Problem):
    """The present state of a resource forbids the request."""


class TooLarge(Problem):
    """The body is larger than the limit."""


class Unavailable(Problem):
    """Nothing was decided; the same request with the same key may be sent again."""


def no_such_payment() -> Missing:
    """The one answer for unknown, malformed and foreign payment ids."""
    return Missing("payment_not_found")
