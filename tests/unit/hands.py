"""A clock that a test moves by hand."""

from datetime import datetime, timedelta


class Hands:
    """Stands at a moment until it is turned."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def turn(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)
