"""Brings each log's newest checkpoint to the witnesses, and keeps what they say of it.

It runs beside the signer and never holds it up: it reads what was published, in threads, and what
it writes in the checkpoint's place is the same checkpoint with more signatures, or nothing.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import structlog

from strongroom.clock import Clock, monotonic_seconds
from strongroom.config import WitnessAt, replace_file
from strongroom.errors import InvariantBroken, described
from strongroom.log.cosignatures import CosignatureVerifier, cosigned, verifier_of, witnessed
from strongroom.log.entries import written_at
from strongroom.log.epochs import epoch_of
from strongroom.log.notes import (
    SIZE,
    Checkpoint,
    NoteRefused,
    note_parts,
    with_signatures,
)
from strongroom.log.tiles import CHECKPOINT, TileFolder, TilesRefused, sync
from strongroom.log.tree import consistency_proof
from strongroom.log.witnessed import COSIGNED, cosigned_by
from strongroom.log.witnessing import ADD_CHECKPOINT, SIZE_TYPE, Submission
from strongroom.telemetry.port import NO_TELEMETRY, Behind, NoTelemetry
from strongroom.work.lasting import lasting, let_go

LOOK_SECONDS: Final = 0.2
PAUSE_SECONDS: Final = 1.0
"""Between two submissions of one log to one witness."""
PAUSE_SECONDS_MAX: Final = 60.0
LAG_SECONDS_MAX: Final = 60.0
TOLD_SECONDS: Final = 60.0
"""Between two lines of the log that say the same of one log and witness."""
ANSWER_SECONDS_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 16_384
AT_ONCE_MAX: Final = 8
"""Submissions to one witness."""
FILE_MODE: Final = 0o644
REFUSALS: Final = {
    400: "malformed",
    403: "signature_unknown",
    404: "log_unknown",
    409: "another_root",
    413: "too_large",
    422: "proof_refused",
}
"""What the log says of a witness's answer."""
CONTRADICTIONS: Final = frozenset({"another_root", "proof_refused", "saw_more"})
"""Those refusals that say that the witness saw another history."""

Tell = Callable[[UUID, int, bytes], None]
"""Hears of which epoch of which log a witness cosigned the newest checkpoint, and the note."""

log = structlog.get_logger()


class WitnessRefuses(Exception):
    """The witness does not cosign this checkpoint; the message is a word that says why."""


class WitnessAway(Exception):
    """The witness could not be asked, or its answer is not one; the message is a word."""


class Standing:
    """How one log stands with one witness."""

    def __init__(self, now: float) -> None:
        self.size = 0
        """What the witness cosigned last, as far as it is known."""
        self.text: bytes | None = None
        """The text of the checkpoint that it cosigned last."""
        self.next_at = now
        self.pause = PAUSE_SECONDS
        self.behind_since: float | None = None
        self.told_at: dict[str, float] = {}
        self.cosigned: int | None = None
        """How many entries the witness's word covers that lies here; None until it was read."""
        self.entries = 0
        """How many are published beyond that."""
        self.since: datetime | None = None
        """When the oldest of these was written."""
        self.contradicted = False

    def look(self, folder: Path, verifier: CosignatureVerifier, size: int, now: datetime) -> None:
        """Finds out how far the witness is behind a checkpoint of this size."""
        if self.cosigned is None:
            self.cosigned = _size_cosigned(folder, verifier)
        self.entries = max(0, size - self.cosigned)
        if self.entries == 0:
            self.since = None
        elif self.since is None:
            self.since = _written_at(folder, self.cosigned) or now

    def caught_up(self) -> None:
        """The witness has cosigned the newest checkpoint."""
        self.behind_since, self.pause = None, PAUSE_SECONDS
        self.cosigned, self.entries, self.since = self.size, 0, None
        self.contradicted = False


class Submitter:
    """Submits the logs of one folder to the witnesses of the settings."""

    def __init__(
        self,
        logs: Path,
        witnesses: Sequence[WitnessAt],
        clock: Clock,
        telemetry: NoTelemetry = NO_TELEMETRY,
        tell: Tell | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tell` hears of what was cosigned; `tls` is whom to trust over TLS.

        Raises ConfigurationError for a key that is not that of a witness.
        """
        self._tell_cosigned, self._tls = tell, tls
        self._logs, self._clock, self._telemetry = logs, clock, telemetry
        self._witnesses = [(one.url.rstrip("/"), verifier_of(one)) for one in witnesses]
        self._standing: dict[tuple[str, str], Standing] = {}
        self._keeping: dict[Path, asyncio.Lock] = {}

    def behind(self) -> list[Behind]:
        """How each witness stands, over all logs."""
        now, found = self._clock.now(), []
        for name in dict.fromkeys(verifier.name for _, verifier in self._witnesses):
            keys = {verifier.text() for _, verifier in self._witnesses if verifier.name == name}
            standings = [one for (_, key), one in self._standing.items() if key in keys]
            since = min((one.since for one in standings if one.since), default=now)
            found.append(
                Behind(
                    witness=name,
                    entries=sum(one.entries for one in standings),
                    seconds=max(0.0, (now - since).total_seconds()),
                    contradicted=sum(one.contradicted for one in standings),
                )
            )
        return found

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        async with aiohttp.ClientSession(
            timeout=timeout, trust_env=False, connector=connector
        ) as session:
            asking = [lasting(self._ask(session, *witness)) for witness in self._witnesses]
            try:
                if asking:
                    await asyncio.wait(asking)
            finally:
                await let_go(*asking)

    async def _ask(
        self, session: aiohttp.ClientSession, url: str, verifier: CosignatureVerifier
    ) -> None:
        at_once = asyncio.Semaphore(AT_ONCE_MAX)

        async def ask(folder: Path) -> None:
            async with at_once:
                await self.step(session, url, verifier, folder)

        while True:
            try:
                folders = await asyncio.to_thread(_folders, self._logs)
                await asyncio.gather(*map(ask, folders))
            except Exception as fault:  # noqa: BLE001 - the witness is to be asked again
                log.error("log_not_submitted", **described(fault))
            await asyncio.sleep(LOOK_SECONDS)

    async def step(
        self,
        session: aiohttp.ClientSession,
        url: str,
        verifier: CosignatureVerifier,
        folder: Path,
    ) -> None:
        """Submits one log to one witness, where that is due and there is something new."""
        now = monotonic_seconds()
        standing = self._standing.setdefault((folder.name, verifier.text()), Standing(now))
        if now < standing.next_at:
            return
        standing.next_at = now + PAUSE_SECONDS
        told: dict[str, object] = {"host": urlsplit(url).hostname, "ids": [folder.name]}
        try:
            note = await asyncio.to_thread(TileFolder(folder).checkpoint)
            if note is None or note_parts(note)[0] == standing.text:
                return
            if standing.behind_since is None:
                standing.behind_since = now
            size = Checkpoint.read(note_parts(note)[0]).size
            await asyncio.to_thread(standing.look, folder, verifier, size, self._clock.now())
            await self._submit(session, url, verifier, folder, note, standing)
            if standing.since is not None:
                window = (self._clock.now() - standing.since).total_seconds()
                self._telemetry.log_protected("cosigned", verifier.name, window)
            standing.caught_up()
        except WitnessRefuses as refusal:
            standing.contradicted = str(refusal) in CONTRADICTIONS
            self._tell(standing, "witness_refuses", told | {"reason": str(refusal)})
        except WitnessAway as problem:
            told["reason"] = str(problem)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told["reason"] = type(error).__name__
        except (TilesRefused, NoteRefused, InvariantBroken) as fault:
            self._tell(standing, "log_not_submitted", told | described(fault))
        else:
            return
        behind_since = now if standing.behind_since is None else standing.behind_since
        if monotonic_seconds() - behind_since > LAG_SECONDS_MAX:
            self._tell(standing, "witness_lags", told)
        standing.pause = min(2 * standing.pause, PAUSE_SECONDS_MAX)
        standing.next_at = monotonic_seconds() + standing.pause

    def _tell(self, standing: Standing, event: str, told: dict[str, object]) -> None:
        now = monotonic_seconds()
        if now - standing.told_at.get(event, -TOLD_SECONDS) >= TOLD_SECONDS:
            standing.told_at[event] = now
            match event:
                case "witness_refuses":
                    log.error("witness_refuses", **told)
                case "witness_lags":
                    log.error("witness_lags", **told)
                case _:
                    log.error("log_not_submitted", **told)

    async def _submit(
        self,
        session: aiohttp.ClientSession,
        url: str,
        verifier: CosignatureVerifier,
        folder: Path,
        note: bytes,
        standing: Standing,
    ) -> None:
        """Raises WitnessRefuses, WitnessAway, TilesRefused, NoteRefused, and aiohttp's errors."""
        size = Checkpoint.read(note_parts(note)[0]).size
        for _ in range(2):  # the first answer may be the size that it remembers
            if standing.size > size:
                raise WitnessRefuses("saw_more")
            body = await asyncio.to_thread(_body, folder, standing.size, size, note)
            status, content_type, answer = await _post(session, url + ADD_CHECKPOINT, body)
            if status == 200:
                lines = answer.decode("utf-8", "replace").removesuffix("\n").split("\n")
                await self._keep(folder, note, lines, verifier)
                standing.size, standing.text = size, note_parts(note)[0]
                return
            if status == 409 and content_type == SIZE_TYPE:
                standing.size = _size_of(answer, standing.size)
            elif status in REFUSALS:
                raise WitnessRefuses(REFUSALS[status])
            else:
                raise WitnessAway(f"status_{status}")
        raise WitnessAway("size_moves")

    async def _keep(
        self, folder: Path, note: bytes, lines: Sequence[str], verifier: CosignatureVerifier
    ) -> None:
        """Writes the cosigned note, and adds to the checkpoint if that is still the same."""
        async with self._keeping.setdefault(folder, asyncio.Lock()):
            try:
                made = cosigned(note, lines, verifier)
            except NoteRefused:
                raise WitnessAway("no_cosignature") from None
            prepared = folder / f".{COSIGNED}.with.{os.getpid()}"
            await asyncio.to_thread(_write, folder, made, verifier, prepared)
            # No other step of this process comes between: the signer publishes in this thread.
            there = TileFolder(folder).checkpoint()
            if there is not None and note_parts(there)[0] == note_parts(made)[0]:
                prepared.rename(folder / CHECKPOINT)
            else:
                prepared.unlink()
            named = epoch_of(folder.name)
            if self._tell_cosigned is not None and named is not None:
                self._tell_cosigned(*named, await asyncio.to_thread((folder / COSIGNED).read_bytes))


def _write(folder: Path, made: bytes, verifier: CosignatureVerifier, prepared: Path) -> None:
    """The files of what was cosigned: of this witness, of any, and the one to put in place."""
    replace_file(folder / cosigned_by(verifier), made, FILE_MODE)
    newest = folder / COSIGNED
    for file in (newest, folder / CHECKPOINT):
        if file.exists() and note_parts(file.read_bytes())[0] == note_parts(made)[0]:
            made = with_signatures(file.read_bytes(), note_parts(made)[1])
    if not newest.exists() or _size_in(newest) <= Checkpoint.read(note_parts(made)[0]).size:
        replace_file(newest, made, FILE_MODE)
    replace_file(prepared, made, FILE_MODE)
    sync(folder)


def _size_cosigned(folder: Path, verifier: CosignatureVerifier) -> int:
    """How many entries this witness's last word covers, 0 where there is none."""
    try:
        return witnessed((folder / cosigned_by(verifier)).read_bytes(), verifier).checkpoint.size
    except (OSError, NoteRefused):
        return 0


def _written_at(folder: Path, index: int) -> datetime | None:
    """When the event of a published entry was written; None where that cannot be read."""
    try:
        return written_at(next(TileFolder(folder).entries(index, index + 1)))
    except (OSError, TilesRefused):
        return None


def _size_in(file: Path) -> int:
    return Checkpoint.read(note_parts(file.read_bytes())[0]).size


def _folders(logs: Path) -> list[Path]:
    return sorted(logs.glob("ent_*")) if logs.is_dir() else []


def _body(folder: Path, old: int, size: int, note: bytes) -> bytes:
    hash_of = TileFolder(folder).hash_of(size)
    return Submission(old, tuple(consistency_proof(old, size, hash_of)), note).body()


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, str, bytes]:
    """Status, type and body of the answer. Raises WitnessAway, and aiohttp's errors."""
    async with session.post(url, data=body, allow_redirects=False) as response:
        answer = b""
        async for part in response.content.iter_chunked(ANSWER_BYTES_MAX):
            answer += part
            if len(answer) > ANSWER_BYTES_MAX:
                raise WitnessAway("answer_too_long")
        return response.status, response.content_type, answer


def _size_of(answer: bytes, asked: int) -> int:
    """The size that the witness remembers, by its answer. Raises WitnessRefuses, WitnessAway."""
    text = answer.decode("ascii", "replace").removesuffix("\n")
    if not SIZE.fullmatch(text):
        raise WitnessAway("no_size")
    if int(text) == asked:
        raise WitnessRefuses("another_root")
    return int(text)
