"""A recipe's survey before its first repair, and the proof after the last one.

Sources: https://www.postgresql.org/docs/current/btree.html,
https://www.postgresql.org/docs/current/ddl-constraints.html#DDL-CONSTRAINTS-FK
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .. import journal
from ..connect import Database
from ..errors import FailureError
from ..plan import Plan
from ..planning import known_key
from ..references import References, load_references
from ..relation import Relation
from ..repair.pointing import among, array, held, id_type
from ..repair.stretches import BY_STRETCH, IN_STRETCH, read_tables, stretches
from ..repair.survey import Counted, Survey, take_survey
from ..repair.telling import Telling
from ..repair.triggers import updates_cascade, users_have_triggers
from ..session import Session
from ..surroundings import Surroundings
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
    waiting = []
    for plan in plans:
        known = journal.find_run(around.session, plan.run.id)
        if known is None or known.state == "repairing":
            waiting.append((plan, pointing[plan.run.id]))
    return take_survey(database, waiting, counted, telling)


def _pointing(around: Surroundings, plan: Plan) -> list[References]:
    key = known_key(around, plan.run, plan.key)
    return [load_references(around, key, policy) for policy in plan.policies]


@dataclass(slots=True, kw_only=True)
class _Proof:
    """What is asked of one child: whether it still points at rows that went."""

    child: Relation
    #: names of the columns, and tests of a row ``c`` for ids that are parameters from $3 on
    columns: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def prove_references(
    database: Database, around: Surroundings, plans: Sequence[Plan], telling: Telling
) -> bool:
    """Prove by heaps that nothing points at rows that the repairs of some plans deleted.

    Of references by plain ids, declared and soft. Returns False, and proves nothing, where more
    than 300,000 ids of such rows are referenced. Reads each child once (two at a time, in
    statements of 128 MB); ACCESS SHARE. Memory: the ids. Raises FailureError where rows point
    at nothing, RepairStopped, and what the driver raises, translated.
    """
    telling.phase("proving references")
    gone: dict[tuple[int, str], str] = {}
    proofs: dict[int, _Proof] = {}
    seen = set()
    runs, count = [plan.run.id for plan in plans], 0
    for plan in plans:
        for one in _pointing(around, plan):
            for r in one.references:
                kind = id_type(r, one.relations)
                child, target = one.relations[r.child], (r.parent, r.parent_columns[0])
                if kind is None or r.twin:
                    continue
                told = held(r, child, "c"), child.oid, target
                if told in seen:
                    continue
                seen.add(told)
                if target not in gone:
                    ids = _gone(around.session, one.relations[r.parent], target[1], runs)
                    gone[target], count = array(ids), count + len(ids)
                    if count > _MOST_IDS:
                        return False
                if gone[target] == array(()):
                    continue
                proof = proofs.setdefault(child.oid, _Proof(child=child))
                proof.columns.append(r.columns[0])
                proof.ids.append(gone[target])
                proof.tests.append(among(told[0], kind, len(proof.ids) + 2))

    def read(session: Session, relation: Relation, tell: Callable[[int], None]) -> list[str]:
        proof = proofs[relation.oid]
        counts = [0] * len(proof.tests)
        query = (
            f"SELECT {', '.join(f'count(*) FILTER (WHERE {test})' for test in proof.tests)}"
            f" FROM {relation.source} c WHERE {IN_STRETCH} AND ({' OR '.join(proof.tests)})"
        )
        with session.transaction(settings={**BY_STRETCH, "enable_seqscan": "on"}):
            for bounds, size in stretches(session, relation):
                row = session.row(query, [*bounds, *proof.ids])
                counts = [one + other for one, other in zip(counts, row, strict=True)]
                tell(size)
        return [
            f"{count} of {relation.label}.{column}"
            for column, count in zip(proof.columns, counts, strict=True) if count
        ]

    children = [proof.child for proof in proofs.values()]
    left = [text for some in read_tables(database, children, read, telling) for text in some]
    if left:
        raise FailureError(
            f"rows point at others that the repair deleted: {', '.join(sorted(left))}",
            hint="Nothing is lost: the journal has what was deleted. Take the recipe back with"
            " pgmend recipe undo, build the indexes of these tables anew (REINDEX TABLE), and carry"
            " it out in another directory; and report this as a bug.",
            references=tuple(sorted(left)),
        )
    return True


def _gone(session: Session, table: Relation, column: str, runs: Sequence[str]) -> list[str]:
    """Return the values of a column in the rows of a table that runs deleted."""
    return [
        value
        for (value,) in session.rows(
            "SELECT DISTINCT e.before[pg_catalog.array_position(s.columns, $1::text)]"
            f" FROM {journal.SCHEMA}.entry e JOIN {journal.SCHEMA}.shape s ON s.run = e.run"
            " AND s.number = e.shape WHERE e.run = ANY ($2::text[]) AND e.action = 'd'"
            f" AND {journal.standing('e')} AND s.relid = ANY ($3::int8[]::oid[])"
            " AND e.before[pg_catalog.array_position(s.columns, $1::text)] IS NOT NULL"
            " LIMIT $4::int8",
            [column, list(runs), sorted(table.family), _MOST_IDS + 1],
        )
    ]
