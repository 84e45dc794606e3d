"""The form of an entry."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.log.entries import EPOCH, MICROSECOND, Entry, EntryMalformed

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=40)
NAMES = st.from_regex(r"[a-z]+\.[a-z_]+", fullmatch=True)
GOOD = (
    b"strongroom/1 payment.accepted 01890a5d-ac96-774b-bcce-b302099a8057 1 1700000000000001 4 "
    + b"ab" * 32 + b" api\n{}"
)  # fmt: skip


@given(
    st.builds(
        Entry,
        kind=NAMES,
        subject_id=st.uuids(),
        version=st.integers(1, 2**31 - 1),
        at=st.integers(0, 2**52).map(lambda us: EPOCH + us * MICROSECOND),
        row_format=st.integers(0, 100),
        row_digest=st.binary(min_size=32, max_size=32),
        actor=WORDS,
        payload=st.binary(max_size=200),
    )
)
def test_what_was_written_is_read(entry: Entry) -> None:
    assert Entry.read(entry.content()) == entry


def test_a_payload_that_is_too_long_stands_as_its_digest() -> None:
    long = replace(Entry.read(GOOD), payload=b"x" * 70_000)
    content = long.content()
    assert len(content) < 400
    assert content.startswith(b"strongroom/1+digest ")
    assert Entry.read(content).content() == content
    digest = content.partition(b"\n")[2]
    assert replace(long, payload=digest).content() != content


def test_an_entry_is_read() -> None:
    entry = Entry.read(GOOD)
    assert entry.at == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)
    assert (entry.version, entry.row_format, entry.actor) == (1, 4, "api")
    assert entry.subject_id == UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", GOOD.partition(b"\n")[0], b"strongroom/2" + GOOD[12:],
        GOOD.replace(b" 1 ", b" one "), GOOD.replace(b"ab", b"zz", 1), GOOD.replace(b" 4 ", b" "),
        b"\xff" + GOOD, GOOD.replace(b" 1 ", b" +1 "), GOOD.replace(b" 4 ", b" 0_4 "),
        GOOD.replace(b"ab", b"AB"), GOOD.replace(b"01890a5d-", b"01890a5d"), GOOD + b"x" * 70_000,
        GOOD.replace(b"1700000000000001", b"9" * 40),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused(content: bytes) -> None:
    with pytest.raises(EntryMalformed):
        Entry.read(content)
