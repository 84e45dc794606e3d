"""What is known of a problem: its status, its words, and whether a retry is safe."""

from typing import Final

from msgspec import Struct

RETRY_AFTER_SECONDS: Final = 1
"""What a 503 asks a caller to wait; how long an overload lasts is not known beforehand."""

TITLES: Final = {
    400: "The request cannot be read",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible at this path",
    408: "The request came too slowly",
    409: "In conflict with the present state",
    413: "The request is too large",
    415: "The request is not JSON",
    422: "The request breaks a rule",
    500: "Internal error",
    503: "Not available at the moment",
}
"""What all problems of a status share."""


class Known(Struct, frozen=True):
    """A problem: its HTTP status, what is wrong, what the caller can do, and examples of words."""

    status: int
    detail: str
    what_to_do: str
    words: dict[str, str] = {}
    field: str | None = None
    """The field that an example of it names."""
    names_payment: bool = False
    wait_seconds: int = RETRY_AFTER_SECONDS
    """What a 503 of it asks a caller to wait."""

    @property
    def title(self) -> str:
        """The title that it shares with the other problems of its status."""
        return TITLES[self.status]

    @property
    def retry_safe(self) -> bool:
        """Whether the very same request may be sent again: it can still succeed, and only once."""
        return self.status in (408, 500, 503)

    @property
    def retry_after_seconds(self) -> int | None:
        """The Retry-After that goes with it; each 503 has one."""
        return self.wait_seconds if self.status == 503 else None
