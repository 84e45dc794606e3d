"""The one type for what must not be seen: it cannot be printed, logged or serialised by accident.

Its content comes out by `reveal` alone, which is easy to search for.
"""

import hmac
from typing import Final, NoReturn

SHOWN: Final = "[secret]"


class Secret:
    """Bytes that nobody sees unless he asks for them by `reveal`.

    Text, formats and representations of it say `[secret]`; it cannot be pickled, copied into JSON,
    iterated or used as a key of a dict. Two are compared in constant time.
    """

    __slots__ = ("_content",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, content: bytes | str) -> None:
        self._content: Final = content.encode() if isinstance(content, str) else bytes(content)

    def reveal(self) -> bytes:
        """The content. It goes to where it is used, and into no variable that lives longer."""
        return self._content

    def reveal_text(self) -> str:
        """The content as text. Raises UnicodeDecodeError for what is not UTF-8."""
        return self._content.decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._content, other._content)

    def __bool__(self) -> bool:
        return bool(self._content)

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, _: str) -> str:
        return SHOWN

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a secret is not serialised")

    def __iter__(self) -> NoReturn:
        raise TypeError("a secret is not taken apart")
