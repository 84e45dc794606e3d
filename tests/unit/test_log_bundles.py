"""A bundle for a dispute: what it shows, and everything that is refused, whoever tried it."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.cli import bundling, main
from strongroom.config import Home, Settings
from strongroom.ids import to_text
from strongroom.log.bundles import check_bundle, make_bundle
from strongroom.log.cosignatures import CosigningKey, cosigned
from strongroom.log.notes import NoteKey
from strongroom.log.proofs import proven_entry
from strongroom.log.stories import Story
from strongroom.log.tiles import TileFolder
from strongroom.log.verifying import LogRefused
from strongroom.log.witnessed import COSIGNED
from tests.unit.log_bundles import (
    DISPUTE,
    ENTITY,
    KEY,
    ORIGIN,
    OTHER,
    PAYMENT,
    REFUND,
    Kept,
    changed,
    story_of,
)

WITNESS = CosigningKey.new("witness.example/w1")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("log"), story_of(), story_of(OTHER))


@pytest.fixture(scope="module")
def bundle(kept: Kept) -> bytes:
    return kept.bundle()


def written(file: Json) -> bytes:
    """As the program writes it, so that only what was changed is wrong."""
    return json.dumps(file, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def test_a_bundle_shows_the_story_and_who_exported_it(bundle: bytes) -> None:
    found = check_bundle(bundle, KEY.verifier)
    assert found.story == story_of()
    assert [one.version for one in found.entries] == list(range(1, 7))
    assert (found.exported.actor, found.checkpoint.origin) == ("operator:ada", ORIGIN)
    assert written(json.loads(bundle)) == bundle


def test_the_command_shows_it_without_a_home(
    bundle: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(KEY.verifier.text())
    (tmp_path / "bundle").write_bytes(bundle)
    words = ["verify", "--bundle", str(tmp_path / "bundle"), "--key", str(tmp_path / "key")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f"bundle  {to_text('pay', PAYMENT)}: 6 events, each in the log\n" in told
    assert "  by operator:ada\nstands  succeeded  19.99 EUR\n" in told
    assert f"  {to_text('ref', REFUND)}  succeeded  5.00 EUR\n" in told
    assert f"  {to_text('dsp', DISPUTE)}  needs_response  14.99 EUR\n" in told
    (tmp_path / "bundle").write_bytes(bundle.replace(b'"succeeded"', b'"failed"', 1))
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert (out, err[:12]) == ("", "strongroom: ")
    assert main([*words, "--older", str(tmp_path / "key")]) == 1
    assert "--older goes with --log" in capsys.readouterr().err


@given(st.data())
def test_a_bundle_with_any_bit_flipped_is_refused(bundle: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(bundle) * 8 - 1))
    flipped = bytearray(bundle)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LogRefused):
        check_bundle(bytes(flipped), KEY.verifier)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_bundle_are_refused(content: bytes) -> None:
    with pytest.raises(LogRefused):
        check_bundle(content, KEY.verifier)


def _drop(place: int) -> Callable[[Json], None]:
    def change(file: Json) -> None:
        del file["entries"][place]

    return change


def _set(path: str, value: object) -> Callable[[Json], None]:
    def change(file: Json) -> None:
        *parts, last = path.split("/")
        at: Any = file
        for part in parts:
            at = at[int(part) if part.isdigit() else part]
        assert at[last] != value
        at[last] = value

    return change


def _swap(file: Json) -> None:
    file["entries"][2], file["entries"][3] = file["entries"][3], file["entries"][2]


def _swap_proofs(file: Json) -> None:
    one, two = file["entries"][2], file["entries"][3]
    one["proof"], two["proof"] = two["proof"], one["proof"]


def _twice(file: Json) -> None:
    file["entries"].append(file["entries"][-1])


def _beside(file: Json) -> None:
    proof = file["exported"]["proof"]
    file["exported"]["proof"] = proof.replace("@v1\n", "@v1\nextra aGVsbG8=\n")


def _cut(file: Json) -> None:
    """The last event never was, in the story as well."""
    del file["entries"][-1]
    del file["story"]["events"][-1]
    file["story"]["version"] = 5


EDITS: dict[str, Callable[[Json], None]] = {
    "a status": _set("story/standing/status", "failed"),
    "an amount": _set("story/standing/refunded_minor", 1999),
    "a call that no entry knows": _set("story/attempts/0/calls", []),
    "a refund": _set("story/refunds", []),
    "a dispute": _set("story/disputes/0/status", "won"),
    "an event": _set("story/events/3/kind", "refund.failed"),
    "who did it": _set("story/events/0/actor", "key:other"),
    "another payment's name": _set("id", to_text("pay", OTHER)),
    "another payment's story": _set("story/payment", to_text("pay", OTHER)),
    "another legal entity": _set("story/legal_entity", to_text("ent", PAYMENT)),
    "a word of its own": _set("story/standing/status_reason", "\x1b[2J"),
    "a subject that is no payment": _set("id", to_text("cus", PAYMENT)),
    "another format": _set("format", "strongroom/bundle/2"),
    "the first entry left out": _drop(0),
    "one entry left out": _drop(3),
    "the last entry left out": _drop(-1),
    "the last event left out everywhere": _cut,
    "no entry": _set("entries", []),
    "entries swapped": _swap,
    "proofs swapped": _swap_proofs,
    "an entry twice": _twice,
    "words that nothing vouches for": _beside,
}


@pytest.mark.parametrize("what", EDITS)
def test_what_a_recipient_edits_is_refused(bundle: bytes, what: str) -> None:
    file = json.loads(bundle)
    EDITS[what](file)
    with pytest.raises(LogRefused):
        check_bundle(written(file), KEY.verifier)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"status"', b'"status": "failed",\n      "status"', 1),
        lambda text: text.replace(b'"format"', b'"note": "checked",\n  "format"', 1),
        lambda text: text.replace(b'"refunds"', b'"verdict": "ours",\n    "refunds"', 1),
        lambda text: text.replace(b"  ", b"   ", 1),
        lambda text: text.replace(b"1999", b"1999.0", 1),
        lambda text: text.replace(b'"EUR"', b'"\\u0045UR"', 1),
        lambda text: text + b"\n",
        lambda text: text.strip(),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"[" * 100_000,
    ],
)
def test_words_beside_those_that_are_vouched_for_are_refused(
    bundle: bytes, change: Callable[[bytes], bytes]
) -> None:
    edited = change(bundle)
    assert edited != bundle
    with pytest.raises(LogRefused):
        check_bundle(edited, KEY.verifier)


def test_an_export_of_another_payment_does_not_vouch(kept: Kept, bundle: bytes) -> None:
    """Its entry is genuine, and so is its proof."""
    mine, other = json.loads(bundle), json.loads(kept.bundle(1))
    for part in ("exported", "story", "entries"):
        with pytest.raises(LogRefused):
            check_bundle(written({**mine, part: other[part]}), KEY.verifier)
    last = kept.placed(PAYMENT)[-1]
    event = proven_entry(kept.folder, *last, KEY.verifier)
    mine["exported"] = {"entry": event.entry, "proof": event.proof}
    with pytest.raises(LogRefused, match="entry of the export is another one"):
        check_bundle(written(mine), KEY.verifier)


def test_an_entry_that_somebody_made_up_vouches_for_nothing(kept: Kept, bundle: bytes) -> None:
    """The story was changed, and the entry of the export to fit it; only its proof cannot be."""
    other = changed(story_of(), "standing", [("status_reason", "edited")])
    file = json.loads(bundle)
    file["story"]["standing"]["status_reason"] = "edited"
    _, genuine = kept.exported()
    content = genuine.replace(story_of().digest().encode(), other.digest().encode())
    assert content != genuine
    file["exported"]["entry"] = b64encode(content).decode()
    with pytest.raises(LogRefused, match="does not show that this is entry 12"):
        check_bundle(written(file), KEY.verifier)


@pytest.mark.parametrize("by", ["api", "Operator:ada", "operator"])
def test_an_export_that_no_operator_made_vouches_for_nothing(tmp_path: Path, by: str) -> None:
    """A login of a process writes events as itself, and the log signs what it finds."""
    with pytest.raises(LogRefused, match="not made by an operator"):
        Kept(tmp_path, story_of(), by=by).bundle()


LIES: dict[str, Callable[[Story], Story]] = {
    "a status": lambda one: changed(one, "standing", [("status", "failed")]),
    "a reason": lambda one: changed(one, "standing", [("status_reason", "insufficient_funds")]),
    "an amount": lambda one: changed(one, "standing", [("amount_minor", 9)]),
    "a sum": lambda one: changed(one, "standing", [("refunded_minor", 1999)]),
    "a reference": lambda one: changed(one, "standing", [("merchant_reference", "order-2")]),
    "no refund": lambda one: replace(one, refunds=[]),
    "a refund twice": lambda one: replace(
        one, refunds=[*one.refunds, replace(one.refunds[0], id=to_text("ref", OTHER))]
    ),
    "a refund's status": lambda one: changed(one, "refunds", [("status", "failed")]),
    "a refund's object": lambda one: changed(one, "refunds", [("gateway_object_id", "re_2")]),
    "no dispute": lambda one: replace(one, disputes=[]),
    "a dispute's amount": lambda one: changed(one, "disputes", [("amount_minor", 1)]),
    "a dispute's deadline": lambda one: changed(one, "disputes", [("evidence_due_by", None)]),
    "an attempt's object": lambda one: changed(one, "attempts", [("gateway_object_id", "pi_2")]),
    "no attempt": lambda one: replace(one, attempts=[]),
    "an event's actor": lambda one: changed(one, "events", [("actor", "key:other")]),
    "an event's payload": lambda one: changed(one, "events", [("payload", {"status": "failed"})]),
    "an event's kind": lambda one: changed(one, "events", [("kind", "payment.failed")]),
    "an event less": lambda one: replace(one, events=one.events[:-1], version=5),
    "another version": lambda one: replace(one, version=5),
    "another payment": lambda one: replace(one, payment=to_text("pay", OTHER)),
    "another legal entity": lambda one: replace(one, legal_entity=to_text("ent", OTHER)),
}


@pytest.mark.parametrize("what", LIES)
def test_who_exports_cannot_lie_about_what_the_log_knows(tmp_path: Path, what: str) -> None:
    """The story is signed as it is told: its export is a genuine event of the log."""
    told = LIES[what](story_of())
    assert told != story_of()
    lying = Kept(tmp_path, told)
    with pytest.raises(LogRefused):
        make_bundle(
            told, lying.exported(), lying.placed(PAYMENT), lying.folder, KEY.verifier, lying.note
        )


def test_a_forged_checkpoint_is_refused(kept: Kept, bundle: bytes, tmp_path: Path) -> None:
    forged = Kept(tmp_path / "forged", story_of(), key=NoteKey.new(ORIGIN)).bundle()
    with pytest.raises(LogRefused, match="does not hold"):
        check_bundle(forged, KEY.verifier)
    file = json.loads(bundle)
    file["exported"]["proof"] = json.loads(forged)["exported"]["proof"]
    with pytest.raises(LogRefused, match="does not hold"):
        check_bundle(written(file), KEY.verifier)
    for other in (NoteKey.new(ORIGIN), NoteKey.new("example.com/other")):
        with pytest.raises(LogRefused):
            check_bundle(bundle, other.verifier)


def test_a_log_of_another_legal_entity_does_not_vouch(tmp_path: Path) -> None:
    key = NoteKey.new(f"example.com/payments/{to_text('ent', OTHER)}")
    with pytest.raises(LogRefused, match="of another payment than the entries"):
        Kept(tmp_path, story_of(), key=key).bundle()


def test_the_log_of_a_later_epoch_vouches_as_well(tmp_path: Path) -> None:
    key = NoteKey.new(f"{ORIGIN}/2")
    content = Kept(tmp_path, story_of(), key=key).bundle()
    assert check_bundle(content, key.verifier).checkpoint.origin == f"{ORIGIN}/2"


def test_no_bundle_is_made_of_what_is_not_signed_yet(kept: Kept) -> None:
    note = kept.signed(len(kept.entries) - 2)
    with pytest.raises(LogRefused, match="There is no entry 12"):
        make_bundle(
            kept.stories[0], kept.exported(), kept.placed(PAYMENT), kept.folder, KEY.verifier, note
        )


def test_a_witness_is_asked_for(kept: Kept, bundle: bytes) -> None:
    line = WITNESS.cosign(kept.note.partition(b"\n\n")[0] + b"\n", 1_790_000_000)
    note = cosigned(kept.note, [line], WITNESS.verifier)
    seen = make_bundle(
        kept.stories[0], kept.exported(), kept.placed(PAYMENT), kept.folder, KEY.verifier, note
    )
    found = check_bundle(seen, KEY.verifier, [WITNESS.verifier])
    assert (found.story, found.unchecked) == (story_of(), ())
    other = CosigningKey.new(WITNESS.name).verifier
    for content, witness in ((bundle, WITNESS.verifier), (seen, other)):
        with pytest.raises(LogRefused, match=r"not cosigned by witness.example/w1"):
            check_bundle(content, KEY.verifier, [witness])
    file = json.loads(seen)
    file["entries"][0] = json.loads(bundle)["entries"][0]
    with pytest.raises(LogRefused, match="not cosigned"):
        check_bundle(written(file), KEY.verifier, [WITNESS.verifier])


def test_a_name_that_nobody_has_looked_at_is_told(
    bundle: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody can write one there: a reader of the file must not take it for a witness's word."""
    assert check_bundle(bundle, KEY.verifier).unchecked == ()
    file = json.loads(bundle)
    for one in (file["exported"], *file["entries"]):
        one["proof"] += f"\u2014 witness.bank.example/saw-it {'A' * 44}\n"
    named = written(file)
    assert check_bundle(named, KEY.verifier).unchecked == ("witness.bank.example/saw-it",)
    (tmp_path / "bundle").write_bytes(named)
    (tmp_path / "key").write_text(KEY.verifier.text())
    words = ["verify", "--bundle", str(tmp_path / "bundle"), "--key", str(tmp_path / "key")]
    assert main(words) == 0
    assert "cosigned, and not checked: witness.bank.example/saw-it" in capsys.readouterr().out


def test_of_a_legal_entitys_own_events_there_is_no_bundle(kept: Kept, bundle: bytes) -> None:
    file = json.loads(bundle)
    file["entries"] = [file["exported"]]
    file["id"] = to_text("ent", ENTITY)
    with pytest.raises(LogRefused, match="not of a payment"):
        check_bundle(written(file), KEY.verifier)


async def test_what_a_witness_cosigned_is_taken_once_it_has_the_export(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the newest that the log signed: signing waits for no witness, a bundle for a moment."""
    monkeypatch.setattr(bundling, "COSIGNED_SECONDS_MAX", 0.3)
    home, folder = Home(tmp_path), TileFolder(tmp_path)
    home.write_settings(Settings(mode="dev"))
    index, file = kept.exported()[0], tmp_path / COSIGNED

    async def taken() -> bytes | None:
        return await bundling._cosigned(home, folder, KEY.verifier, index)

    assert (await taken(), capsys.readouterr().err) == (None, "")
    for size, is_taken in ((index, False), (index + 1, True)):
        note = kept.signed(size)
        line = WITNESS.cosign(note.partition(b"\n\n")[0] + b"\n", 1_790_000_000)
        file.write_bytes(cosigned(note, [line], WITNESS.verifier))
        assert await taken() == (file.read_bytes() if is_taken else None)
        assert ("no witness has cosigned it yet" in capsys.readouterr().err) is not is_taken
    file.write_bytes(NoteKey.new(ORIGIN).verifier.text().encode())
    with pytest.raises(LogRefused, match=r"checkpoint.cosigned does not hold"):
        await taken()
