"""Values put together from literals and variables, each piece with the place that it stands in.

``image: app:${TAG:-v1}`` is one value, and its version may stand in this line, in ``.env``, or
in the environment. A value is therefore kept as pieces; a piece without a span stands in no file.

Source: https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .source import Source, Span

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One part of a value."""

    text: str
    #: where it stands; None: in no file, or written with escapes
    span: Span | None


Text = tuple[Piece, ...]
#: Gives a variable's value, or None where it is not set.
Lookup = Callable[[str], Text | None]


def joined(text: Text) -> str:
    """Return the value itself."""
    return "".join(piece.text for piece in text)


def nothing_set(_name: str) -> Text | None:
    """Look up a variable where none is set: what is left are the defaults."""
    return None


def literal(source: Source, start: int, end: int) -> Text:
    """Make a value of a part of a file's text, as it stands."""
    span = Span(real=source.real, start=start, end=end)
    return (Piece(text=source.text[start:end], span=span),)


def within(text: Text, start: int, end: int) -> Iterator[Span]:
    """Yield the spans that characters ``start`` to ``end`` of the value stand in, as far as any."""
    at = 0
    for piece in text:
        low, high = max(start, at), min(end, at + len(piece.text))
        if low < high and piece.span is not None:
            begin = piece.span.start + low - at
            yield Span(real=piece.span.real, start=begin, end=begin + high - low)
        at += len(piece.text)


def interpolated(text: Text, lookup: Lookup, missing: set[str] | None = None) -> Text:
    """Replace the variables of every piece by their values; one that is not set is empty.

    The names of those that have neither a value nor a default are added to ``missing``.
    """
    found: list[Piece] = []
    for piece in text:
        found.extend(_resolved(piece, lookup, set() if missing is None else missing))
    return tuple(found)


def _resolved(piece: Piece, lookup: Lookup, missing: set[str]) -> Iterator[Piece]:
    raw, at, plain = piece.text, 0, 0
    while (at := raw.find("$", at)) >= 0:
        if raw[at + 1 : at + 2] == "$":
            yield _part(piece, plain, at + 1)
            at = plain = at + 2
            continue
        braced = raw[at + 1 : at + 2] == "{"
        name = _NAME.match(raw, at + 1 + braced)
        end = _closing(raw, at + 2) if braced else (name.end() if name else 0)
        if name is None or not end:
            at += 1
            continue
        yield _part(piece, plain, at)
        rest = _part(piece, name.end(), end - 1) if braced else Piece(text="", span=None)
        yield from _value(rest, name[0], lookup, missing)
        at = plain = end
    yield _part(piece, plain, len(raw))


def _value(rest: Piece, name: str, lookup: Lookup, missing: set[str]) -> Text:
    """Apply what stands behind a variable's name in braces: ``:-default`` and its like."""
    value = lookup(name)
    operator = _OPERATOR.match(rest.text)
    kind = operator[0] if operator else "?"
    given = value is not None and (":" not in kind or bool(joined(value)))
    if kind[-1] == "?" and not given:
        missing.add(name)
    if operator and ((kind[-1] == "-" and not given) or (kind[-1] == "+" and given)):
        return tuple(_resolved(_part(rest, operator.end(), len(rest.text)), lookup, missing))
    return () if kind[-1] == "+" else value or ()


def _closing(raw: str, at: int) -> int:
    """Return the position behind the brace that closes, 0 if none does."""
    depth = 1
    while at < len(raw):
        if raw.startswith("${", at):
            depth += 1
            at += 1
        elif raw[at] == "}":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return 0


def _part(piece: Piece, start: int, end: int) -> Piece:
    span = piece.span and Span(
        real=piece.span.real, start=piece.span.start + start, end=piece.span.start + end
    )
    return Piece(text=piece.text[start:end], span=span)
