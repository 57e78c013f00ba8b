"""Planning: groups in, decisions out. Reads the server, writes the run directory alone.

The rows of each group are read by address and compared with what the scan saw: a group
of which a row was changed since is left for the repair's next look. Which row stays is
decided on the server, by the orders of the policy and then by primary key.

Locks: ACCESS SHARE. Memory: one batch of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from .connect import Connectable, Database, connect
from .decision import Ranking
from .disk import disk_need
from .errors import KeyDefinitionError, PolicyError, UsageError
from .key import ResolvedKey, resolve
from .plan import Plan, PlannedReference, check_unbegun
from .planstore import write_plan
from .policy import (
    Chooser,
    Merger,
    Policy,
    Program,
    SoftReference,
    keep_choices,
    make_policy,
    policies_to_json,
)
from .policycheck import check_policy
from .references import References, load_references
from .repair.helpers import finding_index
from .scan.identity import check_leaves, check_server, read_server
from .scan.run import Run
from .session import Session
from .surroundings import Surroundings
from .survivor import Planner


def plan(
    run: Run,
    *,
    keep: str | Sequence[str] | Chooser,
    db: Connectable | None = None,
    key: str | None = None,
    loser: str = "delete",
    merge: Mapping[str, str | Merger] | None = None,
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
    ``"EXPRESSION [asc|desc]"``; several are taken in order, the primary key decides ties;
    or a callable that gets a group's rows (column to text, by primary key) and returns the
    place of the one that stays. A repair in another process cannot ask it: what arrives
    meanwhile is left there.
    ``loser``: ``"delete"``, ``"report"``, ``"rename:COLUMN"``, ``"blank:COLUMN,…"``.
    ``merge``: column to what the survivor's becomes, over survivor and losers: a word of
    ``MERGES``, or a callable that gets the column's values as text, the survivor's first,
    and returns the new one (with ``lock``, repair may ask it while it keeps writers out of
    the table). ``same``:
    predicate over rows ``a`` (survivor) and ``b`` (loser) without which a group is left
    alone. ``on_collision``: child table to which of two child rows stays. ``accept_loss``:
    ``TABLE.COLUMN`` of foreign keys whose rows may go. ``only``, ``exclude`` and
    ``max_groups`` choose groups by number. ``key`` names one of several keys with groups.

    Reads the rows of the groups by address; writes nothing to the database. It can be made
    again until its repair begins. Without ``db`` it connects to where the run was made.

    Raises PolicyError, UsageError (unfinished run), RunMismatch, LossNotAccepted,
    RefusedError (its repair has begun), FailureError.
    """
    policy, program = make_policy(
        keep,
        loser=loser,
        merge=merge,
        same=same,
        on_collision=on_collision,
        accept_loss=accept_loss,
        soft=soft,
        drop_self_pairs=drop_self_pairs,
    )
    check_unbegun(run)
    database = connect(run.target.conninfo() if db is None else db)
    number = _chosen(run, key)
    return make_plan(
        database, run, number, [policy],
        program=program,
        only=only, exclude=exclude, max_groups=max_groups,
    )


def make_plan(
    database: Database,
    run: Run,
    number: int,
    policies: Sequence[Policy],
    *,
    program: Program | None = None,
    only: Collection[int] = (),
    exclude: Collection[int] = (),
    max_groups: int | None = None,
) -> Plan:
    """Make the plan of key ``number`` of a run; see ``plan_with``."""
    with database.open("pgmend plan") as session:
        return plan_with(
            Surroundings(session), run, number, policies,
            program=program, only=only, exclude=exclude, max_groups=max_groups,
        )


def plan_with(
    around: Surroundings,
    run: Run,
    number: int,
    policies: Sequence[Policy],
    *,
    program: Program | None = None,
    only: Collection[int] = (),
    exclude: Collection[int] = (),
    max_groups: int | None = None,
) -> Plan:
    """Make the plan of key ``number`` of a run by one policy or several; see ``plan``.

    A group belongs to the first policy whose ``same`` holds for one of its losers, and only
    for those; what is left of it then is decided in the repair's next round, and is looked ahead
    for by the policies after it (``Plan.later``). ``program`` has the
    callables of the only policy.
    """
    session = around.session
    check_server(run.identity.server, read_server(session))
    key = known_key(around, run, number)
    check_leaves(session, run.identity)
    pointing = []
    for policy in policies:
        references = load_references(around, key, policy)
        check_policy(around, policy, references)
        pointing.append(references)
    rules = list(zip(policies, pointing, strict=True))
    planner: Planner | None = None
    for place, (policy, references) in reversed(list(enumerate(rules))):
        planner = Planner(
            session, run, policy, references, program or Program(),
            number=place, otherwise=planner,
        )
    if planner is None:
        raise PolicyError("a plan needs a policy", hint=keep_choices())
    text = policies_to_json(policies)
    digest = hashlib.sha256(f"{run.id}\n{key.definition}\n{text}\n".encode())
    facts: dict[str, Any] = {
        "key": number,
        "key_name": key.name,
        "table": pointing[0].relations[pointing[0].root].label,
        "policies": text,
        "made": datetime.now(UTC).isoformat(),
    }

    def decided(planner: Planner) -> Iterator[Ranking]:
        taken = 0
        for group, size, members in run.addresses(number):
            wanted = (not only or group in only) and group not in exclude
            if not wanted or (max_groups is not None and taken >= max_groups):
                planner.left_out += 1
                continue
            taken += 1
            if planner.streams(size):
                yield from noted(planner.decide_large(group, size, members))
                continue
            if planner.add(group, list(enumerate(members))):
                yield from noted(planner.decide())
        yield from noted(planner.decide())
        # All that is known of the groups is known only now.
        facts.update(planner.facts())
        facts["fingerprint"] = digest.hexdigest()
        facts["references"] = [asdict(one) for one in _planned(around, pointing)]
        facts["statements"] = list(
            dict.fromkeys(one for rule in rules for one in _shapes(rule[1], rule[0]))
        )
        facts["notes"] = [
            *dict.fromkeys(note for rule in rules for note in _notes(*rule, facts["ties"])),
            *_parted(facts["parted"]),
            str(disk_need(around, pointing, facts["losers"], key.index_oid)),
        ]

    def noted(found: Iterator[Ranking]) -> Iterator[Ranking]:
        for one in found:
            digest.update(f"{one}\n".encode())
            yield one

    write_plan(run, facts, decided(planner))
    return Plan(run, program)


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


def known_key(around: Surroundings, run: Run, number: int) -> ResolvedKey:
    """Return a run's key as the session has met it; see ``resolved_key``."""
    asked = run.id, number
    if asked not in around.run_keys:
        around.run_keys[asked] = resolved_key(around.session, run, number)
    return around.run_keys[asked]


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


def _planned(around: Surroundings, pointing: Sequence[References]) -> Iterator[PlannedReference]:
    """Describe the references of all policies; one that several handle alike, once."""
    told: set[tuple[object, ...]] = set()
    estimates: dict[int, int | None] = {}
    for references, r in ((one, r) for one in pointing for r in one.references):
        handling = "lose" if r.lose else "keep" if r.twin else "re-point"
        alike = r.child, r.columns, r.parent, r.constraint, handling
        if alike in told:
            continue
        told.add(alike)
        child, parent = references.relations[r.child], references.relations[r.parent]
        if r.child not in estimates:
            (estimates[r.child],) = around.session.row(
                # -1: never vacuumed or analyzed.
                "SELECT CASE WHEN min(c.reltuples) >= 0 THEN sum(c.reltuples)::int8 END"
                " FROM pg_catalog.pg_class c"
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
            handling=handling,
            level=r.level,
            index=finding_index(around, r, child),
            rows=estimates[r.child],
            collides_with=tuple(key.index for key in child.keys),
            on_collision=child.collision.by,
        )


def _shapes(references: References, policy: Policy) -> list[str]:
    """Write what the repair does, as SQL for people."""
    root = references.relations[references.root].label
    if policy.loser.action == "report":
        return []
    if policy.loser.action != "delete":
        values = {"rename": "{0} || a free suffix", "blank": "NULL"}[policy.loser.action]
        sets = ", ".join(f"{name} = {values.format(name)}" for name in policy.loser.columns)
        return [f"UPDATE {root} SET {sets} WHERE ctid = a loser's"]
    lines = []
    for r in references.references:
        child, parent = references.relations[r.child], references.relations[r.parent]
        columns, targets = ", ".join(r.columns), ", ".join(r.parent_columns)
        if r.twin:
            continue
        if r.lose and r.on_loss == "null":
            lines.append(
                f"UPDATE {child.label} SET ({columns}) = NULL (out of an array: the element)"
                f" WHERE ({columns}) = a loser's ({targets}) of {parent.label}"
            )
        elif r.lose:
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


def _parted(groups: int) -> list[str]:
    if not groups:
        return []
    some = f"of {groups} groups only some rows may be merged by the first rule that fits"
    return [f"{some}; what is left of them is decided about after that, by the rules that follow"]


def _notes(policy: Policy, references: References, ties: int) -> list[str]:
    notes = [
        f"{references.relations[r.child].label} references the key that is repaired: its rows"
        " stay as they are, and triggers are switched off while their twins are deleted"
        for r in references.references
        if r.twin
    ]
    if ties:
        notes.append(
            f"in {ties} groups the rows are alike in all that --keep and the primary key"
            " say; the first in the heap stays"
        )
    if policy.loser.action == "report":
        notes.append("nothing is changed: the losers are only reported")
    return notes
