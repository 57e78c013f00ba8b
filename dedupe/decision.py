"""What was decided about a group, on its way into the plan and out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .groups import Member, Members, StreamedMembers

#: rows of a group that are decided and kept in memory together at most
LARGE_GROUP = 10_000


@dataclass(frozen=True, slots=True)
class AllBehind:
    """The places of a large group: one of them first, then the others in heap order."""

    first: int
    size: int

    def __iter__(self) -> Iterator[int]:
        yield self.first
        yield from range(self.first)
        yield from range(self.first + 1, self.size)


class Ranking(NamedTuple):
    """One group on its way into the plan."""

    group: int
    #: places of its members, the survivor's first
    places: list[int] | AllBehind
    #: column to the survivor's new value as text, where a callable merged it
    merged: dict[str, str | None]
    #: number of the policy among the plan's
    policy: int = 0
    #: whether it is what a part leaves of its group, which the repair's next round decides about
    later: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about one group."""

    group: int
    #: number of the policy among the plan's that it was decided by
    policy: int
    survivor: Member
    #: of a large group they are read from the disk as they are asked for
    losers: Sequence[Member]


class Losers(StreamedMembers):
    """The losers of a large group."""

    def __init__(self, members: Members, ranks: Callable[[int, int], Iterator[int]]) -> None:
        """``ranks`` gives the places of members by rank, from one to before another."""
        self._members = members
        self._ranks = ranks

    def __len__(self) -> int:
        return len(self._members) - 1

    def read(self, start: int, stop: int) -> Iterator[Member]:
        """Iterate the losers ``start`` to ``stop`` (not included), in the plan's order."""
        # The survivor has rank 0.
        for place in self._ranks(start + 1, stop + 1):
            yield self._members[place]
