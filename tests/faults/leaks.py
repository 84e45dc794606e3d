"""Looks for what must not be seen: each known value, in every form in which it could lie."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

SHORTEST: Final = 6
"""Of a form that is looked for: a shorter one is found by chance."""


def forms_of(value: str) -> dict[str, bytes]:
    """By name, the bytes that the value would leave."""
    plain = value.encode()
    forms = {
        "plain": plain,
        "upper case": value.upper().encode(),
        "utf-16": value.encode("utf-16-le"),
        "hex": plain.hex().encode(),
        "hex in capitals": plain.hex().upper().encode(),
        "percent": quote(value, safe="").encode(),
        "percent throughout": "".join(f"%{byte:02X}" for byte in plain).encode(),
        "json": "".join(f"\\u{ord(letter):04x}" for letter in value).encode(),
        "backwards": plain[::-1],
    }
    for shift in range(3):
        # What stands before and behind it is not known, so only whole groups of three count.
        core = base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 :]
        core = core[: len(core) - 4] if (shift + len(plain)) % 3 else core
        forms[f"base64 at {shift}"] = core
        forms[f"base64url at {shift}"] = core.replace(b"+", b"-").replace(b"/", b"_")
    if value.isdecimal():
        fours = [value[at : at + 4] for at in range(0, len(value), 4)]
        forms["spaces"] = " ".join(fours).encode()
        forms["dashes"] = "-".join(fours).encode()
        forms["full width"] = "".join(chr(ord(digit) + 0xFEE0) for digit in value).encode()
    return {name: form for name, form in forms.items() if len(form) >= SHORTEST}


def leaks_in(content: bytes, values: Iterable[str]) -> Iterator[str]:
    """Which value is there, in which form."""
    for value in values:
        for name, form in forms_of(value).items():
            if content.find(form) >= 0:
                yield f"{value[:4]}… as {name}"


def leaks_below(folder: Path, values: list[str], *, but: Iterable[Path] = ()) -> list[str]:
    """What is found in the files below a folder, links to folders followed once."""
    left_out = {one.resolve() for one in but}
    found = []
    for file in sorted(_files(folder.resolve(), left_out)):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue  # a living server takes files away
        found += [f"{file}: {leak}" for leak in leaks_in(content, values)]
    return found


def _files(folder: Path, left_out: set[Path]) -> Iterator[Path]:
    for entry in folder.iterdir():
        place = entry.resolve()
        if place in left_out or entry.is_socket() or entry.is_fifo():
            continue
        if place.is_dir():
            yield from _files(place, left_out)
        elif place.is_file():
            yield place
