"""Rows side by side on a terminal: one column a row, or one below another where it is narrow.

Values come from a database and may hold anything. None of it can steer the terminal, and no
line is wider than it.
"""

from __future__ import annotations

import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain

from .output import one_line

#: cells below which a column says too little
_NARROW = 14
#: cells between two columns, and before the headings
_GAP = 2


def side_by_side(
    headings: Sequence[str],
    titles: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    width: int,
) -> Iterator[str]:
    """Lay out ``rows``, each a value for every heading, under ``titles``; None is NULL.

    Lines have ``width`` cells at most; what is longer is cut.
    """
    names = [harmless(heading) for heading in headings]
    texts = [[_value(value) for value in row] for row in rows]
    label = min(max(map(cells, names), default=0), max(width // 3, 4))
    columns = [
        max(map(cells, chain([title], column)))
        for title, column in zip(titles, texts, strict=True)
    ]
    each = _share(columns, width - label - _GAP * (len(rows) + 1))
    if each is not None:
        widths = [min(wanted, each) for wanted in columns]
        lines = [("", titles), *zip(names, zip(*texts, strict=True), strict=True)]
        for name, values in lines:
            parts = [_padded(name, label)]
            parts += [_padded(v, cut) for v, cut in zip(values, widths, strict=True)]
            yield (" " * _GAP + (" " * _GAP).join(parts)).rstrip()
        return
    for title, values in zip(titles, texts, strict=True):
        yield cut_to(title, width)
        for name, value in zip(names, values, strict=True):
            room = max(width - label - 2 * _GAP, 1)
            yield " " * _GAP + _padded(name, label) + " " * _GAP + cut_to(value, room)


def _share(wanted: Sequence[int], room: int) -> int | None:
    """Return how wide a column may be, so that all fit; None: they say too little then."""
    each = max(wanted, default=0)
    if sum(wanted) <= room:
        return each
    least = min(each, _NARROW)
    for limit in range(min(each, max(room, 0)), least - 1, -1):
        if sum(min(one, limit) for one in wanted) <= room:
            return limit
    return None


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break a text of the recipe into lines."""
    return [
        cut_to(line, width)
        for line in textwrap.wrap(
            harmless(text), max(width, 20), initial_indent=indent, subsequent_indent=indent
        )
    ]


def harmless(text: str) -> str:
    """Write a text so that the terminal on stderr shows it and does nothing else."""
    encoding = sys.stderr.encoding
    return one_line(text).encode(encoding, "backslashreplace").decode(encoding)


def _value(value: str | None) -> str:
    """Write a value so that NULL, an empty text and outer blanks can be told apart."""
    if value is None:
        return "NULL"
    text = harmless(value)
    return f'"{text}"' if text in {"", "NULL"} or text != text.strip() else text


def cells(text: str) -> int:
    """Count the cells that printable characters take on a terminal."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_to(text: str, width: int) -> str:
    """Cut a text to so many cells, and say by dots that it was."""
    # Any number of marks can stand on one letter.
    if cells(text) <= width and len(text) <= 2 * width:
        return text
    dots = "..."[: max(width, 0)]
    taken, place = 0, 0
    for place, character in enumerate(text):
        taken += _cells(character)
        if taken > width - len(dots) or place >= 2 * width:
            break
    return text[:place] + dots


def _padded(text: str, width: int) -> str:
    shown = cut_to(text, width)
    return shown + " " * (width - cells(shown))
