"""Card numbers as a generator makes them, in every disguise and nesting; and what is none.

Ranges and check digits are written down here once more: they share nothing with the detector.
"""

import base64
import hashlib
import json
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

from strongroom.access.api_keys import write_token
from strongroom.ids import Prefix, new_entity_id, new_id, to_text

ISSUED = {
    "visa": (["4"], [13, 16, 19]),
    "mastercard": ([*map(str, range(51, 56)), "2221", "2299", "23", "26", "2700", "2720"], [16]),
    "amex": (["34", "37"], [15]),
    "discover": (["6011", "644", "645", "649", "65", "622126", "622925"], [16, 19]),
    "diners": (["300", "305", "36", "38", "39"], [14, 16, 19]),
    "jcb": (["3528", "3530", "3566", "3589"], [16, 19]),
    "unionpay": (["62", "81"], [16, 17, 18, 19]),
    "maestro": (["5018", "5020", "5038", "56", "57", "58", "6304", "6390", "6759", "6763"],
                [13, 16, 18, 19]),
    "mir": (["2200", "2204"], [16, 19]),
    "rupay": (["508", "60", "6521", "82"], [16]),
}  # fmt: skip
GAPS = [
    " ", "-", ".", "/", "_", ",", "\t", "\n", "\r\n", "  ", " - ", "\u00a0", "\u2009", "\u202f",
    "\u2003", "\u2010", "\u2011", "\u2013", "\u2014", "\u2212", "\u00b7", "\u200b", "\u3000",
    "\uff0d", "\u00a0\u2013\u00a0", "...", ":", "|", "\ufeff",
]  # fmt: skip
ZEROS = ["\uff10", "\u0660", "\u06f0", "\u0966", "\u0e50", "\U0001d7ce"]
"""Full-width, Arabic, Persian, Devanagari, Thai, mathematical."""
PREFIXES: tuple[Prefix, ...] = ("ent", "pay", "ref", "key", "gwa", "req")

Draw = random.Random
Disguise = Callable[[str, Draw], str]


def check_digit(digits: str) -> str:
    """Luhn's digit for the digits before it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 if place % 2 else 2)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def card_number(draw: Draw) -> str:
    prefixes, lengths = draw.choice(list(ISSUED.values()))
    start, length = draw.choice(prefixes), draw.choice(lengths)
    digits = start + "".join(draw.choices("0123456789", k=length - 1 - len(start)))
    return digits + check_digit(digits)


def plain(number: str, _: Draw) -> str:
    return number


def grouped(number: str, draw: Draw) -> str:
    """In groups of four, as on the card."""
    return draw.choice(GAPS).join(number[start : start + 4] for start in range(0, len(number), 4))


def each_apart(number: str, draw: Draw) -> str:
    return draw.choice(GAPS).join(number)


def scattered(number: str, draw: Draw) -> str:
    """A gap here and there, each of another kind."""
    return "".join(digit + draw.choice(["", "", *GAPS]) for digit in number[:-1]) + number[-1]


def foreign(number: str, draw: Draw) -> str:
    zero = ord(draw.choice(ZEROS))
    return "".join(chr(zero + int(digit)) for digit in number)


def mixed(number: str, draw: Draw) -> str:
    """Some digits full-width, and gaps."""
    wide = "".join(chr(0xFF10 + int(d)) if draw.random() < 0.5 else d for d in number)
    return wide if draw.random() < 0.5 else " ".join([wide[:4], wide[4:10], wide[10:]])


def percent(number: str, draw: Draw) -> str:
    share = draw.choice([1.0, 0.5, 0.1])
    return "".join(f"%{ord(d):02x}" if draw.random() <= share else d for d in number)


def percent_twice(number: str, draw: Draw) -> str:
    return quote(percent(number, draw))


def percent_of_gaps(number: str, draw: Draw) -> str:
    return quote(grouped(number, draw), safe="")


def percent_of_foreign(number: str, draw: Draw) -> str:
    return quote(foreign(number, draw))


def based(text: bytes, draw: Draw) -> str:
    """In base64 at any of the three alignments, alone or within more, padded or not."""
    before = bytes(draw.choices(b'abcxyzABC {}":=', k=draw.randrange(4)))
    after = draw.choice([b"", b" ", b"x", b'","exp":"12/29"}'])
    if draw.random() < 0.3:
        before = b'{"holder":"J. Doe","pan":"' + before
    code = draw.choice([base64.b64encode, base64.urlsafe_b64encode])
    coded = code(before + text + after).decode()
    return coded if draw.random() < 0.5 else coded.rstrip("=")


def base64_plain(number: str, draw: Draw) -> str:
    return based(number.encode(), draw)


def base64_grouped(number: str, draw: Draw) -> str:
    return based(draw.choice([grouped, each_apart, scattered])(number, draw).encode(), draw)


def base64_wide(number: str, draw: Draw) -> str:
    return based("".join(chr(0xFF10 + int(digit)) for digit in number).encode(), draw)


def base64_within(number: str, draw: Draw) -> str:
    """After letters that are base64 too, so that where it begins cannot be seen.

    They decode to no digit: one that stands against the number would be a part of it.
    """
    return "".join(draw.choices("abcXYZ-_", k=draw.randrange(1, 9))) + base64_plain(number, draw)


def base64_percent(number: str, draw: Draw) -> str:
    return quote(base64_plain(number, draw), safe="")


def hexadecimal(number: str, _: Draw) -> str:
    return number.encode().hex()


DISGUISES: dict[str, Disguise] = {
    function.__name__: function
    for function in (
        plain, grouped, each_apart, scattered, foreign, mixed, percent, percent_twice,
        percent_of_gaps, percent_of_foreign, base64_plain, base64_grouped, base64_wide,
        base64_within, base64_percent, hexadecimal,
    )
}  # fmt: skip


def beside(text: str, draw: Draw) -> str:
    """The disguised number with something else next to it, digits too."""
    return draw.choice([
        "{}", "{}", "card {}", "{} thanks", "2026-11-28 {}", "amount 12 {}", "{} 12/29 123",
        "pay_{}", "{}!", "({})", "order-{}-x", "id={};x=1", "1 {} 1", "x{}", "7, {}, 1999",
    ]).format(text)  # fmt: skip


def escaped(text: str, draw: Draw) -> str:
    """A string of JSON with some characters as escapes."""
    share = draw.choice([0.0, 0.0, 0.3, 1.0])
    inside = "".join(
        json.dumps(c)[1:-1] if ord(c) > 0xFFFF or draw.random() > share else f"\\u{ord(c):04x}"
        for c in text
    )
    return f'"{inside}"'


def as_value(text: str, draw: Draw) -> bytes:
    return f'{{"amount": 1999, "description": {escaped(text, draw)}}}'.encode()


def as_raw_value(text: str, draw: Draw) -> bytes:
    body = {"amount": 1999, "description": text, "currency": "EUR"}
    return json.dumps(body, ensure_ascii=draw.random() < 0.5).encode()


def as_key(text: str, draw: Draw) -> bytes:
    return f'{{"metadata": {{{escaped(text, draw)}: "", "a": "b"}}}}'.encode()


def nested(text: str, draw: Draw) -> bytes:
    value: object = text
    for _ in range(draw.randrange(1, 6)):
        value = draw.choice([[value, 1], {"a": value}, {"payments": [{}, {"metadata": value}]}])
    return json.dumps(value, indent=draw.choice([None, 2])).encode()


def json_in_json(text: str, _: Draw) -> bytes:
    return json.dumps({"metadata": {"raw": json.dumps({"pan": text})}}).encode()


def in_path(text: str, _: Draw) -> bytes:
    return b"/v1/payments/" + quote(text, safe="%").encode()


def in_query(text: str, draw: Draw) -> bytes:
    coded = quote(text, safe="%")
    return (f"limit=2&{coded}=1" if draw.random() < 0.5 else f"a={coded}&limit=2").encode()


NESTINGS: dict[str, Callable[[str, Draw], bytes]] = {
    function.__name__: function
    for function in (
        as_value, as_raw_value, as_key, nested, json_in_json, in_path, in_query,
    )
}  # fmt: skip


def moment(draw: Draw) -> datetime:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    return start + timedelta(microseconds=draw.randrange(10**6 * 86_400 * 365 * 60))


def typed_id(draw: Draw) -> str:
    micros = int(moment(draw).timestamp() * 10**6)
    return to_text(draw.choice(PREFIXES), new_id(micros, new_entity_id(micros)))


def token(draw: Draw) -> str:
    micros = int(moment(draw).timestamp() * 10**6)
    secret = base64.urlsafe_b64encode(draw.randbytes(32)).rstrip(b"=").decode()
    return "Bearer " + write_token("dev", new_id(micros, new_entity_id(micros)), secret)


def any_uuid(draw: Draw) -> uuid.UUID:
    return uuid.UUID(int=draw.getrandbits(128), version=draw.choice([1, 4, 4, 5]))


def uuid_text(draw: Draw) -> str:
    return draw.choice(["{}", "order-{}", "{}-1", "{}"]).format(any_uuid(draw))


def random_hex(draw: Draw) -> str:
    return draw.randbytes(draw.choice([16, 18, 24])).hex()


def uuid_hex(draw: Draw) -> str:
    return draw.choice(["{}", "order-{}", "key_{}"]).format(any_uuid(draw).hex)


def digest(draw: Draw) -> str:
    algorithm = draw.choice([hashlib.sha256, hashlib.sha1])
    return draw.choice(["{}", "key-{}"]).format(algorithm(draw.randbytes(8)).hexdigest())


def timestamp(draw: Draw) -> str:
    at, offset = moment(draw), timezone(timedelta(minutes=15 * draw.randrange(-48, 57)))
    at = at.replace(microsecond=draw.choice([0, at.microsecond]))
    return draw.choice([
        at.isoformat(), at.isoformat(" "), at.astimezone(offset).isoformat(),
        at.astimezone(offset).isoformat(" "), at.isoformat().replace("+00:00", "Z"),
        at.isoformat().replace("+00:00", "000Z"), at.isoformat(" ", "seconds"),
    ])  # fmt: skip


def epoch(draw: Draw) -> str:
    nanoseconds = draw.randrange(10**18, 2 * 10**18)
    return str(nanoseconds // draw.choice([1, 10**3, 10**6, 10**9]))


def amount(draw: Draw) -> str:
    minor = draw.randrange(10 ** draw.randrange(1, 13))
    return draw.choice(["{}", "{:,}", '"amount": {}, "currency"', "{} EUR"]).format(minor)


def traceparent(draw: Draw) -> str:
    return f"00-{draw.getrandbits(128):032x}-{draw.getrandbits(64):016x}-0{draw.randrange(2)}"


CLEAN: dict[str, Callable[[Draw], str]] = {
    function.__name__: function
    for function in (
        typed_id, token, uuid_text, uuid_hex, random_hex, digest, timestamp, epoch, amount,
        traceparent,
    )
}  # fmt: skip
