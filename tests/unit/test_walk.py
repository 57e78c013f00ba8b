"""The walk: all records that share a digest, no others, in slices that the limit bounds."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dedupe.errors import RunDirectoryDamaged
from dedupe.scan.spill import RECORD_BYTES, Spill, mix
from dedupe.scan.walk import BYTES_PER_RECORD, candidates

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
    assert peak < limit * (BYTES_PER_RECORD + RECORD_BYTES) + (1 << 20)


def many(spill: Spill, records: int = 2_000_000) -> None:
    """Spill records of random digests, and twins for the first thousand of each run."""
    random = np.random.default_rng(7)
    for _ in range(2):
        digests = random.integers(0, 1 << 64, records // 2, np.uint64)
        digests[:1000] = np.arange(1000, dtype=np.uint64) << np.uint64(50)
        spill.append(0, [(digests, random.permutation(records // 2).astype(np.uint64))])


def test_several_threads_walk_as_one_does(tmp_path: Path) -> None:
    with closing(Spill(tmp_path / "spill", 0)) as spill:
        many(spill)
        one, three = (
            [(share, a.tolist(), b.tolist()) for share, a, b in candidates(spill, 0, 1 << 20, n)]
            for n in (1, 3)
        )
        assert one == three
        assert sum(len(digests) for _, digests, _ in one) >= 2000


def test_the_threads_of_a_walk_end_with_it(tmp_path: Path) -> None:
    """Scenario: closed in the middle; read to the end; the spill is rotten in its middle."""

    def threads() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("pgmend-walk")]

    with closing(Spill(tmp_path / "spill", 0)) as spill:
        many(spill)
        slices = candidates(spill, 0, 1 << 20, 2)
        assert next(slices)[0] > 0.0
        assert 1 <= len(threads()) <= 2
        slices.close()
        assert threads() == []
        assert len(list(candidates(spill, 0, 1 << 20, 2))) > 2
        assert threads() == []
        slices = candidates(spill, 0, 1 << 20, 2)
        next(slices)
        os.truncate(spill.path, spill.length // 2)
        with pytest.raises(RunDirectoryDamaged, match="is damaged at byte"):
            list(slices)
        assert threads() == []
