"""The pace: sizes are read as written, memory is shared out, chunks aim at half a second."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dedupe.errors import UsageError
from dedupe.scan.options import Options
from dedupe.scan.pace import (
    PAUSE_FILE,
    Budget,
    ChunkSize,
    parse_size,
    pause_reason,
    peak_memory,
    rest,
)
from dedupe.scan.records import WIRE_BYTES
from dedupe.scan.spill import APPEND_BYTES, RECORD_BYTES
from dedupe.scan.walk import BYTES_PER_RECORD

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (67108864, 67108864),
        ("67108864", 67108864),
        ("64MB", 64_000_000),
        ("64M", 64_000_000),
        ("64 mb", 64_000_000),
        ("64MiB", 67_108_864),
        (" 64mib ", 67_108_864),
        ("1GiB", 1 << 30),
        ("2k", 2000),
        ("2KiB", 2048),
        ("1TB", 10**12),
        ("512b", 512),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_written(text: str | int, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "MB", "64XB", "64iB", "6 4MB", "-64MB", "1.5GB", "64MBs", "0x40", "64 M B"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert "64MiB" in (caught.value.hint or "")


@given(st.integers(8 * MIB, 1 << 40), st.integers(1, 64))
def test_the_parts_stay_within_the_whole(memory: int, jobs: int) -> None:
    """Two buffers being filled and written, each worker's answer in its copies, and the
    walk afterwards: none is more than was given.
    """
    # A worker's share must be worth a query: about 5/8 of all, in six copies.
    assume(memory >= jobs * MIB)
    budget = Budget.share(memory, jobs)
    sorting = budget.gather_bytes * APPEND_BYTES // RECORD_BYTES
    reading = 2 * budget.gather_bytes + jobs * 6 * budget.chunk_bytes
    assert reading + sorting <= memory
    assert budget.walk_records * BYTES_PER_RECORD <= memory
    assert budget.gather_bytes % RECORD_BYTES == 0
    assert budget.chunk_bytes >= 64 << 10


@pytest.mark.parametrize(
    ("memory", "jobs", "said"),
    [
        (8 * MIB - 1, 1, "too few"),
        (0, 1, "too few"),
        (-1, 1, "too few"),
        (8 * MIB, 64, "too few for 64 jobs"),
    ],
)
def test_too_little_memory_is_refused(memory: int, jobs: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Budget.share(memory, jobs)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"order": "random"}, "'random' is no order"),
        ({"jobs": 0}, "0 jobs"),
        ({"jobs": 65}, "65 jobs"),
        ({"nice": -1.0}, "-1.0 is no share"),
        ({"nice": float("nan")}, "nan is no share"),
        ({"nice": 1000.5}, "1000.5 is no share"),
        ({"memory": "lots"}, "'lots' is not a size"),
    ],
)
def test_options_are_checked_before_anything_else(changed: dict[str, object], said: str) -> None:
    given_options = {"order": "auto", "jobs": 2, "memory": "64MB", "nice": 0.0, **changed}
    with pytest.raises(UsageError, match=said):
        Options.of(**given_options)


def test_a_chunk_aims_at_half_a_second() -> None:
    size = ChunkSize(1 << 30, block_rows=100, keys=1)
    assert size.blocks == 64
    size.learn(64, 6400, 0.25)
    assert size.blocks == 128
    size.learn(128, 12800, 0.5)
    assert size.blocks == 128
    size.learn(128, 0, 8.0)
    assert size.blocks == 8, "shrinks at once"
    size.learn(8, 800, 0.000001)
    assert size.blocks == 32, "grows fourfold at most"
    size.learn(1, 100, 1000.0)
    assert size.blocks == 1, "a block is the least"
    size.too_many()
    assert size.blocks == 1


def test_a_chunk_fills_its_memory_with_rows_that_are_there() -> None:
    """Scenario: blocks could hold 200 rows and hold 20; then they are full.
    Outcome: ten times as many blocks are read at a time, and fewer at once afterwards.
    """
    size = ChunkSize(WIRE_BYTES * 100_000, block_rows=200, keys=1)
    assert (size.rows, size.blocks) == (100_000, 64)
    for _ in range(9):
        size.learn(size.blocks, size.blocks * 20, 0.001)
    assert size.blocks == 4_500, "nine tenths of what the memory holds"
    size.too_many()
    assert size.blocks == 2_250
    size.learn(100, 20_000, 0.001)
    assert size.blocks == 450


@given(
    st.integers(64 << 10, 1 << 24),
    st.integers(1, 291),
    st.integers(1, 9),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e4)), max_size=20),
)
def test_a_chunk_never_outgrows_its_memory(
    chunk_bytes: int, block_rows: int, keys: int, steps: list[tuple[float, float]]
) -> None:
    """Whatever it learns, blocks as full as the last ones fit; those that do not are refused."""
    size = ChunkSize(chunk_bytes, block_rows, keys)
    assert size.rows * keys * WIRE_BYTES <= max(chunk_bytes, block_rows * keys * WIRE_BYTES)
    assert size.blocks * block_rows <= size.rows
    for filled, seconds in steps:
        rows = int(size.blocks * block_rows * filled)
        if rows > size.rows:
            before = size.blocks
            size.too_many()
            assert size.blocks == before // 2
        else:
            density = rows / size.blocks
            size.learn(size.blocks, rows, seconds)
            assert size.blocks == 1 or size.blocks * density <= size.rows
        assert size.blocks >= 1


def test_the_pause_file_gives_its_reason(tmp_path: Path) -> None:
    assert pause_reason(tmp_path) is None
    (tmp_path / PAUSE_FILE).touch()
    assert pause_reason(tmp_path) == f"paused: remove {tmp_path / 'pause'} to go on"


def test_nice_sleeps_its_share_and_hears_a_stop() -> None:
    started = time.monotonic()
    rest(2.0, 0.1, lambda: False)
    assert 0.2 <= time.monotonic() - started < 1.0
    started = time.monotonic()
    rest(0.0, 100.0, lambda: False)
    assert time.monotonic() - started < 0.1
    stop = threading.Event()
    threading.Timer(0.15, stop.set).start()
    started = time.monotonic()
    rest(1000.0, 1000.0, stop.is_set)
    assert time.monotonic() - started < 1.0


def test_the_peak_of_memory_is_this_process_own() -> None:
    before = peak_memory()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory() >= before
    assert peak_memory() > 64 << 20
    del block
