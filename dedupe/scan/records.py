"""What a chunk holds once it has left the server: digests and addresses as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .checkpoint import UnreadableRow
from .spill import Words

#: bits of an address below the block number
OFFSET_BITS = 16
#: bits of an address below the leaf's number
LEAF_SHIFT = 48
#: bytes of a row's record as the server sends it: digest and row address
WIRE_BYTES = 14
#: bytes of a digest
DIGEST_BYTES = 8

_WIRE = np.dtype(
    {
        "names": ["head", "digest"],
        "formats": [">u8", ">u8"],
        "offsets": [0, WIRE_BYTES - DIGEST_BYTES],
        "itemsize": WIRE_BYTES,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecords:
    """What a chunk holds for one key: two arrays of one length."""

    #: spread digests
    digests: Words
    #: leaf, block and offset of each row
    addresses: Words
    #: rows of the chunk that do not take part in the key
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The rows of one range."""

    #: rows in the range, those that a key leaves out included
    rows: int
    #: one item for each key of the run
    keys: tuple[KeyRecords, ...]
    #: what could not be read
    unreadable: tuple[UnreadableRow, ...] = ()
    #: place in the server's history that lies behind what was seen
    history: int = 0


#: of a key that no row of the chunk belongs to
NOTHING = KeyRecords(
    digests=np.zeros(0, np.uint64), addresses=np.zeros(0, np.uint64), left_out=0
)


def tid_text(address: int) -> str:
    """Write an address as PostgreSQL writes a ctid: ``(block,offset)``."""
    return f"({address >> OFFSET_BITS & 0xFFFFFFFF},{address & 0xFFFF})"


def tid_address(text: str) -> int:
    """Read a ctid; the address is without a leaf's number."""
    block, offset = text[1:-1].split(",")
    return int(block) << OFFSET_BITS | int(offset)


def records_of(first: bytes | None, packed: bytes) -> tuple[Words, Words]:
    """Read digests and addresses, the latter without a leaf's number.

    ``first`` is the address before ``packed``, if that begins with a digest. Both together
    must be whole records.
    """
    if first is None:
        raw = np.frombuffer(packed, _WIRE)
        addresses: Words = raw["head"].astype(np.uint64)
        addresses >>= np.uint64(64 - LEAF_SHIFT)
        return raw["digest"].astype(np.uint64), addresses
    records = (len(first) + len(packed)) // WIRE_BYTES
    digests = np.ndarray(records, ">u8", packed, 0, (WIRE_BYTES,))
    addresses = np.empty(records, np.uint64)
    addresses[0] = int.from_bytes(first, "big") << (64 - LEAF_SHIFT)
    # Behind the first digest: an address and the two bytes that follow it.
    addresses[1:] = np.ndarray(records - 1, ">u8", packed, DIGEST_BYTES, (WIRE_BYTES,))
    addresses >>= np.uint64(64 - LEAF_SHIFT)
    return digests.astype(np.uint64), addresses


def digests_of(rows: int, keys: int, first: bytes | None, packed: bytes) -> list[Words] | None:
    """Read the digests of one key or of two in turn; None where a row has none of them.

    ``first`` is the digest before ``packed``, where there are two keys.
    """
    if not rows:
        return [np.zeros(0, np.uint64)] * keys
    if len(first or b"") + len(packed) != rows * keys * DIGEST_BYTES:
        return None
    if keys == 1:
        return [np.frombuffer(packed, ">u8").astype(np.uint64)]
    if first is None:
        return None
    pair = np.empty(rows, np.uint64)
    pair[0] = int.from_bytes(first, "big")
    pair[1:] = np.ndarray(rows - 1, ">u8", packed, DIGEST_BYTES, (2 * DIGEST_BYTES,))
    return [pair, np.ndarray(rows, ">u8", packed, 0, (2 * DIGEST_BYTES,)).astype(np.uint64)]


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Join the chunks of neighbouring ranges."""
    return Chunk(
        rows=sum(chunk.rows for chunk in chunks),
        keys=tuple(
            KeyRecords(
                digests=np.concatenate([part.digests for part in parts]),
                addresses=np.concatenate([part.addresses for part in parts]),
                left_out=sum(part.left_out for part in parts),
            )
            for parts in zip(*(chunk.keys for chunk in chunks), strict=True)
        ),
        unreadable=tuple(row for chunk in chunks for row in chunk.unreadable),
        history=max(chunk.history for chunk in chunks),
    )
