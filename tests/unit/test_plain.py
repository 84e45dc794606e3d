"""What others have written cannot draw on an operator's terminal."""

import pytest

from strongroom.cli.plain import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order-1  Zoë  東京", "order-1  Zoë  東京"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
    ],
)
def test_only_what_is_printable_is_printed(text: str, shown: str) -> None:
    assert plain(text) == shown
