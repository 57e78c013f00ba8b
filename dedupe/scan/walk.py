"""The walk: from all records of a key to those that share a digest.

Ranges of digests are read one after another, the same range of every run.
Memory is bounded by ``limit``, in records: a bucket that holds more is split by
further bits of the digest and then of the address, so a digest that every row
shares comes out in slices too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from .ahead import Ahead, Slice, Stretch
from .scratch import Scratch
from .spill import BUCKET_BITS, BUCKETS, Spill, SpillRun, Words, sliced

#: bytes that the walk holds for one record of a range, at most
BYTES_PER_RECORD = 64

Places = npt.NDArray[np.int64]

_STEP_BITS = 12
#: records of a range that is worked on in the processor's cache
_QUICK_RECORDS = 250_000
#: records of a range for each run at least, so that it is read by whole pages
_RECORDS_A_RUN = 1024
#: share of the limit that slices may hold while they wait to be worked on
_SHARE_AHEAD = 8
#: places of buckets in runs that are held at a time, 4 bytes each
_WINDOW_OFFSETS = 1 << 18
#: slots for each record at least; as many again at most, and twice that where buckets leave gaps
_SLOTS_PER_RECORD = 3


def candidates(
    spill: Spill, key: int, limit: int, threads: int = 1
) -> Generator[Slice, None, None]:
    """Yield (share done, digests, addresses) of records whose digest occurs twice or more.

    Slices ascend by (digest, address) and hold no record twice. A digest lies in
    one slice unless it alone has more than ``limit`` records: then slices follow
    each other that hold nothing else. Some slices are empty: they tell progress.

    ``threads`` make slices ahead of the one that is worked on; they end with the generator.
    Memory: BYTES_PER_RECORD for ``limit`` records, and RECORD_BYTES for each of the slice that
    waits to be worked on.
    """
    runs = spill.runs(key)
    sizes = spill.bucket_sizes(runs)
    quick = min(limit, max(_QUICK_RECORDS, len(runs) * _RECORDS_A_RUN))
    # What all of them hold stays below the limit.
    widest = max(quick, int(sizes[sizes <= limit].max(initial=0)))
    threads = max(1, min(threads, limit // widest))
    stretches = _stretches(spill, runs, sizes, limit, quick)
    with ThreadPoolExecutor(threads, thread_name_prefix="pgmend-walk") as pool:
        ahead = Ahead(pool, stretches, threads, limit // _SHARE_AHEAD)
        try:
            yield from ahead.slices()
        finally:
            ahead.end()


def _stretches(
    spill: Spill, runs: list[SpillRun], sizes: Places, limit: int, wanted: int
) -> Iterator[Stretch]:
    """Cut all buckets into stretches of about ``wanted`` records.

    A bucket of more than ``limit`` records is a stretch of several slices.
    """
    total = max(1, int(sizes.sum()))
    # Threads take one each and give it back.
    scratches = deque([spill.scratch])
    window = max(1, min(BUCKETS, _WINDOW_OFFSETS // max(1, len(runs))))
    done = 0
    for first in range(0, BUCKETS, window):
        last = min(first + window, BUCKETS)
        offsets = spill.offsets(runs, first, last)
        low = first
        while low < last:
            high = low + 1
            size = int(sizes[low])
            while high < last and size + int(sizes[high]) <= wanted:
                size += int(sizes[high])
                high += 1
            parts = sliced(runs, offsets[:, low - first], offsets[:, high - first])
            if size > limit:
                slices = _refined(spill, parts, limit, done / total)
                yield Stretch(slices=slices, several=True)
            elif size:
                share = (done + size) / total
                slices = _plain(spill, parts, (low, high), share, scratches)
                yield Stretch(slices=slices, several=False)
            done += size
            low = high


def _refined(
    spill: Spill, parts: list[tuple[SpillRun, int, int]], limit: int, share: float
) -> Iterator[Slice]:
    """Make the slices of a bucket that is too wide for one."""
    for digests, addresses in _refine(spill, parts, limit):
        yield share, digests, addresses
        # Let go of one slice before the next is made.
        del digests, addresses


def _plain(
    spill: Spill,
    parts: list[tuple[SpillRun, int, int]],
    buckets: tuple[int, int],
    share: float,
    scratches: deque[Scratch],
) -> Iterator[Slice]:
    """Make the one slice of a range of buckets."""
    scratch = scratches.pop() if scratches else Scratch()
    try:
        digests, addresses = _twins_of_parts(spill, parts, *buckets, scratch)
    finally:
        scratches.append(scratch)
    yield share, digests, addresses


def _twins_of_parts(
    spill: Spill, parts: list[tuple[SpillRun, int, int]], low: int, high: int, scratch: Scratch
) -> tuple[Words, Words]:
    """Read the buckets ``low`` to ``high``; the addresses only of the runs that hold a twin."""
    ends = np.cumsum([end - start for _, start, end in parts])
    digests = scratch.array("joined", int(ends[-1]), np.uint64)
    spill.read_digests(parts, digests)
    hits = _twins(digests, low, high, scratch)
    if not len(hits):
        return digests[:0], digests[:0]
    addresses = np.empty(len(hits), np.uint64)
    bounds = np.searchsorted(hits, ends)
    first = 0
    for (run, start, end), stop, last in zip(parts, ends, bounds, strict=True):
        if last > first:
            base = int(stop) - (end - start)
            addresses[first:last] = spill.addresses(run, start, end)[hits[first:last] - base]
        first = last
    return _settled(digests[hits], addresses)


def _twins(digests: Words, low: int, high: int, scratch: Scratch) -> Places:
    """Return the places of the digests that occur again, ascending.

    Nearly all digests are alone, so sorting them all would be wasted. Each record
    writes its place into the slot that some bits of its digest name; who finds
    another's place there shares the slot. Twice, by other bits the second time; only
    who has shared both slots is sorted.
    """
    bits = (_SLOTS_PER_RECORD * len(digests)).bit_length()
    # One more, for a stretch of buckets that begins between two slots.
    owner = scratch.array("owner", (1 << bits) + 1, np.uint32)
    slots = scratch.array("moved", len(digests), np.uint64)
    shift = max(0, 64 - BUCKET_BITS + (high - low - 1).bit_length() - bits)
    # These slots keep the order of the buckets, and so do the records of each run,
    # which keeps a run's stretch of slots in the processor's cache.
    np.right_shift(digests, np.uint64(shift), out=slots)
    slots -= np.uint64((low << (64 - BUCKET_BITS)) >> shift)
    shared = _sharing(slots, owner, scratch)
    values = digests[shared]
    again = _sharing(values & np.uint64((1 << bits) - 1), owner, scratch)
    shared, values = shared[again], values[again]
    order = np.argsort(values)
    equal = values[order[1:]] == values[order[:-1]]
    twin = np.zeros(len(order), np.bool_)
    twin[1:] = equal
    twin[:-1] |= equal
    return np.sort(shared[order[twin]])


def _sharing(slots: Words, owner: npt.NDArray[np.uint32], scratch: Scratch) -> Places:
    """Return the places of the records that share their slot; ``owner`` is overwritten."""
    places = slots.view(np.int64)
    mine = np.arange(len(slots), dtype=np.uint32)
    owners = scratch.array("owners", len(slots), np.uint32)
    others = scratch.array("others", len(slots), np.bool_)
    owner[places] = mine
    # mode: only where the places are not checked does ``take`` write straight to ``out``.
    np.take(owner, places, out=owners, mode="clip")
    np.not_equal(owners, mine, out=others)
    # The owners of shared slots do not see the others, but are seen by them.
    others[owners[others]] = True
    return np.flatnonzero(others)


def _settled(digests: Words, addresses: Words) -> tuple[Words, Words]:
    """Sort by (digest, address), drop equal records, then digests left alone."""
    order = np.lexsort((addresses, digests))
    digests, addresses = digests[order], addresses[order]
    if len(digests) < 2:
        return digests[:0], addresses[:0]
    fresh = np.ones(len(digests), np.bool_)
    fresh[1:] = (digests[1:] != digests[:-1]) | (addresses[1:] != addresses[:-1])
    digests, addresses = digests[fresh], addresses[fresh]
    equal = digests[1:] == digests[:-1]
    shared = np.zeros(len(digests), np.bool_)
    shared[1:] = equal
    shared[:-1] |= equal
    return digests[shared], addresses[shared]


def _refine(
    spill: Spill,
    parts: list[tuple[SpillRun, int, int]],
    limit: int,
    level: int = 1,
    prefix: int = 0,
) -> Iterator[tuple[Words, Words]]:
    """Split what is too wide by the next bits of (digest, address), 128 bits in all.

    ``prefix`` is the value of the bits before the level's own, which all wanted
    records share; at level 1 the bucket itself is that prefix. Each level reads
    the bucket once to count and once for each group of sub-ranges.
    """
    piece = max(1024, limit // 4)
    counts = np.zeros(1 << _STEP_BITS, np.int64)
    for digests, addresses in spill.pieces(parts, piece):
        if level == 1 and not prefix:
            prefix = int(digests[0]) >> (64 - _STEP_BITS)
        steps = _steps(digests, addresses, level, prefix)[0]
        counts += np.bincount(steps, minlength=len(counts))
    low = 0
    while low < len(counts):
        high = low + 1
        size = int(counts[low])
        while high < len(counts) and size + int(counts[high]) <= limit:
            size += int(counts[high])
            high += 1
        if size > limit and _position(level + 1) < 128:
            width = _position(level + 1) - _position(level)
            yield from _refine(spill, parts, limit, level + 1, prefix << width | low)
        elif size:
            yield _gather(spill, parts, piece, level, prefix, low, high)
        low = high


def _position(level: int) -> int:
    """Return the first bit, of 128, that ``level`` looks at; none looks at both words."""
    of_digest = 64 // _STEP_BITS
    return level * _STEP_BITS if level <= of_digest else 64 + (level - of_digest - 1) * _STEP_BITS


def _steps(
    digests: Words, addresses: Words, level: int, prefix: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return the next bits of the records under ``prefix``, and where those records are."""
    start = _position(level)
    if start <= 64:
        mine = np.flatnonzero(_bits(digests, addresses, 0, start) == np.uint64(prefix))
    else:
        below = start - 64
        mine = np.flatnonzero(
            (digests == np.uint64(prefix >> below))
            & (addresses >> np.uint64(64 - below) == np.uint64(prefix & ((1 << below) - 1)))
        )
    steps = _bits(digests[mine], addresses[mine], start, min(_position(level + 1), 128))
    return steps.astype(np.int64), mine


def _bits(digests: Words, addresses: Words, start: int, end: int) -> Words:
    """Return the bits ``start`` to ``end`` of (digest, address); all of them of one word."""
    if end <= 64:
        return (digests << np.uint64(start)) >> np.uint64(64 - (end - start))
    return (addresses << np.uint64(start - 64)) >> np.uint64(64 - (end - start))


def _gather(
    spill: Spill,
    parts: list[tuple[SpillRun, int, int]],
    piece: int,
    level: int,
    prefix: int,
    low: int,
    high: int,
) -> tuple[Words, Words]:
    """Read the records of the sub-ranges ``low`` to ``high`` and keep the twins.

    Below the digest's bits all records share one digest, so each of them counts.
    """
    found_digests, found_addresses = [], []
    for digests, addresses in spill.pieces(parts, piece):
        steps, mine = _steps(digests, addresses, level, prefix)
        mine = mine[(steps >= low) & (steps < high)]
        found_digests.append(digests[mine])
        found_addresses.append(addresses[mine])
    digests, addresses = np.concatenate(found_digests), np.concatenate(found_addresses)
    del found_digests, found_addresses
    if _position(level) >= 64:
        order = np.lexsort((addresses, digests))
        digests, addresses = digests[order], addresses[order]
        fresh = np.ones(len(digests), np.bool_)
        fresh[1:] = (digests[1:] != digests[:-1]) | (addresses[1:] != addresses[:-1])
        return digests[fresh], addresses[fresh]
    return _settled(digests, addresses)
