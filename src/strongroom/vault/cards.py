"""What looks like a card number, in the usual disguises; pure, and cheap where there is none.

Thirteen to nineteen digits in the range of an issuer and with Luhn's check digit (issuers.py), with
up to three blanks, dashes, dots, strokes and the like between any two of them, in the digits of any
script; as it stands, percent-coded, in escapes of JSON, or in base64 (disguises.py).

A number is made of whole groups of digits: what stands beside it behind a gap or a letter does not
hide it. Within more digits on end it is not looked for, since every long number would hold one.
UUIDs, our own typed ids, digests, traceparents and points in time are told by their whole shape, so
a card number behind a prefix is none of them.

Nearly all requests hold nothing of the kind, and pay for the first look alone: two passes at the
speed of C over the bytes.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from strongroom.vault import disguises
from strongroom.vault.disguises import LETTERS_FIRST, tells_of_base64
from strongroom.vault.issuers import DIGITS_MAX, DIGITS_MIN, card_numbers, is_card_number

GAP_MAX: Final = 3
WORK_MAX: Final = 100_000
WORK_MAX_PER_BYTE: Final = 11
"""For one text in all its disguises together, in steps of some ten nanoseconds.

What would need more is a list of numbers, or made to cost time, and is refused unread. A bulk full
of sentences, telephone numbers, times or base64 stays below.
"""
STRETCH_STEPS: Final = 50
CANDIDATE_STEPS: Final = 150
GROUP_STEPS: Final = 45
SHAPE_STEPS: Final = 600
"""For a hit that turns out to be part of an id."""
FOREIGN_STEPS: Final = 4
LETTER_STEPS: Final = 2
"""For a character beside digits that is not ASCII, and for a letter of base64."""
OPENED_STEPS: Final = 1
DECODED_STEPS: Final = 4
"""For a byte after an opening, and for one of what was base64 that is opened once more."""
COUNTED_MAX: Final = 200
"""In longer stretches that are not ASCII digits are not counted before they are read."""
BLOT: Final = "[digits]"

_PERCENT: Final = ord("%")
_BACKSLASH: Final = ord("\\")
"""A single byte is found quicker by its value; so is a longer one by find() than by `in`."""
_DIGITS: Final = b"0123456789"
_GAPS: Final = b"\0\t\n\v\f\r *+,-./:_|"
_BEYOND_ASCII: Final = bytes(set(range(0x80, 0x100)) - set(LETTERS_FIRST))


def _table(other: bytes, *, changed: bytes, into: bytes) -> bytes:
    return bytes(into[0] if code in changed else other[0] for code in range(256))


_STRETCHES: Final = _table(b"x", changed=_DIGITS + _GAPS, into=b"0")
_STRETCH: Final = b"0" * DIGITS_MIN
_MORE_STRETCHES: Final = _table(b"x", changed=_DIGITS + _GAPS + _BEYOND_ASCII, into=b"0")
_CODED_STRETCHES: Final = _table(
    b"x", changed=_DIGITS + _GAPS + _BEYOND_ASCII + b"%\\abcdefABCDEFnrtu", into=b"0"
)
_ONLY_DIGITS: Final = _table(b"x", changed=_DIGITS, into=b"0")
_SKIPPED: Final = _GAPS + _BEYOND_ASCII
_ASCII_KEPT: Final = bytes(code if code < 0x80 else ord("x") for code in range(256))
_VALUES: Final = bytes(code - 48 if code in _DIGITS else 0 for code in range(256))
_GAPS_AS_BLANKS: Final = bytes(ord(" ") if code in _GAPS else code for code in range(256))
_WIDE: Final = b" " * (GAP_MAX + 1)
_NEVER_FIRST: Final = b"\0\1\7"
"""Values that no card number begins with; a list of noughts is read at the speed of C."""
_GROUP: Final = re.compile(rb"[0-9]+")
_IN_HEX: Final = re.compile(rb"(?:3[0-9]){13,19}")

_CROCKFORD: Final = rb"[0-9a-hjkmnp-tv-z]"
_HEX: Final = rb"[0-9A-Fa-f]"
_SHAPE: Final = re.compile(
    rb"(?<![0-9A-Za-z])(?:"
    # UUIDs of RFC 9562, with and without dashes: the version and the variant are in their place.
    rb"%(hex)b{8}-%(hex)b{4}-[1-8]%(hex)b{3}-[89ABab]%(hex)b{3}-%(hex)b{12}"
    rb"|%(hex)b{12}[1-8]%(hex)b{3}[89ABab]%(hex)b{15}"
    # A typed id is a UUIDv7, so that two of its 26 characters have few values; one is a letter.
    rb"|[a-z]{2,8}_[0-7]%(crockford)b{9}[ef]%(crockford)b{2}[89abrstv]%(crockford)b{12}"
    # Digests: SHA-1 and SHA-256; and 128 bits or more of anything, where there are letters too.
    rb"|(?:[0-9a-f]{64}|[0-9a-f]{40})|(?P<random>[0-9a-f]{32,64})"
    # W3C Trace Context.
    rb"|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
    # RFC 3339, and days before months before years.
    rb"|(?:19|20)\d\d-[01]\d-[0-3]\d[Tt _][0-2]\d:[0-5]\d(?::[0-6]\d(?:[.,]\d{1,9})?)?"
    rb"(?:[Zz]|[+\-][0-2]\d:?[0-5]\d)?"
    rb"|[0-3]?\d[./\-][01]?\d[./\-](?:19|20)\d\d,? [0-2]?\d:[0-5]\d(?::[0-6]\d)?"
    rb")(?![0-9A-Za-z])" % {b"hex": _HEX, b"crockford": _CROCKFORD}
)
SHAPE_BYTES_MAX: Final = 72
RANDOM_LETTERS_MIN: Final = 2
"""Of 32 random hexadecimal digits twelve are letters; fewer than two in one of 170,000."""

_LONG_DIGITS: Final = re.compile(r"\d(?:[ ._/\-]{0,3}\d){12,}")


class Left:
    """How many steps of work are left for one text."""

    __slots__ = ("steps",)

    def __init__(self, size: int) -> None:
        self.steps = WORK_MAX + WORK_MAX_PER_BYTE * size


def holds_card_number(raw: bytes) -> bool:
    """Whether something in the text looks like a card number.

    `raw`: a body, a path, a header, as it came; of any length, text or not.
    """
    if _PERCENT in raw or _BACKSLASH in raw:
        return _holds_in_any(disguises.openings(raw), Left(len(raw)))
    told = tells_of_base64(raw)
    if told or not raw.isascii():
        return _holds(raw, Left(len(raw)), set(), told=told)
    return _holds_plainly(raw, Left(len(raw)))


def is_plainly_clear(raw: bytes) -> bool:
    """Whether the text is plain, without a disguise to open, and holds no card number.

    Then neither does any part of it. False says nothing about the parts: what is coded is read
    otherwise beside other text than alone. Takes no more work than the smallest part may.
    """
    if _PERCENT in raw or _BACKSLASH in raw or not raw.isascii() or tells_of_base64(raw):
        return False
    return not _holds_plainly(raw, Left(0))


def _holds_plainly(raw: bytes, left: Left) -> bool:
    """The same of ASCII in which nothing is coded."""
    stretches = raw.translate(_STRETCHES)
    start = stretches.find(_STRETCH)
    return start >= 0 and _in_stretches(raw, stretches, start, left)


def blotted(text: str) -> str:
    """The text with BLOT for each run of digits that is as long as a card number, or longer.

    Here no check digit is needed: in a log nobody misses them. Where a card number is left in a
    disguise, the whole text is BLOT.
    """
    blotted_text = _LONG_DIGITS.sub(BLOT, text)
    return BLOT if holds_card_number(blotted_text.encode("utf-8", "replace")) else blotted_text


def _holds_in_any(openings: Iterator[bytes], left: Left) -> bool:
    known: set[bytes] = set()
    for raw in openings:
        left.steps -= OPENED_STEPS * len(raw)
        if _holds(raw, left, known, told=tells_of_base64(raw)):
            return True
    return False


def _holds(raw: bytes, left: Left, known: set[bytes], *, told: bool) -> bool:
    """The same of a text that is not coded as a whole.

    `known`: its base64 that was looked at. `told`: whether there may be some.
    """
    if told and _holds_in_base64(raw, left, known):
        return True
    if not raw.isascii():
        enough = _STRETCH in raw.translate(_ONLY_DIGITS, _SKIPPED)
        if not enough and not disguises.has_foreign_digits(raw):
            return False
        return _holds_beyond_ascii(raw, left, disguises.foreign_digits)
    stretches = raw.translate(_STRETCHES)
    start = stretches.find(_STRETCH)
    return start >= 0 and _in_stretches(raw, stretches, start, left)


def _holds_in_base64(raw: bytes, left: Left, known: set[bytes]) -> bool:
    letters = disguises.base64_letters(raw, known)
    if not letters:
        return False
    left.steps -= LETTER_STEPS * len(letters)
    return left.steps < 0 or any(
        _holds_decoded(decoded, left) for decoded in disguises.base64_undone(letters)
    )


def _holds_decoded(raw: bytes, left: Left) -> bool:
    """The same of what was base64, or is noise; it may be coded once more."""
    parts = []
    for start, end in _stretches(raw, _CODED_STRETCHES, left):
        left.steps -= STRETCH_STEPS
        part = raw[start:end]
        if _digits(part) + disguises.full_width_digits(part) >= DIGITS_MIN:
            parts.append(part)
    if left.steps < 0:
        return True
    if not parts:
        return False
    coded = b"!".join(parts)
    left.steps -= DECODED_STEPS * len(coded)
    if left.steps < 0:
        return True
    opened = disguises.undone(coded)
    return _holds_beyond_ascii(raw, left, disguises.full_width_digits) or (
        opened is not None and _holds_beyond_ascii(opened, left, disguises.full_width_digits)
    )


def _holds_beyond_ascii(raw: bytes, left: Left, more_digits: Callable[[bytes], int]) -> bool:
    """`more_digits`: how many there are besides those of ASCII."""
    for start, end in _stretches(raw, _MORE_STRETCHES, left):
        part = raw[start:end]
        digits = _digits(part)
        if digits < DIGITS_MIN and not part.isascii():
            left.steps -= STRETCH_STEPS
            digits += more_digits(part) if len(part) <= COUNTED_MAX else DIGITS_MIN
        if digits >= DIGITS_MIN and _in_part(raw, start, end, left):
            return True
    return left.steps < 0


def _stretches(raw: bytes, table: bytes, left: Left) -> Iterator[tuple[int, int]]:
    """Where the bytes stand that the table makes noughts, DIGITS_MIN of them or more on end."""
    shape = raw.translate(table)
    start = shape.find(_STRETCH)
    while start >= 0 and left.steps >= 0:
        left.steps -= STRETCH_STEPS
        end = shape.find(b"x", start)
        if end < 0:
            end = len(raw)
        yield start, end
        start = shape.find(_STRETCH, end)


def _digits(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, _DIGITS))


def _in_part(raw: bytes, start: int, end: int, left: Left) -> bool:
    """Looks at a stretch of digits and gaps of any script, with what stands beside it."""
    plain = raw[start:end]
    left.steps -= 2 * STRETCH_STEPS
    if not plain.isascii():
        plain = disguises.in_ascii(plain)
        left.steps -= FOREIGN_STEPS * len(plain)
    if left.steps < 0:
        return True
    before = raw[max(0, start - SHAPE_BYTES_MAX) : start].translate(_ASCII_KEPT)
    after = raw[end : end + SHAPE_BYTES_MAX].translate(_ASCII_KEPT)
    stretches = b"x" * len(before) + plain.translate(_STRETCHES) + b"x"
    first = stretches.find(_STRETCH)
    return first >= 0 and _in_stretches(before + plain + after, stretches, first, left)


def _in_stretches(raw: bytes, stretches: bytes, start: int, left: Left) -> bool:
    """Looks at each stretch of digits and gaps, from the first one on."""
    while start >= 0 and left.steps >= 0:
        left.steps -= STRETCH_STEPS
        end = stretches.find(b"x", start)
        if end < 0:
            end = len(raw)
        part = raw[start:end]
        digits = part.translate(_VALUES, _GAPS)
        if len(digits) >= DIGITS_MIN and digits.translate(None, _NEVER_FIRST):
            if len(digits) == len(part):
                left.steps -= CANDIDATE_STEPS
                if _is_number(part, digits) and not _is_part_of_an_id(raw, start, end, left):
                    return True
            elif _in_groups(raw, start, part.translate(_GAPS_AS_BLANKS), left):
                return True
        start = stretches.find(_STRETCH, end)
    return left.steps < 0


def _is_number(group: bytes, digits: bytes) -> bool:
    """Whether digits without a gap are a card number, or hexadecimal for the digits of one."""
    if len(digits) <= DIGITS_MAX:
        return is_card_number(digits)
    return _IN_HEX.fullmatch(group) is not None and is_card_number(digits[1::2])


def _in_groups(raw: bytes, begin: int, stretch: bytes, left: Left) -> bool:
    """Looks at what stands between gaps that are too wide for one number."""
    for part in stretch.split(_WIDE):
        digits = part.translate(_VALUES, b" ")
        if len(digits) >= DIGITS_MIN:
            groups = part.split()
            starts = min(len(groups), len(digits) - DIGITS_MIN + 1)
            left.steps -= CANDIDATE_STEPS + GROUP_STEPS * starts + len(digits)
            if left.steps < 0:
                return True
            spans: list[tuple[int, int]] = []
            sizes = list(map(len, groups))
            for first, after in card_numbers(digits, sizes):
                spans = spans or [found.span() for found in _GROUP.finditer(part)]
                start, end = begin + spans[first][0], begin + spans[after - 1][1]
                if not _is_part_of_an_id(raw, start, end, left):
                    return True
            if max(sizes) > DIGITS_MAX and any(
                _is_number(group, group.translate(_VALUES))
                for group in groups
                if len(group) > DIGITS_MAX
            ):
                return True
        begin += len(part) + len(_WIDE)
    return False


def _is_part_of_an_id(raw: bytes, begin: int, end: int, left: Left) -> bool:
    """Whether some of the digits belong to what is told by its whole shape, and so is no number."""
    left.steps -= SHAPE_STEPS
    if left.steps < 0:
        return False
    first, last = max(0, begin - SHAPE_BYTES_MAX), end + SHAPE_BYTES_MAX
    for found in _SHAPE.finditer(raw, first, last):
        if found.lastgroup == "random" and _letters(found[0]) < RANDOM_LETTERS_MIN:
            continue
        if found.start() < end and begin < found.end():
            return True
    return False


def _letters(word: bytes) -> int:
    return len(word.translate(None, _DIGITS))
