"""Positions: how a table is cut into segments and a segment into chunks.

Physical order cuts by block numbers: it trusts no index, and any range can be
read again at any time. A segment is a stretch of one leaf that one worker reads
from its start to its end, so that the checkpoint is one position a segment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..session import Session
from ..table import Leaf
from .checkpoint import Segment
from .chunk import ChunkReader, TooManyRows, blocks_now
from .pace import ChunkSize
from .records import OFFSET_BITS, Chunk

#: blocks of a segment at most: 64 MB of heap, which a worker reads without a seek
_SEGMENT_BLOCKS = 8192
#: segments that a table is cut into at least for each worker, to end together
_SEGMENTS_A_JOB = 8
#: blocks of the last segments, unless all are shorter
_SHORT_SEGMENT_BLOCKS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One chunk read and where the segment goes on."""

    chunk: Chunk
    #: the next position; None: the segment is read
    next: str | None
    #: heap blocks that the step stands for
    blocks: int


class Order(Protocol):
    """A way to go through a table."""

    def step(
        self, session: Session, leaf: Leaf, segment: Segment, position: str, size: ChunkSize, /
    ) -> Step:
        """Read the next chunk of a segment."""
        ...


class PhysicalOrder:
    """Keyset over the row's address: ctid ranges of whole blocks."""

    def __init__(self, reader: ChunkReader, snapshot: str | None = None) -> None:
        """Read with ``reader``, under ``snapshot`` if one is given."""
        self._reader = reader
        self._snapshot = snapshot

    def step(
        self, session: Session, leaf: Leaf, segment: Segment, position: str, size: ChunkSize, /
    ) -> Step:
        """Read the next blocks; the chunk that reaches the segment's end ends it."""
        while True:
            try:
                return self._step(session, leaf, segment, json.loads(position), size)
            except TooManyRows:
                size.too_many()

    def _step(
        self, session: Session, leaf: Leaf, segment: Segment, low: int, size: ChunkSize
    ) -> Step:
        high = None if segment.high is None else json.loads(segment.high)
        known_end = json.loads(segment.low) + segment.blocks
        if high is None and low + size.blocks >= known_end:
            # What came since the table was cut may be more than one chunk can hold.
            known_end = max(known_end, blocks_now(session, leaf))
        end: int | None = low + size.blocks
        if low + size.blocks >= known_end:
            end = high
        started = time.monotonic()
        chunk = self._reader.read(
            session,
            leaf,
            low << OFFSET_BITS,
            None if end is None else end << OFFSET_BITS,
            snapshot=self._snapshot,
            most=size.rows,
        )
        blocks = (known_end if end is None else end) - low
        size.learn(max(1, blocks), chunk.rows, time.monotonic() - started)
        done = end is None or end == high
        return Step(chunk=chunk, next=None if done else json.dumps(end), blocks=max(0, blocks))


def block_segments(leaves: Sequence[Leaf], jobs: int) -> list[Segment]:
    """Cut leaves into segments of blocks, none longer than 64 MB, numbered from 0.

    Toward the end of the table they get shorter, so that no worker is left with a long one.
    """
    left = sum(leaf.blocks for leaf in leaves)
    widest = max(1, min(_SEGMENT_BLOCKS, left // (jobs * _SEGMENTS_A_JOB)))
    segments: list[Segment] = []
    for leaf in leaves:
        low = 0
        while low < leaf.blocks or not low:
            width = min(widest, max(_SHORT_SEGMENT_BLOCKS, left // (jobs * 2)))
            high = low + width
            # The last range is open: blocks that come later are read with it, not missed.
            last = high >= leaf.blocks
            blocks = min(width, leaf.blocks - low)
            segments.append(
                Segment(
                    number=len(segments),
                    leaf=leaf.number,
                    low=json.dumps(low),
                    high=None if last else json.dumps(high),
                    next=json.dumps(low),
                    blocks=blocks,
                )
            )
            left -= blocks
            low = high
    return segments
