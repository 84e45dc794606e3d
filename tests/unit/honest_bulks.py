"""Bulks that honest callers could send, at the limit of 1 MiB: none may look like an attack."""

import base64
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from strongroom.http.bodies import BULK_BYTES_MAX, BULK_ITEMS_MAX
from strongroom.http.fields import METADATA_KEYS_MAX, METADATA_VALUE_CHARACTERS_MAX

Draw = random.Random
Values = Callable[[Draw], str]

CHINESE = "订单的商品将于十一月二十八日送达，请保持电话畅通。"
ARABIC = "سيتم تسليم الطلب في الموعد المحدد، يرجى إبقاء الهاتف متاحا. "
HINDI = "आपका ऑर्डर समय पर पहुंचाया जाएगा, कृपया फोन चालू रखें। "
KOREAN = "주문하신 상품은 예정일에 배송됩니다. 전화를 받아 주세요. "
EMOJI = "🎟️ 🎭 👩‍👩‍👧‍👦 ✨ 4️⃣2️⃣ "


def shortened(text: str) -> str:
    return text[:METADATA_VALUE_CHARACTERS_MAX]


def sealed(draw: Draw) -> str:
    """375 random bytes in base64: 500 characters."""
    return base64.b64encode(draw.randbytes(375)).decode()


def told_in(language: str) -> Values:
    """Sentences with a telephone number and an order's in each."""

    def said(draw: Draw) -> str:
        number = f"{draw.randrange(10**7):07}, +49 30 {draw.randrange(10**6):06}; "
        return shortened((language + number) * 9)

    return said


def in_digits_from(zero: str, language: str) -> Values:
    def said(draw: Draw) -> str:
        return told_in(language)(draw).translate({48 + d: ord(zero) + d for d in range(10)})

    return said


def in_base64(values: Values) -> Values:
    def said(draw: Draw) -> str:
        return shortened(base64.b64encode(values(draw)[:120].encode()).decode())

    return said


def returning(draw: Draw) -> str:
    """An address within an address within an address, with base64 in it."""
    state = quote(base64.b64encode(draw.randbytes(200)).decode(), safe="")
    return f"https://a.example/?to={quote(f'https://b.example/?s={state}&o=%C3%A9', safe='')}"


def of_times(draw: Draw) -> str:
    at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=draw.randrange(10**9))
    return f"{at:%Y-%m-%d %H:%M:%S}"


def from_and_to(draw: Draw) -> str:
    return f"From {of_times(draw)} in Hamburg to {of_times(draw)} at the latest, in Bremen"


def in_json(values: Values) -> Values:
    """As PHP writes it, which escapes slashes and all that is not ASCII."""

    def said(draw: Draw) -> str:
        return json.dumps({"a": values(draw)[:300]}).replace("/", "\\/")

    return said


def of_lines(values: Values) -> Values:
    return lambda draw: "\n".join(values(draw)[start : start + 40] for start in range(0, 400, 40))


VALUES: dict[str, Values] = {
    "base64": sealed,
    "Chinese": told_in(CHINESE),
    "Arabic": told_in(ARABIC),
    "Arabic in Arabic digits": in_digits_from("\u0660", ARABIC),
    "Hindi in Hindi digits": in_digits_from("\u0966", HINDI),
    "Chinese in full-width digits": in_digits_from("\uff10", CHINESE),
    "Korean": told_in(KOREAN),
    "emoji": told_in(EMOJI),
    "English": told_in("Two tickets, row 7, for the evening show. "),
    "Chinese in base64": in_base64(told_in(CHINESE)),
    "Arabic in base64": in_base64(told_in(ARABIC)),
    "full-width digits in base64": in_base64(in_digits_from("\uff10", CHINESE)),
    "addresses": returning,
    "times": from_and_to,
    "base64 in JSON": in_json(sealed),
    "base64 in JSON in JSON": in_json(in_json(sealed)),
    "Chinese in JSON": in_json(told_in(CHINESE)),
    "Arabic in Arabic digits in JSON in JSON": in_json(in_json(in_digits_from("\u0660", ARABIC))),
    "lines of Arabic": of_lines(in_digits_from("\u0660", ARABIC)),
    "lines of Chinese": of_lines(told_in(CHINESE)),
}


def bulk(values: Values, draw: Draw, *, keeps_ascii: bool, indent: int | None) -> bytes:
    """As many payments as a bulk may hold, and as much metadata as it has room for."""

    def written(value: object) -> bytes:
        return json.dumps(value, ensure_ascii=keeps_ascii, indent=indent).encode()

    payments = []
    for count in range(BULK_ITEMS_MAX):
        metadata: dict[str, str] = {}
        payment = {
            "idempotency_key": f"{draw.getrandbits(128):032x}",
            "amount": draw.randrange(100, 100_000),
            "currency": "EUR",
            "merchant_reference": f"order-{count}",
            "description": values(draw),
            "metadata": metadata,
        }
        room = 0.9 * BULK_BYTES_MAX / BULK_ITEMS_MAX - len(written(payment))
        while len(metadata) < METADATA_KEYS_MAX:
            name, value = f"note_{len(metadata)}", values(draw)
            room -= len(written({name: value}))
            if room < 0:
                break
            metadata[name] = value
        payments.append(payment)
    return written({"payments": payments})
