"""Tables as the scan sees them: names resolved, leaves listed, rows addressable.

Reads the catalogs only. A table is what has a heap of its own (an ordinary
table or a materialized view) or a partitioned table, whose leaves have one.

Source: https://www.postgresql.org/docs/current/catalog-pg-class.html
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import (
    PermissionDenied,
    RowSecurityHidesRows,
    UnknownObject,
    UnsupportedRelation,
    UsageError,
)
from .session import Session

_KINDS = {
    "v": "a view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a composite type",
    "i": "an index",
    "I": "a partitioned index",
    "t": "a TOAST table",
    "r": "a table",
    "p": "a partitioned table",
    "m": "a materialized view",
}

TABLE_KINDS = "rpm"
#: leaves that an address has room for
MOST_LEAVES = 1 << 16
INDEX_KINDS = "iI"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One heap: an ordinary table, or one leaf of a partitioned table."""

    #: position in the table's list of leaves, 0 for an ordinary table
    number: int
    oid: int
    schema: str
    name: str
    #: file number of the heap; another one means that the table was rewritten
    filenode: int
    #: heap size in blocks
    blocks: int
    #: the planner's estimate of live rows, for the heap's present size
    rows_estimate: float
    #: most rows that one block can hold
    block_rows: int
    #: columns of the primary key, in its order; empty without one
    pk: tuple[str, ...]
    #: index of the primary key
    pk_index: int | None
    #: the leaf's own oid and those of the partitioned tables above it
    lineage: frozenset[int]

    @property
    def label(self) -> str:
        """The qualified name for people."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The quoted, qualified name, ready to stand behind FROM ONLY."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table and all its leaves."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    leaves: tuple[Leaf, ...]

    @property
    def label(self) -> str:
        """The qualified name for people."""
        return f"{self.schema}.{self.name}"

    @property
    def blocks(self) -> int:
        """Heap blocks of all leaves."""
        return sum(leaf.blocks for leaf in self.leaves)

    def numbered(self, oids: Sequence[int]) -> Table:
        """Return the table with the leaves ``oids`` only, in that order."""
        leaves = {leaf.oid: leaf for leaf in self.leaves}
        return replace(
            self,
            leaves=tuple(replace(leaves[oid], number=n) for n, oid in enumerate(oids)),
        )


#: bytes of a name at most; the server cuts what is longer
NAME_BYTES = 63


def name_fits(name: str) -> bool:
    """Tell whether PostgreSQL can take a text as a name, whole."""
    return 0 < len(name.encode("utf-8", "surrogateescape")) <= NAME_BYTES and "\0" not in name


def quoted(name: str) -> str:
    """Quote one identifier for SQL, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def parse_name(text: str) -> tuple[str | None, str]:
    """Split ``name`` or ``schema.name`` by the rules of SQL identifiers.

    Unquoted parts fold to lower case, quoted ones stay as they are.
    Raises UsageError where the text is not a name.
    """
    parts: list[str] = []
    rest = text.strip()
    while True:
        if rest.startswith('"'):
            end = 1
            while True:
                end = rest.find('"', end)
                if end < 0:
                    raise _not_a_name(text)
                if rest[end : end + 2] != '""':
                    break
                end += 2
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :].lstrip()
        else:
            word, dot, tail = rest.partition(".")
            word = word.rstrip()
            if not word or '"' in word:
                raise _not_a_name(text)
            parts.append(word.lower())
            rest = dot + tail
        if not rest:
            break
        if not rest.startswith("."):
            raise _not_a_name(text)
        rest = rest[1:].lstrip()
    if len(parts) > 2 or "" in parts:
        raise _not_a_name(text)
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def _not_a_name(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a name of the form name or schema.name",
        hint='Quote a name with capitals, spaces or quotes as SQL does: "My Table".',
    )


def find_relation(session: Session, text: str, *, kinds: str = TABLE_KINDS) -> int:
    """Return the oid of the relation that ``text`` names, of one of ``kinds``.

    The text is read as an SQL name under the role's own search path; when that
    finds nothing, as the bare name itself, letter by letter.
    Raises UnknownObject, UnsupportedRelation, UsageError.
    """
    candidates: list[tuple[str | None, str]] = []
    try:
        candidates.append(parse_name(text))
    except UsageError:
        candidates.append((None, text))
    if (None, text) not in candidates:
        candidates.append((None, text))
    for schema, name in candidates:
        rows = session.rows(
            "SELECT c.oid::int8, c.relkind::text FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = $1::text AND n.nspname = ANY ($2::text[])"
            " ORDER BY pg_catalog.array_position($2::text[], n.nspname::text) LIMIT 1",
            [name, [schema] if schema is not None else list(session.schemas)],
        )
        if rows:
            oid, kind = rows[0]
            if kind not in kinds:
                wanted = "an index" if kinds == INDEX_KINDS else "a table"
                raise UnsupportedRelation(
                    f"{text} is {_KINDS.get(kind, 'another kind of relation')}, not {wanted}",
                    hint="Name the table that holds the rows.",
                    name=text,
                    kind=kind,
                )
            return int(oid)
    kind = "index" if kinds == INDEX_KINDS else "table"
    elsewhere = session.rows(
        "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE pg_catalog.lower(c.relname) = pg_catalog.lower($1::text)"
        " AND c.relkind::text = ANY ($2::text[])"
        " ORDER BY 1 LIMIT 3",
        [candidates[0][1], list(kinds)],
    ) or _similar(session, candidates[0][1], kinds)
    raise UnknownObject(
        f"there is no {kind} {text} in this database",
        hint="Did you mean " + " or ".join(row[0] for row in elsewhere) + "?"
        if elsewhere
        else "Names are looked up in the role's search_path; write schema.name for another one.",
        kind=kind,
        name=text,
    )


def _similar(session: Session, name: str, kinds: str) -> list[tuple[str]]:
    """List users' relations whose names look like a slip of ``name``."""
    found: dict[str, str] = dict(
        session.rows(
            "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),"
            " pg_catalog.lower(c.relname) FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind::text = ANY ($1::text[]) AND n.nspname::text !~ '^pg_'"
            " AND n.nspname <> 'information_schema' ORDER BY 1 LIMIT 20000",
            [list(kinds)],
        )
    )
    close = difflib.get_close_matches(name.lower(), set(found.values()), 3, 0.7)
    return [(label,) for label, lower in found.items() if lower in close][:3]


def load_table(session: Session, oid: int) -> Table:
    """Read a table, its leaves and their sizes from the catalogs.

    Raises PermissionDenied, RowSecurityHidesRows, UnsupportedRelation (a leaf
    that is a foreign table).
    """
    found = session.rows(
        "SELECT n.nspname, c.relname, c.relkind::text FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        [oid],
    )
    if not found:
        raise UnknownObject(
            f"the table with oid {oid} is gone", kind="table", name=str(oid)
        )
    schema, name, kind = found[0]
    rows = session.rows(
        """
        SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text,
               coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::int8,
               coalesce(a.width, 0)::int8,
               pk.columns, pk.indexrelid::int8,
               pg_catalog.current_setting('block_size')::int
        FROM (SELECT $1::oid AS relid WHERE $2::text <> 'p'
              UNION ALL
              SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) t
              WHERE t.isleaf AND $2::text = 'p') r
        JOIN pg_catalog.pg_class c ON c.oid = r.relid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN LATERAL (
            SELECT sum(CASE WHEN a.attlen > 0 THEN a.attlen ELSE 1 END) AS width
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND a.attnotnull AND NOT a.atthasmissing AND a.attgenerated <> 'v') a ON true
        LEFT JOIN LATERAL (
            SELECT i.indexrelid, array_agg(k.attname::text ORDER BY p.n) AS columns
            FROM pg_catalog.pg_index i,
                 pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, n),
                 pg_catalog.pg_attribute k
            WHERE i.indrelid = c.oid AND i.indisprimary AND p.n <= i.indnkeyatts
              AND k.attrelid = c.oid AND k.attnum = p.attnum
            GROUP BY i.indexrelid) pk ON true
        WHERE c.relkind <> 'p'
        ORDER BY n.nspname, c.relname
        """,
        [oid, kind],
    )
    parents: dict[int, int | None] = {}
    if kind == "p":
        tree = session.rows(
            "SELECT relid::oid::int8, parentrelid::oid::int8"
            " FROM pg_catalog.pg_partition_tree($1::oid::regclass)",
            [oid],
        )
        parents = dict(tree)
    if len(rows) > MOST_LEAVES:
        raise UnsupportedRelation(
            f"{schema}.{name} has {len(rows)} partitions; {MOST_LEAVES} can be told apart",
            hint="Scan its partitions in several runs.",
            name=f"{schema}.{name}",
            kind=kind,
        )
    check_rights(session, [row[0] for row in rows if row[3] != "f"])
    leaves = []
    for number, row in enumerate(rows):
        label = f"{row[1]}.{row[2]}"
        if row[3] == "f":
            raise UnsupportedRelation(
                f"{label} is a foreign table; its rows live on another server",
                hint="Scan the table there, or detach the foreign partition first.",
                name=label,
                kind="f",
            )
        (blocks,) = session.row(
            "SELECT pg_catalog.pg_relation_size($1::oid::regclass, 'main') / $2::int8",
            [row[0], row[8]],
        )
        label = f"{quoted(row[1])}.{quoted(row[2])}"
        ((plan,),) = session.rows(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM ONLY {label}")
        # A tuple is a 23-byte header, aligned, its columns, aligned, and a 4-byte pointer.
        width = 24 + (int(row[5]) + 7) // 8 * 8 + 4
        leaves.append(
            Leaf(
                number=number,
                oid=row[0],
                schema=row[1],
                name=row[2],
                filenode=row[4],
                blocks=blocks,
                rows_estimate=float(plan[0]["Plan"]["Plan Rows"]),
                block_rows=max(1, (row[8] - 24) // width),
                pk=tuple(row[6] or ()),
                pk_index=row[7],
                lineage=frozenset(_lineage(row[0], parents)),
            )
        )
    return Table(
        oid=oid, schema=schema, name=name, partitioned=kind == "p", leaves=tuple(leaves)
    )


def check_rights(session: Session, oids: Sequence[int]) -> None:
    """Raise unless the role may read these tables, and every row of them.

    Raises PermissionDenied, RowSecurityHidesRows.
    """
    for schema, name, readable, hidden in session.rows(
        "SELECT n.nspname, c.relname,"
        " pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
        " AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),"
        " pg_catalog.row_security_active(c.oid)"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = ANY ($1::int8[]::oid[]) ORDER BY n.nspname, c.relname",
        [list(oids)],
    ):
        if not readable:
            raise PermissionDenied(
                f"the role may not read {schema}.{name}",
                hint=f"GRANT SELECT ON {quoted(schema)}.{quoted(name)} (and USAGE on its schema)"
                " TO the role, or connect as the table's owner.",
                object=f"{schema}.{name}",
            )
        if hidden:
            raise RowSecurityHidesRows(
                f"row-level security would hide rows of {schema}.{name} from this role",
                hint="Connect as the table's owner, a superuser or a role with BYPASSRLS.",
                table=f"{schema}.{name}",
            )


def _lineage(oid: int, parents: Mapping[int, int | None]) -> list[int]:
    found = [oid]
    while (parent := parents.get(found[-1])) is not None:
        found.append(parent)
    return found
