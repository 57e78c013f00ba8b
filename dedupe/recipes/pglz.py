"""How long a value becomes when PostgreSQL compresses it with pglz.

No function of the server tells it without writing, and an index entry that is too long is
found before anything is written. The algorithm is deterministic, and part of the format of
data directories, so its result can be computed here.

Source: https://github.com/postgres/postgres/blob/master/src/common/pg_lzcompress.c
"""

from __future__ import annotations

#: what a compressed value has before its bytes
HEADER = 8
#: no value becomes smaller than this part of it: 3 bytes and a bit stand for 273
BEST = 88

_HISTORY = 4096
_FARTHEST = 0x0FFF
_LONGEST = 273
_GIVE_UP = 1024


def compressed_size(data: bytes) -> int | None:
    """Return the size of a value, header included, or None where it is kept as it is.

    Takes milliseconds for each thousand bytes; memory is some hundred bytes for each.
    """
    length = len(data)
    if length < 32:
        return None
    most = length * 75 // 100 if length <= 21474836 else length // 100 * 75
    buckets: dict[int, list[int]] = {}
    slots = next((n for least, n in ((128, 512), (256, 1024), (512, 2048), (1024, 4096))
                  if length < least), 8192)
    mask = slots - 1
    # The C code reads characters as signed numbers.
    signed = [byte - 256 if byte > 127 else byte for byte in data]
    written = control = place = 0
    found = False
    while place < length:
        if written >= most or (not found and written >= _GIVE_UP):
            return None
        if control == 0:
            written += 1
        control = (control + 1) % 8
        match = _match(data, signed, place, buckets, mask)
        if match:
            written += 3 if match > 17 else 2
            found = True
        else:
            written += 1
        for at in range(place, place + max(match, 1)):
            buckets.setdefault(_bucket(signed, at, mask), []).append(at)
        place += max(match, 1)
    size = written + HEADER
    return size if written < most and size < length - 2 else None


def _bucket(signed: list[int], at: int, mask: int) -> int:
    if len(signed) - at < 4:
        return signed[at] & mask
    one, two, three, four = signed[at : at + 4]
    return ((one << 6) ^ (two << 4) ^ (three << 2) ^ four) & mask


def _match(
    data: bytes, signed: list[int], place: int, buckets: dict[int, list[int]], mask: int
) -> int:
    """Return the length of the match that the algorithm settles for; 0 for none."""
    good, longest = 128, 0
    oldest = place - _HISTORY
    end = len(data)
    for at in reversed(buckets.get(_bucket(signed, place, mask), ())):
        if place - at >= _FARTHEST or at < oldest:
            break
        length = 0
        if longest < 16 or data[at : at + longest] == data[place : place + longest]:
            length = longest if longest >= 16 else 0
            while (
                place + length < end
                and length < _LONGEST
                and data[at + length] == data[place + length]
            ):
                length += 1
        longest = max(longest, length)
        if longest >= good:
            break
        good -= good * 10 // 100
    return longest if longest > 2 else 0
