"""A batch's search by heaps: each child is read once, for all of its references at a time.

A level of a batch begins with that reading. It looks for the ids of the rows that go, and of
those that stay in their place where a moved row could become equal to one of theirs; what it
saw is kept by address (``pgmend_seen``), and the statements of the level go to these addresses.
No index has to be proved, and nothing is asked about a child in which nothing was seen. Where a
survey covers all that is looked for in a child, lookups take the place of its reading. From
the reading to the end of the batch the child's lock keeps writers out, so nothing can slip in
between. See docs/decisions/heap-search.md.

What is no id (keys of several columns, of other types than integers and uuid, elements of
arrays, values in documents) is looked for by a reading of its own, joined by hash.

Source: https://www.postgresql.org/docs/current/sql-lock.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..key import ResolvedKey
from ..references import References
from ..relation import ChildKey, Relation
from ..surroundings import Reference
from ..table import quoted
from ..writer import Writer
from .lookups import Sought, goes_by, lookup, note_written
from .pointing import LOSER, MOVE, among, at, elements_match, held, id_type, ids_in
from .searching import BY_HEAP, BY_ID, BY_PLACE, NOT_LOST, NOT_MOVED, rows_by_join
from .survey import Survey

#: rows that a reading saw, by child and level
SEEN = "pg_temp.pgmend_seen"
#: losers by the ids that others know them by, each once for every such column of its table
KNOWN = "pg_temp.pgmend_known"
_ROW = '"pgmend row"'


class ByHeap:
    """By reading the heap of each child, or by indexes that a survey found good for just that."""

    #: Nobody else analyzes temporary tables, and what is taken for small is not hashed.
    refresh: Sequence[str] = (f"ANALYZE {LOSER}", f"ANALYZE {MOVE}")

    def __init__(self, references: References, survey: Survey) -> None:
        """Work on these references; a survey spares readings of what it covers."""
        self._relations = references.relations
        self._survey = survey
        #: what the type of an id is compared as, by the reference's number
        self._ids = {
            r.number: kind
            for r in references.references
            if (kind := id_type(r, references.relations)) is not None
        }
        #: what is pointed at by an id, numbered: a table's oid, its column, and that type
        self._targets = {
            target: number
            for number, target in enumerate(
                dict.fromkeys(
                    self._target(r) for r in references.references if r.number in self._ids
                )
            )
        }
        #: unique keys whose rows that moved ones could equal are seen by a reading
        self._seen_keys = {
            unique.index
            for relation in references.relations.values()
            for unique in relation.keys
            if self._sees(unique, references.of(relation.oid))
        }
        #: numbers of the references by which rows of the survivors are read as well
        self._both = {
            r.number
            for r in references.references
            for unique in references.relations[r.child].keys
            if unique.index in self._seen_keys and unique.columns.intersection(r.columns)
        }
        #: children of which the present level's reading saw rows
        self._found: frozenset[int] = frozenset()

    def _target(self, r: Reference) -> tuple[int, str, str]:
        return r.parent, r.parent_columns[0], self._ids[r.number]

    def _sees(self, unique: ChildKey, references: Sequence[Reference]) -> bool:
        """Tell whether every row that a moved one could equal holds the id of a survivor."""
        plain = {column.expression for column in unique.key.columns}
        moving = [r for r in references if not r.twin and unique.columns.intersection(r.columns)]
        return unique.key.nulls_distinct and all(
            r.number in self._ids and quoted(r.columns[0]) in plain for r in moving
        )

    def look(self, writer: Writer, level: int, wanted: Sequence[Reference]) -> None:
        """Read each child once for its wanted references; the losers are those of ``level``.

        SHARE ROW EXCLUSIVE on the children until the transaction ends. The ids of the losers
        and of what stays in their place pass through memory.
        """
        if level == 0 and self._survey.columns:
            writer.set_local(BY_ID)
            note_written(writer, self._survey)
        reading: dict[int, list[Reference]] = {}
        for r in wanted:
            if r.number in self._ids:
                reading.setdefault(r.child, []).append(r)
        self._found = frozenset()
        if not reading:
            return
        sources = ", ".join(self._relations[oid].source for oid in reading)
        writer.rows(f"LOCK TABLE {sources} IN SHARE ROW EXCLUSIVE MODE")
        writer.set_local(BY_PLACE)
        ids = {
            target: self._ids_of(writer, level, *target)
            for target in dict.fromkeys(
                self._target(r) for of_child in reading.values() for r in of_child
            )
        }
        found = set()
        for oid, of_child in reading.items():
            asked = []
            for r in of_child:
                losers, keepers = ids[self._target(r)]
                asked.append((r, losers))
                if r.number in self._both and keepers is not None:
                    asked.append((r, keepers))
            params = [oid, level, *(listed for _, listed in asked)]
            writer.set_local(BY_ID)
            query = self._by_index(writer, asked, params)
            if query is None:
                writer.set_local(BY_HEAP)
                query = self._by_reading(asked)
            if writer.count(f"INSERT INTO {SEEN} {query}", params):
                found.add(oid)
        if found:
            writer.rows(f"ANALYZE {SEEN}")
            writer.rows(f"ANALYZE {KNOWN}")
        self._found = frozenset(found)

    def _ids_of(
        self, writer: Writer, level: int, parent: int, column: str, kind: str
    ) -> tuple[str, str | None]:
        """Note the ids of a table's losers; return them and those of what stays, as arrays."""
        relation = self._relations[parent]
        value = f"p.{relation.column(column).sql}::{kind}"
        number = self._targets[parent, column, kind]
        writer.rows(
            f"INSERT INTO {KNOWN} (target, level, relid, place, keeper, grp, {_id(kind)})"
            f" SELECT {number}, l.level, l.relid, l.place, l.keeper, l.grp, {value}"
            f" FROM {LOSER} l JOIN {relation.source} p ON {at('p', relation, 'l.relid', 'l.place')}"
            " WHERE l.level = $1::int4",
            [level],
        )
        losers, keepers = writer.row(
            f"SELECT coalesce((SELECT pg_catalog.array_agg({_id(kind)})::text FROM {KNOWN}"
            f" WHERE target = {number} AND level = $1::int4), '{{}}'),"
            f" (SELECT pg_catalog.array_agg({value})::text FROM (SELECT DISTINCT keeper_relid,"
            f" keeper FROM {LOSER} WHERE level = $1::int4) l JOIN {relation.source} p"
            f" ON {at('p', relation, 'l.keeper_relid', 'l.keeper')})",
            [level],
        )
        return losers, keepers

    def _by_reading(self, asked: Sequence[tuple[Reference, str]]) -> str:
        """Write the query for rows of one child that hold ids from $3 on, by reading its heap.

        A list that stands in the statement as one value is hashed by the server.
        """
        child = self._relations[asked[0][0].child]
        tests = []
        for n, (r, _) in enumerate(asked, 3):
            tests.append(among(held(r, child, "c"), self._ids[r.number], n))
        return (
            f"SELECT $1::int8, $2::int4, c.tableoid, c.ctid FROM {child.source} c"
            f" WHERE {' OR '.join(tests)}"
        )

    def _by_index(
        self,
        writer: Writer,
        asked: Sequence[tuple[Reference, str]],
        params: Sequence[object],
    ) -> str | None:
        """Write the same query by indexes that a survey found good; None where one is missing."""
        # The survey asked for the column alone: rows of another type do no harm.
        sought = [
            Sought(
                column=r.columns[0], kind=self._ids[r.number], ids=ids_in(listed), parameter=n
            )
            for n, (r, listed) in enumerate(asked, 3)
        ]
        found = lookup(self._survey, self._relations[asked[0][0].child], sought)
        if found is None:
            return None
        query = f"SELECT $1::int8, $2::int4, s.* FROM ({found.query}) s"
        return query if goes_by(writer, query, params, found) else None

    def may_find(self, reference: Reference) -> bool:
        """Tell whether rows may point at losers by this reference; ``look`` came before."""
        return reference.number not in self._ids or reference.child in self._found

    def to_move(self, reference: Reference) -> Mapping[str, str]:
        """Return the planner settings for ``pointing``."""
        return BY_PLACE if reference.number in self._ids else BY_HEAP

    def to_collide(self, unique: ChildKey) -> Mapping[str, str]:
        """Return the planner settings for ``colliding``."""
        return BY_PLACE if unique.index in self._seen_keys else BY_HEAP

    def pointing(self, reference: Reference, parent: Relation, child: Relation, of: str) -> str:
        """Write the WITH parts of ``f``; see ``Search``."""
        array = reference.soft is not None and reference.soft.kind == "array"
        if reference.number not in self._ids and not array:
            return rows_by_join(reference, parent, child, of)
        mine = "l.relid AS parent_relid, l.place AS parent, l.grp"
        where = f"WHERE l.level = $1::int4 AND {of}"
        if reference.number in self._ids:
            kind, target = self._ids[reference.number], self._targets[self._target(reference)]
            return (
                f"f AS MATERIALIZED (SELECT c.tableoid AS relid, c.ctid AS place, {mine}"
                f" FROM {SEEN} s JOIN {child.source} c"
                f" ON c.ctid = s.place{_leaf(child, 'c', 's')} JOIN {KNOWN} l"
                f" ON l.{_id(kind)} OPERATOR(pg_catalog.=) ({held(reference, child, 'c')})::{kind}"
                f" {where} AND l.target = {target}"
                f" AND s.child = {child.oid} AND s.level = $1::int4 FOR UPDATE OF c)"
            )
        losers = (
            f"{LOSER} l JOIN {parent.source} p ON {at('p', parent, 'l.relid', 'l.place')}"
        )
        # An element has no row that could be locked, and may stand in an array twice.
        column = child.column(reference.columns[0])
        return (
            f"w AS MATERIALIZED (SELECT DISTINCT u.relid, u.place, {mine} FROM {losers} JOIN"
            f" (SELECT y.tableoid AS relid, y.ctid AS place, e.value FROM {child.source} y"
            f" CROSS JOIN LATERAL pg_catalog.unnest(y.{column.sql}) e (value)) u"
            f" ON {elements_match(reference, parent, child, 'p', 'u.value')} {where}),"
            " f AS MATERIALIZED (SELECT c.tableoid AS relid, c.ctid AS place, w.parent_relid,"
            f" w.parent, w.grp FROM w JOIN {child.source} c ON"
            f" {at('c', child, 'w.relid', 'w.place')} FOR UPDATE OF c)"
        )

    def colliding(
        self, child: Relation, unique: ChildKey, columns: str, names: Sequence[str]
    ) -> str:
        """Write the WITH parts of ``e``; see ``Search``."""
        key = unique.key
        names_of_key = names[: len(key.columns)]
        mine, theirs = ([f"{alias}.{name}" for name in names_of_key] for alias in ("m", "t"))
        tests = [f"({key.where}\n) IS TRUE"] if key.where is not None else []
        # Expressions name columns alone, and the table may be called as one of the aliases here.
        rows = f"SELECT tableoid AS relid, ctid AS place, {columns} FROM {child.source} AS {_ROW}"
        here = f"{rows} WHERE ctid = y.place{_leaf(child, _ROW, 'y')}"
        if unique.index in self._seen_keys:
            seen = f"(SELECT DISTINCT relid, place FROM {SEEN} WHERE child = {child.oid}) y"
            where = "".join(f" AND {test}" for test in tests)
            equal = f"(SELECT t.* FROM {seen} CROSS JOIN LATERAL ({here}{where}) t)"
        else:
            equal = f"({rows}{' WHERE ' if tests else ''}{' AND '.join(tests)})"
        listed = ", ".join(f"e.{name}" for name in names)
        return (
            "y AS MATERIALIZED (SELECT DISTINCT ON (t.relid, t.place) t.relid, t.place, m.grp"
            f" FROM m JOIN {equal} t ON {_joined(key, theirs, mine)}"
            f" WHERE {NOT_MOVED.format('t')} AND {NOT_LOST.format('t')}),"
            f" e AS MATERIALIZED (SELECT e.relid, e.place, y.grp, {listed} FROM y"
            f" CROSS JOIN LATERAL ({here} FOR UPDATE) e)"
        )


def _leaf(relation: Relation, row: str, address: str) -> str:
    """Write that a row stands in the leaf of an address, where a table has several.

    Whatever need not be said makes the planner expect fewer rows, and not join by hash.
    """
    return f" AND {row}.tableoid = {address}.relid" if relation.partitioned else ""


def _id(kind: str) -> str:
    """Return the column of ``pgmend_known`` with ids that are compared as a type."""
    return kind.removeprefix("pg_catalog.")


def _joined(key: ResolvedKey, left: Sequence[str], right: Sequence[str]) -> str:
    """Write the equality of two keys so that a hash join can go by it.

    Where NULLs are equal no operator says so, and the digest does.
    """
    if key.nulls_distinct:
        return " AND ".join(
            f"{column.compared(one)} {column.equality} {column.compared(other)}"
            for column, one, other in zip(key.columns, left, right, strict=True)
        )
    same = f"{key.digest(left)} OPERATOR(pg_catalog.=) {key.digest(right)}"
    return f"{same} AND {key.equal(left, right)}"
