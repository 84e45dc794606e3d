"""In what forms a text can stand in a request: percent-coded, escaped, in base64, in other digits.

Each function undoes one of them, for the detector in cards.py. All of them take time in proportion
to the text, at the speed of C however it is made up, and what cannot be decoded stays as it is.
"""

import json
import re
import unicodedata
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterator
from typing import Final

DECODINGS_MAX: Final = 3
"""A text that is coded more often than that is not opened further."""
CHARACTERS_KEPT_MAX: Final = 16_384

_UNTOUCHED: Final = re.compile(rb'"(?:[^"%\\]*+")++')
"""Strings of JSON, and what is between them, without anything to undo."""
_NOT_PRINTABLE: Final = re.compile(rb"%(?:[%\n\r]|3[Dd])")
_AS_PRINTABLE: Final = bytes.maketrans(b"=%", b"!=")
_FROM_PRINTABLE: Final = bytes.maketrans(b"=", b"%")
_PAIR: Final = b"\x1a"
_UNIT: Final = b"\x1c"
_QUOTE: Final = b"\x1d"
"""Stand for two backslashes, a backslash and u, and a quote; elsewhere they mean nothing."""
_MARKS: Final = re.compile(rb"[\x1a\x1c\x1d]")
_UNMARKED: Final = bytes.maketrans(_PAIR + _UNIT + _QUOTE, b"\x1b\x1b\x1b")
_NO_UNIT: Final = re.compile(rb"\\u(?![0-9A-Fa-f]{4})")
_ESCAPED: Final = (
    (rb"\b", b"\b"), (rb"\f", b"\f"), (rb"\n", b"\n"), (rb"\r", b"\r"), (rb"\t", b"\t"),
)  # fmt: skip

_HALVES: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Of characters in UTF-16, but for those that stand for a byte."""

_ASCII: Final = bytes(range(0x80))
_FOREIGN_DIGIT: Final = re.compile(
    r"[\d\u00b2\u00b3\u00b9\u2070-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490"
    r"\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]"
)
_FULL_WIDTH_DIGIT: Final = re.compile(rb"\xef\xbc[\x90-\x99]")
_GAPS: Final = frozenset("Zs Zl Zp Pd Cf".split())
"""Categories of what stands between digits: blanks, dashes, and what cannot be seen."""
_MORE_GAPS: Final = frozenset(
    map(
        ord,
        "\u0085\u00b7\u2022\u2024\u2027\u2044\u2212\u2215\u2219\u22c5\u3001\u3002\u30fb\ufe0f\u20e3"
        "\uff0a\uff0b\uff0c\uff0e\uff0f\uff1a\uff3f\uff5c\ufffd",
    )
)
"""Dots, strokes, full-width marks, the frames of emoji digits, and bytes that are not UTF-8."""
LETTERS_FIRST: Final = bytes([
    *range(0xC3, 0xD6), 0xD7, 0xDA, 0xDD, 0xDE, *range(0xE4, 0xEA), 0xEB, 0xEC, 0xEE, 0xF1, 0xF2,
    0xF4,
])  # fmt: skip
"""First bytes in UTF-8 of characters of which none is a digit or a gap; most scripts have one."""

_MINUS: Final = ord("-")
_PLUS: Final = ord("+")
CODED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
"""Base64 and base64url together."""
TELLING: Final = b"MNODTjzAEIMQUYcgkosw048Jy"
"""Each digit that is coded in base64 shows as one of these, whatever stands beside it.

Of an ASCII digit, 0011dddd, the first byte of three gives M, N or O; the second gives D, T, j or z
to the second character; the third gives 00 to the low bits of the third. A full-width digit in
UTF-8 gives y, 8 or J, by its place.
"""
TELLING_TOO: Final = b"MNODTjzwxyz0123458J"
"""The same, but for the third byte its low bits, 11dddd, in the fourth character: w to z, 0 to 5.

Text that has many of the ones by chance seldom has many of the others.
"""
DIGITS_MIN: Final = 13
RUN_MIN: Final = 18
"""Thirteen bytes take eighteen characters."""
RUNS_MAX: Final = 4096
"""With more runs of base64 in a text it is quicker to decode all of it than to choose."""
_RUN: Final = b"c" * RUN_MIN
_IN_RUNS: Final = bytes(ord("c") if code in CODED else ord(" ") for code in range(256))
_TELLING_AS_T: Final = bytes(ord("t") if code in TELLING else ord(" ") for code in range(256))
_NOT_TELLING: Final = bytes(set(CODED) - set(TELLING))
_TOLD: Final = b"t" * DIGITS_MIN
"""raw.translate(_TELLING_AS_T, _NOT_TELLING) leaves of each run its telling letters, each as t."""
_BREAK: Final = b"VV"
"""At each of the four places a letter of ASCII: what stood in two places is not one number."""
_LETTERS: Final = bytes(
    b"+/"[b"-_".index(code)] if code in b"-_" else code if code in CODED else _BREAK[0]
    for code in range(256)
)


def openings(raw: bytes) -> Iterator[bytes]:
    """The text as it stands, then with percent-coding and escapes of JSON undone, and again.

    Each time only what was undone, with the string that it stands in.
    """
    yield raw
    for _ in range(DECODINGS_MAX):
        opened = undone(_UNTOUCHED.sub(b'"', raw))
        if opened is None:
            return
        yield opened
        raw = opened


def undone(raw: bytes) -> bytes | None:
    """The text with percent-coding undone, then escapes of JSON; None where there are none."""
    opened = raw
    if b"%" in opened:
        opened = _percent_undone(opened)
    if b"\\" in opened:
        opened = _escapes_undone(opened)
    return None if opened == raw else opened


def _percent_undone(raw: bytes) -> bytes:
    """By the decoder for quoted-printable (RFC 2045, 6.7), which has = for %.

    What it knows besides, breaks of lines and a doubled sign, is kept from it. A sign that codes
    nothing stays. An equals sign is lost, but nothing here depends on one.
    """
    if _NOT_PRINTABLE.search(raw):
        if b"%%" in raw:
            raw = raw.replace(b"%%", b"%25%").replace(b"%%", b"%25%")
        raw = raw.replace(b"%\n", b"%25\n").replace(b"%\r", b"%25\r")
        raw = raw.replace(b"%3D", b"%21").replace(b"%3d", b"%21")
    return a2b_qp(raw.translate(_AS_PRINTABLE)).translate(_FROM_PRINTABLE)


def _escapes_undone(raw: bytes) -> bytes:
    """The units of UTF-16 by the decoder for JSON. Backslashes that escape nothing are lost."""
    if _MARKS.search(raw):
        raw = raw.translate(_UNMARKED)
    raw = raw.replace(rb"\\", _PAIR)
    if b"\\" in raw:
        for escape, meant in _ESCAPED:
            raw = raw.replace(escape, meant)
        if rb"\u" in raw:
            raw = _NO_UNIT.sub(b"u", raw).replace(rb"\u", _UNIT)
        raw = raw.replace(b"\\", b"")
        if _UNIT in raw:
            raw = _units_undone(raw.replace(b'"', _QUOTE).replace(_UNIT, rb"\u"))
    return raw.replace(_PAIR, b"\\")


def _units_undone(raw: bytes) -> bytes:
    # Bytes that are not UTF-8 may become so when more is undone: they are kept as they are.
    text: str = json.loads(f'"{raw.decode("utf-8", "surrogateescape")}"', strict=False)
    if rb"\ud" in raw or rb"\uD" in raw:
        text = _HALVES.sub("\ufffd", text)
    return text.encode("utf-8", "surrogateescape").replace(_QUOTE, b'"')


class _Plain(dict[int, int]):
    """What a character means here: ASCII itself, else a digit, a gap, or something else."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        digit = unicodedata.digit(character, None)
        if code < 0x80:
            meaning = code
        elif digit is not None:
            meaning = ord("0") + digit
        elif is_gap(code):
            meaning = ord(" ")
        else:
            meaning = ord("x")
        if len(self) >= CHARACTERS_KEPT_MAX:
            self.clear()
        self[code] = meaning
        return meaning


_PLAIN: Final = _Plain()


def is_gap(code: int) -> bool:
    """Whether a character beyond ASCII can stand between the digits of one number."""
    return code in _MORE_GAPS or unicodedata.category(chr(code)) in _GAPS


def has_foreign_digits(raw: bytes) -> bool:
    """Whether there are digits beyond ASCII, as full-width ones."""
    return _FOREIGN_DIGIT.search(_foreign(raw)) is not None


def foreign_digits(raw: bytes) -> int:
    """How many there are."""
    return len(_FOREIGN_DIGIT.findall(_foreign(raw)))


def _foreign(raw: bytes) -> str:
    return raw.translate(None, _ASCII).decode("utf-8", "replace")


def full_width_digits(raw: bytes) -> int:
    """How many there are, in UTF-8."""
    return len(_FULL_WIDTH_DIGIT.findall(raw)) if b"\xef\xbc" in raw else 0


def in_ascii(raw: bytes) -> bytes:
    """The text with digits of all scripts as ASCII digits, foreign gaps as blanks, the rest as x.

    A byte that is not UTF-8 is a gap: a no-break blank of Latin-1 is one.
    """
    return raw.decode("utf-8", "replace").translate(_PLAIN).encode("ascii")


def tells_of_base64(raw: bytes) -> bool:
    """Whether some of the text could be base64 of a card number.

    Where this says no, nothing is left of it in `base64_letters`.
    """
    if raw.islower() and _is_too_low(raw) and len(raw) < RUNS_MAX * RUN_MIN:
        return False
    return raw.translate(_TELLING_AS_T, _NOT_TELLING).find(_TOLD) >= 0


def base64_letters(raw: bytes, known: set[bytes]) -> bytes:
    """The stretches that could be base64 of a card number, one after another; none of `known`.

    Those are the ones that were looked at before, and become more.
    """
    runs = _runs(raw)
    if runs is not None:
        runs = [run for run in runs if _could_hold_digits(run) and run not in known]
        known.update(runs)
        raw = _BREAK.join(runs)
    return raw.translate(_LETTERS)


def base64_undone(letters: bytes) -> Iterator[bytes]:
    """What they say, read from each of four places.

    A number may begin anywhere in what was coded, and the coded text may follow on other letters.
    """
    letters += 2 * _BREAK
    for offset in range(4):
        yield a2b_base64(letters[offset : len(letters) - (len(letters) - offset) % 4])


def _runs(raw: bytes) -> list[bytes] | None:
    """Letters of base64 that follow on each other, with enough telling ones among them.

    None where there are very many such.
    """
    runs: list[bytes] = []
    shape = raw.translate(_IN_RUNS)
    start = shape.find(_RUN)
    while start >= 0:
        if len(runs) == RUNS_MAX:
            return None
        end = shape.find(b" ", start)
        if end < 0:
            end = len(raw)
        runs.append(raw[start:end])
        start = shape.find(_RUN, end)
    told = b" ".join(runs).translate(_TELLING_AS_T, _NOT_TELLING).split(b" ") if runs else []
    return [run for run, letters in zip(runs, told, strict=True) if len(letters) >= DIGITS_MIN]


def _could_hold_digits(run: bytes) -> bool:
    if run.lower() == run and _is_too_low(run):
        return False
    return len(run) - len(run.translate(None, TELLING_TOO)) >= DIGITS_MIN


def _is_too_low(raw: bytes) -> bool:
    """Lower case, as in ids and UUIDs, says no digits but full-width ones, and these only so."""
    return (_MINUS not in raw or raw.find(b"-8") < 0) and (_PLUS not in raw or raw.find(b"+8") < 0)
