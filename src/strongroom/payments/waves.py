"""Splitting a batch so that nothing stands twice in what is decided at once. Pure."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def in_waves(
    items: Sequence[Item], claims: Callable[[Item], Iterable[Hashable]]
) -> list[list[Item]]:
    """Waves in which each claim stands at most once; claimants follow in order of arrival."""
    waves: list[list[Item]] = []
    seen: dict[Hashable, int] = {}
    for item in items:
        claimed = tuple(claims(item))
        wave = max(seen.get(claim, -1) for claim in claimed) + 1
        seen.update(dict.fromkeys(claimed, wave))
        if wave == len(waves):
            waves.append([])
        waves[wave].append(item)
    return waves
