"""Which numbers a card can have: its issuer's range, its length and its check digit.

The ranges are those of ISO/IEC 7812 as the schemes publish them. Some are wider than what is issued
today, none reaches below thirteen digits. Together they take in 36 % of all 16-digit numbers, of
which the check digit leaves one in ten: about 3.6 % of random 16-digit numbers look like a card.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

DIGITS_MIN: Final = 13
DIGITS_MAX: Final = 19
PREFIX_DIGITS: Final = 4
SHORT_MAX: Final = 64
"""Of so few digits the sums are not worth keeping."""

RANGES: Final = (
    ("Visa", 4000, 4999, (13, 16, 19)),
    ("Mastercard", 5100, 5599, (16,)),
    ("Mastercard", 2221, 2720, (16,)),
    ("American Express", 3400, 3499, (15,)),
    ("American Express", 3700, 3799, (15,)),
    ("Discover, RuPay, Maestro", 6000, 6099, tuple(range(16, 20))),
    ("Discover, InterPayment, InstaPayment, Maestro", 6300, 6399, tuple(range(13, 20))),
    ("Discover", 6440, 6499, tuple(range(16, 20))),
    ("Discover, RuPay, Troy", 6500, 6599, tuple(range(16, 20))),
    ("Diners Club", 3000, 3059, tuple(range(14, 20))),
    ("Diners Club", 3095, 3095, tuple(range(14, 20))),
    ("Diners Club", 3600, 3699, tuple(range(14, 20))),
    ("Diners Club", 3800, 3999, tuple(range(14, 20))),
    ("JCB", 3528, 3589, tuple(range(16, 20))),
    ("UnionPay", 6200, 6299, tuple(range(16, 20))),
    ("UnionPay, RuPay", 8100, 8199, tuple(range(16, 20))),
    ("RuPay", 8200, 8299, (16,)),
    ("Maestro, Elo, Verve, RuPay", 5000, 5099, tuple(range(13, 20))),
    ("Maestro", 5600, 5899, tuple(range(13, 20))),
    ("Maestro", 6700, 6799, tuple(range(13, 20))),
    ("Mir", 2200, 2204, tuple(range(16, 20))),
    ("UzCard", 8600, 8600, (16,)),
    ("Humo", 9860, 9860, (16,)),
    ("Troy", 9792, 9792, (16,)),
)
"""Scheme, first and last value of the first four digits, and lengths."""


def _lengths_by_prefix() -> dict[bytes, tuple[int, ...]]:
    lengths: dict[bytes, set[int]] = {}
    for _, first, last, wanted in RANGES:
        for prefix in range(first, last + 1):
            values = bytes(map(int, str(prefix)))
            lengths.setdefault(values, set()).update(wanted)
    return {values: tuple(sorted(wanted)) for values, wanted in lengths.items()}


LENGTHS: Final = _lengths_by_prefix()
"""By the values of the first four digits, the lengths that such a number can have."""
_DOUBLED: Final = bytes(2 * value - 9 if value > 4 else 2 * value for value in range(10)) + bytes(
    246
)

Groups = tuple[int, int]
"""The number of the first group, and of the one after the last."""


def card_numbers(digits: bytes, sizes: Sequence[int]) -> Iterator[Groups]:
    """Which groups of digits, whole and side by side, make up a card number.

    `digits` are the values 0 to 9 of all groups, `sizes` how many each group has. Takes time in
    proportion to the groups: sums over any stretch come from running sums.
    """
    counts = [0, *accumulate(sizes)]
    """How many digits stand before each group, and in all."""
    begins = bytearray(counts[-1] + DIGITS_MAX)
    for count in counts:
        begins[count] = 1
    sums: list[list[int]] = []
    for first in counts:
        if first > counts[-1] - DIGITS_MIN:
            return
        for length in LENGTHS.get(digits[first : first + PREFIX_DIGITS], ()):
            after = first + length
            if not begins[after]:
                continue
            if len(digits) <= SHORT_MAX:
                fits = is_luhn(digits[first:after])
            else:
                sums = sums or _running_sums(digits)
                run = sums[after & 1]
                fits = (run[after] - run[first]) % 10 == 0
            if fits:
                yield bisect_left(counts, first), bisect_left(counts, after)


def is_card_number(digits: bytes) -> bool:
    """Whether these values, all of them together, make up one."""
    return len(digits) in LENGTHS.get(digits[:PREFIX_DIGITS], ()) and is_luhn(digits)


def is_luhn(digits: bytes) -> bool:
    """Whether the last of these values is the check digit of those before it.

    It counts once, the one before it twice, and so on (ISO/IEC 7812-1, annex B).
    """
    doubled = len(digits) & 1
    once = sum(digits[1 - doubled :: 2])
    return (once + sum(digits[doubled::2].translate(_DOUBLED))) % 10 == 0


def _running_sums(digits: bytes) -> list[list[int]]:
    """Luhn's sums up to each digit, with those at even places doubled, and with those at odd ones.

    A number that ends before an even place has its even places doubled.
    """
    found = []
    for start in (0, 1):
        values = bytearray(digits)
        values[start::2] = digits[start::2].translate(_DOUBLED)
        found.append(list(accumulate(values, initial=0)))
    return found
