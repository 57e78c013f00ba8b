"""Match keys: what makes two rows the same, digested and compared on the server.

A ``MatchKey`` is what the user names (an index, columns, SQLAlchemy objects); it
knows no database. ``resolve`` reads the catalogs and makes a ``ResolvedKey`` of
it, which writes the SQL for the digest, the equality and the rows that take part.
"""

from __future__ import annotations

from .digest import KeyColumn, ResolvedKey
from .indexes import find_index
from .resolve import keys_of_table, resolve, resolve_all
from .spec import KeyPart, MatchKey

__all__ = [
    "KeyColumn",
    "KeyPart",
    "MatchKey",
    "ResolvedKey",
    "find_index",
    "keys_of_table",
    "resolve",
    "resolve_all",
]
