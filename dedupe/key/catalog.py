"""What the catalogs say about types, collations, operators and hash functions.

Reads catalogs only, once a session for each type.

Source: https://www.postgresql.org/docs/current/catalog-pg-type.html,
https://www.postgresql.org/docs/current/catalog-pg-amop.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from ..session import Session
from ..table import quoted

R = TypeVar("R")


def qualified(schema: str, name: str) -> str:
    """Write a qualified, quoted name."""
    return f"{'pg_catalog' if schema == 'pg_catalog' else quoted(schema)}.{quoted(name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type, a domain already replaced by what it is made of."""

    oid: int
    schema: str
    name: str
    #: ``typtype``: b base, c row, e enum, r range, m multirange, p pseudo
    kind: str
    #: as ``format_type`` writes it
    display: str
    #: type of an array's elements; 0 for what is no array
    element: int
    #: a range's subtype, operator class and collation; 0 for what is no range
    subtype: int
    subtype_class: int
    subtype_collation: int
    #: relation that describes a row type's fields
    relation: int
    #: the type's own collation; 0 for a type without
    collation: int
    #: whether the type has a binary output function
    sends: bool

    @property
    def sql(self) -> str:
        """The name for a cast; it carries no length, so nothing is cut or padded."""
        return qualified(self.schema, self.name)

    @property
    def builtin(self) -> str:
        """The name of a type of PostgreSQL itself, else an empty string."""
        return self.name if self.schema == "pg_catalog" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collation:
    """A collation and whether unequal strings can be equal under it."""

    oid: int
    sql: str
    deterministic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """The equality of a btree operator class: strategy 3 over its own input type."""

    operator: int
    schema: str
    name: str
    #: type that the operator class is declared for
    input: Type

    @property
    def sql(self) -> str:
        """Write the operator so that no search path can change what it means."""
        return f"OPERATOR({'pg_catalog' if self.builtin else quoted(self.schema)}.{self.name})"

    @property
    def builtin(self) -> bool:
        """Whether the operator is one of PostgreSQL's own."""
        return self.schema == "pg_catalog"


@dataclass(frozen=True, slots=True, kw_only=True)
class HashFunction:
    """A hash support function that belongs to an equality."""

    sql: str
    #: 2 for the extended function with a seed, 1 for the one of 32 bits
    support: int
    argument: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a row type."""

    name: str
    type: int
    collation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A key's columns as the catalogs know them; the sequences run side by side."""

    table_oid: int
    #: qualified name of the table
    table: str
    #: the columns as a person knows them
    labels: tuple[str, ...]
    #: SQL, each complete in itself
    expressions: tuple[str, ...]
    #: oids of the declared types, domains included
    types: tuple[int, ...]
    #: the types as ``format_type`` writes them
    displays: tuple[str, ...]
    equalities: tuple[Equality, ...]
    collations: tuple[Collation | None, ...]
    #: the predicate in parentheses, or None
    where: str | None
    #: path under which expressions and predicate are read
    search_path: str


def _remembered(look: Callable[..., R]) -> Callable[..., R]:
    """Ask the server once a session for each argument."""

    @wraps(look)
    def known(self: Catalog, *asked: Any) -> R:
        place = look.__name__, asked
        if place not in self.session.known:
            self.session.known[place] = look(self, *asked)
        found: R = self.session.known[place]
        return found

    return known


class Catalog:
    """Look-ups in one session, remembered."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @_remembered
    def type(self, oid: int) -> Type:
        """Return the type, or what a domain is made of."""
        rows = self.session.rows(
            """
            SELECT t.oid::int8, n.nspname, t.typname, t.typtype::text,
                   pg_catalog.format_type(t.oid, NULL),
                   CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END
                       ::int8 AS element,
                   coalesce(r.rngsubtype, m.rngsubtype, 0)::int8,
                   coalesce(r.rngsubopc, m.rngsubopc, 0)::int8,
                   coalesce(r.rngcollation, m.rngcollation, 0)::int8,
                   t.typrelid::int8, t.typcollation::int8, t.typsend <> 0, t.typbasetype::int8
            FROM pg_catalog.pg_type t
            JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
            LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
            LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid
            WHERE t.oid = $1::oid
            """,
            [oid],
        )
        (row,) = rows
        if row[12]:
            found: Type = self.type(row[12])
            return found
        return Type(
            oid=row[0],
            schema=row[1],
            name=row[2],
            kind=row[3],
            display=row[4],
            element=row[5],
            subtype=row[6],
            subtype_class=row[7],
            subtype_collation=row[8],
            relation=row[9],
            collation=row[10],
            sends=row[11],
        )

    @_remembered
    def collation(self, oid: int) -> Collation | None:
        """Return a collation; None for 0, a type without."""
        if oid == 0:
            return None
        schema, name, deterministic = self.session.row(
            "SELECT n.nspname, c.collname, c.collisdeterministic"
            " FROM pg_catalog.pg_collation c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = $1::oid",
            [oid],
        )
        return Collation(oid=oid, sql=qualified(schema, name), deterministic=deterministic)

    def fields(self, row_type: Type) -> list[Field]:
        """Return the fields of a row type, dropped ones left out."""
        return [
            Field(name=name, type=oid, collation=collation)
            for name, oid, collation in self.session.rows(
                "SELECT attname, atttypid::int8, attcollation::int8 FROM pg_catalog.pg_attribute"
                " WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                [row_type.relation],
            )
        ]

    @_remembered
    def equality_of_class(self, operator_class: int) -> Equality | None:
        """Return the equality of a btree operator class; None where it names none."""
        rows = self.session.rows(
            """
            SELECT o.oid::int8, n.nspname, o.oprname, c.opcintype::int8
            FROM pg_catalog.pg_opclass c
            JOIN pg_catalog.pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3
             AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype
             AND a.amoppurpose = 's'
            JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr
            JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
            WHERE c.oid = $1::oid
            """,
            [operator_class],
        )
        if not rows:
            return None
        operator, schema, name, input_type = rows[0]
        return Equality(operator=operator, schema=schema, name=name, input=self.type(input_type))

    @_remembered
    def default_class(self, key_type: Type, method: str = "btree") -> int | None:
        """Return the default operator class of a type, as CREATE INDEX chooses it.

        The type's own, else its pseudo-type's, else that of a type which it is
        without conversion (a preferred one first): varchar has text's.
        """
        family = {"c": "record", "e": "anyenum", "r": "anyrange", "m": "anymultirange"}
        pseudo = "anyarray" if key_type.element else family.get(key_type.kind, "")
        rows = self.session.rows(
            """
            SELECT c.oid::int8 FROM pg_catalog.pg_opclass c
            JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = $2::text
            JOIN pg_catalog.pg_type t ON t.oid = c.opcintype
            LEFT JOIN pg_catalog.pg_cast k ON k.castsource = $1::oid AND k.casttarget = t.oid
             AND k.castmethod = 'b' AND k.castcontext = 'i'
            WHERE c.opcdefault AND (t.oid = $1::oid OR k.oid IS NOT NULL
              OR t.typname = $3::text AND t.typnamespace = 'pg_catalog'::regnamespace)
            ORDER BY t.oid = $1::oid DESC, t.typname = $3::text DESC, t.typispreferred DESC, c.oid
            LIMIT 1
            """,
            [key_type.oid, method, pseudo],
        )
        return rows[0][0] if rows else None

    @_remembered
    def hash_functions(self, operator: int) -> list[HashFunction]:
        """Return the hash functions of an equality, the extended ones first.

        Two families can name one function (text_ops and text_pattern_ops).
        """
        return [
            HashFunction(
                sql=f"{qualified(schema, name)}", support=support, argument=self.type(argument)
            )
            for support, schema, name, argument in self.session.rows(
                """
                SELECT DISTINCT p.amprocnum::int4, n.nspname, f.proname, f.proargtypes[0]::int8
                FROM pg_catalog.pg_amop h
                JOIN pg_catalog.pg_am m ON m.oid = h.amopmethod AND m.amname = 'hash'
                JOIN pg_catalog.pg_amproc p ON p.amprocfamily = h.amopfamily
                 AND p.amproclefttype = h.amoplefttype AND p.amprocrighttype = h.amoprighttype
                JOIN pg_catalog.pg_proc f ON f.oid = p.amproc
                JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
                WHERE h.amopopr = $1::oid AND h.amoplefttype = h.amoprighttype
                  AND h.amopstrategy = 1 AND p.amprocnum IN (1, 2)
                ORDER BY p.amprocnum::int4 DESC, 2, 3
                """,
                [operator],
            )
        ]

    @_remembered
    def same_bits(self, source: Type, target: Type) -> bool:
        """Whether a value of one type is a value of the other without conversion."""
        if source.oid == target.oid:
            return True
        rows = self.session.rows(
            "SELECT 1 FROM pg_catalog.pg_cast"
            " WHERE castsource = $1::oid AND casttarget = $2::oid AND castmethod = 'b'",
            [source.oid, target.oid],
        )
        return bool(rows)
