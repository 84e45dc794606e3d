"""Texts that are made to cost the detector time, of any size; none holds a card number.

Those at the end were found by search: random and structured texts, changed again and again where
they took longest for each byte.
"""

import base64
import random
from collections.abc import Callable

Attack = Callable[[int], bytes]
CODED_FOUR_TIMES = b"%25252541"
"""Makes the detector look at the string that it stands in once more, and again."""


def repeated(unit: bytes) -> Attack:
    return lambda size: (unit * (size // len(unit) + 1))[:size]


def noise(alphabet: bytes) -> Attack:
    return lambda size: bytes(random.Random(3).choices(alphabet, k=size))


PLAIN = {
    "digits": repeated(b"0"),
    "noughts apart": repeated(b"0,"),
    "digits apart": repeated(b"4   "),
    "visa that fails the check": repeated(b"4111111111111112x"),
    "nearly long enough": repeated(b"411 111 111 111x"),
    "blanks": repeated(b" "),
    "short base64": repeated(b"M" * 17 + b" "),
    "runs of base64": repeated(b"M" * 18 + b" "),
    "one run of base64": repeated(b"MTEx"),
    "noise of base64": noise(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
    "telling letters": noise(b"MNODTjz012345"),
    "uuids": repeated(b"9f3c2a7b-4d1e-4f60-a1b2-c3d4e5f60718 "),
    "uuids of digits": repeated(b"42424242-4242-4242-8242-4242424242ab "),
    "percent": repeated(b"%25"),
    "percent apart": repeated(b"%41a"),
    "backslashes": repeated(b"\\"),
    "escapes": repeated(b"\\u0041"),
    "escapes apart": repeated(b"\\u0034a"),
    "other scripts": repeated("日本語 1234567890123 ".encode()),
    "full-width digits": repeated("\uff14   ".encode()),
    "bytes that are no text": repeated(b"4\xff\xff\xff"),
    "timestamps": repeated(b"2026-11-30T05:00:00.123456+05:30 "),
}


def behind(start: bytes, attack: Attack) -> Attack:
    return lambda size: start + attack(size - len(start))


def in_base64(attack: Attack) -> Attack:
    return lambda size: base64.b64encode(attack(size // 4 * 3))


MADE = {
    "runs apart": repeated(b"M" * 20_000 + b"!"),
    "one run": repeated(b"M"),
    "strings": repeated(b'"a%25'),
    "escapes of escapes": repeated(b"\\\\\\\\u0034"),
    "pairs of units": repeated(b"\\ud835\\udfcea"),
    "halves of pairs": repeated(b"\\ud835\xff"),
    "no units": repeated(b"\\u\xff"),
    "percent of percent": repeated(b"%25252534"),
    "percent that codes nothing": repeated(b"%%"),
    "short escapes": repeated(b"\\n"),
    "Arabic digits": repeated("\u0664".encode()),
    "Arabic digits apart": repeated("\u0664 ".encode()),
    "no break": repeated(b"4\xa0"),
    "groups": repeated(b"4 "),
    "more groups": noise(b"456 -"),
    "digits of issuers": noise(b"4561"),
    "groups that fail the check": repeated(b"4111 1111 1111 1112x"),
    "gaps": behind("\u0664".encode(), repeated(b" " * 13 + b"x")),
    "gaps beside digits": behind("\xe91234567890123x".encode(), repeated(b" " * 13 + b"x")),
    "thirteen digits": behind("\xe9".encode(), repeated(b"9234567890123x")),
}
FOUND = {
    "wide gaps": behind(b"\\\\\\\\n", repeated(b"4344111678901    3-\\n\\n\\n4444444444")),
    "halves of characters": behind(
        b"\\\\\\\\n",
        repeated(
            b"\xd9\xa4\xd9\xa0\xa4\xd9\xa4\xd9\xff\\u\xef4\xbc\x94\xff\\udf4 \xa4\xd9\xa4\xd9\xa4%%"
        ),
    ),
    "marks and halves": behind(
        CODED_FOUR_TIMES,
        repeated("\u0664".encode() + b"\x00\xd9_\xa4\xd9 \xa4___"),
    ),
    "escapes in base64": behind(
        CODED_FOUR_TIMES,
        in_base64(
            repeated(
                b"  \\ \xff3%\\\\25  -  \xff\\ud835\\udfc%%\\n\\nn\\\xa0n\\  \xa0 n\\n%   "
                b"\\n\xff\xff\xff"
            )
        ),
    ),
    "runs and groups": behind(
        CODED_FOUR_TIMES + "\u0664".encode(),
        repeated(
            b'4561 2345 MMMMMMMMMMMMMMMMMM\\\\\\\\89 012%25253x\\41118424"24\xd9\xa4\xe6'
            b"\x97\xa52!4242-"
            b"42550000555"
        ),
    ),
}
ATTACKS: dict[str, Attack] = {
    **PLAIN,
    **MADE,
    **FOUND,
    **{
        f"{name}, coded four times": behind(CODED_FOUR_TIMES, attack)
        for name, attack in (PLAIN | MADE).items()
    },
    **{
        f"{name}, in base64": behind(CODED_FOUR_TIMES, in_base64(attack))
        for name, attack in (PLAIN | MADE).items()
    },
}
