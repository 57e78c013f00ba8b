"""Planning: groups in, decisions out. Reads the server, writes the run directory alone.

The rows of each group are read by address and compared with what the scan saw: a group
of which a row was changed since is left for the repair's next look. Which row stays is
decided on the server, by the orders of the policy and then by primary key.

Locks: ACCESS SHARE. Memory: one batch of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .connect import Connectable, Database, connect
from .errors import KeyDefinitionError, PolicyError, QueryFailed, RefusedError, UsageError
from .groups import Group
from .key import ResolvedKey, resolve
from .plan import (
    Plan,
    PlannedReference,
    reference_facts,
    write_plan,
)
from .policy import Keep, Policy, SoftReference, make_policy
from .references import References, Relation, load_references
from .repair.helpers import finding_index
from .repair.merging import check_merge
from .repair.pointing import matches
from .scan.directory import REPAIRING_FILE
from .scan.identity import check_server, read_server
from .scan.run import Run
from .session import Session
from .table import quoted

_BATCH = 500
#: planner settings for counting references: the child is read once a batch
_COUNTING = {"enable_seqscan": "on", "enable_hashjoin": "on"}


def plan(
    run: Run,
    *,
    keep: str | Sequence[str],
    db: Connectable | None = None,
    key: str | None = None,
    loser: str = "delete",
    merge: Mapping[str, str] | None = None,
    same: str | None = None,
    on_collision: Mapping[str, str] | None = None,
    accept_loss: Sequence[str] = (),
    soft: Sequence[SoftReference] = (),
    drop_self_pairs: Mapping[str, tuple[str, str]] | None = None,
    only: Collection[int] = (),
    exclude: Collection[int] = (),
    max_groups: int | None = None,
) -> Plan:
    """Decide which row of each group stays, and write the plan into the run directory.

    ``keep``: ``"oldest"`` or ``"newest"`` (by primary key), ``"most-referenced"``, or SQL
    ``"EXPRESSION [asc|desc]"``; several are taken in order, the primary key decides ties.
    ``loser``: ``"delete"``, ``"report"``, ``"rename:COLUMN"``, ``"blank:COLUMN,…"``.
    ``merge``: column to what the survivor's becomes, over survivor and losers. ``same``:
    predicate over rows ``a`` (survivor) and ``b`` (loser) without which a group is left
    alone. ``on_collision``: child table to which of two child rows stays. ``accept_loss``:
    ``TABLE.COLUMN`` of foreign keys whose rows may go. ``only``, ``exclude`` and
    ``max_groups`` choose groups by number. ``key`` names one of several keys with groups.

    Reads the rows of the groups by address; writes nothing to the database. It can be made
    again until its repair begins. Without ``db`` it connects to where the run was made.

    Raises PolicyError, UsageError (unfinished run), RunMismatch, LossNotAccepted,
    RefusedError (its repair has begun), FailureError.
    """
    policy = make_policy(
        keep,
        loser=loser,
        merge=merge,
        same=same,
        on_collision=on_collision,
        accept_loss=accept_loss,
        soft=soft,
        drop_self_pairs=drop_self_pairs,
    )
    if (run.path / REPAIRING_FILE).exists():
        raise RefusedError(
            f"the repair of {run.path} has begun; its plan cannot be changed any more",
            hint="Go on with: pgmend repair, take it back with: pgmend undo, or scan again.",
        )
    database = connect(run.target.conninfo() if db is None else db)
    number = _chosen(run, key)
    return make_plan(
        database, run, number, policy, only=only, exclude=exclude, max_groups=max_groups
    )


def make_plan(
    database: Database,
    run: Run,
    number: int,
    policy: Policy,
    *,
    only: Collection[int] = (),
    exclude: Collection[int] = (),
    max_groups: int | None = None,
) -> Plan:
    """Make the plan of key ``number`` of a run by a policy; see ``plan``."""
    with database.open("pgmend plan") as session:
        check_server(run.identity.server, read_server(session))
        key = resolved_key(session, run, number)
        references = load_references(session, key, policy)
        check_policy(session, policy, references.relations[references.root])
        planner = _Planner(session, run, policy, references)
        digest = hashlib.sha256(f"{run.id}\n{key.definition}\n{policy.to_json()}\n".encode())
        facts: dict[str, Any] = {
            "key": number,
            "key_name": key.name,
            "table": references.relations[references.root].label,
            "policy": policy.to_json(),
            "made": datetime.now(UTC).isoformat(),
        }

        def decided() -> Iterator[tuple[int, list[int]]]:
            groups = (g for g in run.groups() if g.key_name == key.name)
            taken = 0
            for group in groups:
                wanted = (not only or group.number in only) and group.number not in exclude
                if not wanted or (max_groups is not None and taken >= max_groups):
                    planner.left_out += 1
                    continue
                taken += 1
                planner.pending.append(group)
                if len(planner.pending) >= planner.batch:
                    yield from noted(planner.decide())
            yield from noted(planner.decide())
            # All that is known of the groups is known only now.
            facts.update(planner.facts())
            facts["fingerprint"] = digest.hexdigest()
            facts["references"] = [
                reference_facts(one) for one in _planned(session, references)
            ]
            facts["statements"] = _shapes(references)
            facts["notes"] = _notes(policy, planner, references)

        def noted(found: Iterator[tuple[int, list[int]]]) -> Iterator[tuple[int, list[int]]]:
            for one in found:
                digest.update(f"{one}\n".encode())
                yield one

        write_plan(run, facts, decided())
    return Plan(run)


def resolved_key(session: Session, run: Run, number: int) -> ResolvedKey:
    """Resolve a run's key again. Raises RunMismatch-like KeyDefinitionError if it changed."""
    key = resolve(session, run.asked[number])
    if key.definition != run.definitions[number]:
        own = resolve(session, run.asked[number], own_path=True)
        if own.definition != run.definitions[number]:
            raise KeyDefinitionError(
                f"the key {key.name} was changed since the scan",
                hint="Scan again: pgmend scan --fresh.",
                key=key.name,
            )
        return own
    return key


def check_policy(session: Session, policy: Policy, root: Relation) -> None:
    """Raise PolicyError where a rule names nothing or fits no column of the table."""
    names = {column.name for column in root.columns}
    for name, how in policy.merge.items():
        if name not in names:
            raise _no_column(f"--merge {name}={how}", root)
        check_merge(how, root.column(name), root)
    for name in policy.loser.columns:
        if name not in names:
            raise _no_column(f"--loser {policy.loser.action}:{name}", root)
        if policy.loser.action == "rename" and not root.column(name).text:
            raise PolicyError(
                f"--loser rename:{name}: the column's type is {root.column(name).type}, not a text"
            )
    for keep in policy.keep:
        if keep.by in {"oldest", "newest"} and not root.pk:
            raise PolicyError(
                f"--keep {keep.by} goes by primary key, and {root.label} has none",
                hint="Name a column or an expression, such as --keep 'created_at desc'.",
            )
        if keep.by in {"oldest", "newest", "most-referenced"}:
            continue
        _tried(session, root, f"({keep.by})", f"--keep {keep.by}")
    if policy.same is not None:
        query = f"SELECT 1 FROM {root.source} a, {root.source} b WHERE ({policy.same}) AND false"
        _tried_query(session, query, "the predicate of rows that may be merged")


def _tried(session: Session, root: Relation, expression: str, what: str) -> None:
    query = f"SELECT 1 FROM {root.source} WHERE false ORDER BY {expression}"
    _tried_query(session, query, what)


def _tried_query(session: Session, query: str, what: str) -> None:
    """Have the server read a statement of the user's; raises PolicyError with its words."""
    try:
        with session.transaction(settings={"search_path": session.own_search_path}):
            session.rows(f"EXPLAIN {query}")
    except QueryFailed as error:
        raise PolicyError(
            f"{what} cannot be evaluated: {error.message}",
            hint="Names are those of the table's columns.",
        ) from error


def _no_column(what: str, root: Relation) -> PolicyError:
    return PolicyError(
        f"{what} names no column of {root.label}",
        hint=f"Its columns: {', '.join(column.name for column in root.columns)}.",
    )


def _chosen(run: Run, name: str | None) -> int:
    """Return the number of the key to plan for. Raises UsageError."""
    # Raises while the scan is unfinished.
    run.groups()
    keys = run.keys
    if name is not None:
        for number, key in enumerate(keys):
            if key.name == name:
                return number
        raise UsageError(
            f"the scan in {run.path} has no key {name}",
            hint=f"Its keys: {', '.join(key.name for key in keys)}.",
        )
    found = [number for number, key in enumerate(keys) if key.groups]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} keys of {run.table} have duplicates; a plan is for one of them",
            hint="Say which: " + " or ".join(f"--key '{keys[n].name}'" for n in found) + ".",
        )
    return found[0] if found else 0


class _Planner:
    """Decides batches of groups."""

    def __init__(
        self, session: Session, run: Run, policy: Policy, references: References
    ) -> None:
        self.pending: list[Group] = []
        self.left_out = 0
        self._groups = self._losers = self._apart = self._changed = self._ties = 0
        self._session = session
        self._policy = policy
        self._references = references
        self._root = references.relations[references.root]
        self._leaves = {
            (schema, name): (oid, f"{quoted(schema)}.{quoted(name)}")
            for oid, _, schema, name in run.identity.leaves
        }
        counting = any(keep.by == "most-referenced" for keep in policy.keep)
        self.batch = 20 * _BATCH if counting else _BATCH

    def facts(self) -> dict[str, Any]:
        """Return what was counted."""
        return {
            "groups": self._groups,
            "losers": self._losers,
            "kept_apart": self._apart,
            "changed": self._changed,
            "left_out": self.left_out,
            "ties": self._ties,
        }

    @property
    def ties(self) -> int:
        """Groups whose rows are alike in all that they are ordered by."""
        return self._ties

    def decide(self) -> Iterator[tuple[int, list[int]]]:
        """Decide the pending groups: (number, places of the members, survivor first)."""
        pending, self.pending = self.pending, []
        if not pending:
            return
        by_leaf: dict[tuple[int, str], list[tuple[str, int, int, str]]] = {}
        sizes = {}
        for group in pending:
            sizes[group.number] = len(group.members)
            for place, member in enumerate(group.members):
                leaf = self._leaves[member.schema, member.table]
                by_leaf.setdefault(leaf, []).append(
                    (member.ctid, group.number, place, member.xmin)
                )
        rows = self._ask(by_leaf)
        ranked: dict[int, list[int]] = {}
        for number, place, tied in rows:
            ranked.setdefault(number, []).append(place)
            if tied and len(ranked[number]) == 1:
                self._ties += 1
        apart = self._kept_apart(by_leaf, ranked) if self._policy.same is not None else set()
        for number, size in sizes.items():
            places = ranked.get(number, [])
            if len(places) != size:
                self._changed += 1
            elif number in apart or self._policy.loser.action == "report":
                self._apart += 1
            else:
                self._groups += 1
                self._losers += size - 1
                yield number, places

    def _ask(
        self, by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]]
    ) -> list[tuple[int, int, bool]]:
        """Read the rows that are as the scan saw them, each group in the policy's order."""
        orders, terms = self._orders()
        names = [f'"pgmend {n}"' for n in range(len(orders))]
        columns = "".join(
            f", {order} AS {name}" for order, name in zip(orders, names, strict=True)
        )
        parts: list[str] = []
        params: list[str] = []
        for leaf, rows in by_leaf.items():
            first = len(params) + 1
            params += [_array(row[n] for row in rows) for n in range(4)]
            given = ", ".join(
                f"pg_catalog.unnest(${first + n}::{kind}[])"
                for n, kind in enumerate(("tid", "int4", "int4", "text"))
            )
            parts.append(
                f'SELECT i."pgmend group", i."pgmend place", r.* FROM ROWS FROM ({given})'
                ' i ("pgmend ctid", "pgmend group", "pgmend place", "pgmend xmin")'
                f' CROSS JOIN LATERAL (SELECT ctid AS "pgmend tid"{columns} FROM ONLY {leaf[1]}'
                ' AS "pgmend row"'
                ' WHERE ctid = i."pgmend ctid" AND xmin::text = i."pgmend xmin") r'
            )
        sorting = ", ".join(
            f"{name} {term}" for name, term in zip(names, terms, strict=True)
        )
        window = f'(PARTITION BY "pgmend group" ORDER BY {sorting})'
        query = (
            f"WITH m AS MATERIALIZED ({' UNION ALL '.join(parts)})"
            ' SELECT "pgmend group", "pgmend place", "pgmend first" = 1 AND'
            ' count(*) FILTER (WHERE "pgmend first" = 1) OVER (PARTITION BY "pgmend group") > 1'
            f' FROM (SELECT *, rank() OVER {window} AS "pgmend first" FROM m) s'
            f' ORDER BY "pgmend group", {sorting}, "pgmend place"'
        )
        settings = {"search_path": self._session.own_search_path, "work_mem": "32MB"}
        with self._session.transaction(settings={**settings, **_COUNTING}):
            # The groups' own rows by address; only what counts references reads a heap.
            return [(r[0], r[1], bool(r[2])) for r in self._session.rows(query, params)]

    def _orders(self) -> tuple[list[str], list[str]]:
        """Return the expressions that rows are ordered by, and the direction of each."""
        pk = [quoted(name) for name in self._root.pk]
        orders, terms = [], []
        for keep in self._policy.keep:
            if keep.by in {"oldest", "newest"}:
                orders += pk
                terms += ["ASC" if keep.by == "oldest" else "DESC"] * len(pk)
            elif keep.by == "most-referenced":
                orders.append(self._reference_count())
                terms.append("DESC")
            else:
                orders.append(f"({keep.by})")
                terms.append(_direction(keep))
        return orders + pk, terms + ["ASC"] * len(pk)

    def _reference_count(self) -> str:
        """Write the number of rows that point at a row."""
        counts = []
        for r in self._references.to(self._references.root):
            child = self._references.relations[r.child]
            pointing = matches(r, self._root, child, '"pgmend row"', "c")
            counts.append(f"(SELECT count(*) FROM {child.source} c WHERE {pointing})")
        return f"({' + '.join(counts)})" if counts else "0"

    def _kept_apart(
        self,
        by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]],
        ranked: Mapping[int, list[int]],
    ) -> set[int]:
        """Return the groups with a loser that must not be merged into the survivor."""
        first = {number: places[0] for number, places in ranked.items()}
        leaves, tids, groups, survivors = [], [], [], []
        for leaf, rows in by_leaf.items():
            for ctid, number, place, _ in rows:
                if number in first:
                    leaves.append(leaf[0])
                    tids.append(ctid)
                    groups.append(number)
                    survivors.append(place == first[number])
        at = "tableoid = {0}.relid AND ctid = {0}.place"
        query = (
            "WITH i AS MATERIALIZED (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::int8[]::oid[]),"
            " pg_catalog.unnest($2::tid[]), pg_catalog.unnest($3::int4[]),"
            " pg_catalog.unnest($4::bool[])) i (relid, place, grp, survivor))"
            " SELECT DISTINCT s.grp FROM i s JOIN i l ON l.grp = s.grp AND NOT l.survivor"
            f" CROSS JOIN LATERAL (SELECT * FROM {self._root.source} WHERE {at.format('s')}) a"
            f" CROSS JOIN LATERAL (SELECT * FROM {self._root.source} WHERE {at.format('l')}) b"
            f" WHERE s.survivor AND ({self._policy.same}\n) IS NOT TRUE"
        )
        params = [_array(one) for one in (leaves, tids, groups, survivors)]
        with self._session.transaction(settings={"search_path": self._session.own_search_path}):
            return {row[0] for row in self._session.rows(query, params)}


def _array(values: Any) -> str:
    """Write a PostgreSQL array as one text: the driver would look at every element."""
    return '{"' + '","'.join(map(str, values)) + '"}'


def _direction(keep: Keep) -> str:
    return "DESC NULLS LAST" if keep.descending else "ASC NULLS LAST"


def _planned(session: Session, references: References) -> Iterator[PlannedReference]:
    for r in references.references:
        child, parent = references.relations[r.child], references.relations[r.parent]
        (rows,) = session.row(
            "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::int8 FROM pg_catalog.pg_class c"
            " WHERE c.oid = ANY ($1::int8[]::oid[]) AND c.relkind = 'r'",
            [sorted(child.family)],
        )
        yield PlannedReference(
            child=child.label,
            columns=r.columns,
            parent=parent.label,
            parent_columns=r.parent_columns,
            constraint=r.constraint,
            on_delete=r.on_delete,
            handling="lose" if r.lose else "keep" if r.twin else "re-point",
            level=r.level,
            index=finding_index(session, r, child),
            rows=rows,
            collides_with=tuple(key.index for key in child.keys),
            on_collision=child.collision.by,
        )


def _shapes(references: References) -> list[str]:
    """Write what the repair does, as SQL for people."""
    lines = []
    for r in references.references:
        child, parent = references.relations[r.child], references.relations[r.parent]
        columns, targets = ", ".join(r.columns), ", ".join(r.parent_columns)
        if r.twin:
            continue
        if r.lose:
            lines.append(
                f"DELETE FROM {child.label} WHERE ({columns}) = a loser's ({targets})"
                f" of {parent.label}"
            )
        else:
            lines.append(
                f"UPDATE {child.label} SET ({columns}) = the survivor's ({targets})"
                f" WHERE ({columns}) = a loser's ({targets}) of {parent.label}"
            )
    return lines + [
        f"DELETE FROM {references.relations[oid].label} WHERE ctid = a loser's"
        for oid in references.losable
    ]


def _notes(policy: Policy, planner: _Planner, references: References) -> list[str]:
    notes = [
        f"{references.relations[r.child].label} references the key that is repaired: its rows"
        " stay as they are, and triggers are switched off while their twins are deleted"
        for r in references.references
        if r.twin
    ]
    if planner.ties:
        notes.append(
            f"in {planner.ties} groups the rows are alike in all that --keep and the primary key"
            " say; the first in the heap stays"
        )
    if policy.loser.action == "report":
        notes.append("nothing is changed: the losers are only reported")
    return notes
