"""Signed notes and checkpoints: what Go writes is read and written to the byte; the rest is not."""

import copy
import pickle
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from strongroom.log import notes
from strongroom.log.notes import (
    NOTE_BYTES_MAX,
    Checkpoint,
    NoteKey,
    NoteRefused,
    NoteVerifier,
    from_base64,
    open_note,
    sign_note,
    to_base64,
)
from strongroom.log.tree import EMPTY_ROOT, SIZE_MAX, leaf_hash
from strongroom.vault.secret import Secret

# The example in the documentation of golang.org/x/mod/sumdb/note.
TEXT = (
    b"If you think cryptography is the answer to your problem,\n"
    b"then you don't know what your problem is.\n"
)
GO_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
GO_NOTE = TEXT + b"\n" + GO_LINE.encode()
OTHER_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WW"
    "d1RvMc+QQ=\n"
)
# The examples in C2SP's signed-note.
C2SP_VERIFIER = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

PETER = NoteVerifier.read(GO_VERIFIER)
KEY = NoteKey.new("example.com/payments")
OTHER = NoteKey.new("example.com/witness")
NAMESAKE = NoteKey.new("example.com/payments")
ROOT = leaf_hash(b"an entry")
NOTE = sign_note(TEXT, KEY)
LINE = NOTE.rpartition(b"\n\n")[2]


def test_a_note_of_go_is_opened() -> None:
    assert open_note(GO_NOTE, PETER) == TEXT


def test_a_note_of_the_specification_is_opened() -> None:
    verifier = NoteVerifier.read(C2SP_VERIFIER)
    assert open_note(C2SP_NOTE.encode(), verifier) == b"This is an example message.\n"


def test_go_s_key_signs_the_note_that_go_has() -> None:
    key = NoteKey.read(Secret(GO_KEY))
    assert sign_note(TEXT, key) == GO_NOTE
    assert key.text() == Secret(GO_KEY)
    assert key.verifier == PETER
    assert PETER.text() == GO_VERIFIER


def test_what_others_signed_is_passed_over() -> None:
    both = GO_NOTE + OTHER_LINE.encode()
    assert open_note(both, PETER) == TEXT
    assert open_note(sign_note(TEXT, OTHER, KEY), KEY.verifier) == TEXT
    with pytest.raises(NoteRefused, match="nobody who is known"):
        open_note(both, KEY.verifier)
    with pytest.raises(NoteRefused, match="nobody who is known"):
        open_note(GO_NOTE)


def test_a_namesake_is_not_the_one_who_is_known() -> None:
    with pytest.raises(NoteRefused, match="nobody who is known"):
        open_note(sign_note(TEXT, NAMESAKE), KEY.verifier)
    assert open_note(sign_note(TEXT, NAMESAKE, KEY), KEY.verifier) == TEXT


def test_one_bad_signature_of_somebody_known_spoils_a_note() -> None:
    bad = sign_note(b"another text\n", OTHER).rpartition(b"\n\n")[2]
    assert open_note(NOTE + bad, KEY.verifier) == TEXT
    with pytest.raises(NoteRefused, match=r"signature of example.com/witness is not good"):
        open_note(NOTE + bad, KEY.verifier, OTHER.verifier)
    again = sign_note(b"another text\n", KEY).rpartition(b"\n\n")[2]
    with pytest.raises(NoteRefused, match="not good"):
        open_note(NOTE + again, KEY.verifier)


def test_a_signature_of_another_length_is_not_good() -> None:
    for length in (0, 1, 63, 65):
        signature = to_base64(KEY.verifier.key_id + bytes(length))
        line = f"— {KEY.name} {signature}\n".encode()
        with pytest.raises(NoteRefused, match=r"not good|too short"):
            open_note(TEXT + b"\n" + line, KEY.verifier)


def test_two_verifiers_of_one_id_are_refused() -> None:
    class Colliding(NoteVerifier, frozen=True):
        key_id = KEY.verifier.key_id

    with pytest.raises(NoteRefused, match="one name and one key id"):
        open_note(NOTE, KEY.verifier, Colliding(KEY.name, NAMESAKE.verifier.public))
    assert open_note(NOTE, KEY.verifier, KEY.verifier) == TEXT


@given(st.integers(0, len(GO_NOTE) * 8 - 1))
def test_a_note_with_any_bit_flipped_is_refused(bit: int) -> None:
    changed = bytearray(GO_NOTE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteRefused):
        open_note(bytes(changed), PETER)


@pytest.mark.parametrize("length", range(len(GO_NOTE)))
def test_a_note_cut_short_is_refused(length: int) -> None:
    with pytest.raises(NoteRefused):
        open_note(GO_NOTE[:length], PETER)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_note_are_refused(content: bytes) -> None:
    with pytest.raises(NoteRefused):
        open_note(content, PETER)
    with pytest.raises(NoteRefused):
        open_note(content + b"\n" + LINE, KEY.verifier)


@pytest.mark.parametrize(
    "note",
    [
        NOTE[:-1],
        NOTE.replace("— ".encode(), b"- "),
        NOTE + b"\n",
        NOTE + b"no signature\n",
        NOTE + "— example.org not-base64\n".encode(),
        NOTE + "— example.org\n".encode(),
        NOTE + "— a name AAAAAAAA\n".encode(),
        NOTE + "— a+b AAAAAAAA\n".encode(),
        NOTE + "— \u2003 AAAAAAAA\n".encode(),
        TEXT + b"\n" + LINE.replace(b"=\n", b"\n"),
        TEXT + b"\n" + LINE.replace(b"\n", b"\r\n"),
        TEXT.replace(b"\n", b"\r\n") + b"\n" + LINE,
        TEXT + b"\x00\n\n" + LINE,
        TEXT + b"\xff\n\n" + LINE,
        TEXT + b"\n" + LINE * (notes.SIGNATURES_MAX + 1),
        b"x" * NOTE_BYTES_MAX + NOTE,
    ],
)
def test_a_malformed_note_is_refused(note: bytes) -> None:
    with pytest.raises(NoteRefused):
        open_note(note, KEY.verifier)


def test_sixteen_large_signatures_of_others_are_bearable() -> None:
    lines = "".join(f"— witness{n}.example {to_base64(bytes([n]) * 4_900)}\n" for n in range(16))
    assert open_note(NOTE + lines.encode(), KEY.verifier) == TEXT


@pytest.mark.parametrize("text", [b"no newline", b"", b"a\x01b\n", b"\xff\n", b"a\tb\n"])
def test_what_cannot_be_a_note_is_not_signed(text: bytes) -> None:
    with pytest.raises(NoteRefused):
        sign_note(text, KEY)


def test_a_note_needs_a_signature_and_room() -> None:
    with pytest.raises(NoteRefused, match="1 to 100"):
        sign_note(TEXT)
    with pytest.raises(NoteRefused, match="at most"):
        sign_note(b"x" * NOTE_BYTES_MAX + b"\n", KEY)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n")))
def test_whatever_text_is_signed_comes_out_again(text: str) -> None:
    content = text.encode() + b"\n"
    if any(control in text for control in map(chr, range(32)) if control != "\n"):
        return
    assert open_note(sign_note(content, KEY, OTHER), KEY.verifier, OTHER.verifier) == content


def test_a_key_made_anew_can_be_kept_as_text() -> None:
    again = NoteKey.read(KEY.text())
    assert again.verifier == KEY.verifier == NoteVerifier.read(KEY.verifier.text())
    assert open_note(sign_note(TEXT, again), KEY.verifier) == TEXT
    assert NAMESAKE.verifier != KEY.verifier


@given(st.binary(min_size=32, max_size=32))
def test_every_key_survives_its_text(seed: bytes) -> None:
    key = NoteKey("example.com/payments", Ed25519PrivateKey.from_private_bytes(seed))
    assert NoteKey.read(key.text()).text() == key.text()
    assert NoteVerifier.read(key.verifier.text()) == key.verifier


def test_nothing_shows_a_private_key() -> None:
    words = KEY.text().reveal_text()
    seed = words.split("+", 4)[4]
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr(KEY.text()), str(vars(type(KEY)))):
        assert seed not in shown
    for keep in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            keep(KEY)


def without_seed(words: str) -> str:
    """A private key up to its base64, which may have plus signs too."""
    return "+".join(words.split("+", 4)[:4]) + "+"


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words[:-1],
        lambda words: words + "\n",
        lambda words: words.replace("PRIVATE+KEY+", "PRIVATE+"),
        lambda words: words.replace("example.com/payments", "example.com/refunds"),
        lambda words: words.replace("example.com/payments", "example.com/\udc80"),
        lambda words: without_seed(words) + to_base64(b"\x01" + bytes(32)),
        lambda words: without_seed(words) + to_base64(b"\x02" + bytes(32)),
        lambda words: without_seed(words) + to_base64(b"\x01" + bytes(31)),
    ],
)
def test_a_broken_private_key_is_refused_and_not_repeated(change) -> None:
    words = KEY.text().reveal_text()
    changed = change(words).encode(errors="surrogatepass")
    with pytest.raises(NoteRefused) as caught:
        NoteKey.read(Secret(changed))
    told = "".join(traceback.format_exception(caught.value))
    assert words.split("+", 4)[4][:20] not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        GO_VERIFIER[:-1],
        GO_VERIFIER + "\n",
        GO_VERIFIER.replace("c74f20a3", "C74F20A3"),
        GO_VERIFIER.replace("c74f20a3", "c74f20a4"),
        GO_VERIFIER.replace("c74f20a3", "+c74f20a"),
        GO_VERIFIER.replace("PeterNeumann", "Peter Neumann"),
        GO_VERIFIER.replace("PeterNeumann", ""),
        GO_VERIFIER.replace("+ARpc", "+BRpc"),
        GO_VERIFIER[:-1] + "X",
        GO_VERIFIER.replace("PeterNeumann", "\ud800"),
        GO_KEY,
        "x" * 10_000,
    ],
)
def test_a_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        NoteVerifier.read(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "\x1f", "x" * 256])
def test_a_name_that_no_note_can_have_is_refused(name: str) -> None:
    with pytest.raises(NoteRefused, match="a name in a note"):
        NoteKey.new(name)


def test_a_checkpoint_has_the_lines_of_the_specification() -> None:
    checkpoint = Checkpoint("example.com/payments", 109_482, ROOT)
    text = b"example.com/payments\n109482\n" + to_base64(ROOT).encode() + b"\n"
    assert checkpoint.text() == text
    assert Checkpoint.read(text) == checkpoint
    extended = Checkpoint("example.com/payments", 109_482, ROOT, ("epoch 2", "because"))
    assert extended.text() == text + b"epoch 2\nbecause\n"
    assert Checkpoint.read(extended.text()) == extended


def test_the_checkpoint_of_the_specification_is_read() -> None:
    found = Checkpoint.read(
        b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert found.root.hex().startswith("0ac5186a91863e8e")


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


@given(
    WORDS,
    st.integers(1, SIZE_MAX),
    st.binary(min_size=32, max_size=32),
    st.lists(WORDS, max_size=3),
)
def test_every_checkpoint_survives_its_note(origin, size, root, extensions) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    note = sign_note(checkpoint.text(), KEY)
    assert Checkpoint.read(open_note(note, KEY.verifier)) == checkpoint


ENCODED = to_base64(ROOT)


@pytest.mark.parametrize(
    "text",
    [
        f"example.com\n7\n{ENCODED}",
        f"example.com\n7\n{ENCODED}\n\n",
        f"example.com\n7\n{ENCODED}\n\nmore\n",
        f"\n7\n{ENCODED}\n",
        f"example.com\n07\n{ENCODED}\n",
        f"example.com\n+7\n{ENCODED}\n",
        f"example.com\n-7\n{ENCODED}\n",
        f"example.com\n٧\n{ENCODED}\n",
        f"example.com\n7 \n{ENCODED}\n",
        f"example.com\n\n{ENCODED}\n",
        f"example.com\n{SIZE_MAX + 1}\n{ENCODED}\n",
        f"example.com\n{'9' * 5_000}\n{ENCODED}\n",
        f"example.com\n0\n{ENCODED}\n",
        f"example.com\n7\n{ENCODED[:-1]}\n",
        f"example.com\n7\n{ENCODED.replace('=', '')}\n",
        f"example.com\n7\n {ENCODED}\n",
        f"example.com\n7\n{to_base64(ROOT[:-1])}\n",
        "example.com\n7\n\n",
        "example.com\n7\n",
        "",
        f"example.com\r\n7\n{ENCODED}\n",
        f"{'x' * 5_000}\n7\n{ENCODED}\n",
        f"example.com\n7\n{ENCODED}\n" + "more\n" * 17,
        f"example.com\n7\n{ENCODED}\n" + "x" * NOTE_BYTES_MAX + "\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        Checkpoint.read(text.encode())


def test_a_checkpoint_that_nobody_could_read_is_not_made() -> None:
    for origin, size, root, extensions in (
        ("", 1, ROOT, ()),
        ("a\nb", 1, ROOT, ()),
        ("a", -1, ROOT, ()),
        ("a", 1, b"short", ()),
        ("a", 0, ROOT, ()),
        ("a", 1, ROOT, ("",)),
        ("a", 1, ROOT, ("b\nc",)),
        ("\ud800", 1, ROOT, ()),
    ):
        with pytest.raises(NoteRefused):
            Checkpoint(origin, size, root, extensions)
    assert Checkpoint("a", 0, EMPTY_ROOT).text().startswith(b"a\n0\n47DEQpj8")


def test_base64_is_read_in_one_way() -> None:
    assert from_base64("AAE=") == b"\x00\x01"
    for text in ("AAF=", "AAE", "AAE=\n", " AAE=", "AAE==", "AA-_", "é"):
        with pytest.raises(NoteRefused):
            from_base64(text)
