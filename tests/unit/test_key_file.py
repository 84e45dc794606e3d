"""A key file: what it wraps comes back in the same context alone, and nobody else may read it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from strongroom.config import ConfigurationError
from strongroom.errors import InvariantBroken
from strongroom.vault.context import CONTEXT_BYTES_MAX, canonical
from strongroom.vault.errors import KmsUnavailable, KmsWrongInput
from strongroom.vault.key_file import (
    HEADER_BYTES,
    ROOT_KEYS_MAX,
    KeyFile,
    add_root_key,
    make_key_file,
)
from strongroom.vault.kms import CONTEXT_PAIRS_MAX, WRAPPED_BYTES_MAX
from strongroom.vault.secret import Secret

CONTEXT = {"legal_entity": "le_1", "purpose": "entity key", "version": "1"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CONTEXTS = st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=CONTEXT_PAIRS_MAX)
KEYS = st.binary(min_size=1, max_size=300)


@pytest.fixture(scope="module")
def kms() -> Iterator[KeyFile]:
    """Of a file in use by all properties; nothing of them depends on another's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kms_root"
        make_key_file(path)
        add_root_key(path)
        yield KeyFile(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "kms_root"


def wrap(kms: KeyFile, key: bytes, context: dict[str, str] | None = None) -> bytes:
    return asyncio.run(kms.wrap(Secret(key), CONTEXT if context is None else context))


def unwrap(kms: KeyFile, wrapped: bytes, context: dict[str, str] | None = None) -> bytes:
    return asyncio.run(kms.unwrap(wrapped, CONTEXT if context is None else context)).reveal()


class TestWhatIsWrapped:
    @given(key=KEYS, context=CONTEXTS)
    def test_comes_back(self, kms, key, context):
        wrapped = wrap(kms, key, context)
        assert unwrap(kms, wrapped, dict(reversed(context.items()))) == key
        assert len(key) < 8 or key not in wrapped

    @given(key=KEYS, context=CONTEXTS, other=CONTEXTS)
    def test_is_refused_in_another_context(self, kms, key, context, other):
        assume(context != other)
        wrapped = wrap(kms, key, context)
        for wrong in [other, dict[str, str]()]:
            with pytest.raises(KmsWrongInput):
                unwrap(kms, wrapped, wrong)

    @given(context=CONTEXTS, data=st.data())
    def test_is_refused_when_a_pair_is_swapped_dropped_or_cut(self, kms, context, data):
        wrapped = wrap(kms, b"key", context)
        name = data.draw(st.sampled_from(sorted(context)))
        without = {key: value for key, value in context.items() if key != name}
        value = context[name]
        moved = {**without, name + value[:1]: value[1:]}  # the same texts, joined
        swapped = {**without, value: name}
        for wrong in (without, moved, swapped):
            if wrong != context:
                with pytest.raises(KmsWrongInput):
                    unwrap(kms, wrapped, wrong)

    @given(key=KEYS, data=st.data())
    def test_is_refused_when_cut_or_longer(self, kms, key, data):
        wrapped = wrap(kms, key)
        size = data.draw(st.integers(0, len(wrapped) - 1))
        for wrong in (wrapped[:size], wrapped[size + 1 :], wrapped + bytes([size % 256])):
            with pytest.raises(KmsWrongInput):
                unwrap(kms, wrong)

    @given(key=KEYS, data=st.data())
    def test_is_refused_when_a_bit_is_flipped(self, kms, key, data):
        wrapped = bytearray(wrap(kms, key))
        place = data.draw(st.integers(0, len(wrapped) * 8 - 1))
        wrapped[place // 8] ^= 1 << place % 8
        with pytest.raises(KmsWrongInput):
            unwrap(kms, bytes(wrapped))

    @given(st.binary(max_size=200))
    def test_is_not_any_bytes(self, kms, wrapped):
        with pytest.raises(KmsWrongInput):
            unwrap(kms, wrapped)

    @given(key=KEYS)
    def test_is_refused_by_another_root_key_even_under_its_header(self, kms, key):
        with tempfile.TemporaryDirectory() as folder:
            other_path = Path(folder) / "kms_root"
            make_key_file(other_path)
            other = KeyFile(other_path)
            ours, theirs = wrap(kms, key), wrap(other, key)
            for wrong in [ours, theirs[:HEADER_BYTES] + ours[HEADER_BYTES:]]:
                with pytest.raises(KmsWrongInput):
                    unwrap(other, wrong)

    @given(context=CONTEXTS, other=CONTEXTS)
    def test_no_two_contexts_are_the_same_bytes(self, context, other):
        assert (canonical(context) == canonical(other)) == (context == other)

    def test_fits_what_every_kms_takes(self, kms):
        largest = b"k" * WRAPPED_BYTES_MAX
        assert unwrap(kms, wrap(kms, largest)) == largest
        many = {str(number): "" for number in range(CONTEXT_PAIRS_MAX + 1)}
        for key, context in (
            (largest + b"k", CONTEXT),
            (b"", CONTEXT),
            (b"k", {}),
            (b"k", many),
            (b"k", {"a": "b" * CONTEXT_BYTES_MAX}),
        ):
            with pytest.raises(InvariantBroken):
                wrap(kms, key, context)


class TestRootKeys:
    def test_the_newest_wraps_and_all_unwrap(self, path):
        names = [make_key_file(path)]
        blobs = [wrap(KeyFile(path), b"0")]
        for number in range(1, 4):
            names.append(add_root_key(path))
            assert KeyFile(path).root_key == names[-1]
            blobs.append(wrap(KeyFile(path), b"%d" % number))
        assert [unwrap(KeyFile(path), blob) for blob in blobs] == [b"0", b"1", b"2", b"3"]
        assert len(set(names)) == len(names)
        assert len({blob[:HEADER_BYTES] for blob in blobs}) == len(blobs)

    def test_one_that_is_added_is_noticed_by_who_runs_already(self, path):
        make_key_file(path)
        running = KeyFile(path)
        before = wrap(running, b"before")
        name = add_root_key(path)
        assert unwrap(running, wrap(KeyFile(path), b"after")) == b"after"
        assert running.root_key == name
        assert wrap(running, b"x")[:HEADER_BYTES] != before[:HEADER_BYTES]
        assert unwrap(running, before) == b"before"

    def test_its_name_tells_nothing_of_it(self, path):
        name = make_key_file(path)
        assert name.startswith("key-file:")
        stored = msgspec.json.decode(path.read_bytes())["root_keys"]
        assert [f"key-file:{key['id']}" for key in stored] == [name]
        assert "keyset" not in repr(KeyFile(path)) + repr(vars(KeyFile(path)))

    def test_adding_at_the_same_time_loses_none(self, path):
        make_key_file(path)
        threads = [threading.Thread(target=add_root_key, args=(path,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(msgspec.json.decode(path.read_bytes())["root_keys"]) == 9
        KeyFile(path)

    def test_there_is_an_end_to_it(self, path):
        make_key_file(path)
        for _ in range(ROOT_KEYS_MAX - 1):
            add_root_key(path)
        with pytest.raises(ConfigurationError, match="no more fit"):
            add_root_key(path)
        KeyFile(path)


class TestTheFile:
    def test_is_its_owners_alone_and_leaves_nothing_beside_it(self, path):
        old = os.umask(0)
        try:
            make_key_file(path)
            add_root_key(path)
        finally:
            os.umask(old)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert list(path.parent.iterdir()) == [path]

    def test_is_never_made_over_another(self, path):
        make_key_file(path)
        content = path.read_bytes()
        with pytest.raises(ConfigurationError, match="there already"):
            make_key_file(path)
        assert path.read_bytes() == content

    def test_what_a_killed_run_left_is_no_obstacle(self, path):
        path.parent.mkdir(mode=0o700)
        path.with_name(f".{path.name}.new").write_bytes(b"half a fi")
        make_key_file(path)
        KeyFile(path)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o601])
    def test_is_refused_when_others_may_use_it(self, path, mode):
        make_key_file(path)
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match=f"run `chmod 600 {path}`"):
            KeyFile(path)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            add_root_key(path)

    @pytest.mark.needs("root")
    def test_is_refused_when_it_is_anothers(self, path):
        make_key_file(path)
        os.chown(path, 65534, -1)
        with pytest.raises(ConfigurationError, match=f"run `chown {os.geteuid()} {path}`"):
            KeyFile(path)

    def test_is_refused_when_it_is_a_link_a_folder_or_a_pipe(self, path, tmp_path):
        make_key_file(path)
        link = tmp_path / "link"
        link.symlink_to(path)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            KeyFile(link)
        with pytest.raises(ConfigurationError, match="there already"):
            make_key_file(link)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe, 0o600)
        for wrong in (tmp_path, pipe):
            with pytest.raises(ConfigurationError, match="is not a file"):
                KeyFile(wrong)

    def test_is_refused_when_it_is_missing(self, path):
        with pytest.raises(ConfigurationError, match=r"is missing.*strongroom init"):
            KeyFile(path)

    def test_is_refused_at_whatever_byte_it_ends(self, path):
        make_key_file(path)
        content = path.read_bytes()
        for size in range(len(content.rstrip()) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(ConfigurationError, match=r"damaged.*from a backup"):
                KeyFile(path)

    def test_is_refused_when_a_byte_of_a_key_changed(self, path):
        make_key_file(path)
        document = msgspec.json.decode(path.read_bytes())
        keyset = document["root_keys"][0]["keyset"]
        for place, letter in enumerate(keyset.rstrip("=")[:-1]):
            changed = keyset[:place] + ("A" if letter != "A" else "B") + keyset[place + 1 :]
            document["root_keys"][0]["keyset"] = changed
            path.write_bytes(msgspec.json.encode(document))
            with pytest.raises(ConfigurationError, match="damaged"):
                KeyFile(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda document: document.update(format="strongroom key file 2"),
            lambda document: document.update(more=1),
            lambda document: document.update(root_keys=[]),
            lambda document: document.update(root_keys=document["root_keys"] * 65),
        ],
    )
    def test_is_refused_when_it_says_what_we_do_not_know(
        self, path, change: Callable[[dict[str, object]], None]
    ):
        make_key_file(path)
        document = msgspec.json.decode(path.read_bytes())
        change(document)
        path.write_bytes(msgspec.json.encode(document))
        with pytest.raises(ConfigurationError, match="damaged"):
            KeyFile(path)

    def test_that_goes_while_in_use_makes_it_unavailable_until_it_is_back(self, path):
        make_key_file(path)
        kms = KeyFile(path)
        wrapped = wrap(kms, b"key")
        aside = path.rename(path.with_name("aside"))
        for ask in (lambda: unwrap(kms, wrapped), lambda: wrap(kms, b"other")):
            with pytest.raises(KmsUnavailable, match="kms_root"):
                ask()
        aside.rename(path)
        assert unwrap(kms, wrapped) == b"key"
        path.chmod(0o644)
        with pytest.raises(KmsUnavailable, match="chmod 600"):
            unwrap(kms, wrapped)


def test_tink_is_loaded_by_the_first_use_and_not_by_the_start(path):
    make_key_file(path)
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "import strongroom.vault.opening\n"
        "from strongroom.vault.key_file import KeyFile\n"
        "from strongroom.vault.secret import Secret\n"
        f"kms = KeyFile(Path({str(path)!r}))\n"
        "assert not {'tink', 'boto3', 'botocore'} & set(sys.modules)\n"
        "asyncio.run(kms.wrap(Secret('k'), {'a': 'b'}))\n"
        "assert 'tink' in sys.modules and 'boto3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
