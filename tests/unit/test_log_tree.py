"""The tree of RFC 6962: known answers, the definition itself as an oracle, and forged proofs."""

from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvariantBroken
from strongroom.log.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    NO_LEAVES,
    SIZE_MAX,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The vectors of certificate-transparency's tests, which other implementations share.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUDED = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENT = {
    (1, 1): [],
    (1, 8): INCLUDED[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

LEAVES_MAX = 600
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(LEAVES_MAX)]
KNOWN = [leaf_hash(entry) for entry in ENTRIES]
SIZES = st.integers(1, LEAVES_MAX)


@cache
def defined(start: int, end: int) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if start == end:
        return EMPTY_ROOT
    if start + 1 == end:
        return LEAVES[start]
    split = 1
    while split * 2 < end - start:
        split *= 2
    return node_hash(defined(start, start + split), defined(start + split, end))


def complete(level: int, index: int) -> bytes:
    return defined(index << level, (index + 1) << level)


def known(level: int, index: int) -> bytes:
    return NO_LEAVES.extended(KNOWN[index << level : (index + 1) << level]).root()


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


@st.composite
def included(draw):
    """(leaf, index, size, proof, root) that hold."""
    size = draw(SIZES)
    index = draw(st.integers(0, size - 1))
    return LEAVES[index], index, size, inclusion_proof(index, size, complete), defined(0, size)


@st.composite
def consistent(draw, smallest=1):
    """(old, old root, new, new root, proof) that hold."""
    new = draw(st.integers(smallest, LEAVES_MAX))
    old = draw(st.integers(smallest, new))
    return old, defined(0, old), new, defined(0, new), consistency_proof(old, new, complete)


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    frontier = NO_LEAVES.extended(KNOWN[:size])
    assert frontier.root().hex() == root_of(size, known).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUDED)
def test_the_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int) -> None:
    proof = inclusion_proof(index, size, known)
    assert [each.hex() for each in proof] == INCLUDED[index, size]
    assert verify_inclusion(KNOWN[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENT)
def test_the_consistency_proofs_are_those_of_certificate_transparency(old: int, new: int) -> None:
    proof = consistency_proof(old, new, known)
    assert [each.hex() for each in proof] == CONSISTENT[old, new]
    roots = [bytes.fromhex(ROOTS[size]) for size in (old, new)]
    assert verify_consistency(old, roots[0], new, roots[1], proof)


def test_a_leaf_is_never_the_hash_of_a_node() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"\x01" + left + right) != node_hash(left, right)


@given(st.lists(st.integers(0, 200), max_size=6))
def test_a_frontier_is_the_same_whatever_the_batches(batches: list[int]) -> None:
    frontier, at = NO_LEAVES, 0
    for batch in batches:
        frontier = frontier.extended(LEAVES[at : at + batch])
        at = min(LEAVES_MAX, at + batch)
        assert frontier.size == at
        assert frontier.root() == defined(0, at)
    assert frontier == NO_LEAVES.extended(LEAVES[:at])


def test_a_frontier_has_the_largest_subtree_first() -> None:
    assert NO_LEAVES.extended(LEAVES[:7]).hashes == (
        defined(0, 4), defined(4, 6), LEAVES[6],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "hashes"),
    [
        (0, (EMPTY_ROOT,)),
        (1, ()),
        (3, (LEAVES[0],)),
        (1, (b"short",)),
        (-1, (LEAVES[0],)),
        (SIZE_MAX + 1, (LEAVES[0],)),
    ],
)
def test_a_frontier_that_does_not_fit_itself_is_refused(size, hashes) -> None:
    with pytest.raises(ValueError, match=r"size|hash"):
        Frontier(size, hashes)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"size": size, "hashes": list(hashes)}, Frontier)


def test_a_leaf_hash_of_another_length_is_a_bug() -> None:
    with pytest.raises(InvariantBroken):
        NO_LEAVES.extended([LEAVES[0], b"short"])


def test_every_small_proof_holds_and_no_other_place_fits_it() -> None:
    for size in range(1, 34):
        root = defined(0, size)
        for index in range(size):
            proof = inclusion_proof(index, size, complete)
            fits = [
                other
                for other in range(size)
                if verify_inclusion(LEAVES[index], other, size, proof, root)
            ]
            assert fits == [index]
        for old in range(1, size + 1):
            proof = consistency_proof(old, size, complete)
            fits = [
                other
                for other in range(1, size + 1)
                if verify_consistency(other, defined(0, old), size, root, proof)
            ]
            assert fits == [old]


@given(included())
def test_every_inclusion_proof_holds(case) -> None:
    assert verify_inclusion(*case)
    assert len(case[3]) <= (case[2] - 1).bit_length()


@given(consistent(smallest=0))
def test_every_consistency_proof_holds(case) -> None:
    assert verify_consistency(*case)


@given(included(), st.data())
def test_a_changed_inclusion_proof_is_refused(case, data) -> None:
    leaf, index, size, proof, root = case
    bit = data.draw(st.integers(0, HASH_BYTES * 8 - 1))
    assert not verify_inclusion(flipped(leaf, bit), index, size, proof, root)
    assert not verify_inclusion(leaf, index, size, proof, flipped(root, bit))
    assert not verify_inclusion(leaf, index, size, [*proof, root], root)
    assert not verify_inclusion(leaf, index, size, [leaf, *proof], root)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
        assert not verify_inclusion(leaf, index, size, changed, root)
        assert not verify_inclusion(leaf, index, size, proof[:at] + proof[at + 1 :], root)
        assert not verify_inclusion(leaf, index, size, proof[:at], root)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index or size == 1))
    assert verify_inclusion(leaf, other, size, proof, root) == (other == index)


@given(consistent(), st.data())
def test_a_changed_consistency_proof_is_refused(case, data) -> None:
    old, old_root, new, new_root, proof = case
    bit = data.draw(st.integers(0, HASH_BYTES * 8 - 1))
    assert not verify_consistency(old, flipped(old_root, bit), new, new_root, proof)
    assert not verify_consistency(old, old_root, new, flipped(new_root, bit), proof)
    assert not verify_consistency(old, old_root, new, new_root, [*proof, new_root])
    assert not verify_consistency(old, old_root, new, new_root, [old_root, *proof])
    if old < new:
        assert not verify_consistency(new, new_root, old, old_root, proof)
        assert not verify_consistency(new, old_root, new, new_root, proof)
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
        assert not verify_consistency(old, old_root, new, new_root, changed)
        assert not verify_consistency(old, old_root, new, new_root, proof[:at] + proof[at + 1 :])
    other = data.draw(st.integers(1, new))
    held = verify_consistency(other, old_root, new, new_root, proof)
    assert held == (other == old)


@given(st.integers(0, LEAVES_MAX), st.integers(1, LEAVES_MAX))
def test_a_rewritten_log_is_no_continuation(old: int, at: int) -> None:
    rewritten = [*LEAVES[: at - 1], leaf_hash(b"another"), *LEAVES[at:]]
    new_root = NO_LEAVES.extended(rewritten).root()

    def hash_of(level: int, index: int) -> bytes:
        return NO_LEAVES.extended(rewritten[index << level : (index + 1) << level]).root()

    proof = consistency_proof(old, LEAVES_MAX, hash_of)
    held = verify_consistency(old, defined(0, old), LEAVES_MAX, new_root, proof)
    assert held == (at > old)


GARBAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=40),
)
MAYBE_HASH = st.one_of(st.sampled_from(LEAVES[:3]), GARBAGE)
MAYBE_PROOF = st.one_of(
    st.lists(MAYBE_HASH, max_size=4),
    st.lists(st.just(LEAVES[0]), min_size=60, max_size=70),
    GARBAGE,
)


@given(MAYBE_HASH, GARBAGE, GARBAGE, MAYBE_PROOF, MAYBE_HASH)
def test_garbage_is_no_inclusion_proof(leaf, index, size, proof, root) -> None:
    held = verify_inclusion(leaf, index, size, proof, root)
    assert held in (True, False)
    assert not held or (index, size, proof, root) == (0, 1, [], leaf)


@given(GARBAGE, MAYBE_HASH, GARBAGE, MAYBE_HASH, MAYBE_PROOF)
def test_garbage_is_no_consistency_proof(old, old_root, new, new_root, proof) -> None:
    held = verify_consistency(old, old_root, new, new_root, proof)
    assert held in (True, False)
    assert not held or (new, new_root, proof) == (old, old_root, [])


@pytest.mark.parametrize(
    ("index", "size"), [(-1, 4), (4, 4), (0, 0), (0, SIZE_MAX + 1), (True, 4), (0.0, 4), (0, "4")]
)
def test_an_impossible_place_is_refused(index, size) -> None:
    proof = inclusion_proof(0, 4, complete)
    assert not verify_inclusion(LEAVES[0], index, size, proof, defined(0, 4))


def test_an_empty_log_is_a_prefix_of_every_log_and_of_no_other_root() -> None:
    assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert verify_consistency(0, EMPTY_ROOT, 5, defined(0, 5), [])
    assert not verify_consistency(0, LEAVES[0], 5, defined(0, 5), [])
    assert not verify_consistency(0, LEAVES[0], 0, LEAVES[0], [])
    assert not verify_consistency(0, EMPTY_ROOT, 5, defined(0, 5), [LEAVES[0]])


def test_proofs_that_nobody_can_make_are_a_bug() -> None:
    for make in (
        lambda: inclusion_proof(4, 4, complete),
        lambda: inclusion_proof(-1, 4, complete),
        lambda: consistency_proof(5, 4, complete),
        lambda: root_of(-1, complete),
    ):
        with pytest.raises(InvariantBroken):
            make()


def test_the_largest_tree_has_proofs_of_a_bounded_length() -> None:
    asked: list[tuple[int, int]] = []

    def hash_of(level: int, index: int) -> bytes:
        asked.append((level, index))
        return LEAVES[0]

    proof = inclusion_proof(SIZE_MAX // 3, SIZE_MAX, hash_of)
    assert len(proof) == 63
    assert len(consistency_proof(SIZE_MAX // 3, SIZE_MAX, hash_of)) <= 64
    assert all((index + 1) << level <= SIZE_MAX for level, index in asked)
