"""The detector of card numbers: all of them, in every disguise, and nothing else."""

import random
import time
import unicodedata
from itertools import chain

import pytest

from strongroom.http.bodies import BULK_BYTES_MAX
from strongroom.vault.cards import (
    BLOT,
    blotted,
    holds_card_number,
)
from strongroom.vault.disguises import (
    LETTERS_FIRST,
    RUNS_MAX,
    base64_letters,
    is_gap,
    tells_of_base64,
)
from tests.plugins.short import share
from tests.unit.attacks import ATTACKS
from tests.unit.disguises import CLEAN, DISGUISES, NESTINGS, Draw, beside, card_number
from tests.unit.honest_bulks import VALUES, bulk

NUMBERS = 10_000
CLEAN_OF_A_KIND = share(100_000, 10_000)
CARD = "4111111111111111"
KIB = 1024
BODY_SECONDS_MAX = 5 * 0.015
BULK_SECONDS_MAX = 5 * 0.120
"""Five times what the worst of a kind takes."""


def test_every_card_number_is_found_in_every_disguise_and_nesting() -> None:
    draw = random.Random(20261128)
    pairs = [(disguise, nesting) for disguise in DISGUISES for nesting in NESTINGS]
    missed = []
    for count in range(NUMBERS):
        disguise, nesting = pairs[count % len(pairs)]
        number = card_number(draw)
        raw = NESTINGS[nesting](beside(DISGUISES[disguise](number, draw), draw), draw)
        if not holds_card_number(raw):
            missed.append((disguise, nesting, number, raw))
    assert missed == []


@pytest.mark.parametrize("alignment", range(3))
def test_base64_hides_nothing_at_any_alignment(alignment: int) -> None:
    draw = random.Random(alignment)
    for _ in range(300):
        text = "." * alignment + card_number(draw)
        for disguise in ("base64_plain", "base64_grouped", "base64_wide", "base64_within"):
            assert holds_card_number(DISGUISES[disguise](text.strip("."), draw).encode())


@pytest.mark.parametrize("kind", CLEAN)
def test_what_is_none_passes(kind: str) -> None:
    draw = random.Random(kind)
    texts = [CLEAN[kind](draw) for _ in range(CLEAN_OF_A_KIND)]
    assert [text for text in texts if holds_card_number(text.encode())] == []


def test_of_random_references_as_many_are_refused_as_the_page_says() -> None:
    draw, count = random.Random(1), 200_000
    refused = sum(holds_card_number(b"%016d" % draw.randrange(10**16)) for _ in range(count))
    assert 0.034 < refused / count < 0.038


@pytest.mark.parametrize(
    "text",
    [
        CARD, f"pay_{CARD}", f"pay_{CARD}abcdefghjk", f"pm_{CARD}", "4111-1111-1111-1111",
        f"2026-11-28 {CARD}", f"2026-11-28T12:00:00Z {CARD}", "amount 12 4111 1111 1111 1111",
        f"{CARD}f0e1d2c3b4a596", f"000000000000000f{CARD}", f"{CARD} 12/29 123",
        f"x{CARD}y", f"00000000-0000-0000-4111-{CARD[4:]}",
        f'{{"amount":{CARD}}}', f'{{"a":{CARD}.0}}', f"[{CARD},1]", f"%B{CARD}^DOE/JOHN^2912",
        "5555555555554444", "378282246310005", "3782 822463 10005", "30569309025904",
        "6011111111111117", "3530111333300000", "6200000000000005", "4222222222222",
        "6304000000000000", "6759649826438453", "2200000000000004", "6799990100000000019",
        "4111111111111111110", "4\u20e31\u20e311111111111111", "4111\x0011111111\x001111",
        "4_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1", "4111\\u00201111\\n1111\\t1111",
    ],
)  # fmt: skip
def test_it_is_found(text: str) -> None:
    assert holds_card_number(text.encode())


@pytest.mark.parametrize(
    "raw",
    [CARD.encode("utf-16-le"), CARD.encode("utf-16-be"), b"4111\xa01111\xa01111\xa01111"],
    ids=["UTF-16", "UTF-16 the other way", "Latin-1"],
)
def test_it_is_found_in_what_is_not_utf_8(raw: bytes) -> None:
    assert holds_card_number(raw)


@pytest.mark.parametrize(
    "text",
    [
        "", "4111111111111112", "411111111111", "9111111111111111", "41111111111111111111",
        f"{CARD}00000000", "4111    1111    1111    1111", f'{{"a":"{CARD[:8]}","b":"{CARD[8:]}"}}',
        "42424242-4242-4242-8242-4242424242ab", "424242424242424282424242424242ab",
        "order-42424242-4242-4242-8242-424242424242-1",
        "41111111-1111-4111-8111-111111111111", "4111 1111 1111 a 1111", "1" * 500,
        f"0123abcd{CARD}abcd0123", f"{CARD}{'ab' * 24}", f"{CARD}{'ab' * 12}",
        "2026-11-30 05:00:00.123456", "00-41111111111111110000000000000000-4111111111111111-01",
        "\\u", "\\", "%", "%4", "%zz", "\\u00", "\\ud800", "\u0663" * 12, "=" * 100,
    ],
)  # fmt: skip
def test_it_is_none(text: str) -> None:
    assert not holds_card_number(text.encode())


@pytest.mark.parametrize(
    ("unit", "clean_times", "refused_times"),
    [
        (b"4-", 1000, 20_000),
        (b"9-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4    ", 30, 20_000),
        (b"42424242-4242-4242-8242-4242424242ab ", 60, 2000),
    ],
)
def test_what_could_only_be_a_list_of_numbers_is_refused_unread(
    unit: bytes, clean_times: int, refused_times: int
) -> None:
    """The work on one text has its bounds, and what cannot be decided is refused."""
    assert not holds_card_number(unit * clean_times)
    assert holds_card_number(unit * refused_times)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("values", VALUES)
def test_no_honest_bulk_is_refused_for_its_work(values: str) -> None:
    """As large as a bulk may be, with as much in it to look at as people could mean."""
    draw = random.Random(values)

    def clean(draw: random.Random) -> str:
        return next(
            text
            for text in iter(lambda: VALUES[values](draw), None)
            if not holds_card_number(text.encode()) and not holds_card_number(ascii(text).encode())
        )

    for keeps_ascii, indent in ((False, None), (True, None), (False, 8)):
        raw = bulk(clean, draw, keeps_ascii=keeps_ascii, indent=indent)
        assert len(raw) > BULK_BYTES_MAX / 3
        assert not holds_card_number(raw)


def test_no_digit_and_no_gap_begins_with_a_byte_that_only_letters_begin_with() -> None:
    for code in chain(range(0x80, 0xD800), range(0xE000, 0x110000)):
        first = chr(code).encode()[0]
        if unicodedata.digit(chr(code), None) is not None or is_gap(code):
            assert first not in LETTERS_FIRST, hex(code)


LETTERS = [
    b"abcdefghijklmnopqrstuvwxyz0123456789",
    b"cgkjoswyz048-+8",
    b"cgkjoswyz048-+8MNODT",
    b"cgkosw048 ",
]
"""Lower case alone, with what full-width digits show as, with upper case, and in short runs."""


@pytest.mark.parametrize("letters", LETTERS)
def test_where_nothing_tells_of_base64_nothing_would_be_decoded(letters: bytes) -> None:
    draw = random.Random(letters)
    told = 0
    for _ in range(5_000):
        raw = bytes(draw.choices(letters, k=draw.randrange(200)))
        left = bool(base64_letters(raw, set()))
        assert tells_of_base64(raw) or not left, raw
        told += left
    assert bool(told) == (b"-" in letters)


def test_a_text_of_very_many_runs_is_decoded_in_lower_case_too() -> None:
    run = b"cgkosw048cgkosw048 "
    few, many = run * (RUNS_MAX - 500), run * (RUNS_MAX + 1)
    assert not tells_of_base64(few)
    assert not base64_letters(few, set())
    assert tells_of_base64(many)
    assert base64_letters(many, set())


@pytest.mark.sampled(5)
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_time_grows_as_the_text_does(attack: str) -> None:
    """Eight times the text takes about eight times as long; what is quadratic takes 64 times."""
    small, large = ATTACKS[attack](4 * KIB), ATTACKS[attack](32 * KIB)
    assert seconds(large) < 24 * seconds(small) + 0.001


@pytest.mark.sampled(5)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_takes_long(attack: str) -> None:
    """One event loop serves all callers, and waits for this."""
    for size, most in ((64 * KIB, BODY_SECONDS_MAX), (BULK_BYTES_MAX, BULK_SECONDS_MAX)):
        assert seconds(ATTACKS[attack](size), times=1, rounds=2) < most


def seconds(raw: bytes, times: int = 3, rounds: int = 5) -> float:
    found = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            holds_card_number(raw)
        found.append(time.process_time() - started)
    return min(found)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_text_for_a_log_holds_no_card_number_any_more(disguise: str) -> None:
    draw = Draw(disguise)
    for _ in range(200):
        said = blotted(beside(DISGUISES[disguise](card_number(draw), draw), draw))
        assert BLOT in said
        assert not holds_card_number(said.encode())


def test_a_text_for_a_log_keeps_what_is_beside_long_digits() -> None:
    assert blotted("order 1234567890123 and 77") == f"order {BLOT} and 77"
    assert blotted("Two tickets, row 7") == "Two tickets, row 7"
    assert blotted("\ud800") == "\ud800"
