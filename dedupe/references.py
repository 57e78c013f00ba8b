"""References: which rows point at the rows that may go, in the catalog and beyond.

Beginning with the table that holds duplicates, every table that may lose rows is
looked at in turn: what references it, by foreign key or by a declared soft reference,
and which of the child's unique keys hold a column that re-pointing changes, for there
child rows may become equal, and lose rows in their turn.

Reads the catalogs only. Source:
https://www.postgresql.org/docs/current/catalog-pg-constraint.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .errors import LossNotAccepted, PolicyError, ReferenceNotHandled
from .key import MatchKey, ResolvedKey, resolve
from .policy import Collision, Policy, SoftReference
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


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """All tables of a repair and what points where."""

    root: int
    relations: Mapping[int, Relation]
    references: tuple[Reference, ...]
    #: tables that may lose rows for good, without one that takes their place
    vanishing: frozenset[int] = frozenset()

    def to(self, parent: int) -> tuple[Reference, ...]:
        """List the references whose parent is this table."""
        return tuple(r for r in self.references if r.parent == parent)

    def of(self, child: int) -> tuple[Reference, ...]:
        """List the references whose child is this table."""
        return tuple(r for r in self.references if r.child == child)

    @property
    def losable(self) -> tuple[int, ...]:
        """Tables that may lose rows, the root first."""
        found = dict.fromkeys([self.root])
        for reference in self.references:
            if (
                reference.lose or reference.child in self.vanishing
                or self.relations[reference.child].keys
            ):
                found[reference.child] = None
        return tuple(found)


def load_references(session: Session, key: ResolvedKey, policy: Policy) -> References:
    """Follow the references to the key's table, level by level, as far as rows may be lost.

    Raises UnknownObject, PolicyError (a rule that names nothing), LossNotAccepted,
    UnsupportedRelation (a foreign table among the children).
    """
    root = key.table_oid
    relations = {root: load_relation(session, root)}
    own = {column.name for column in relations[root].columns}
    by_sql = {quoted(name): name for name in own} | {name: name for name in own}
    plain = {by_sql.get(column.expression) for column in key.columns}
    references: list[Reference] = []
    soft = [_resolved_soft(session, one) for one in policy.soft]
    collisions = {
        find_relation(session, name): how for name, how in policy.collisions.items()
    }
    pairs = {find_relation(session, name): pair for name, pair in policy.drop_self_pairs.items()}
    # A policy other than deleting leaves every row where it is: nothing is re-pointed.
    pending = [root] if policy.loser.action == "delete" else []
    level, seen = 1, {root}
    vanishing: frozenset[int] = frozenset()
    while pending:
        found: list[Reference] = []
        for parent in pending:
            family = relations[parent].family
            found += _foreign_keys(session, parent, family)
            found += [one for one in soft if one.parent in family]
        fresh = []
        for one in found:
            number = len(references) + 1
            twin = one.parent == root and set(one.parent_columns) == plain
            references.append(replace(one, number=number, level=level, twin=twin))
            if one.child not in relations:
                relations[one.child] = load_relation(session, one.child)
            fresh.append(one.child)
        references = _with_losses(references, relations, policy)
        for child in dict.fromkeys(fresh):
            moved = {c for r in references if r.child == child and not r.twin for c in r.columns}
            keys = _keys_with(session, relations[child], moved)
            how = collisions.get(child, Collision())
            relations[child] = replace(relations[child], keys=keys, collision=how)
        vanishing = _vanishing(references, pairs)
        pending = [
            child
            for child in dict.fromkeys(r.child for r in references)
            if child not in seen
            and (
                relations[child].keys
                or child in vanishing
                or any(r.lose for r in references if r.child == child)
            )
        ]
        seen.update(pending)
        level += 1
    _check_names(relations, collisions, policy)
    _check_chains(relations, references)
    return References(
        root=root, relations=relations, references=tuple(references), vanishing=vanishing
    )


def _vanishing(references: Sequence[Reference], pairs: Collection[int]) -> frozenset[int]:
    """Return the tables that may lose rows for good: by a rule, or with the row they point at."""
    found = set(pairs)
    while True:
        more = {
            r.child
            for r in references
            if r.on_loss == "delete" and (r.lose or r.parent in found)
        }
        if more <= found:
            return frozenset(found)
        found |= more


def _foreign_keys(session: Session, parent: int, family: frozenset[int]) -> list[Reference]:
    """List the foreign keys to a table, its partitions, or what it is a partition of."""
    rows = session.rows(
        """
        SELECT c.conname, c.conrelid::int8, c.confdeltype::text, c.confupdtype::text,
            array_agg(fk.attname::text ORDER BY p.n), array_agg(pk.attname::text ORDER BY p.n),
            array_agg('OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || o.oprname || ')'
                      ORDER BY p.n),
            r.relkind::text, n.nspname || '.' || r.relname
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
          AND c.confrelid = ANY ($1::int8[]::oid[])
        GROUP BY c.oid, r.relkind, r.relname, n.nspname
        ORDER BY n.nspname, r.relname, c.conname
        """,
        [sorted(family)],
    )
    return [
        Reference(
            number=0,
            child=row[1],
            parent=parent,
            columns=tuple(row[4]),
            parent_columns=tuple(row[5]),
            operators=tuple(row[6]),
            constraint=row[0],
            on_delete=_ACTIONS[row[2]],
            on_update=_ACTIONS[row[3]],
        )
        for row in rows
    ]


def _resolved_soft(session: Session, soft: SoftReference) -> Reference:
    """Find the tables and columns of a declared reference."""
    child = load_relation(session, find_relation(session, soft.table))
    parent = load_relation(session, find_relation(session, soft.parent))
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


def _with_losses(
    references: Sequence[Reference], relations: Mapping[int, Relation], policy: Policy
) -> list[Reference]:
    """Mark the references whose rows may be lost; refuse those that can be neither."""
    found, stuck = [], []
    for one in references:
        child = relations[one.child]
        names = {
            f"{table}.{column}" for table in (child.name, child.label) for column in one.columns
        }
        lose = bool(names & set(policy.accept_loss))
        fixed = [
            c for c in one.columns if child.column(c).generated or child.column(c).identity_always
        ]
        if fixed and not lose:
            stuck.append(
                f"{child.label}.{fixed[0]} ({one.constraint or 'soft'}, ON DELETE"
                f" {one.on_delete}): a generated column cannot be re-pointed"
            )
        if one.soft is None:
            keeps = one.on_delete == "SET NULL"
        else:
            keeps = one.soft.kind != "value" or not child.column(one.columns[0]).not_null
        found.append(replace(one, lose=lose, on_loss="null" if keeps else "delete"))
    if stuck:
        raise LossNotAccepted(
            f"nothing can re-point {stuck[0]}",
            hint="Name it with --accept-loss TABLE.COLUMN if its rows may go.",
            references=tuple(stuck),
        )
    return found


def _keys_with(session: Session, relation: Relation, moved: set[str]) -> tuple[ChildKey, ...]:
    """List the unique keys of a child that depend on a moved column."""
    rows = session.rows(
        """
        SELECT n.nspname, x.relname, i.indexrelid::int8,
            ARRAY(SELECT DISTINCT a.attname::text FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (
                    a.attnum = ANY (i.indkey::int2[]) OR EXISTS (
                      SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass
                        AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
                        AND d.refclassid = 'pg_catalog.pg_class'::regclass
                        AND d.refobjsubid = a.attnum)))
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
        JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'
        WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND NOT i.indisexclusion
        ORDER BY n.nspname, x.relname
        """,
        [relation.oid],
    )
    found = []
    for schema, name, _, columns in rows:
        if moved.isdisjoint(columns):
            continue
        label = f"{quoted(schema)}.{quoted(name)}"
        key = resolve(session, MatchKey.from_index(label))
        found.append(ChildKey(index=label, key=key, columns=frozenset(columns)))
    return tuple(found)


def _check_chains(
    relations: Mapping[int, Relation], references: Sequence[Reference]
) -> None:
    """Raise ReferenceNotHandled where re-pointing would change a key that others reference.

    What points at such a key would have to change with it, row by row down the chain.
    """
    for r in references:
        moved = {
            column
            for other in references
            if other.child == r.parent and not (other.lose or other.twin)
            for column in other.columns
        }
        chained = moved & set(r.parent_columns)
        if chained:
            child, parent = relations[r.child].label, relations[r.parent].label
            raise ReferenceNotHandled(
                f"re-pointing {parent} changes its column {', '.join(sorted(chained))}, and"
                f" {child} ({', '.join(r.columns)}) references that as part of a key",
                hint=f"Drop that reference for the time of the repair"
                f" ({r.constraint or 'it is a soft one'}), or let the rows of {parent} go with"
                " --accept-loss.",
                constraint=r.constraint,
            )


def _check_names(
    relations: Mapping[int, Relation], collisions: Mapping[int, Collision], policy: Policy
) -> None:
    """Raise PolicyError for a rule about a table or a reference that takes no part."""
    for oid, name in zip(collisions, policy.collisions, strict=True):
        if oid not in relations:
            raise PolicyError(
                f"--on-collision names {name}, which references none of the tables",
                hint=f"Tables here: {', '.join(sorted(r.label for r in relations.values()))}.",
            )
    known = {
        f"{table}.{column.name}"
        for relation in relations.values()
        for table in (relation.name, relation.label)
        for column in relation.columns
    }
    for name in policy.accept_loss:
        if name not in known:
            raise PolicyError(
                f"--accept-loss names {name}, and no table of this repair has such a column",
                hint="Write TABLE.COLUMN or SCHEMA.TABLE.COLUMN, without quotes.",
            )
