"""Which rows of a synthetic table carry which key: planned first, so that the truth is known.

Row numbers run from 1. A row's key is the number of the row that had it first:
its own, or that of its group's leader. The same formulas give a row's primary
key here and on the server, so the truth needs no look at the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

#: milliseconds of the first id, and between two
EPOCH, STEP = 1_600_000_000_000, 137
#: row numbers that are looked at together
BLOCK = 1_000_000


def ids(numbers: Numbers) -> Numbers:
    """Return the primary keys of rows: milliseconds and 16 bits of mixing, ascending."""
    return ((EPOCH + numbers * STEP) << 16) + ((numbers * 40503) & 65535)


def id_sql(number: str) -> str:
    """Return the same as SQL over a bigint expression."""
    return f"(((({EPOCH} + ({number}) * {STEP})) << 16) + ((({number}) * 40503) & 65535))"


def _mixed(numbers: Numbers, seed: int) -> Numbers:
    return (numbers * 7919 + (numbers >> 10) * 104729 + seed % 1000) % 1000


def mixed_sql(number: str, seed: int) -> str:
    """Return a number below 1000 that looks random, as ``null_rows`` reckons it."""
    return f"((({number}) * 7919 + (({number}) >> 10) * 104729 + {seed % 1000}) % 1000)"


@dataclass(frozen=True, slots=True)
class Groups(Sequence[Numbers]):
    """Groups of row numbers; an item is a group's primary keys, its leader's first.

    The enormous group comes first and is three numbers; the others are flat.
    """

    #: the enormous group; empty without one
    large: range
    #: row numbers of all other groups, one after another
    flat: Numbers
    #: where each begins in ``flat``, and the end
    starts: Numbers

    def __len__(self) -> int:
        return bool(self.large) + len(self.starts) - 1

    @overload
    def __getitem__(self, place: int) -> Numbers: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Numbers]: ...
    def __getitem__(self, place: int | slice) -> Numbers | Sequence[Numbers]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        if self.large:
            if place == 0:
                return ids(np.arange(self.large.start, self.large.stop, self.large.step))
            place -= 1
        return ids(self.flat[self.starts[place] : self.starts[place + 1]])

    @property
    def members(self) -> int:
        """Rows in all groups."""
        return len(self.large) + len(self.flat)

    @property
    def surplus(self) -> int:
        """Rows that would have to go."""
        return self.members - len(self)

    def leaders(self) -> Numbers:
        """Return for every row number of ``flat`` that of its group's leader."""
        return np.repeat(self.flat[self.starts[:-1]], np.diff(self.starts))

    def large_sql(self, number: str) -> str:
        """Return the condition that a row number is in the enormous group."""
        large = self.large
        if not large:
            return "false"
        return f"({number} >= {large.start} AND ({number} - {large.start}) % {large.step} = 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What was planted under one unique index."""

    table: str
    index: str
    rows: int
    #: rows without a key, which are no duplicates of one another
    null_rows: int
    groups: Groups


def plan(
    rows: int, *, seed: int, duplicate_rate: float, group_sizes: Sequence[int], largest_group: int
) -> Groups:
    """Choose the groups among ``rows`` rows, spread over all of them.

    About ``duplicate_rate`` of the rows get into groups, whose sizes are taken
    from ``group_sizes`` in turn; ``largest_group`` rows make one more.
    """
    if largest_group > rows or min(group_sizes, default=2) < 2 or not 0 <= duplicate_rate <= 1:
        raise ValueError("groups have 2 rows or more, no more than there are, at a rate up to 1")
    large = range(0)
    if largest_group > 1:
        step = rows // largest_group
        # Through to the last row, so that the condition in SQL needs no upper bound.
        large = range(rows - step * (largest_group - 1), rows + 1, step)
    sizes: list[int] = []
    left = int(min(rows * duplicate_rate, rows - len(large)))
    for size in itertools.cycle(group_sizes):
        if size > left:
            break
        sizes.append(size)
        left -= size
    flat = _choose(np.random.default_rng(seed), rows, sum(sizes), large)
    starts = np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))]).astype(np.int64)
    for start, end in itertools.pairwise(starts):
        flat[start:end].sort()
    return Groups(large, flat, starts)


def null_rows(groups: Groups, rows: int, *, seed: int, permille: int) -> int:
    """Count the rows without a key: ``permille`` of those in no group."""
    if not permille:
        return 0
    count = 0
    for first in range(1, rows + 1, BLOCK):
        numbers = np.arange(first, min(first + BLOCK, rows + 1))
        count += int(np.count_nonzero(_mixed(numbers, seed) < permille))
    large = np.arange(groups.large.start, groups.large.stop, groups.large.step)
    for members in (groups.flat, large):
        count -= int(np.count_nonzero(_mixed(members, seed) < permille))
    return count


def _choose(random: np.random.Generator, rows: int, count: int, without: range) -> Numbers:
    """Draw distinct row numbers in random order, none of ``without``."""
    if count * 4 > rows - len(without):
        every = np.arange(1, rows + 1)
        return random.permutation(_outside(every, without))[:count]
    drawn: Numbers = np.empty(0, dtype=np.int64)
    while len(drawn) < count:
        more = random.integers(1, rows + 1, size=count * 2)
        drawn = np.unique(np.concatenate([drawn, _outside(more, without)]))
    return random.permutation(drawn)[:count]


def _outside(numbers: Numbers, without: range) -> Numbers:
    if not without:
        return numbers
    inside = (numbers >= without.start) & ((numbers - without.start) % without.step == 0)
    kept: Any = numbers[~inside]
    return np.asarray(kept, dtype=np.int64)
