"""What it costs to check a log: all entries of a folder, and the proof of one of them."""

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final
from uuid import UUID

from bench.cluster import PLACE
from bench.measures import Lengths, Outcome
from strongroom.log.entries import EPOCH, Entry
from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.tiles import BATCH_ENTRIES, TileFolder
from strongroom.log.tree import NO_LEAVES, leaf_hash
from strongroom.log.verifying import LogRefused, prove, verify_folder, verify_proof

ORIGIN: Final = "bench.example/log"
PROOFS: Final = 500
FIRST_AT: Final = EPOCH + timedelta(days=20_000)
EACH: Final = timedelta(microseconds=170)
ACCEPTED: Final = (
    '{"amount_minor":1999,"capture":"automatic","currency":"EUR","gateway":"stripe",'
    '"gateway_account_id":"01a226cb-e875-78e5-9c68-ab3e7524f384","idempotency_key":"%(text).36s",'
    '"merchant_reference":"order-%(text).18s","not_after":"2026-11-29T10:28:53.080649Z",'
    '"status":"processing","texts":"%(text)s"}'
)
SUCCEEDED: Final = (
    '{"attempt":{"gateway_object_id":"pi_%(text).24s","no":1,'
    '"opened_at":"2026-11-29T10:13:53.268279Z","state":"approved"},"call":{"operation":"send",'
    '"started_at":"2026-11-29T10:13:53.597319Z","duration_ms":5.0,"outcome":"succeeded",'
    '"http_status":200},"captured_minor":1999,"status":"succeeded"}'
)
VERSIONS: Final = (
    ("payment.accepted", "key_01m8kcqt3nf3jsx4kgdxtj9ww4", ACCEPTED),
    ("payment.succeeded", "worker", SUCCEEDED),
)
"""Kind, actor and payload of a payment's events, as API and worker commit them."""


def measure(lengths: Lengths) -> Outcome:
    """Makes a log of so many entries in a temporary folder, verifies it, and proves some."""
    size, wrong = lengths.verify_entries, list[str]()
    key = NoteKey.new(ORIGIN)
    # What a killed bench leaves of this goes with the homes of its deployments.
    with TemporaryDirectory(prefix="home-log-", dir=PLACE) as place:
        folder = TileFolder(Path(place))
        began = time.perf_counter()
        entry_bytes = fill(folder, key, size)
        filled = time.perf_counter() - began
        rates = list[float]()
        try:
            for _ in range(lengths.verify_rounds):
                began = time.perf_counter()
                found = verify_folder(folder, key.verifier)
                rates.append(found.size / (time.perf_counter() - began))
            proofs_ms, proof_bytes = proven(folder, key, size)
        except LogRefused as problem:
            wrong.append(str(problem))
            proofs_ms, proof_bytes = [0.0], [0]
    return Outcome(
        {
            "verify_entries_per_s": median(rates or [0.0]),
            "proof_ms": median(proofs_ms),
            "proof_bytes": median(proof_bytes),
        },
        {
            "entries": size,
            "entry_bytes": round(entry_bytes / size, 1),
            "fill_seconds": round(filled, 1),
            "rates": [round(rate) for rate in rates],
            "proof_max_ms": round(max(proofs_ms), 2),
            "proof_max_bytes": max(proof_bytes),
        },
        wrong,
    )


def fill(folder: TileFolder, key: NoteKey, size: int) -> int:
    """Writes a log of `size` entries, signed, as the signer does; returns their bytes."""
    frontier, total, rest = NO_LEAVES, 0, entries(size)
    while some := list(islice(rest, BATCH_ENTRIES)):
        folder.append(frontier.size, some)
        frontier = frontier.extended([leaf_hash(entry) for entry in some])
        total += sum(map(len, some))
    folder.write_checkpoint(
        sign_note(Checkpoint(ORIGIN, frontier.size, frontier.root()).text(), key)
    )
    return total


def entries(size: int) -> Iterator[bytes]:
    """As many entries, each another one, of payments that were accepted and succeeded."""
    for index in range(size):
        number, version = divmod(index, len(VERSIONS))
        kind, actor, payload = VERSIONS[version]
        digest = sha256(index.to_bytes(8, "big"))
        yield Entry(
            kind=kind,
            subject_id=UUID(int=number),
            version=version + 1,
            at=FIRST_AT + index * EACH,
            row_format=4,
            row_digest=digest.digest(),
            actor=actor,
            payload=(payload % {"text": digest.hexdigest()}).encode(),
        ).content()


def proven(folder: TileFolder, key: NoteKey, size: int) -> tuple[list[float], list[int]]:
    """Milliseconds to make each of some proofs, which are checked, and their bytes.

    Raises LogRefused.
    """
    chance, took, lengths = random.Random(7), list[float](), list[int]()
    for index in (chance.randrange(size) for _ in range(PROOFS)):
        began = time.perf_counter()
        proof = prove(folder, index, key.verifier)
        took.append((time.perf_counter() - began) * 1000)
        lengths.append(len(proof))
        [entry] = folder.entries(index, index + 1)
        verify_proof(proof, entry, key.verifier)
    return took, lengths
