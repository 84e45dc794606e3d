"""The error tree: what can go wrong in front of a caller, as RFC 9457 problem documents.

    Problem
    ├── Invalid            400 / 422   the request cannot be understood or breaks a rule
    ├── Unauthenticated    401         no key, unknown key, revoked key
    ├── Forbidden          403         the key may not do this
    ├── Missing            404         no such thing for this legal entity
    ├── Conflict           409         the present state forbids it
    ├── TooLarge           413
    └── Unavailable        503         nothing was decided; the same request may be sent again

Each carries an HTTP status, a stable code, whether the same request may be sent again, and what to
do. Nothing of the request is echoed: details name fields and rules, never values.
"""

import traceback
from typing import Final

import msgspec

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
    """RFC 9457 members and ours: `code` is stable, `retry_safe` speaks of the same request.

    `retry_after_seconds` is what the header Retry-After says, for an item of a bulk too.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    retry_safe: bool
    what_to_do: str
    field: str | None = None
    payment_id: str | None = None
    retry_after_seconds: int | None = None


class Problem(Exception):
    """A refusal with everything that its caller needs to know."""

    status = 500
    title = "Internal error"
    retry_safe = False

    def __init__(
        self,
        code: str,
        detail: str,
        what_to_do: str,
        *,
        field: str | None = None,
        payment_id: str | None = None,
        status: int | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.what_to_do = what_to_do
        self.field = field
        self.payment_id = payment_id
        self.retry_after_seconds = retry_after_seconds
        if status is not None:
            self.status = status

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
            field=self.field,
            payment_id=self.payment_id,
            retry_after_seconds=self.retry_after_seconds,
        )

    def document(self) -> bytes:
        """The problem document as JSON bytes."""
        return msgspec.json.encode(self.as_document())


class Invalid(Problem):
    """The request cannot be understood (400) or breaks a rule (422)."""

    status = 422
    title = "The request is not valid"


class Unauthenticated(Problem):
    """No key, an unknown one, or a revoked one; which of them is not said."""

    status = 401
    title = "No valid API key"


class Forbidden(Problem):
    """The credential is good but may not do this."""

    status = 403
    title = "Not allowed"


class Missing(Problem):
    """No such resource for this legal entity; foreign and unknown ids look the same."""

    status = 404
    title = "Not found"


class Conflict(Problem):
    """The present state of a resource forbids the request."""

    status = 409
    title = "In conflict with the present state"


class TooLarge(Problem):
    """The body is larger than the limit."""

    status = 413
    title = "The request is too large"


class Unavailable(Problem):
    """Nothing was decided; the same request with the same key may be sent again."""

    status = 503
    title = "Not available at the moment"
    retry_safe = True


def no_such_payment() -> Missing:
    """The one answer for unknown, malformed and foreign payment ids."""
    return Missing(
        "payment_not_found",
        "There is no payment with this id for the legal entity of your API key.",
        "Check the id, and that the API key belongs to the legal entity that made the payment.",
    )
