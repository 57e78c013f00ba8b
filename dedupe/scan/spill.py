"""The spill: records of the scan on disk, in runs that are grouped by digest.

A record is 16 bytes: the digest and the row's address, two unsigned 64-bit
integers. The address is the leaf's number (16 bits), the block (32) and the
offset in the block (16), so that it orders as the heap does.

The file only grows. A run is a header, then all its digests, then all its
addresses, both grouped by the digest's top bits (a stable counting sort), so
that a range of digests is one piece of every run. What a run holds is promised
only once ``sync`` has returned; the caller writes the file's length into its
checkpoint after that and cuts the file back to it when it starts again.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import LocalStorageError, RunDirectoryDamaged
from .scratch import Scratch

Words = npt.NDArray[np.uint64]

#: bits of the digest that name a bucket
BUCKET_BITS = 12
BUCKETS = 1 << BUCKET_BITS
#: bytes of a record in the file
RECORD_BYTES = 16
#: bytes that ``append`` takes for a record, half of them kept for the next run
APPEND_BYTES = 36

_HEADER = struct.Struct("<4sHHQI")
_MAGIC = b"pgm1"
_OFFSETS_BYTES = 4 * (BUCKETS + 1)
_RUN_HEADER_BYTES = _HEADER.size + _OFFSETS_BYTES


@dataclass(frozen=True, slots=True)
class SpillRun:
    """Where one run lies in the file."""

    #: number of the key in the run directory
    key: int
    #: records in the run
    records: int
    #: byte position of the bucket offsets
    offsets_at: int

    @property
    def digests_at(self) -> int:
        """Byte position of the first digest."""
        return self.offsets_at + _OFFSETS_BYTES

    @property
    def addresses_at(self) -> int:
        """Byte position of the first address."""
        return self.digests_at + 8 * self.records


def mix(words: Words) -> Words:
    """Spread the bits of exact digests over all 64, one to one.

    The finalizer of MurmurHash3 (Appleby, public domain): a bijection, so equal
    stays equal and different stays different.
    """
    out = words ^ (words >> np.uint64(33))
    out *= np.uint64(0xFF51AFD7ED558CCD)
    out ^= out >> np.uint64(33)
    out *= np.uint64(0xC4CEB9FE1A85EC53)
    out ^= out >> np.uint64(33)
    return out


def sliced(
    runs: list[SpillRun], starts: npt.NDArray[np.uint32], ends: npt.NDArray[np.uint32]
) -> list[tuple[SpillRun, int, int]]:
    """Pair each run with where a slice of it begins and ends; empty slices are left out."""
    bounds = zip(runs, starts.tolist(), ends.tolist(), strict=True)
    return [(run, start, end) for run, start, end in bounds if start < end]


class Spill:
    """The open spill file of one run directory. Used by one thread at a time."""

    def __init__(self, path: Path, length: int) -> None:
        """Open or make the file and cut it back to ``length`` bytes.

        Raises RunDirectoryDamaged when the file is shorter than that,
        LocalStorageError when it cannot be opened.
        """
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
        except OSError as error:
            raise _storage_error(path, error) from error
        if size < length:
            os.close(self._fd)
            raise RunDirectoryDamaged(
                f"{path} holds {size} bytes where its checkpoint counts {length}",
                hint="The file was truncated or replaced; begin again with --fresh"
                " or another run directory.",
                path=path,
            )
        self.length = length
        #: for whoever puts records in order, here and in the walk
        self.scratch = Scratch()
        self.cut(length)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def cut(self, length: int) -> None:
        """Cut the file back to ``length`` bytes: what lies behind was never promised."""
        os.ftruncate(self._fd, length)
        self.length = length

    def append(self, key: int, parts: Sequence[tuple[Words, Words]]) -> None:
        """Append the records of ``parts`` (digests, addresses), joined, as one run.

        Memory: APPEND_BYTES a record. Raises LocalStorageError (a full disk among others);
        the file then ends with what does not count, and the next ``cut`` removes it.
        """
        records = sum(len(digests) for digests, _ in parts)
        if not records:
            return
        joined = self.scratch.array("joined", records, np.uint64)
        moved = self.scratch.array("moved", records, np.uint64)
        buckets = self.scratch.array("buckets", records, np.uint16)
        np.concatenate([digests for digests, _ in parts], out=joined)
        np.right_shift(joined, np.uint64(64 - BUCKET_BITS), out=buckets, casting="unsafe")
        order = np.argsort(buckets, kind="stable")
        offsets = np.zeros(BUCKETS + 1, "<u4")
        offsets[1:] = np.searchsorted(
            buckets[order], np.arange(BUCKETS, dtype=np.uint16), side="right"
        )
        raw = offsets.tobytes()
        header = _HEADER.pack(_MAGIC, key, 0, records, zlib.crc32(raw))
        self._write(header + raw)
        # mode: only where the places are not checked does ``take`` write straight to ``out``.
        np.take(joined, order, out=moved, mode="clip")
        self._write(moved.astype("<u8", copy=False))
        np.concatenate([addresses for _, addresses in parts], out=joined)
        np.take(joined, order, out=moved, mode="clip")
        self._write(moved.astype("<u8", copy=False))

    def sync(self) -> None:
        """Return when all that was appended is on the disk."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _storage_error(self.path, error) from error

    def runs(self, key: int) -> list[SpillRun]:
        """List the runs of one key, in the order they were written.

        Raises RunDirectoryDamaged where a header does not hold.
        """
        found = []
        position = 0
        while position < self.length:
            magic, run_key, _, records, check = _HEADER.unpack(self._read(position, _HEADER.size))
            offsets_at = position + _HEADER.size
            end = position + _RUN_HEADER_BYTES + records * RECORD_BYTES
            if magic != _MAGIC or end > self.length:
                raise self._damaged(position)
            if zlib.crc32(self._read(offsets_at, _OFFSETS_BYTES)) != check:
                raise self._damaged(position)
            if run_key == key:
                found.append(SpillRun(run_key, records, offsets_at))
            position = end
        return found

    def bucket_sizes(self, runs: list[SpillRun]) -> npt.NDArray[np.int64]:
        """Add up how many records each bucket holds over ``runs``."""
        sizes = np.zeros(BUCKETS, np.int64)
        for run in runs:
            sizes += np.diff(self.offsets([run], 0, BUCKETS)[0].astype(np.int64))
        return sizes

    def offsets(self, runs: list[SpillRun], low: int, high: int) -> npt.NDArray[np.uint32]:
        """Read where the buckets ``low`` to before ``high`` begin and end, a row for each run."""
        found = np.empty((len(runs), high - low + 1), "<u4")
        for run, row in zip(runs, found, strict=True):
            self._fill(run.offsets_at + 4 * low, memoryview(row.data).cast("B"))
        return found

    def slices(self, runs: list[SpillRun], low: int, high: int) -> list[tuple[SpillRun, int, int]]:
        """Say which records of every run lie in the buckets ``low`` to ``high`` (not included)."""
        offsets = self.offsets(runs, low, high)
        return sliced(runs, offsets[:, 0], offsets[:, -1])

    def digests(self, run: SpillRun, start: int, end: int) -> Words:
        """Read the digests of the records ``start`` to ``end`` of a run."""
        return self._words(run.digests_at + 8 * start, np.empty(end - start, np.uint64))

    def addresses(self, run: SpillRun, start: int, end: int) -> Words:
        """Read the addresses of the records ``start`` to ``end`` of a run."""
        return self._words(run.addresses_at + 8 * start, np.empty(end - start, np.uint64))

    def read_digests(self, parts: list[tuple[SpillRun, int, int]], into: Words) -> None:
        """Read the digests of slices, one behind the other, into an array of their length."""
        place = 0
        for run, start, end in parts:
            self._words(run.digests_at + 8 * start, into[place : place + end - start])
            place += end - start

    def pieces(
        self, parts: list[tuple[SpillRun, int, int]], records: int
    ) -> Iterator[tuple[Words, Words]]:
        """Read slices in pieces of at most ``records`` records."""
        for run, start, end in parts:
            for low in range(start, end, records):
                high = min(low + records, end)
                yield self.digests(run, low, high), self.addresses(run, low, high)

    def _write(self, data: bytes | Words) -> None:
        view = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
        try:
            while view:
                written = os.pwrite(self._fd, view, self.length)
                self.length += written
                view = view[written:]
        except OSError as error:
            raise _storage_error(self.path, error) from error

    def _words(self, position: int, into: Words) -> Words:
        self._fill(position, memoryview(into.data).cast("B"))
        if sys.byteorder == "big":
            into.byteswap(inplace=True)
        return into

    def _read(self, position: int, size: int) -> bytes:
        data = bytearray(size)
        self._fill(position, memoryview(data))
        return bytes(data)

    def _fill(self, position: int, view: memoryview) -> None:
        try:
            size = os.preadv(self._fd, [view], position)
        except OSError as error:
            raise _storage_error(self.path, error) from error
        if size != len(view):
            raise self._damaged(position)

    def _damaged(self, position: int) -> RunDirectoryDamaged:
        return RunDirectoryDamaged(
            f"{self.path} is damaged at byte {position}",
            hint="Begin again with --fresh or another run directory.",
            path=self.path,
        )


def _storage_error(path: Path, error: OSError) -> LocalStorageError:
    return LocalStorageError(
        f"cannot write or read {path}: {error.strerror}",
        hint="Make room or mend the directory, then run the same command again:"
        " it goes on from its last checkpoint.",
        path=path,
    )
