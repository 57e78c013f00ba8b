"""The statements of one batch: who goes, what points at them, and the one that changes all.

A batch lives in one transaction. Three temporary tables say what is to be done: the rows
that were locked, the rows that go (``loser``, each with the row that stays in its place),
and the rows that point at them (``move``). Rows are addressed by leaf and ctid all
through. How child rows are found is the search's.

All changes are one statement. Its deletes come first, so that no unique index refuses
an update; foreign keys are checked at its end, when everything has its new value.

Sources: https://www.postgresql.org/docs/current/queries-with.html (data-modifying WITH),
https://www.postgresql.org/docs/current/sql-select.html#SQL-FOR-UPDATE-SHARE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..journal import SCHEMA, changed_entry, image, insert_entries
from ..policy import CHOSEN, Policy
from ..references import References
from ..relation import ChildKey, Column, Relation
from ..surroundings import Reference
from ..table import quoted
from .merging import merged_value, value_by_program
from .pointing import LOSER, MOVE, at, keepers, new_value, whole_type
from .searching import NOT_LOST, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Numbers of the journal's shapes, by relation."""

    #: of rows that are deleted
    whole: Mapping[int, int]
    #: of rows that are updated
    changed: Mapping[int, int]


class Statements:
    """Writes the statements of a repair's batches."""

    def __init__(self, references: References, policy: Policy, search: Search) -> None:
        self._references = references
        self._policy = policy
        self._search = search

    def find_moves(self, reference: Reference) -> str:
        """Write the statement that finds and locks the rows that point at losers and stay.

        Parameter: the level of the losers.
        """
        target = (
            f"INSERT INTO {MOVE} SELECT {reference.number}, relid, place, parent_relid,"
            f" parent, grp FROM f WHERE {NOT_LOST.format('f')}"
        )
        of = "true" if reference.on_loss == "null" else "l.keeper IS NOT NULL"
        return self._pointing(reference, of, target)

    def find_lost(self, reference: Reference) -> str:
        """Write the statement that finds and locks the rows that go with losers.

        Those of losers without a successor, or of all where the policy accepts the loss.
        Parameter: the level of the losers.
        """
        target = (
            f"INSERT INTO {LOSER} SELECT DISTINCT ON (relid, place) relid, place,"
            f" NULL::oid, NULL::tid, grp, $1::int4 + 1 FROM f WHERE {NOT_LOST.format('f')}"
        )
        return self._pointing(reference, "true" if reference.lose else "l.keeper IS NULL", target)

    def _pointing(self, reference: Reference, of: str, target: str) -> str:
        """Write a statement about the rows ``f`` that point at the losers ``l`` of a level."""
        child = self._references.relations[reference.child]
        parent = self._references.relations[reference.parent]
        found = self._search.pointing(reference, parent, child, of)
        return f"WITH {found} {target}"

    def find_self_pairs(self, child: Relation, pair: tuple[str, str]) -> str:
        """Write the statement that drops moved rows in which two columns became equal.

        Parameter: the level that they are entered with.
        """
        first, second = (child.column(name).sql for name in pair)
        return (
            f"WITH n AS MATERIALIZED ({self._new_rows(child)})"
            f' INSERT INTO {LOSER} SELECT "pgmend relid", "pgmend place", NULL::oid, NULL::tid,'
            f' "pgmend grp", $1::int4 FROM n WHERE {first} = {second}'
        )

    def find_collisions(self, child: Relation, unique: ChildKey) -> str:
        """Write the statement that finds rows that re-pointing makes equal under a key.

        All of a class but one become losers. Parameter: the level that they are entered with.
        """
        key = unique.key
        keys = [f"k{n}" for n in range(len(key.columns))]
        order, sorting = self._collision_order(child)
        ranks = [f"o{n}" for n in range(len(order))]
        columns = ", ".join(
            [f"{one.expression} AS {name}" for one, name in zip(key.columns, keys, strict=True)]
            + [f"{expression} AS {name}" for expression, name in zip(order, ranks, strict=True)]
        )
        parts = [f"({key.where}\n) IS TRUE"] if key.where is not None else []
        parts.append(key.takes_part([column.expression for column in key.columns]))
        partition = ", ".join(
            f"{name} COLLATE {column.collation}" if column.collation else name
            for column, name in zip(key.columns, keys, strict=True)
        )
        names = [*keys, *ranks]
        listed = ", ".join(names)
        return (
            f"WITH n AS MATERIALIZED ({self._new_rows(child)}),"
            ' m AS MATERIALIZED (SELECT "pgmend relid" AS relid, "pgmend place" AS place,'
            f' "pgmend grp" AS grp, {columns} FROM n WHERE {" AND ".join(parts)}),'
            f" {self._search.colliding(child, unique, columns, names)},"
            f" a AS (SELECT true AS moved, relid, place, grp, {listed} FROM m"
            f" UNION ALL SELECT false, relid, place, grp, {listed} FROM e),"
            " r AS (SELECT relid, place, grp, first_value(relid) OVER w AS keeper_relid,"
            " first_value(place) OVER w AS keeper FROM a WINDOW w AS"
            f" (PARTITION BY {partition} ORDER BY {sorting}, relid, place))"
            f" INSERT INTO {LOSER} SELECT relid, place, keeper_relid, keeper, grp, $1::int4"
            " FROM r WHERE (relid, place) <> (keeper_relid, keeper)"
        )

    def apply(
        self, deletes: Sequence[int], updates: Sequence[int], shapes: Shapes
    ) -> str:
        """Write the statement that changes everything and journals it.

        ``deletes`` and ``updates`` are the relations that the batch found rows of. What a merge
        leaves as it is, to the byte, is not updated.
        Returns one row: the number of rows deleted of each; then for each in ``updates`` how
        many rows were reached, how many of them had to change and how many did; and the round.
        Parameters: run, batch, round.
        """
        ctes, entries, counts = [], [], []
        for place, oid in enumerate(deletes):
            relation = self._references.relations[oid]
            ctes.append(
                f"d{place} AS (DELETE FROM {relation.source} t USING {LOSER} l"
                f" WHERE {at('t', relation, 'l.relid', 'l.place')}"
                f" RETURNING l.relid, l.place, l.grp, t.xmin::text AS version,"
                f" {image(relation.stored, 't')} AS before)"
            )
            entries.append(
                f"SELECT {shapes.whole[oid]}, 'd', ARRAY[grp], before, NULL::text[], relid, place,"
                f" version, NULL::oid, NULL::tid, NULL::text FROM d{place}"
            )
            counts.append(f"(SELECT count(*) FROM d{place})")
        after_deletes = "".join(
            f" AND (SELECT count(*) FROM d{place}) >= 0" for place in range(len(deletes))
        )
        for place, oid in enumerate(updates):
            relation = self._references.relations[oid]
            columns = self.changed_columns(relation)
            kept = self.journaled_columns(relation)
            ctes.append(f"g{place} AS MATERIALIZED ({self._targets(relation, columns, kept)})")
            sets = ", ".join(f"{column.sql} = g.n{n}" for n, column in enumerate(columns))
            differs = self._differs(relation, columns)
            ctes.append(
                f"u{place} AS (UPDATE {relation.source} t SET {sets} FROM g{place} g"
                f" WHERE {at('t', relation, 'g.relid', 'g.place')} AND {differs}{after_deletes}"
                " RETURNING g.relid AS old_relid, g.place AS old_place, g.version, g.groups,"
                f" g.before, {image(kept, 't')} AS after, t.tableoid AS relid, t.ctid AS place,"
                f" {self._as_meant(relation, columns)} AS as_meant)"
            )
            entries.append(changed_entry(shapes.changed[oid], "groups", f"u{place}"))
            # One that points at several losers of one value is there once for each of them.
            rows = f"SELECT DISTINCT g.relid, g.place FROM g{place} g"
            changing = (
                "" if differs == "true" else f" JOIN {relation.source} t"
                f" ON {at('t', relation, 'g.relid', 'g.place')} AND {differs}"
            )
            counts += [
                f"(SELECT count(*) FROM ({rows}) s)",
                f"(SELECT count(*) FROM ({rows}{changing}) s)",
                f"(SELECT count(*) FROM u{place} WHERE as_meant)",
            ]
        return (
            f"WITH {', '.join(ctes)}, j AS ({insert_entries(entries)})"
            f" SELECT {', '.join(counts)}, $3::int4"
        )

    def _differs(self, relation: Relation, columns: Sequence[Column]) -> str:
        """Write whether ``_targets`` has another row ``g`` for the row ``t``.

        Bytes are compared: what a type takes for equal can look different.
        """
        if not self.merges(relation):
            return "true"
        old = ", ".join(f"(t.{column.sql})::{whole_type(column)}" for column in columns)
        new = ", ".join(f"(g.n{n})::{whole_type(column)}" for n, column in enumerate(columns))
        return f"NOT pg_catalog.record_image_eq(ROW({old}), ROW({new}))"

    def _as_meant(self, relation: Relation, columns: Sequence[Column]) -> str:
        """Write whether an updated row points where it was to: a trigger may have its own mind."""
        moved = {name for r in self._references.of(relation.oid) for name in r.columns}
        tests = [
            f"t.{column.sql} IS NOT DISTINCT FROM g.n{n}"
            for n, column in enumerate(columns) if column.name in moved
        ]
        return " AND ".join(tests) if relation.update_triggers and tests else "true"

    def changed_columns(self, relation: Relation) -> tuple[Column, ...]:
        """Columns of a relation that a repair may change, in the table's order."""
        moved = {name for r in self._references.of(relation.oid) for name in r.columns}
        moved |= set(self.merges(relation))
        return tuple(column for column in relation.columns if column.name in moved)

    def merges(self, relation: Relation) -> Mapping[str, str]:
        """Columns in which the rows that stay take something of those that go."""
        if relation.oid == self._references.root:
            return self._policy.merge
        return relation.collision.merge

    def journaled_columns(self, relation: Relation) -> tuple[Column, ...]:
        """Columns whose values an update is journaled with: a trigger may change any."""
        return relation.stored if relation.update_triggers else self.changed_columns(relation)

    def _new_rows(self, child: Relation) -> str:
        """Write the moved rows of a child with the values that they are going to have."""
        references, relations = self._references.of(child.oid), self._references.relations
        columns = ", ".join(
            f"{new_value(column, references, relations)} AS {column.sql}"
            for column in child.columns
        )
        rows = (
            f'SELECT g.relid AS "pgmend relid", g.place AS "pgmend place", g.grp AS "pgmend grp",'
            f" {columns} FROM (SELECT relid, place, min(grp) AS grp FROM {MOVE} m"
            f" WHERE m.ref = ANY ('{_numbers(references)}') AND {NOT_LOST.format('m')}"
            f" GROUP BY relid, place) g"
            f" JOIN {child.source} t ON {at('t', child, 'g.relid', 'g.place')}"
            f" {keepers(references, relations)}"
        )
        if child.stored == child.columns:
            return rows
        # The server will compute the others from these.
        computed = ", ".join(
            column.sql if column.generation is None else f"({column.generation}) AS {column.sql}"
            for column in child.columns
        )
        return f'SELECT "pgmend relid", "pgmend place", "pgmend grp", {computed} FROM ({rows}) x'

    def _targets(
        self, relation: Relation, columns: Sequence[Column], kept: Sequence[Column]
    ) -> str:
        """Write the rows to update: address, groups, image before, the new values (``n0``, …)."""
        references, relations = self._references.of(relation.oid), self._references.relations
        sources = (
            f"SELECT relid, place, grp FROM {MOVE} m WHERE"
            f" m.ref = ANY ('{_numbers(references)}') AND {NOT_LOST.format('m')}"
        )
        merges = self.merges(relation)
        join = ""
        if merges:
            mine = (
                f"SELECT keeper_relid, keeper, min(grp) AS grp FROM {LOSER} k WHERE"
                f" {keepers_of(relation, self._references.root)} GROUP BY 1, 2"
            )
            sources += f" UNION ALL {mine}"
            join = (
                f" LEFT JOIN ({mine}) h ON h.keeper_relid = g.relid AND h.keeper = g.place"
            )
        members = (
            f"SELECT w.relid, w.place, w.ordinal FROM {SCHEMA}.work w WHERE"
            " w.run = $1::text AND w.round = $3::int4 AND w.grp = h.grp"
            if relation.oid == self._references.root
            else "SELECT g.relid AS relid, g.place AS place, 0 AS ordinal UNION ALL"
            f" SELECT k.relid, k.place, 1 FROM {LOSER} k WHERE k.keeper_relid = g.relid"
            " AND k.keeper = g.place"
        )
        values = []
        for n, column in enumerate(columns):
            value = new_value(column, references, relations)
            if column.name in merges:
                how = merges[column.name]
                merged = (
                    value_by_program(column)
                    if how == CHOSEN
                    else merged_value(how, column, relation, members=members)
                )
                value = f"CASE WHEN h.grp IS NOT NULL THEN {merged} ELSE {value} END"
            values.append(f"{value} AS n{n}")
        return (
            "SELECT g.relid, g.place, g.groups, t.xmin::text AS version,"
            f" {image(kept, 't')} AS before, {', '.join(values)}"
            " FROM (SELECT relid, place, array_agg(DISTINCT grp) AS groups FROM"
            f" ({sources}) m GROUP BY relid, place) g"
            f" JOIN {relation.source} t ON {at('t', relation, 'g.relid', 'g.place')}"
            f" {keepers(references, relations)}{join}"
        )

    def _collision_order(self, child: Relation) -> tuple[list[str], str]:
        """Return the expressions that rank rows of one class, and the ORDER BY over them."""
        how = child.collision
        pk = [quoted(name) for name in child.pk]
        ties = ", ".join(f"o{n}" for n in range(len(pk)))
        if how.by == "newest":
            descending = [f"o{n} DESC" for n in range(len(pk))]
            return pk, ", ".join([*descending, "moved"]) if pk else "moved"
        if how.by == "oldest":
            return pk, ", ".join([*(f"o{n}" for n in range(len(pk))), "moved"])
        if how.by == "survivor":
            return pk, f"moved, {ties}" if pk else "moved"
        direction = "DESC" if how.descending else "ASC"
        return [*pk, f"({how.by})"], ", ".join(
            [f"o{len(pk)} {direction} NULLS LAST", "moved", *([ties] if pk else [])]
        )


def _numbers(references: Sequence[Reference]) -> str:
    return "{" + ",".join(str(r.number) for r in references) + "}"


def keepers_of(relation: Relation, root: int) -> str:
    """Write which losers ``k`` have a row that stays and takes something of them."""
    if relation.oid == root:
        return "k.level = 0"
    leaves = ",".join(map(str, sorted(relation.family)))
    return f"k.level > 0 AND k.keeper_relid = ANY ('{{{leaves}}}')"
