"""The pace of a scan: how much memory each part may hold, how large a chunk is, when to wait."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .records import WIRE_BYTES
from .spill import APPEND_BYTES, RECORD_BYTES
from .walk import BYTES_PER_RECORD

#: seconds that a chunk aims at
CHUNK_SECONDS = 0.5
#: seconds between two checkpoints, at most, while rows come in
CHECKPOINT_SECONDS = 2.0
#: bytes of records that a checkpoint waits twice as long for, since a run has a header of 16 kB
FEW_BYTES = 256 << 10
#: share of the memory's bound that a chunk is to fill where blocks are as full as the last
_FILLED = 0.9
#: file in the run directory whose presence makes the scan wait
PAUSE_FILE = "pause"
#: file in the run directory whose presence makes the scan stop
STOP_FILE = "stop"

MEMORY_MIN = 8 << 20
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_size(text: str | int) -> int:
    """Read a size in bytes: 67108864, "64MB" (10^6) or "64MiB" (2^20).

    Raises UsageError.
    """
    if isinstance(text, int):
        return text
    found = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{text!r} is not a size", hint="Write it as 64MB or 64MiB.")
    return int(found[1]) * (_BINARY_UNITS if found[3] else _UNITS)[found[2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How the buffers of one scan share the memory setting."""

    #: bytes of decoded records that are gathered before they go to the spill
    gather_bytes: int
    #: bytes of one chunk's answer, of each worker
    chunk_bytes: int
    #: records that the walk holds at a time
    walk_records: int

    @classmethod
    def share(cls, memory: int, jobs: int) -> Budget:
        """Divide ``memory`` bytes; raises UsageError when they are too few.

        One buffer fills while another one is sorted and written (APPEND_BYTES a
        record on top); a chunk's answer is held by libpq's buffer (up to twice
        its size), libpq's result, Python's bytes and the decoded arrays.
        """
        if memory < MEMORY_MIN:
            raise UsageError(
                f"{memory} bytes of memory are too few", hint="The least is 8MiB."
            )
        gather = memory // 10
        sorting = gather // RECORD_BYTES * APPEND_BYTES
        chunk = (memory - 2 * gather - sorting) // (6 * jobs)
        if chunk < 64 << 10:
            raise UsageError(
                f"{memory} bytes of memory are too few for {jobs} jobs",
                hint="Give more memory or fewer jobs.",
            )
        return cls(
            gather_bytes=gather // RECORD_BYTES * RECORD_BYTES,
            chunk_bytes=chunk,
            walk_records=max(4096, memory // 2 // BYTES_PER_RECORD),
        )


class ChunkSize:
    """Blocks in a worker's next chunk: half a second's worth within the memory's bound."""

    def __init__(self, chunk_bytes: int, block_rows: int, keys: int) -> None:
        #: rows that the memory holds of one chunk; those of one block are never too many
        self.rows = max(block_rows, chunk_bytes // (WIRE_BYTES * keys))
        self.blocks = min(64, self.rows // block_rows)

    def learn(self, blocks: int, rows: int, seconds: float) -> None:
        """Take what a chunk held and how long it took; grow at most fourfold, shrink at once."""
        wanted = int(blocks * CHUNK_SECONDS / max(seconds, 1e-4))
        # The next blocks may be a little fuller.
        fitting = int(_FILLED * self.rows * blocks / max(1, rows))
        self.blocks = max(1, min(fitting, wanted, 4 * self.blocks))

    def too_many(self) -> None:
        """Halve the blocks: the rows of the last chunk were more than the memory holds."""
        self.blocks = max(1, self.blocks // 2)


def pause_reason(directory: Path) -> str | None:
    """Say why a scan in ``directory`` has to wait, or None."""
    pause = directory / PAUSE_FILE
    return f"paused: remove {pause} to go on" if pause.exists() else None


def rest(nice: float, worked: float, stopped: Callable[[], bool]) -> None:
    """Sleep ``nice`` times the seconds a chunk took, in steps that notice a stop."""
    end = time.monotonic() + nice * worked
    while not stopped() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes.

    Source: proc(5), VmHWM; elsewhere getrusage, whose figure a child of a larger
    process inherits.
    """
    try:
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except (OSError, UnicodeDecodeError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
