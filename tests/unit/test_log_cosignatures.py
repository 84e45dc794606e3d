"""Cosignatures: what another program signed is read, and ours says a time that nobody can move."""

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from strongroom.log.cosignatures import (
    CosignatureVerifier,
    CosigningKey,
    cosigned,
    witnessed,
)
from strongroom.log.notes import (
    SIGNATURES_MAX,
    Checkpoint,
    NoteKey,
    NoteRefused,
    NoteVerifier,
    from_base64,
    note_parts,
    open_note,
    sign_note,
    signatures_by,
    to_base64,
    with_signatures,
)
from strongroom.log.tree import leaf_hash
from strongroom.vault.secret import Secret

# A checkpoint of a public log that public witnesses cosigned, and the keys of two of the signers.
PUBLIC_NOTE = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ\
3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTyn\
k5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2\
TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
""".encode()
PUBLIC_WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
PUBLIC_SECONDS = 0x6A122120

LOG = NoteKey.new("example.com/payments")
WITNESS = CosigningKey.new("witness.example/w1")
OTHER = CosigningKey.new("witness.example/w2")
SECONDS = 1_800_000_000
TEXT = Checkpoint("example.com/payments", 7, leaf_hash(b"seven")).text()
NOTE = sign_note(TEXT, LOG)
LINE = WITNESS.cosign(TEXT, SECONDS)
COSIGNED = with_signatures(NOTE, [LINE])


def test_what_a_public_witness_signed_is_read() -> None:
    verifier = CosignatureVerifier.read(PUBLIC_WITNESS)
    assert verifier.text() == PUBLIC_WITNESS
    seen = witnessed(PUBLIC_NOTE, verifier)
    assert (seen.checkpoint.size, seen.seconds) == (1432088532, PUBLIC_SECONDS)


def test_a_public_checkpoint_of_another_size_is_not_what_was_signed() -> None:
    changed = PUBLIC_NOTE.replace(b"1432088532", b"1432088533")
    with pytest.raises(NoteRefused, match="not good"):
        witnessed(changed, CosignatureVerifier.read(PUBLIC_WITNESS))


def test_the_message_is_that_of_the_specification() -> None:
    """Checked by cryptography's Ed25519 alone, over bytes that are spelled out."""
    signature = from_base64(LINE.split(" ")[2])
    assert signature[:4] == WITNESS.verifier.key_id
    assert signature[4:12] == SECONDS.to_bytes(8, "big")
    message = b"cosignature/v1\ntime 1800000000\n" + TEXT
    Ed25519PublicKey.from_public_bytes(WITNESS.verifier.public).verify(signature[12:], message)


def test_a_cosigned_note_begins_with_the_very_bytes_of_the_log_s() -> None:
    assert NOTE + LINE.encode() + b"\n" == COSIGNED
    assert open_note(COSIGNED, LOG.verifier) == TEXT
    assert open_note(COSIGNED, WITNESS.verifier) == TEXT
    assert open_note(COSIGNED, LOG.verifier, WITNESS.verifier) == TEXT
    assert witnessed(COSIGNED, WITNESS.verifier).seconds == SECONDS
    with pytest.raises(NoteRefused, match="nobody who is known"):
        open_note(COSIGNED, OTHER.verifier)


def test_one_key_signs_otherwise_as_a_log_and_as_a_witness() -> None:
    key = Ed25519PrivateKey.generate()
    log, witness = NoteKey("one.example", key), CosigningKey("one.example", key)
    assert log.verifier.key_id != witness.verifier.key_id
    with pytest.raises(NoteRefused, match="nobody who is known"):
        open_note(sign_note(TEXT, log), witness.verifier)
    with pytest.raises(NoteRefused, match="not that of a witness"):
        CosignatureVerifier.read(log.verifier.text())
    with pytest.raises(NoteRefused, match="kind that is not known"):
        NoteVerifier.read(witness.verifier.text())
    with pytest.raises(NoteRefused, match="not that of a witness"):
        CosigningKey.read(log.text())
    # The log's signature, said to be that of the witness at some time.
    signature = witness.verifier.key_id + bytes(8) + log.sign(TEXT)
    with pytest.raises(NoteRefused, match="not good"):
        open_note(TEXT + f"\n— one.example {to_base64(signature)}\n".encode(), witness.verifier)


@given(st.integers(0, (4 + 8 + 64) * 8 - 1))
def test_a_cosignature_with_any_bit_flipped_is_not_one(bit: int) -> None:
    signature = bytearray(from_base64(LINE.split(" ")[2]))
    signature[bit // 8] ^= 1 << bit % 8
    line = f"— {WITNESS.verifier.name} {to_base64(bytes(signature))}"
    with pytest.raises(NoteRefused):
        witnessed(TEXT + b"\n" + line.encode() + b"\n", WITNESS.verifier)


@pytest.mark.parametrize("length", [1, 8, 64, 71, 73])
def test_a_cosignature_of_another_length_is_not_good(length: int) -> None:
    line = f"— {WITNESS.verifier.name} {to_base64(WITNESS.verifier.key_id + bytes(length))}\n"
    with pytest.raises(NoteRefused, match="not good"):
        open_note(TEXT + b"\n" + line.encode(), WITNESS.verifier)


def test_a_time_that_no_signed_number_holds_is_refused() -> None:
    line = WITNESS.cosign(TEXT, 2**63)
    with pytest.raises(NoteRefused, match="not good"):
        witnessed(with_signatures(NOTE, [line]), WITNESS.verifier)


def test_of_an_answer_only_the_lines_of_the_witness_are_taken() -> None:
    answer = [OTHER.cosign(TEXT, SECONDS), LINE, LOG_LINE_OF_SOMEBODY]
    assert cosigned(NOTE, answer, WITNESS.verifier) == COSIGNED
    for wrong in (answer[:1], [""], ["— x"], [WITNESS.cosign(TEXT + b"more\n", SECONDS)]):
        with pytest.raises(NoteRefused):
            cosigned(NOTE, wrong, WITNESS.verifier)


LOG_LINE_OF_SOMEBODY = f"— somebody {to_base64(bytes(68))}"


def test_a_newer_line_takes_the_place_of_an_older_one_of_the_same_key() -> None:
    both = with_signatures(COSIGNED, [OTHER.cosign(TEXT, SECONDS)])
    later = with_signatures(both, [WITNESS.cosign(TEXT, SECONDS + 60)])
    assert len(note_parts(later)[1]) == 3
    assert witnessed(later, WITNESS.verifier).seconds == SECONDS + 60
    assert witnessed(later, OTHER.verifier).seconds == SECONDS
    assert list(signatures_by(later, LOG.verifier)) == note_parts(NOTE)[1]


def test_a_note_has_no_more_signatures_than_it_can() -> None:
    lines = [CosigningKey.new(f"w{number}").cosign(TEXT, 0) for number in range(SIGNATURES_MAX)]
    with pytest.raises(NoteRefused, match="more than"):
        with_signatures(NOTE, lines)


def test_a_key_is_read_as_it_was_written_and_never_shown() -> None:
    text = WITNESS.text()
    assert CosigningKey.read(text).verifier == WITNESS.verifier
    assert CosignatureVerifier.read(WITNESS.verifier.text()) == WITNESS.verifier
    seed = text.reveal_text().split("+", 4)[4]  # in base64, which has this sign, too
    assert seed not in f"{WITNESS!r} {WITNESS} {text!r}"
    with pytest.raises(TypeError):
        pickle.dumps(WITNESS)
    with pytest.raises(TypeError):
        copy.deepcopy(WITNESS)
    with pytest.raises(NoteRefused) as refusal:
        CosigningKey.read(Secret(text.reveal_text().replace("w1", "w9")))
    assert seed not in str(refusal.value)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(NoteRefused, match="32 bytes"):
        CosignatureVerifier("w", bytes(length))
