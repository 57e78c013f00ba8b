"""The spill: what was synced is read back whole, and what was damaged is noticed."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe.errors import LocalStorageError, RunDirectoryDamaged
from dedupe.scan.spill import BUCKET_BITS, BUCKETS, RECORD_BYTES, Spill, Words, mix

#: header (20 bytes) and the offsets of 4,096 buckets and their end (4 bytes each)
RUN_OVERHEAD = 20 + 4 * 4097


def words(*values: int) -> Words:
    return np.array(values, np.uint64)


def random_words(count: int, seed: int) -> Words:
    return np.random.default_rng(seed).integers(0, 1 << 64, count, np.uint64)


def records(spill: Spill, key: int) -> set[tuple[int, int]]:
    """Read every record of a key."""
    found: set[tuple[int, int]] = set()
    runs = spill.runs(key)
    for digests, addresses in spill.pieces(spill.slices(runs, 0, BUCKETS), 1000):
        found.update(zip(digests.tolist(), addresses.tolist(), strict=True))
    return found


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spill"


def test_what_was_appended_is_read_back(path: Path) -> None:
    """Scenario: runs of two keys, appended in turn; the file is opened again.
    Outcome: each key has just its own records, in the order its runs were written.
    """
    digests, addresses = random_words(3000, 1), random_words(3000, 2)
    with closing(Spill(path, 0)) as spill:
        spill.append(0, [(digests[:1000], addresses[:1000])])
        spill.append(1, [(digests[1000:1500], addresses[1000:1500])])
        spill.append(0, [(digests[1500:], addresses[1500:])])
        spill.sync()
        length = spill.length
    assert path.stat().st_size == length == 3 * RUN_OVERHEAD + 3000 * RECORD_BYTES
    with closing(Spill(path, length)) as spill:
        assert [run.records for run in spill.runs(0)] == [1000, 1500]
        assert [run.records for run in spill.runs(1)] == [500]
        assert spill.runs(2) == []
        pairs = list(zip(digests.tolist(), addresses.tolist(), strict=True))
        assert records(spill, 0) == {*pairs[:1000], *pairs[1500:]}
        assert records(spill, 1) == {*pairs[1000:1500]}


def test_a_range_of_digests_is_one_piece_of_every_run(path: Path) -> None:
    digests, addresses = random_words(5000, 3), random_words(5000, 4)
    with closing(Spill(path, 0)) as spill:
        for part in range(0, 5000, 1250):
            spill.append(7, [(digests[part : part + 1250], addresses[part : part + 1250])])
        runs = spill.runs(7)
        sizes = spill.bucket_sizes(runs)
        buckets = (digests >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
        assert sizes.tolist() == np.bincount(buckets, minlength=BUCKETS).tolist()
        for low, high in ((0, 1), (0, BUCKETS), (17, 1234), (BUCKETS - 1, BUCKETS)):
            found = set()
            for piece, places in spill.pieces(spill.slices(runs, low, high), 64):
                assert len(piece) <= 64
                found.update(zip(piece.tolist(), places.tolist(), strict=True))
            wanted = (buckets >= low) & (buckets < high)
            expected = zip(digests[wanted].tolist(), addresses[wanted].tolist(), strict=True)
            assert found == set(expected)


def test_nothing_appended_writes_nothing(path: Path) -> None:
    with closing(Spill(path, 0)) as spill:
        spill.append(0, [(words(), words())])
        assert spill.length == 0
        assert spill.runs(0) == []


def test_a_kill_behind_the_checkpoint_costs_only_what_came_after(path: Path) -> None:
    """Scenario: the file holds half a run behind the length that the checkpoint counts.
    Outcome: it is cut off; what is appended then stands where it stood.
    """
    with closing(Spill(path, 0)) as spill:
        spill.append(0, [(words(1, 2), words(10, 20))])
        spill.sync()
        promised = spill.length
        spill.append(0, [(words(3), words(30))])
        torn = spill.length - 5
    with path.open("r+b") as file:
        file.truncate(torn)
    with closing(Spill(path, promised)) as spill:
        assert path.stat().st_size == promised
        spill.append(0, [(words(4), words(40))])
        assert records(spill, 0) == {(1, 10), (2, 20), (4, 40)}


def test_a_truncated_spill_is_named(path: Path) -> None:
    with closing(Spill(path, 0)) as spill:
        spill.append(0, [(words(1, 2), words(10, 20))])
        length = spill.length
    with path.open("r+b") as file:
        file.truncate(length - 1)
    with pytest.raises(RunDirectoryDamaged, match=f"holds {length - 1} bytes") as caught:
        Spill(path, length)
    assert caught.value.path == path
    assert str(path) in caught.value.message
    assert "--fresh" in (caught.value.hint or "")
    # The error is about the file alone; it is left for whoever wants to look at it.
    assert path.stat().st_size == length - 1


@pytest.mark.parametrize(
    ("place", "what"),
    [(0, "the magic"), (8, "the number of records"), (16, "the check"), (24, "an offset")],
)
def test_a_changed_header_is_noticed(path: Path, place: int, what: str) -> None:
    with closing(Spill(path, 0)) as spill:
        spill.append(0, [(words(5, 6, 7), words(1, 2, 3))])
        second = spill.length
        spill.append(0, [(words(8), words(4))])
        length = spill.length
    with path.open("r+b") as file:
        file.seek(second + place)
        byte = file.read(1)
        file.seek(second + place)
        file.write(bytes([byte[0] ^ 0xFF]))
    with closing(Spill(path, length)) as spill:
        with pytest.raises(RunDirectoryDamaged, match=f"damaged at byte {second}") as caught:
            spill.runs(0)
        assert caught.value.path == path, what


def test_a_full_disk_is_told_with_the_file_and_survived(path: Path) -> None:
    """Scenario: the disk fills up in the middle of a run.
    Outcome: one error that names the file and the remedy; after a cut back to the last
    sync everything promised is there, and appending goes on.
    """
    with closing(Spill(path, 0)) as spill:
        spill.append(0, [(words(1), words(10))])
        spill.sync()
        promised = spill.length
        with largest_file(promised + RUN_OVERHEAD + 8):
            with pytest.raises(LocalStorageError) as caught:
                spill.append(0, [(words(2, 3), words(20, 30))])
            assert not isinstance(caught.value, RunDirectoryDamaged)
        assert caught.value.path == path
        assert str(path) in caught.value.message
        assert "same command again" in (caught.value.hint or "")
        spill.cut(promised)
        spill.append(0, [(words(4), words(40))])
        assert records(spill, 0) == {(1, 10), (4, 40)}


def test_only_the_owner_may_read_it(path: Path) -> None:
    with closing(Spill(path, 0)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_spill_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalStorageError, match="missing") as caught:
        Spill(tmp_path / "missing" / "spill", 0)
    assert caught.value.path == tmp_path / "missing" / "spill"


def unmix(value: int) -> int:
    """Undo ``mix``: the inverse of MurmurHash3's finalizer, by the inverse factors."""
    everything = (1 << 64) - 1
    value ^= value >> 33
    value = value * pow(0xC4CEB9FE1A85EC53, -1, 1 << 64) & everything
    value ^= value >> 33
    value = value * pow(0xFF51AFD7ED558CCD, -1, 1 << 64) & everything
    return value ^ value >> 33


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_spreading_exact_digests_loses_nothing(values: list[int]) -> None:
    given_words = np.array(values, np.uint64)
    mixed = mix(given_words)
    assert [unmix(value) for value in mixed.tolist()] == values
    assert given_words.tolist() == values


def test_neighbours_are_spread_over_the_buckets() -> None:
    """Sequential ids, whose top bits are all the same, come to lie in nearly all buckets."""
    buckets = mix(np.arange(100_000, dtype=np.uint64)) >> np.uint64(64 - BUCKET_BITS)
    counts = np.bincount(buckets.astype(np.int64), minlength=BUCKETS)
    assert counts.min() >= 1
    assert counts.max() < 100
