"""What a benchmark will take of the disk and of somebody's time, reckoned before it begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .cache import kept
from .machine import check_space
from .table import CLUSTER_BYTES, copies_of, name_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _PerRow:
    """Bytes on the disk for one row of a table."""

    #: heap and indexes
    stays: int
    #: the most of: the sort that builds an index, a peer's temporary files or its own
    #: sort's, and the scan's run directory
    comes: int


#: heap 260, uri index 102, primary key 23
_STATUS = _PerRow(stays=390, comes=160)
#: heap 79, uri index 35, primary key 23
_CONVERSATION = _PerRow(stays=140, comes=80)
#: most of it in the run directory
_COPY = _PerRow(stays=130, comes=370)

#: seconds that a benchmark takes whatever it reads
_SECONDS = 60.0
#: seconds for a row of statuses and of conversations: to build them, and for all contestants
_SECONDS_PER_ROW = 50e-6


def needed_bytes(
    rows: int, *, keep: bool = False, there: Collection[str] = (), seed: int = 1
) -> int:
    """Reckon the disk that a benchmark of ``rows`` rows takes at its worst moment.

    With ``keep`` tables stay; those that are ``there`` take nothing more.
    """
    every = (
        (name_of("statuses", rows, seed), rows, _STATUS),
        (name_of("conversations", rows, seed), rows, _CONVERSATION),
        (f"copies_{copies_of(rows)}", copies_of(rows), _COPY),
    )
    if not keep:
        return CLUSTER_BYTES + max(count * (row.stays + row.comes) for _, count, row in every)
    tenth = (name_of("statuses", rows // 10, seed), rows // 10, _STATUS)
    stays = sum(count * row.stays for name, count, row in (*every, tenth) if name not in there)
    # The small tables that the network's bytes are counted with have room in the cluster's.
    return CLUSTER_BYTES + stays + max(count * row.comes for _, count, row in every)


def check(rows: int, keep: Path | None, seed: int) -> tuple[int, Path]:
    """Return the bytes needed and where. Raises TooLittleSpace, UnfitCache."""
    if keep is None:
        return check_space(rows, needed_bytes(rows))
    check_space(rows, _scratch_bytes(rows))
    return check_space(rows, needed_bytes(rows, keep=True, there=kept(keep), seed=seed), keep)


def _scratch_bytes(rows: int) -> int:
    """Reckon what the contestants' own files take, which are under TMPDIR in any case."""
    return max(rows * _STATUS.comes, copies_of(rows) * _COPY.comes)


def needed_seconds(rows: int) -> float:
    """Reckon the time of a whole benchmark on a machine like that of the documentation."""
    return _SECONDS + rows * _SECONDS_PER_ROW
