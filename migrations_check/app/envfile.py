"""``.env`` files: variables, and where their values stand.

Source: https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

from dotenv.parser import parse_stream

from .pieces import Lookup, Piece, Text, interpolated, literal
from .source import Source

_BEFORE_VALUE = re.compile(r"\s*=[^\S\r\n]*['\"]?")


def variables(source: Source) -> dict[str, Text]:
    """Read a file of variables, values as they stand; what is no assignment is passed over."""
    found: dict[str, Text] = {}
    at = source.start
    for binding in parse_stream(io.StringIO(source.body, newline="")):
        raw = binding.original.string
        if binding.key is not None and binding.value is not None:
            key = raw.find(binding.key)
            before = _BEFORE_VALUE.match(raw, key + len(binding.key))
            if before and raw.startswith(binding.value, before.end()):
                start = at + before.end()
                found[binding.key] = literal(source, start, start + len(binding.value))
            else:
                found[binding.key] = (Piece(text=binding.value, span=None),)
        at += len(raw)
    return found


def lookup(environment: Mapping[str, str], files: Mapping[str, Text]) -> Lookup:
    """Look variables up as Compose does: the environment first, then the files."""

    def look(name: str, seen: frozenset[str] = frozenset()) -> Text | None:
        if name in environment:
            return (Piece(text=environment[name], span=None),)
        if name not in files or name in seen:
            return None
        return interpolated(files[name], lambda other: look(other, seen | {name}))

    return look
