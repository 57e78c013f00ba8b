"""The bodies of users' functions, as rules look for names in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .catalog import Catalog

#: strings, which may hold statements and stay, before comments, which go
_COMMENT = re.compile(r"('(?:[^']|'')*')|--[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One function."""

    schema: str
    name: str
    #: without comments, where the language's are known
    code: str

    @property
    def by_version(self) -> bool:
        """Whether it asks for the server's version, and so may know what that lacks."""
        return re.search(r"server_version|\bversion\s*\(", self.code, re.IGNORECASE) is not None


def bodies(catalog: Catalog, words: Sequence[str]) -> Iterator[Body]:
    """Yield the functions whose bodies hold one of some words, but for those of extensions."""
    for schema, name, language, body in catalog.rows(
        "SELECT n.nspname, p.proname, l.lanname, p.prosrc FROM pg_catalog.pg_proc p"
        " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
        " WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')"
        " AND p.prosrc ~* ('\\m(' || pg_catalog.array_to_string($1::text[], '|') || ')\\M')"
        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid"
        " AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e')"
        " ORDER BY 1, 2, p.oid",
        [list(words)],
    ):
        plain = language in {"sql", "plpgsql"}
        code = _COMMENT.sub(lambda found: found[1] or " ", body) if plain else body
        yield Body(schema=schema, name=name, code=code)
