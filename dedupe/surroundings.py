"""What a session has read of the catalogs about tables and what points at them, each once.

Reads the catalogs only. Source:
https://www.postgresql.org/docs/current/catalog-pg-constraint.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .errors import PolicyError
from .key import MatchKey, ResolvedKey, resolve
from .policy import SoftReference
from .relation import ChildKey, Relation, load_relation
from .session import Session
from .table import find_relation, quoted

_ACTIONS = {
    "a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Rows of ``child`` point at rows of ``parent``."""

    number: int
    #: oids
    child: int
    parent: int
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    #: ``OPERATOR(schema.=)``, parent's value to the left; one a column
    operators: tuple[str, ...]
    #: name of the foreign key; None for a soft reference
    constraint: str | None
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    soft: SoftReference | None = None
    #: whether the child's rows may go with the loser (they are journaled)
    lose: bool = False
    #: what becomes of a child's row whose parent goes and has no successor: it goes as well, or
    #: its column (of an array, the element) becomes NULL
    on_loss: Literal["delete", "null"] = "delete"
    #: whether it points by the very key that is repaired: loser and survivor look the same
    #: to it, and nothing is to be re-pointed
    twin: bool = False
    #: 1: references the table with duplicates; 2: one of its children; and so on
    level: int = 1

    @property
    def takes_rows(self) -> bool:
        """Whether deleting a parent row would delete or change child rows by itself."""
        return self.on_delete in {"CASCADE", "SET NULL", "SET DEFAULT"}

    @property
    def follows_updates(self) -> bool:
        """Whether changing a parent's referenced columns would change child rows by itself."""
        return self.on_update in {"CASCADE", "SET NULL", "SET DEFAULT"}


class Surroundings:
    """The catalogs as one session has met them: what it was asked once it answers from memory.

    To be made anew after anything of the schema may have been changed; where it was an index
    alone, ``forget_indexes`` will do. Memory: a few kilobytes for each table, and one for each
    foreign key of the database.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._oids: dict[str, int] = {}
        self._relations: dict[int, Relation] = {}
        #: all foreign keys of the database, with the table that each of them references
        self._all_keys: list[tuple[int, Reference]] | None = None
        self._foreign_keys: dict[int, list[Reference]] = {}
        self._soft: dict[SoftReference, Reference] = {}
        self._unique: dict[int, list[tuple[str, frozenset[str]]]] = {}
        self._keys: dict[str, ResolvedKey] = {}
        #: keys of runs, by the run's id and the key's number in it
        self.run_keys: dict[tuple[str, int], ResolvedKey] = {}
        #: statements of users that the server could read
        self.tried: set[str] = set()
        #: of a child, the columns of a reference, and what is declared of it: the name of an
        #: index that finds its rows, if there is one
        self.finding: dict[tuple[int, tuple[str, ...], SoftReference | None], str | None] = {}

    def forget_indexes(self, table: int) -> None:
        """Forget what is known of the indexes of a table and of its partitions."""
        family = self.relation(table).family
        for oid in family:
            for label, _ in self._unique.pop(oid, ()):
                self._keys.pop(label, None)
        for one in [one for one, key in self.run_keys.items() if key.table_oid in family]:
            del self.run_keys[one]
        for asked in [asked for asked in self.finding if asked[0] in family]:
            del self.finding[asked]

    def find(self, name: str) -> int:
        """Return the oid of the table of a name; see ``find_relation``."""
        if name not in self._oids:
            self._oids[name] = find_relation(self.session, name)
        return self._oids[name]

    def relation(self, oid: int) -> Relation:
        """Return a table; see ``load_relation``."""
        if oid not in self._relations:
            self._relations[oid] = load_relation(self.session, oid)
        return self._relations[oid]

    def foreign_keys(self, parent: int) -> list[Reference]:
        """List the foreign keys to a table, its partitions, or what it is a partition of."""
        if self._all_keys is None:
            # The catalog has no index by the referenced table: to ask for one takes as long.
            self._all_keys = _read_foreign_keys(self.session)
        if parent not in self._foreign_keys:
            family = self.relation(parent).family
            self._foreign_keys[parent] = [
                replace(reference, parent=parent)
                for referenced, reference in self._all_keys if referenced in family
            ]
        return self._foreign_keys[parent]

    def soft(self, reference: SoftReference) -> Reference:
        """Find the tables and columns of a declared reference.

        Raises PolicyError, UnknownObject.
        """
        if reference not in self._soft:
            self._soft[reference] = _resolved_soft(self, reference)
        return self._soft[reference]

    def keys_with(self, relation: Relation, moved: set[str]) -> tuple[ChildKey, ...]:
        """List the unique keys of a child that depend on a moved column."""
        if relation.oid not in self._unique:
            self._unique[relation.oid] = _read_unique(self.session, relation.oid)
        found = []
        for label, columns in self._unique[relation.oid]:
            if moved.isdisjoint(columns):
                continue
            if label not in self._keys:
                self._keys[label] = resolve(self.session, MatchKey.from_index(label))
            found.append(ChildKey(index=label, key=self._keys[label], columns=columns))
        return tuple(found)


def _read_foreign_keys(session: Session) -> list[tuple[int, Reference]]:
    """List the foreign keys of the database, each with the oid of the table that it references."""
    rows = session.rows(
        """
        SELECT c.conname, c.conrelid::int8, c.confdeltype::text, c.confupdtype::text,
            array_agg(fk.attname::text ORDER BY p.n), array_agg(pk.attname::text ORDER BY p.n),
            array_agg('OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || o.oprname || ')'
                      ORDER BY p.n),
            c.confrelid::int8
        FROM pg_catalog.pg_constraint c
        JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        CROSS JOIN ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey),
            pg_catalog.unnest(c.conpfeqop)) WITH ORDINALITY p (child, parent, operator, n)
        JOIN pg_catalog.pg_attribute fk ON fk.attrelid = c.conrelid AND fk.attnum = p.child
        JOIN pg_catalog.pg_attribute pk ON pk.attrelid = c.confrelid AND pk.attnum = p.parent
        JOIN pg_catalog.pg_operator o ON o.oid = p.operator
        JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
        WHERE c.contype = 'f' AND c.conparentid = 0
        GROUP BY c.oid, r.relname, n.nspname
        ORDER BY n.nspname, r.relname, c.conname
        """
    )
    return [
        (row[7], Reference(
            number=0,
            child=row[1],
            parent=row[7],
            columns=tuple(row[4]),
            parent_columns=tuple(row[5]),
            operators=tuple(row[6]),
            constraint=row[0],
            on_delete=_ACTIONS[row[2]],
            on_update=_ACTIONS[row[3]],
        ))
        for row in rows
    ]


def _resolved_soft(around: Surroundings, soft: SoftReference) -> Reference:
    """Find the tables and columns of a declared reference."""
    child = around.relation(around.find(soft.table))
    parent = around.relation(around.find(soft.parent))
    column = child.column(soft.column)
    parent.column(soft.parent_column)
    if soft.type_column is not None:
        child.column(soft.type_column)
    if soft.kind not in {"value", "array", "jsonb"}:
        raise PolicyError(
            f"the soft reference {soft.table}.{soft.column} has no such kind: {soft.kind}",
            hint="One of: value, array, jsonb.",
        )
    if soft.kind == "array" and column.element is None:
        raise PolicyError(f"{child.label}.{column.name} is {column.type}, not an array")
    if soft.kind == "jsonb" and (column.type != "jsonb" or not soft.path):
        raise PolicyError(
            f"{child.label}.{column.name} is declared as jsonb and is {column.type}"
            if column.type != "jsonb"
            else f"the soft reference {child.label}.{column.name} has no path"
        )
    return Reference(
        number=0,
        child=child.oid,
        parent=parent.oid,
        columns=(soft.column,),
        parent_columns=(soft.parent_column,),
        operators=("OPERATOR(pg_catalog.=)",),
        constraint=None,
        soft=soft,
    )


def _read_unique(session: Session, table: int) -> list[tuple[str, frozenset[str]]]:
    """List the unique indexes of a table, as SQL names them, and the columns of each.

    With a generated column go those that it is computed from.
    """
    rows = session.rows(
        """
        WITH own AS (
            SELECT i.indexrelid, a.attnum
            FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0
            WHERE i.indrelid = $1::oid AND (
                a.attnum = ANY (i.indkey::int2[]) OR EXISTS (
                  SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass
                    AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
                    AND d.refclassid = 'pg_catalog.pg_class'::regclass
                    AND d.refobjsubid = a.attnum))
        ), used AS (
            SELECT indexrelid, attnum FROM own
            UNION SELECT o.indexrelid, d.refobjsubid
            FROM own o
            JOIN pg_catalog.pg_attribute a
                ON a.attrelid = $1::oid AND a.attnum = o.attnum AND a.attgenerated <> ''
            JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
            -- Up to 15 the column depends on the others, since 16 its expression does.
            JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass
                AND d.refobjid = a.attrelid AND d.refobjsubid > 0
                AND ((d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid)
                    OR (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = a.attrelid
                        AND d.objsubid = a.attnum))
        )
        SELECT n.nspname, x.relname,
            ARRAY(SELECT a.attname::text FROM used u JOIN pg_catalog.pg_attribute a
                  ON a.attrelid = i.indrelid AND a.attnum = u.attnum
                  WHERE u.indexrelid = i.indexrelid)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
        JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'
        WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND NOT i.indisexclusion
        ORDER BY n.nspname, x.relname
        """,
        [table],
    )
    return [
        (f"{quoted(schema)}.{quoted(name)}", frozenset(columns)) for schema, name, columns in rows
    ]
