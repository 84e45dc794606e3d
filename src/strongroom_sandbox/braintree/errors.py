"""What is refused: flaws with their codes (`braintree.error_codes`), and plain statuses."""

from dataclasses import dataclass
from typing import Any

from strongroom_sandbox.braintree.wire import Items

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One validation error: where it is (``transaction``, ``transaction.options``), and what."""

    path: str
    attribute: str
    code: str
    message: str


class Invalid(Exception):
    """Answered 422 with the flaws; nothing was done.

    ``keeps_key``: the request's key was not taken by it, as it is another's.
    """

    def __init__(self, *flaws: Flaw, keeps_key: bool = False) -> None:
        self.flaws = flaws
        self.keeps_key = keeps_key
        super().__init__(flaws[0].message)


class Refused(Exception):
    """Answered with a status and no body that the SDK reads."""

    def __init__(self, status: int, message: str = "") -> None:
        self.status, self.message = status, message
        super().__init__(message)


def flaw(attribute: str, code: str, message: str, path: str = "transaction") -> Invalid:
    """One flaw, to be raised."""
    return Invalid(Flaw(path, attribute, code, message))


def as_tree(flaws: tuple[Flaw, ...]) -> Json:
    """The ``errors`` of an answer: nested by where each flaw is."""
    top: Json = {"errors": Items("error", [])}
    for one in flaws:
        place = top
        for part in one.path.split("."):
            place = place.setdefault(part, {"errors": Items("error", [])})
        place["errors"].items.append(
            {"attribute": one.attribute, "code": one.code, "message": one.message}
        )
    return top
