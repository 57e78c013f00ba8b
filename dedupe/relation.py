"""Tables as a repair sees them: columns with their types, triggers, unique keys.

Source: https://www.postgresql.org/docs/current/catalog-pg-attribute.html
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import UnknownObject, UnsupportedRelation
from .key import ResolvedKey
from .policy import Collision
from .session import Session
from .table import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a relation."""

    name: str
    #: as ``format_type`` writes it, with its length
    type: str
    #: qualified, quoted collation, or None
    collation: str | None
    #: the expression that the server computes it by; None: it is not generated
    generation: str | None
    #: GENERATED ALWAYS AS IDENTITY: can be inserted, not updated
    identity_always: bool
    #: whether the type is one of strings
    text: bool
    #: type of the elements of an array, or None
    element: str | None
    #: the type without its length; of a domain, what it is over
    base: str
    not_null: bool

    @property
    def sql(self) -> str:
        """The quoted name."""
        return quoted(self.name)

    @property
    def generated(self) -> bool:
        """Whether the server computes it."""
        return self.generation is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildKey:
    """A unique key that re-pointing can make rows violate."""

    #: qualified name of the index
    index: str
    key: ResolvedKey
    #: columns that the index depends on
    columns: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table that takes part in a repair."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    columns: tuple[Column, ...]
    #: columns of the primary key, or empty
    pk: tuple[str, ...]
    #: whether a row trigger of a user fires when a row is updated
    update_triggers: bool
    #: the same for a row that is inserted
    insert_triggers: bool
    #: heap bytes of all leaves
    bytes: int
    #: the relation's own oid, those of its partitions, and of what it is a partition of
    family: frozenset[int]
    #: unique keys that hold a moved column
    keys: tuple[ChildKey, ...] = ()
    #: what happens when rows become equal under one of them
    collision: Collision = field(default_factory=Collision)

    @property
    def label(self) -> str:
        """The qualified name for people."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The quoted, qualified name."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def source(self) -> str:
        """What stands behind FROM: the table without what inherits from it."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    @property
    def stored(self) -> tuple[Column, ...]:
        """Columns that hold a value of their own."""
        return tuple(column for column in self.columns if not column.generated)

    def column(self, name: str) -> Column:
        """Return a column by name; raises UnknownObject."""
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownObject(
            f"{self.label} has no column {name}",
            hint=f"Its columns: {', '.join(column.name for column in self.columns)}.",
            kind="column",
            name=name,
        )


def load_relation(session: Session, oid: int) -> Relation:
    """Read one table of a repair. Raises UnsupportedRelation, UnknownObject."""
    found = session.rows(
        """
        SELECT n.nspname, c.relname, c.relkind::text,
            (SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::int8
             FROM pg_catalog.pg_partition_tree(c.oid::regclass) t),
            ARRAY(SELECT t.relid::oid::int8
                  FROM pg_catalog.pg_partition_tree(c.oid::regclass) t
                  UNION SELECT a.relid::oid::int8
                  FROM pg_catalog.pg_partition_ancestors(c.oid::regclass) a
                  UNION SELECT c.oid::int8),
            EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE (g.tgrelid = c.oid OR g.tgrelid IN
                    (SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid::regclass) t))
                    AND NOT g.tgisinternal AND g.tgtype::int & 16 <> 0 AND g.tgenabled <> 'D'),
            EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE (g.tgrelid = c.oid OR g.tgrelid IN
                    (SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid::regclass) t))
                    AND NOT g.tgisinternal AND g.tgtype::int & 4 <> 0 AND g.tgenabled <> 'D'),
            ARRAY(SELECT k.attname::text
                  FROM pg_catalog.pg_index i
                  CROSS JOIN pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, n)
                  JOIN pg_catalog.pg_attribute k
                  ON k.attrelid = i.indrelid AND k.attnum = p.attnum
                  WHERE i.indrelid = c.oid AND i.indisprimary AND p.n <= i.indnkeyatts
                  ORDER BY p.n),
            pg_catalog.pg_relation_size(c.oid)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $1::oid
        """,
        [oid],
    )
    if not found:
        raise UnknownObject(f"the table with oid {oid} is gone", kind="table", name=str(oid))
    schema, name, kind, tree_bytes, family, update, insert, pk, own_bytes = found[0]
    if kind not in "rp":
        raise UnsupportedRelation(
            f"{schema}.{name} cannot be repaired: it is not a table with rows of its own",
            hint="Repair the table that its rows come from.",
            name=f"{schema}.{name}",
            kind=kind,
        )
    columns = session.rows(
        """
        SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> 0 THEN pg_catalog.quote_ident(s.nspname) || '.'
                || pg_catalog.quote_ident(l.collname) END,
            CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(g.adbin, g.adrelid) END,
            a.attidentity = 'a', t.typcategory = 'S',
            CASE WHEN t.typelem <> 0 AND t.typlen = -1
                THEN pg_catalog.format_type(t.typelem, NULL) END,
            (WITH RECURSIVE d AS (SELECT t.oid, t.typtype, t.typbasetype UNION ALL
                SELECT u.oid, u.typtype, u.typbasetype FROM d
                JOIN pg_catalog.pg_type u ON u.oid = d.typbasetype WHERE d.typtype = 'd')
             SELECT pg_catalog.format_type(d.oid, NULL) FROM d WHERE d.typtype <> 'd'),
            a.attnotnull OR t.typnotnull
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace
        LEFT JOIN pg_catalog.pg_attrdef g ON g.adrelid = a.attrelid AND g.adnum = a.attnum
        WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        [oid],
    )
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        partitioned=kind == "p",
        columns=tuple(
            Column(
                name=c[0], type=c[1], collation=c[2], generation=c[3], identity_always=c[4],
                text=c[5], element=c[6], base=c[7], not_null=c[8],
            )
            for c in columns
        ),
        pk=tuple(pk),
        update_triggers=update,
        insert_triggers=insert,
        bytes=tree_bytes or own_bytes,
        family=frozenset(family),
    )
