"""Who may call: ``MERCHANT_ID:PUBLIC_KEY:PRIVATE_KEY``, one a line of a file."""

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from strongroom_sandbox.tokens import KeyFile, TokenFileRefused, same_token

FORM = re.compile(r"([A-Za-z0-9_-]{3,64}):([A-Za-z0-9_]{8,64}):([A-Za-z0-9_]{16,64})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One line of the file."""

    merchant_id: str
    public_key: str
    private_key: str = field(repr=False)


class Credentials:
    """Keys of one merchant that are accepted: two while one takes the other's place.

    The file is read again when it was written anew; what is no list of keys changes nothing.
    """

    def __init__(self, path: Path) -> None:
        """Raises TokenFileRefused."""
        self._file = KeyFile(path, prefix="")
        found = _keys(self._file)
        if not found or len({key.merchant_id for key in found}) != 1:
            raise TokenFileRefused(f"{path} must hold lines of MERCHANT_ID:PUBLIC_KEY:PRIVATE_KEY")
        self.merchant_id = found[0].merchant_id
        self._keys = found

    def accepts(self, merchant: str, offered: bytes) -> bool:
        """Tell in constant time whether ``public:private`` is a key of this merchant."""
        text = offered.decode("utf-8", "surrogateescape")
        # Each is compared, so that the time does not say which one it was.
        fits = [
            same_token(f"{key.public_key}:{key.private_key}".encode(), text) for key in self.keys()
        ]
        return any(fits) and merchant == self.merchant_id

    def keys(self) -> list[ApiKey]:
        """The keys as they now stand in the file, the newest first."""
        found = [key for key in _keys(self._file) if key.merchant_id == self.merchant_id]
        self._keys = found or self._keys
        return self._keys

    def pass_keys(self) -> list[bytes]:
        """What signs the passes of browsers, the newest first."""
        return [
            hmac.new(key.private_key.encode(), b"passes of browsers", sha256).digest()
            for key in self.keys()
        ]


def _keys(file: KeyFile) -> list[ApiKey]:
    lines = file.keys()
    found = [FORM.fullmatch(line.decode("ascii", "replace")) for line in lines]
    return [ApiKey(*each.groups()) for each in found if each is not None]
