"""`strongroom payment-methods adopt`: a file of cards that a Stripe account has, a line a card.

Every line goes through the API, under an Idempotency-Key that follows from the line alone. So a run
that was broken off is run again, and what was done is done once.
"""

import argparse
import asyncio
import csv
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import aiohttp
from msgspec import Struct

from strongroom.cli.load import api_key_of
from strongroom.cli.progress import Bar
from strongroom.config import ConfigurationError, Home
from strongroom.load.plan import target_at

AT_ONCE_MAX: Final = 64
LINES_MAX: Final = 2_000_000
WAIT_SECONDS: Final = 20
LOOKS_MAX: Final = 15
TRIES_MAX: Final = 8
RETRY_SECONDS_MAX: Final = 30.0
CLIENT_SECONDS_MAX: Final = 60.0
AGAIN: Final = frozenset({429, 500, 502, 503, 504})
FATAL: Final = frozenset({401, 403})
GIVEN: Final = ("customer", "payment_method")
OURS: Final = "strongroom_customer"
CONSENT: Final = ("consent_given_at", "consent_text", "consent_purpose")
OF_A_CONSENT: Final = ("given_at", "text_version", "purpose")
PURPOSE: Final = "unscheduled"
"""What a consent is for that does not say it."""
RESULT: Final = (*GIVEN, OURS, "strongroom_payment_method", "refused")


class Line(Struct, frozen=True):
    """A customer of the gateway, a payment method of it, and whom of ours it is for, if said."""

    customer: str
    payment_method: str
    ours: str
    consent: tuple[str, str, str] | None = None
    """When its customer agreed to be charged while away, to which text, and for what."""


class Refused(Exception):
    """The line is refused, with this code or reason."""


def payment_methods_adopt(options: argparse.Namespace) -> int:
    """Adopts what the file lists; 0 when every line is adopted."""
    if not 1 <= options.at_once <= AT_ONCE_MAX:
        raise ConfigurationError(f"--at-once is from 1 to {AT_ONCE_MAX}.")
    url = (options.url or Home(options.home).settings().api_url).rstrip("/")
    target_at(url)
    lines = list(_lines(options.file))
    done = _adopted(options.results)
    with _appending(options.results) as out:
        run = Run(url, api_key_of(options), options.account, out)
        return asyncio.run(run.all(lines, done, options.at_once))


class Run:
    """One run: what its requests share, and how many lines were adopted and refused."""

    def __init__(self, url: str, api_key: str, account: str | None, out: TextIO) -> None:
        self._url, self._account = url, account
        self._headers = {"Authorization": f"Bearer {api_key}", "Prefer": f"wait={WAIT_SECONDS}"}
        self._out = csv.writer(out, lineterminator="\n")
        self._file, self._adopted, self._refused = out, 0, 0

    async def all(self, lines: list[Line], done: set[tuple[str, str]], at_once: int) -> int:
        """Goes through the lines, so many at once; those that are done are left out."""
        bar, waiting = Bar("adopted"), iter(lines)
        timeout = aiohttp.ClientTimeout(total=CLIENT_SECONDS_MAX)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session:

            async def some() -> None:
                for line in waiting:
                    if (line.customer, line.payment_method) in done:
                        self._adopted += 1
                    else:
                        await self._one(session, line)
                    bar(self._adopted + self._refused, len(lines))

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(at_once):
                        group.create_task(some())
            except* ConfigurationError as errors:
                raise errors.exceptions[0] from None
        bar.end()
        print(f"{self._adopted} adopted, {self._refused} refused", file=sys.stderr)
        return 1 if self._refused else 0

    async def _one(self, session: aiohttp.ClientSession, line: Line) -> None:
        ours, method, why = line.ours, "", ""
        try:
            ours = ours or await self._customer(session, line.customer)
            method = await self._adopt(session, line, ours)
            self._adopted += 1
        except Refused as refused:
            why = str(refused)
            self._refused += 1
            print(f"{line.payment_method} of {line.customer}: {why}", file=sys.stderr)
        self._out.writerow((line.customer, line.payment_method, ours, method, why))
        self._file.flush()

    async def _customer(self, session: aiohttp.ClientSession, gateway_customer: str) -> str:
        """The customer of ours that a gateway's customer becomes, made by whoever comes first."""
        body = {"metadata": {"gateway_customer": gateway_customer}}
        made = await self._ask(session, "/v1/customers", body, key_of(gateway_customer))
        return str(made["id"])

    async def _adopt(self, session: aiohttp.ClientSession, line: Line, ours: str) -> str:
        instrument = {
            "gateway": "stripe",
            "token": line.payment_method,
            "gateway_customer": line.customer,
        }
        if self._account is not None:
            instrument["account"] = self._account
        body: dict[str, Any] = {"instrument": instrument}
        if line.consent is not None:
            body["consent"] = dict(zip(OF_A_CONSENT, line.consent, strict=True))
        key = key_of(line.customer, line.payment_method, ours, *(line.consent or ()))
        path = f"/v1/customers/{ours}/payment_methods"
        found = await self._ask(session, path, body, key)
        while found["replayed"] and found["status"] == "failed":
            # Refused in an earlier run: tried once more in this one, under a key of its own.
            found = await self._ask(session, path, body, f"{key}_{found['id']}")
        for _ in range(LOOKS_MAX):
            if found["status"] != "processing":
                break
            found = await self._ask(session, f"/v1/payment_methods/{found['id']}")
        if found["status"] != "ready":
            raise Refused(found["status_reason"] or found["status"])
        return str(found["id"])

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: dict[str, Any] | None = None,
        key: str = "",
    ) -> dict[str, Any]:
        """The answer; what was not answered is asked again.

        Raises Refused, and ConfigurationError where the run cannot go on.
        """
        wait, status, replayed = 1.0, 503, False
        found: dict[str, Any] = {}
        for _ in range(TRIES_MAX):
            try:
                method, headers = (
                    ("GET", {}) if body is None else ("POST", {"Idempotency-Key": key})
                )
                async with session.request(
                    method, self._url + path, json=body, headers=headers
                ) as answer:
                    found = await answer.json(content_type=None)
                    status = answer.status
                    replayed = answer.headers.get("Idempotent-Replayed") == "true"
            except (aiohttp.ClientError, TimeoutError, ValueError):
                status = 503
            if status in FATAL:
                raise ConfigurationError(f"the API refused the key: {found.get('code')}.")
            if status < 300:
                return found | {"replayed": replayed}
            if status not in AGAIN:
                raise Refused(str(found.get("code")))
            await asyncio.sleep(wait)
            wait = min(2 * wait, RETRY_SECONDS_MAX)
        raise ConfigurationError("the API does not answer; run it again, and it goes on.")


def key_of(*parts: str) -> str:
    """The Idempotency-Key that follows from these."""
    return "adopt_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def _lines(file: Path) -> Iterator[Line]:
    """Raises ConfigurationError for a file that is not one, before anything is sent."""
    seen = set[tuple[str, str]]()
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text)
        missing = [name for name in GIVEN if name not in (rows.fieldnames or ())]
        if missing:
            raise ConfigurationError(f"{file} has no column {missing[0]}.")
        for number, row in enumerate(rows, 2):
            line = _line(row)
            if not line.customer or not line.payment_method:
                raise ConfigurationError(f"line {number} of {file} names no card of a customer.")
            if number > LINES_MAX:
                raise ConfigurationError(f"{file} has more than {LINES_MAX} lines: split it.")
            if (line.customer, line.payment_method) not in seen:
                seen.add((line.customer, line.payment_method))
                yield line


def _line(row: dict[str, str]) -> Line:
    def told(name: str) -> str:
        return (row.get(name) or "").strip()

    given_at, text, purpose = (told(name) for name in CONSENT)
    consent = (given_at, text, purpose or PURPOSE) if given_at or text else None
    customer, method, ours = (told(name) for name in (*GIVEN, OURS))
    return Line(customer, method, ours, consent)


def _adopted(results: Path) -> set[tuple[str, str]]:
    """What an earlier run adopted, as its results say."""
    if not results.exists():
        return set()
    with results.open(encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text)
        if tuple(rows.fieldnames or ()) != RESULT:
            raise ConfigurationError(f"{results} is there, and holds no results: name another.")
        # A last line that is not whole has fields that are None: its card is asked for again.
        return {(row[GIVEN[0]], row[GIVEN[1]]) for row in rows if row["refused"] == ""}


def _appending(results: Path) -> TextIO:
    """The file of results, with its head; only its owner reads it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    before = results.read_bytes()[-1:] if results.exists() else b""
    out = os.fdopen(os.open(results, flags, 0o600), "a", encoding="utf-8", newline="")
    if not before:
        out.write(",".join(RESULT) + "\n")
    elif before != b"\n":
        out.write("\n")  # somebody was stopped within a line
    return out
