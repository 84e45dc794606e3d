"""Proofs of one entry, and the command that an auditor runs: what holds, and what is refused."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.cli import main
from strongroom.log.notes import Checkpoint, NoteKey, sign_note
from strongroom.log.tiles import ENTRY_BYTES_MAX, TileFolder
from strongroom.log.tree import HASH_BYTES, NO_LEAVES, leaf_hash
from strongroom.log.verifying import PROOF_BYTES_MAX, LogRefused, prove, verify_proof

SIZE = 66_000
ORIGIN = "example.com/payments"
KEY = NoteKey.new(ORIGIN)
VERIFIER = KEY.verifier
ENTRIES = [b"entry %d" % number for number in range(SIZE)]


def root(size: int) -> bytes:
    return NO_LEAVES.extended([leaf_hash(entry) for entry in ENTRIES[:size]]).root()


def signed(size: int, key: NoteKey = KEY, origin: str = ORIGIN) -> bytes:
    return sign_note(Checkpoint(origin, size, root(size)).text(), key)


def made(path: Path, size: int) -> TileFolder:
    folder = TileFolder(path)
    folder.append(0, ENTRIES[:size])
    folder.write_checkpoint(signed(size))
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> TileFolder:
    return made(tmp_path_factory.mktemp("original"), SIZE)


@pytest.fixture(scope="module")
def proof(original) -> bytes:
    """Of entry 300."""
    return prove(original, 300, VERIFIER)


@pytest.mark.parametrize("index", [0, 255, 256, 65_536, 65_999])
def test_a_proof_shows_that_an_entry_is_in_the_log(original, index: int) -> None:
    proof = prove(original, index, VERIFIER)
    lines = proof.decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", f"index {index}"]
    assert proof.endswith(b"\n\n" + original.checkpoint())
    assert len(base64.b64decode(lines[2])) == HASH_BYTES
    expected = Checkpoint(ORIGIN, SIZE, root(SIZE))
    assert verify_proof(proof, ENTRIES[index], VERIFIER) == expected
    with pytest.raises(LogRefused, match=f"does not show that this is entry {index} of"):
        verify_proof(proof, b"another", VERIFIER)


def test_the_only_entry_of_a_log_has_a_proof_without_hashes(tmp_path) -> None:
    proof = prove(made(tmp_path, 1), 0, VERIFIER)
    assert proof.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nexample.com/payments\n1\n")
    assert verify_proof(proof, ENTRIES[0], VERIFIER).size == 1
    extra = proof.replace(b"@v1\n", b"@v1\nextra aGVsbG8=\n")
    assert verify_proof(extra, ENTRIES[0], VERIFIER).size == 1


@pytest.mark.parametrize("index", [-1, SIZE, SIZE + 1])
def test_no_proof_is_made_of_an_entry_that_is_not_there(original, index: int) -> None:
    with pytest.raises(LogRefused, match=f"There is no entry {index}: the checkpoint has 66000"):
        prove(original, index, VERIFIER)


def test_no_proof_is_made_of_a_log_that_does_not_hold(tmp_path) -> None:
    folder = made(tmp_path, 300)
    tile = folder.path / "tile/0/000"
    tile.write_bytes(leaf_hash(b"forged") + tile.read_bytes()[HASH_BYTES:])
    with pytest.raises(LogRefused, match="do not lead to the root"):
        prove(folder, 1, VERIFIER)
    tile.unlink()
    with pytest.raises(LogRefused, match=r"The file tile/0/000.* is missing"):
        prove(folder, 1, VERIFIER)
    with pytest.raises(LogRefused, match="nobody who is known"):
        prove(folder, 0, NoteKey.new(ORIGIN).verifier)
    with pytest.raises(LogRefused, match="has no checkpoint"):
        prove(TileFolder(tmp_path / "nowhere"), 0, VERIFIER)


@given(st.data())
def test_a_proof_with_any_bit_flipped_is_refused(proof, data) -> None:
    bit = data.draw(st.integers(0, len(proof) * 8 - 1))
    changed = bytearray(proof)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LogRefused):
        verify_proof(bytes(changed), ENTRIES[300], VERIFIER)


def test_a_proof_cut_anywhere_is_refused(proof) -> None:
    for length in range(len(proof)):
        with pytest.raises(LogRefused):
            verify_proof(proof[:length], ENTRIES[300], VERIFIER)


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_bytes_that_are_no_proof_are_refused(content: bytes, entry: bytes) -> None:
    for proof in (content, b"c2sp.org/tlog-proof@v1\n" + content, content + b"\n\n" + signed(1)):
        with pytest.raises(LogRefused):
            verify_proof(proof, entry, VERIFIER)


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: proof.replace(b"index 300", b"index 301"),
        lambda proof: proof.replace(b"index 300", b"index 0300"),
        lambda proof: proof.replace(b"index 300", b"index -300"),
        lambda proof: proof.replace(b"index 300", b"index " + b"9" * 5_000),
        lambda proof: proof.replace(b"index 300\n", b""),
        lambda proof: proof.replace(b"index 300", b"index 300\nextra aGVsbG8="),
        lambda proof: proof.replace(b"@v1\n", b"@v1\nextra ?\n"),
        lambda proof: proof.replace(b"@v1", b"@v2"),
        lambda proof: proof.replace(b"\n", b"\r\n"),
        lambda proof: b"\n" + proof,
        lambda proof: proof.replace(b"\n\n", b"\n" + base64.b64encode(bytes(32)) + b"\n\n", 1),
        lambda proof: b"\n".join([*proof.split(b"\n")[:2], *proof.split(b"\n")[3:]]),
        lambda proof: proof.partition(b"\n\n")[0] + b"\n\n" + signed(SIZE, NoteKey.new(ORIGIN)),
        lambda proof: proof.partition(b"\n\n")[0] + b"\n\n" + signed(SIZE - 1),
        lambda proof: proof.partition(b"\n\n")[0] + b"\n\n" + signed(SIZE, origin="elsewhere"),
        lambda proof: proof + b"x" * PROOF_BYTES_MAX,
    ],
)
def test_a_changed_proof_is_refused(proof, change) -> None:
    changed = change(proof)
    assert changed != proof
    with pytest.raises(LogRefused):
        verify_proof(changed, ENTRIES[300], VERIFIER)


def test_an_entry_longer_than_any_is_refused(proof) -> None:
    with pytest.raises(LogRefused, match="at most 65535"):
        verify_proof(proof, b"x" * (ENTRY_BYTES_MAX + 1), VERIFIER)


@pytest.fixture
def files(tmp_path, proof) -> dict[str, str]:
    """What an auditor was given, by what it is."""
    contents = {
        "key": VERIFIER.text().encode() + b"\n",
        "private": KEY.text().reveal(),
        "proof": proof,
        "entry": ENTRIES[300],
        "other": ENTRIES[301],
        "older": signed(1_000),
        "newer": signed(SIZE),
        "long": b"x" * 1_000_000,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


def test_the_command_says_what_holds(original, files, capsys) -> None:
    log = ["verify", "--log", str(original.path), "--key", files["key"]]
    shown = f"origin  {ORIGIN}\nsize    {SIZE}\nroot    {base64.b64encode(root(SIZE)).decode()}\n"
    assert main([*log, "--older", files["older"], "--older", files["newer"]]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(shown + "speed   ")
    assert int(out.split()[-2]) > 1_000
    assert not err
    entry = ["verify", "--proof", files["proof"], "--entry", files["entry"], "--key", files["key"]]
    assert main(entry) == 0
    assert capsys.readouterr().out == shown


def test_the_command_refuses_in_a_sentence(tmp_path, files, capsys) -> None:
    cut = made(tmp_path / "cut", 500)
    log = ["verify", "--log", str(cut.path), "--key", files["key"]]
    assert main([*log, "--older", files["newer"]]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err == (
        "strongroom: The tail is cut: an older checkpoint has 66000 entries, the log has 500 now.\n"
    )
    proof = ["verify", "--proof", files["proof"], "--key", files["key"], "--entry", files["other"]]
    assert main(proof) == 1
    assert "does not show that this is entry 300" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log", "{nowhere}", "--key", "{key}"], "is no folder"),
        (["--log", ".", "--key", "{nowhere}"], "cannot be read: No such file"),
        (["--log", ".", "--key", "{entry}"], "has no public key"),
        (["--log", ".", "--key", "{long}"], "is longer than"),
        (["--log", ".", "--key", "{private}"], "has a private key"),
        (["--log", ".", "--key", "{key}", "--older", "{long}"], "is longer than"),
        (["--log", ".", "--key", "{key}", "--entry", "{entry}"], "--entry goes with --proof"),
        (["--proof", "{proof}", "--key", "{key}"], "say --entry"),
        (["--log", "."], "--key is missing"),
        (
            ["--proof", "{proof}", "--entry", "{entry}", "--key", "{key}", "--older", "{older}"],
            "--older goes with --log",
        ),
        (["--proof", "{proof}", "--entry", "{long}", "--key", "{key}"], "is longer than"),
    ],
)
def test_the_command_says_what_it_was_not_given(files, capsys, words, said) -> None:
    filled = [word.format(nowhere="no-such-file", **files) for word in words]
    assert main(["verify", *filled]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert KEY.text().reveal_text().split("+", 4)[4] not in err


def test_the_command_wants_a_log_or_a_proof(files, capsys) -> None:
    for words in (["--key", files["key"]], ["--log", ".", "--proof", ".", "--key", files["key"]]):
        with pytest.raises(SystemExit) as ended:
            main(["verify", *words])
        assert ended.value.code == 2
        assert "--proof" in capsys.readouterr().err


def test_the_command_needs_no_home_and_opens_no_socket(tmp_path, original, files) -> None:
    program = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event.startswith('socket.'):\n"
        "        raise SystemExit(f'it used {event}')\n"
        "sys.addaudithook(refuse)\n"
        "from strongroom.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", "--log", original.path, "--key", files["key"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"origin  {ORIGIN}\n")
    assert not (tmp_path / ".strongroom").exists()
