"""The Merkle tree of RFC 6962 over SHA-256: roots, and proofs that a stranger can check.

A tree of `size` leaves is made of complete subtrees, one for each bit of `size`, the largest on
the left. A *level* counts from the leaves: a node of level L at index I is the root of the
complete subtree over the leaves I·2^L up to (I + 1)·2^L. Such a node never changes once it is
there, so whoever keeps them all (`hash_of`) can make every proof.

What makes proofs is given sound arguments by our own code and raises InvariantBroken for others.
What checks them takes whatever a stranger sends: it answers yes or no.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from strongroom.errors import InvariantBroken

HASH_BYTES: Final = 32
SIZE_MAX: Final = 2**63 - 1
"""Leaves of a tree: what a PostgreSQL bigint holds."""
PROOF_HASHES_MAX: Final = 64

LEAF: Final = b"\x00"
NODE: Final = b"\x01"
EMPTY_ROOT: Final = sha256(b"").digest()

HashOf = Callable[[int, int], bytes]
"""(level, index) of a complete subtree to its hash."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf, 32 bytes; an entry cannot be made to look like a node."""
    return sha256(LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of what stands above two hashes."""
    return sha256(NODE + left + right).digest()


def parents(row: Sequence[bytes]) -> list[bytes]:
    """The level above an even number of hashes."""
    return [sha256(NODE + left + right).digest() for left, right in _pairs(row)]


class Frontier(Struct, frozen=True):
    """The right edge of a tree: all that is needed to append to it, and to know its root.

    `hashes` has one hash for each bit that is set in `size`, that of the largest subtree first.
    Raises ValueError for a size and hashes that do not go together.
    """

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX:
            raise ValueError("no tree has this size")
        if len(self.hashes) != self.size.bit_count():
            raise ValueError("a frontier has one hash for each bit of its size")
        if not set(map(len, self.hashes)) <= {HASH_BYTES}:
            raise ValueError(f"a hash has {HASH_BYTES} bytes")

    def extended(self, leaf_hashes: Sequence[bytes]) -> "Frontier":
        """The frontier after these leaves as well, given by their hashes."""
        if not set(map(len, leaf_hashes)) <= {HASH_BYTES}:
            raise InvariantBroken(f"a leaf hash has not {HASH_BYTES} bytes")
        row, start, known = list(leaf_hashes), self.size, list(self.hashes)
        edge: list[bytes] = []
        while row or start:
            if start & 1:
                row.insert(0, known.pop())
            if len(row) & 1:
                edge.append(row.pop())
            row = parents(row)
            start >>= 1
        return Frontier(self.size + len(leaf_hashes), tuple(reversed(edge)))

    def root(self) -> bytes:
        """The root of the tree, which says everything about its leaves and their order."""
        return _folded(self.hashes)


NO_LEAVES: Final = Frontier(0, ())


def root_of(size: int, hash_of: HashOf) -> bytes:
    """The root of the tree over the first `size` leaves."""
    if not 0 <= size <= SIZE_MAX:
        raise InvariantBroken("no tree has this size")
    return _hash_between(0, size, hash_of) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, hash_of: HashOf) -> list[bytes]:
    """Proof that the tree over the first `size` leaves has this one at `index`, leaf's side first.

    RFC 6962, 2.1.1. At most PROOF_HASHES_MAX hashes.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise InvariantBroken("no such leaf is in this tree")
    proof: list[bytes] = []
    for level in range((size - 1).bit_length()):
        start = ((index >> level) ^ 1) << level
        if start < size:
            proof.append(_hash_between(start, min(size, start + (1 << level)), hash_of))
    return proof


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether the tree of this size and root has the leaf hash `leaf` at `index`.

    RFC 9162, 2.1.3.2. False, never an exception, for whatever is malformed.
    """
    if not (_is_size(index) and _is_size(size) and index < size and _is_hash(leaf)):
        return False
    if not (_is_hash(root) and _is_proof(proof)):
        return False
    _, found = _climbed(index, size - 1, leaf, proof)
    return found == root


def consistency_proof(old: int, new: int, hash_of: HashOf) -> list[bytes]:
    """Proof that the tree of `new` leaves begins with the whole tree of `old` leaves.

    RFC 6962, 2.1.2. Empty for an empty old tree, and for two of one size.
    """
    if not 0 <= old <= new <= SIZE_MAX:
        raise InvariantBroken("the old tree is larger than the new one")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= middle:
            proof.append(_hash_between(middle, end, hash_of))
            end = middle
        else:
            proof.append(_hash_between(start, middle, hash_of))
            start, whole = middle, False
    if not whole:
        proof.append(_hash_between(start, end, hash_of))
    return proof[::-1]


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree of `new` leaves begins with the tree of `old` leaves.

    RFC 9162, 2.1.4.2; an empty tree is a prefix of each. False, never an exception, for whatever
    is malformed.
    """
    if not (_is_size(old) and _is_size(new) and old <= new and _is_proof(proof)):
        return False
    if not (_is_hash(old_root) and _is_hash(new_root)):
        return False
    if old == 0 and old_root != EMPTY_ROOT:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        return False
    complete = (old & -old).bit_length() - 1
    found_old, found_new = _climbed(
        (old - 1) >> complete, (new - 1) >> complete, hashes[0], hashes[1:]
    )
    return found_old == old_root and found_new == new_root


def _climbed(
    here: int, last: int, start: bytes, proof: Sequence[bytes]
) -> tuple[bytes | None, bytes | None]:
    """The roots that a proof leads to from the node `here`, where `last` is the last of its level.

    The first one is of the tree that ends with the node, the second one of the whole tree; both
    are None for a proof that is too long or too short.
    """
    ending = whole = start
    for beside in proof:
        if last == 0:
            return None, None
        if here & 1 or here == last:
            ending, whole = node_hash(beside, ending), node_hash(beside, whole)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            whole = node_hash(whole, beside)
        here, last = here >> 1, last >> 1
    return (ending, whole) if last == 0 else (None, None)


def _pairs(row: Sequence[bytes]) -> "zip[tuple[bytes, bytes]]":
    each = iter(row)
    return zip(each, each, strict=True)


def _folded(hashes: Sequence[bytes]) -> bytes:
    """The root above complete subtrees, the largest first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def _hash_between(start: int, end: int, hash_of: HashOf) -> bytes:
    """The hash over the leaves from `start`, where a subtree begins that reaches `end`."""
    hashes: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(hash_of(level, start >> level))
        start += 1 << level
    return _folded(hashes)


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number <= SIZE_MAX


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_BYTES


def _is_proof(proof: object) -> bool:
    return (
        isinstance(proof, list | tuple)
        and len(proof) <= PROOF_HASHES_MAX
        and all(map(_is_hash, proof))
    )
