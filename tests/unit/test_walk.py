"""The walk: all records that share a digest, no others, in slices that the limit bounds."""

from __future__ import annotations

import itertools
import tempfile
import threading
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dedupe.errors import RunDirectoryDamaged
from dedupe.scan.spill import Spill, mix
from dedupe.scan.walk import BYTES_PER_RECORD, Slice, ahead, candidates

Record = tuple[int, int]


def twins(records: Sequence[Record]) -> list[Record]:
    """Walk naively: all in memory, equal records once, digests left alone dropped."""
    by_digest: dict[int, set[int]] = defaultdict(set)
    for digest, address in records:
        by_digest[digest].add(address)
    return sorted(
        (digest, address)
        for digest, addresses in by_digest.items()
        if len(addresses) > 1
        for address in addresses
    )


def spilled(spill: Spill, runs: Sequence[Sequence[Record]], key: int = 0) -> None:
    for run in runs:
        pairs = np.array(run, np.uint64).reshape(-1, 2)
        spill.append(key, [(pairs[:, 0].copy(), pairs[:, 1].copy())])


def walked(spill: Spill, limit: int, key: int = 0) -> list[list[Record]]:
    """Walk a key; every slice as pairs, empty ones left out."""
    shares, slices = [0.0], []
    for share, digests, addresses in candidates(spill, key, limit):
        assert 0.0 <= share <= 1.0
        shares.append(share)
        slices.append(list(zip(digests.tolist(), addresses.tolist(), strict=True)))
    assert shares == sorted(shares)
    return [part for part in slices if part]


def check(runs: Sequence[Sequence[Record]], limit: int) -> None:
    """Compare with the naive walk: same records, same order, and slices as promised."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Spill(Path(folder) / "spill", 0)) as spill,
    ):
        spilled(spill, runs)
        slices = walked(spill, limit)
    expected = twins(list(itertools.chain(*runs)))
    assert [record for part in slices for record in part] == expected
    places: dict[int, list[int]] = defaultdict(list)
    for place, part in enumerate(slices):
        for digest in {digest for digest, _ in part}:
            places[digest].append(place)
    sizes = Counter(digest for digest, _ in itertools.chain(*runs))
    for digest, where in places.items():
        if len(where) > 1:
            assert sizes[digest] > limit, "a digest that fits is not torn apart"
            assert all({one for one, _ in slices[place]} == {digest} for place in where)
    assert max(map(len, slices), default=0) <= limit


#: digests that are alone, that crowd in one bucket, or that differ in their last bits only
digests = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 15),
    st.integers(2**64 - 16, 2**64 - 1),
    st.integers(0, 40).map(lambda n: 0xABC << 52 | n << 20),
    st.integers(0, 3).map(lambda n: 0x7FF << 52 | n),
    st.just(0x123456789ABCDEF0),
)
addresses = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 30), st.just(2**64 - 1))
#: at most twice the same record, as from main pass and sweep
some_runs = st.lists(
    st.lists(st.tuples(digests, addresses), max_size=60, unique=True), min_size=1, max_size=2
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some_runs, st.sampled_from([2, 3, 5, 16, 64, 4096]))
@example([[(1 << 63, 1)], [(1 << 63, 1)]], 2)
@example([[(n, 5) for n in range(40)], [(n, 5) for n in range(40)]], 3)
@example([[(7, n << 50) for n in range(60)]], 2)
def test_it_finds_what_a_naive_walk_finds(runs: list[list[Record]], limit: int) -> None:
    check(runs, limit)


@pytest.mark.parametrize("limit", [2, 3, 100, 999, 1000, 1001, 10_000])
def test_one_digest_for_all_rows_comes_in_slices(limit: int) -> None:
    """Scenario: a thousand rows share one digest, and the memory holds fewer.
    Outcome: they come in the order of the heap, in slices that the limit bounds.
    """
    random = np.random.default_rng(limit)
    blocks = random.permutation(1000).tolist()
    check([[(42, block << 16 | 7) for block in blocks[part::3]] for part in range(3)], limit)


def test_one_digest_over_many_leaves_and_blocks() -> None:
    """The address's own bits, from the leaf's to the offset's, split what the digest cannot."""
    places = [
        leaf << 48 | block << 16 | offset
        for leaf in (0, 1, 65535)
        for block in (0, 1, 2**32 - 1)
        for offset in range(1, 60)
    ]
    check([[(2**64 - 1, place) for place in places]], 50)


@pytest.mark.parametrize("limit", [10, 300, 5000])
def test_a_crowded_bucket_is_split(limit: int) -> None:
    """Scenario: 2,000 digests, each twice, whose first 12, 24 or 60 bits are all the same.
    Outcome: every pair, and no pair is torn apart.
    """
    for shift in (40, 28, 0):
        top = 0xFEDCBA9876543210 >> (shift + 12) << (shift + 12) & (2**64 - 1)
        crowd = [(top | (n << shift) % 2**52, n) for n in range(2000)]
        again = [(digest, address + 5000) for digest, address in crowd]
        check([crowd[:1500], crowd[1500:] + again[:100], again[100:]], limit)


def test_rows_that_were_read_twice_are_no_twins() -> None:
    """Scenario: main pass and sweep both recorded each row.
    Outcome: no candidates, with room for all and with room for few.
    """
    digests = mix(np.arange(3000, dtype=np.uint64)).tolist()
    run = [(digest, place) for place, digest in enumerate(digests)]
    for limit in (100, 100_000):
        check([run, run], limit)


def test_each_key_has_its_own_candidates(tmp_path: Path) -> None:
    with closing(Spill(tmp_path / "spill", 0)) as spill:
        spilled(spill, [[(1, 1), (2, 2)]], key=0)
        spilled(spill, [[(1, 1), (2, 2), (2, 3)]], key=1)
        assert walked(spill, 4096, key=0) == []
        assert walked(spill, 4096, key=1) == [[(2, 2), (2, 3)]]
        assert walked(spill, 4096, key=2) == []


def test_memory_is_bounded_by_the_limit(tmp_path: Path) -> None:
    """Scenario: ten times as many records as the limit, half of them in one bucket.
    Outcome: at its peak the walk holds what it promises for each record of the limit.
    """
    limit = 50_000
    random = np.random.default_rng(5)
    with closing(Spill(tmp_path / "spill", 0)) as spill:
        for bits in (52, 64):
            for _ in range(5):
                part = random.integers(0, 1 << bits, limit, np.uint64)
                spill.append(0, [(part, np.arange(limit, dtype=np.uint64))])
        tracemalloc.start()
        try:
            for _ in candidates(spill, 0, limit):
                pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The offsets of all runs and a few fixed tables come on top.
    assert peak < limit * BYTES_PER_RECORD + (1 << 20)


def test_the_thread_that_walks_ahead_ends_with_the_iterator() -> None:
    """Scenario: closed in the middle; read to the end; an error of the walk."""
    empty = np.zeros(0, np.uint64)

    def threads() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("pgmend-walk")]

    def failing() -> Iterator[Slice]:
        yield 0.5, empty, empty
        raise RunDirectoryDamaged("rotten")

    slices = ahead(iter([(0.1 * n, empty, empty) for n in range(9)]))
    assert next(slices)[0] == 0.0
    assert len(threads()) == 1
    slices.close()
    assert threads() == []
    assert len(list(ahead(iter([(0.1 * n, empty, empty) for n in range(9)])))) == 9
    assert threads() == []
    with pytest.raises(RunDirectoryDamaged, match="rotten") as caught:
        list(ahead(failing()))
    assert (threads(), caught.value.message) == ([], "rotten")
