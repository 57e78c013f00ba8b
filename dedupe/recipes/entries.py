"""How long the entry of a row is in a btree index, computed from what the server tells of it.

An entry is a header of 8 bytes (16 if something in it is NULL) and the values, aligned, and
may have a third of a page. A value that is compressed in the table is taken as it is there;
of the others those above a sixteenth of a page are compressed, if that makes them smaller.
Stored values are not fetched to know their length.

Source: https://github.com/postgres/postgres/blob/master/src/backend/access/common/indextuple.c
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from ..key import ResolvedKey
from ..key.catalog import Catalog, Type
from ..session import Session
from ..table import quoted
from .pglz import BEST, HEADER, compressed_size

_ALIGNMENT = {"c": 1, "s": 2, "i": 4, "d": 8}
#: a name, and the longest values of types that have no length of their own
_NAME = 64
_SHORT = {"inet": 24, "cidr": 24}
_COMPRESSED = "xm"
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_WORD = re.compile(r"'(?:[^']|'')*'|(\"(?:[^\"]|\"\")+\"|\w+)")
#: words of an expression that changes the case of texts, and nothing else
_CASE = {"", "lower", "upper", "COALESCE", "coalesce", "text", "character", "varying"}
#: bytes of a value that has a header of one byte, and is not aligned
_SHORTENED = 126


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A value of an entry."""

    #: SQL, complete in itself
    sql: str
    #: bytes, for a type that always has as many
    fixed: int | None
    #: bytes at most, header included; None: no end
    most: int | None
    alignment: int
    #: as in pg_attribute: p plain, e external, m main, x extended
    storage: str
    #: ``pglz`` or ``lz4``: what compresses it in the index
    method: str
    #: SQL of its length without a header
    length: str
    #: SQL of a length that it does not exceed, cheaper than ``length`` where that is evaluated
    bound: str
    #: SQL of its bytes, where they can be had
    bytes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The entries of one index."""

    key: ResolvedKey
    parts: tuple[_Part, ...]
    #: bytes that an entry may have
    limit: int
    #: bytes above which a value is compressed
    target: int

    @property
    def long(self) -> str:
        """SQL that is true for every row whose entry may be too long."""
        open_ones = [part for part in self.parts if part.fixed is None]
        # Headers of 16 and of 4 bytes, and as much as is lost by alignment.
        rest = 24 + sum(11 if part.fixed is None else 7 + part.fixed for part in self.parts)
        exceeds = f"OPERATOR(pg_catalog.>) {self.limit - rest}"
        long = f"{_sum([part.length for part in open_ones])} {exceeds}"
        bounds = [part.bound for part in open_ones]
        if bounds != [part.length for part in open_ones]:
            long = f"CASE WHEN {_sum(bounds)} {exceeds} THEN {long} ELSE false END"
        # Behind the predicate: what it leaves out, an expression may not be able to take.
        return f"CASE WHEN {self.key.where or 'true'} THEN {long} ELSE false END"

    @property
    def columns(self) -> tuple[str, ...]:
        """SQL of what ``judge`` wants to know."""
        wanted = []
        for part in self.parts:
            if part.fixed is not None:
                wanted.append(f"{part.sql} IS NULL")
                continue
            method = f"pg_catalog.pg_column_compression({part.sql})"
            wanted += [part.length, method, f"pg_catalog.pg_column_size({part.sql})"]
            if self._bytes_wanted(part):
                most = self.limit * BEST
                wanted.append(
                    f"CASE WHEN {method} IS NULL AND {part.length} BETWEEN {self.target - 3}"
                    f" AND {most} THEN {part.bytes} END"
                )
        long = self.long
        return (long, *(f"CASE WHEN {long} THEN {sql} END" for sql in wanted))

    def _bytes_wanted(self, part: _Part) -> bool:
        return part.bytes is not None and part.storage in _COMPRESSED and part.method == "pglz"

    def judge(self, values: Sequence[Any]) -> bool | None:
        """Whether a row's entry is too long; None: how far it is compressed is not known."""
        if not values[0]:
            return False
        rest = list(values[1:])
        least = most = 0
        nulls = False
        for part in self.parts:
            if part.fixed is not None:
                if rest.pop(0):
                    nulls = True
                else:
                    least = _aligned(least, part.alignment) + part.fixed
                    most = _aligned(most, part.alignment) + part.fixed
                continue
            length, method, size = rest.pop(0), rest.pop(0), rest.pop(0)
            data = rest.pop(0) if self._bytes_wanted(part) else None
            if length is None:
                nulls = True
                continue
            if length <= _SHORTENED and method is None and part.storage != "p":
                least, most = least + length + 1, most + length + 1
                continue
            smallest, largest = self._kept(part, length, method, size, data)
            least = _aligned(least, part.alignment) + smallest
            most = _aligned(most, part.alignment) + largest
        header = 16 if nulls else 8
        if _aligned(header + least, 8) > self.limit:
            return True
        return None if _aligned(header + most, 8) > self.limit else False

    def _kept(
        self, part: _Part, length: int, method: str | None, size: int, data: bytes | None
    ) -> tuple[int, int]:
        """Return the size of a value in the entry, header included: at least, and at most."""
        if method is not None:
            # Beside the row, where compressed values of this size are, its header of 4 bytes
            # is not counted.
            whole = size + 4 if size > self.limit * 3 // 4 else size
            return whole, whole
        whole = length + 4
        if whole <= self.target or part.storage not in _COMPRESSED:
            return whole, whole
        if not self._bytes_wanted(part):
            return HEADER, whole
        if data is None:
            smallest = HEADER + length // BEST
            return smallest, whole
        small = compressed_size(data)
        return (whole, whole) if small is None else (small, small)


def _sum(lengths: Sequence[str]) -> str:
    return " OPERATOR(pg_catalog.+) ".join(
        f"coalesce({length}, 0)::pg_catalog.int8" for length in lengths
    )


def _bound(sql: str, texts: AbstractSet[str]) -> str | None:
    """Write a length that an expression does not exceed, by the texts that it is made of.

    None unless it only changes the case of columns and puts others in their place. Changing
    the case makes three bytes of one at most.
    """
    words = _WORD.findall(sql)
    columns = [quoted(word.strip('"')) for word in words if word not in _CASE]
    if not columns or not texts >= set(columns):
        return None
    literals = sum(len(literal.encode()) for literal in _LITERAL.findall(sql))
    whole = _sum([f"pg_catalog.octet_length({one}::pg_catalog.text)" for one in columns])
    return f"(({whole}) OPERATOR(pg_catalog.*) 3 OPERATOR(pg_catalog.+) {3 * literals})"


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def read_entry(session: Session, key: ResolvedKey) -> Entry | None:
    """Read what the entries of a key's index are made of; None: none can be too long."""
    block, default, wide = session.row(
        "SELECT pg_catalog.current_setting('block_size')::int,"
        " pg_catalog.current_setting('default_toast_compression'),"
        " pg_catalog.pg_encoding_max_length(encoding) FROM pg_catalog.pg_database"
        " WHERE datname = pg_catalog.current_database()"
    )
    columns = {
        quoted(row[0]): row[1:]
        for row in session.rows(
            "SELECT attname, atttypid::int8, attlen::int4, attalign::text, attstorage::text,"
            " attcompression::text, atttypmod FROM pg_catalog.pg_attribute"
            " WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped",
            [key.table_oid],
        )
    }
    included = [
        quoted(name)
        for (name,) in session.rows(
            "SELECT a.attname FROM pg_catalog.pg_index i,"
            " pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, n),"
            " pg_catalog.pg_attribute a WHERE i.indexrelid = $1::oid AND k.n > i.indnkeyatts"
            " AND a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.n",
            [key.index_oid or 0],
        )
    ]
    expressions = [(one.expression, one.type) for one in key.columns]
    catalog = Catalog(session)
    texts = {
        name for name, row in columns.items()
        if catalog.type(row[0]).builtin in {"text", "varchar"}
    }
    parts = []
    for sql, written in [*expressions, *((name, "") for name in included)]:
        facts = columns.get(sql)
        if facts is None:
            facts = session.row(
                "SELECT oid::int8, typlen::int4, typalign::text, typstorage::text, '', -1"
                " FROM pg_catalog.pg_type WHERE oid = pg_catalog.to_regtype($1::text)::oid",
                [written],
            )
        bound = None if sql in columns else _bound(sql, texts)
        parts.append(_part(session, catalog.type(facts[0]), sql, facts[1:], default, wide, bound))
    # As nbtree.h has it: the header of a page, three pointers, the special space, an address.
    limit = (block - 40 - 16) // 3 // 8 * 8 - 8
    bounded = [part.fixed if part.fixed is not None else part.most for part in parts]
    sizes = [size for size in bounded if size is not None]
    if len(sizes) == len(parts) and 16 + sum(size + 8 for size in sizes) <= limit:
        return None
    return Entry(key=key, parts=tuple(parts), limit=limit, target=(block - 32) // 16)


def _part(
    session: Session, of: Type, sql: str, facts: tuple[Any, ...], default: str, wide: int,
    bound: str | None,
) -> _Part:
    length, alignment, storage, compression, typmod = facts
    fixed = _NAME if length == -2 else length if length > 0 else None
    counted, data = _measures(session, of, sql)
    most = _SHORT.get(of.builtin)
    if most is None and typmod > 4 and of.builtin in {"varchar", "bpchar"}:
        most = (typmod - 4) * wide + 4
    return _Part(
        sql=sql,
        fixed=fixed,
        most=most,
        alignment=_ALIGNMENT[alignment],
        storage=storage,
        method={"p": "pglz", "l": "lz4"}.get(compression, default),
        length=counted,
        bound=bound or counted,
        bytes=data,
    )


def _measures(session: Session, of: Type, sql: str) -> tuple[str, str | None]:
    """Write SQL of a value's length without a header, and of its bytes."""
    if of.builtin == "bytea":
        return f"pg_catalog.octet_length({sql})", sql
    if of.builtin == "bpchar":
        # Cast to a text it would lose its blanks.
        whole = f"pg_catalog.concat({sql})"
        data = f"pg_catalog.convert_to({whole}, pg_catalog.getdatabaseencoding())"
        return f"pg_catalog.octet_length({sql})", data
    as_text = f"{sql}::pg_catalog.text"
    alike = of.builtin in {"text", "varchar"} or session.rows(
        "SELECT FROM pg_catalog.pg_cast WHERE castsource = $1::oid AND castmethod = 'b'"
        " AND casttarget = 'pg_catalog.text'::pg_catalog.regtype",
        [of.oid],
    )
    if alike:
        data = f"pg_catalog.convert_to({as_text}, pg_catalog.getdatabaseencoding())"
        return f"pg_catalog.octet_length({as_text})", data
    return f"(pg_catalog.pg_column_size({sql}) OPERATOR(pg_catalog.-) 4)", None
