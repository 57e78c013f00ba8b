"""What a recipe looks at before its first repair, and the proof after the last one.

Sources: https://www.postgresql.org/docs/current/btree.html,
https://www.postgresql.org/docs/current/ddl-constraints.html#DDL-CONSTRAINTS-FK
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import journal
from ..connect import Database
from ..errors import FailureError
from ..plan import Plan
from ..planning import known_key
from ..references import References, load_references
from ..relation import Relation
from ..repair.pointing import among, array, held, id_type, ids_in
from ..repair.preflight import obstacles
from ..repair.searching import WHOLE
from ..repair.stretches import BY_STRETCH, IN_STRETCH, read_tables, stretches
from ..repair.survey import Counted, Survey, take_survey
from ..repair.telling import Telling
from ..repair.triggers import updates_cascade, users_have_triggers
from ..session import Session
from ..surroundings import Reference, Surroundings
from ..table import quoted
from .recipe import Counter

#: ids of rows that went up to which the proof is made: they pass through memory
_MOST_IDS = 300_000


def survey_plans(
    database: Database,
    around: Surroundings,
    plans: Sequence[Plan],
    counters: Sequence[Counter],
    telling: Telling,
) -> Survey:
    """Take the survey of the plans that are not carried out; see ``take_survey``.

    None where something else than the repairs could write to their tables, which no journal would
    know: triggers and rules of users, and foreign keys that follow updates.
    """
    counted = [
        Counted(
            of=around.relation(around.find(quoted(counter.of))),
            by=counter.by,
            kept_in=around.relation(around.find(quoted(counter.table))),
            key=counter.key,
        )
        for counter in counters
    ]
    pointing = {plan.run.id: _pointing(around, plan) for plan in plans}
    tables = {
        oid
        for some in pointing.values()
        for one in some
        for relation in one.relations.values()
        for oid in relation.family
    } | {oid for one in counted for relation in (one.of, one.kept_in) for oid in relation.family}
    if users_have_triggers(around.session, tables) or updates_cascade(around.session, tables):
        return Survey()
    waiting = [
        (plan, pointing[plan.run.id])
        for plan in plans
        if journal.is_unfinished(journal.find_run(around.session, plan.run.id))
    ]
    return take_survey(database, waiting, counted, telling)


def obstacles_to(around: Surroundings, plans: Sequence[Plan]) -> tuple[str, ...]:
    """List what stands in the way of plans that have anything to do; see ``obstacles``."""
    found: dict[str, None] = {}
    for plan in plans:
        if plan.groups or plan.changed:
            found |= dict.fromkeys(
                obstacles(
                    around, _pointing(around, plan), plan.policies,
                    unreadable=len(plan.run.unreadable), triggers_off=False,
                    index=known_key(around, plan.run, plan.key).index_oid,
                )
            )
    return tuple(found)


def _pointing(around: Surroundings, plan: Plan) -> list[References]:
    key = known_key(around, plan.run, plan.key)
    return [load_references(around, key, policy) for policy in plan.policies]


def prove_references(
    database: Database, around: Surroundings, plans: Sequence[Plan], telling: Telling
) -> bool:
    """Prove by heaps that nothing points at rows that the repairs of some plans deleted.

    Of references by plain ids, declared and soft. Returns False, and proves nothing, where more
    than 300,000 ids of such rows are referenced. Reads each child once (two at a time, in
    statements of 128 MB), and where rows hold such an id, what they point at and the child again;
    ACCESS SHARE. Memory: the ids. Raises FailureError where rows point at nothing, RepairStopped,
    and what the driver raises, translated.
    """
    telling.phase("proving references")
    asked = list(_asked(around, plans))
    targets = {one.target: one.relations[one.reference.parent] for one in asked}
    gone = _gone(around.session, targets, [plan.run.id for plan in plans])
    if gone is None:
        return False
    found = _pointing_at(database, [one for one in asked if one.target in gone], gone, telling)
    if found:
        # Where ids were there twice, the row that stayed has that of the one that went.
        gone |= {one.target: _nobodys(around.session, one, gone[one.target]) for one, _ in found}
        found = _pointing_at(database, [one for one, _ in found], gone, telling)
    if found:
        left = sorted(
            f"{count} of {one.child.label}.{one.reference.columns[0]}" for one, count in found
        )
        raise FailureError(
            f"rows point at others that the repair deleted: {', '.join(left)}",
            hint="Nothing is lost: the journal has what was deleted. Take the recipe back with"
            " pgmend recipe undo, build the indexes of these tables anew (REINDEX TABLE), and carry"
            " it out in another directory; and report this as a bug.",
            references=tuple(left),
        )
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A reference by plain ids that is to be proved."""

    reference: Reference
    relations: Mapping[int, Relation]
    #: what is in SQL the id that a row ``c`` of the child holds, and the type it is compared as
    held: str
    kind: str

    @property
    def child(self) -> Relation:
        return self.relations[self.reference.child]

    @property
    def target(self) -> tuple[int, str]:
        """The table and the column that it points at."""
        return self.reference.parent, self.reference.parent_columns[0]


def _asked(around: Surroundings, plans: Sequence[Plan]) -> Iterator[_Asked]:
    """Give the references of all plans by plain ids, each once."""
    seen = set()
    for one in (one for plan in plans for one in _pointing(around, plan)):
        for r in one.references:
            kind = id_type(r, one.relations)
            if kind is None or r.twin:
                continue
            found = _Asked(
                reference=r, relations=one.relations, kind=kind,
                held=held(r, one.relations[r.child], "c"),
            )
            told = found.held, r.child, found.target
            if told not in seen:
                seen.add(told)
                yield found


def _pointing_at(
    database: Database,
    asked: Sequence[_Asked],
    ids: Mapping[tuple[int, str], str],
    telling: Telling,
) -> list[tuple[_Asked, int]]:
    """Return the references by which rows hold one of the ids of their target, and how many."""
    by_child: dict[int, list[_Asked]] = {}
    for one in asked:
        by_child.setdefault(one.child.oid, []).append(one)

    def read(
        session: Session, child: Relation, tell: Callable[[int], None]
    ) -> list[tuple[_Asked, int]]:
        mine = by_child[child.oid]
        tests = [among(one.held, one.kind, n) for n, one in enumerate(mine, 3)]
        counts = [0] * len(mine)
        query = (
            f"SELECT {', '.join(f'count(*) FILTER (WHERE {test})' for test in tests)}"
            f" FROM {child.source} c WHERE {IN_STRETCH} AND ({' OR '.join(tests)})"
        )
        params = [ids[one.target] for one in mine]
        with session.transaction(settings={**BY_STRETCH, "enable_seqscan": "on"}):
            for bounds, size in stretches(session, child):
                row = session.row(query, [*bounds, *params])
                counts = [one + other for one, other in zip(counts, row, strict=True)]
                tell(size)
        return [(one, count) for one, count in zip(mine, counts, strict=True) if count]

    children = [some[0].child for some in by_child.values()]
    return [one for some in read_tables(database, children, read, telling) for one in some]


def _nobodys(session: Session, asked: _Asked, ids: str) -> str:
    """Return those of some ids that no row of the target holds; reads its heap once."""
    target = asked.relations[asked.reference.parent]
    value = f"p.{target.column(asked.target[1]).sql}"
    with session.transaction(settings=WHOLE):
        held = session.rows(
            f"SELECT DISTINCT ({value})::{asked.kind}::pg_catalog.text FROM {target.source} p"
            f" WHERE {among(value, asked.kind, 1)}",
            [ids],
        )
    return array(set(ids_in(ids)).difference(one for (one,) in held))


def _gone(
    session: Session, targets: Mapping[tuple[int, str], Relation], runs: Sequence[str]
) -> dict[tuple[int, str], str] | None:
    """Map tables and their columns to arrays of the values that rows had which runs deleted.

    None where these are too many. Reads the entries of the runs once.
    """
    places = list(targets)
    query, params = journal.column_places(
        [(table, column) for (_, column), table in targets.items()], runs
    )
    with session.transaction(settings=WHOLE):
        found = session.rows(
            f"WITH t AS MATERIALIZED ({query}), v AS MATERIALIZED (SELECT DISTINCT t.n,"
            f" e.before[t.at] AS id FROM {journal.SCHEMA}.entry e"
            " JOIN t ON t.run = e.run AND t.shape = e.shape WHERE e.run = ANY ($4::text[])"
            f" AND e.action = 'd' AND {journal.standing('e')} AND e.before[t.at] IS NOT NULL"
            " LIMIT $5::int8) SELECT n, pg_catalog.array_agg(id)::text, count(*) FROM v GROUP BY n",
            [*params, _MOST_IDS + 1],
        )
    if sum(count for *_, count in found) > _MOST_IDS:
        return None
    return {places[number]: ids for number, ids, _ in found}
