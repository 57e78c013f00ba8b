"""References: which rows point at the rows that may go, in the catalog and beyond.

Beginning with the table that holds duplicates, every table that may lose rows is
looked at in turn: what references it, by foreign key or by a declared soft reference,
and which of the child's unique keys hold a column that re-pointing changes, for there
child rows may become equal, and lose rows in their turn.

Reads the catalogs only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import LossNotAccepted, PolicyError, ReferenceNotHandled
from .key import ResolvedKey
from .policy import Collision, Policy
from .relation import Relation
from .surroundings import Reference, Surroundings
from .table import quoted


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
            if reference.child in self.vanishing or self.relations[reference.child].keys:
                found[reference.child] = None
        return tuple(found)


def load_references(
    around: Surroundings, key: ResolvedKey, policy: Policy
) -> References:
    """Follow the references to the key's table, level by level, as far as rows may be lost.

    Raises UnknownObject, PolicyError (a rule that names nothing), LossNotAccepted,
    UnsupportedRelation (a foreign table among the children).
    """
    root = key.table_oid
    relations = {root: around.relation(root)}
    own = {column.name for column in relations[root].columns}
    by_sql = {quoted(name): name for name in own} | {name: name for name in own}
    plain = {by_sql.get(column.expression) for column in key.columns}
    references: list[Reference] = []
    soft = [(around.find(one.parent), one) for one in policy.soft]
    collisions = {around.find(name): how for name, how in policy.collisions.items()}
    pairs = {around.find(name): pair for name, pair in policy.drop_self_pairs.items()}
    # A policy other than deleting leaves every row where it is: nothing is re-pointed.
    pending = [root] if policy.loser.action == "delete" else []
    level, seen = 1, {root}
    vanishing: frozenset[int] = frozenset()
    while pending:
        found: list[Reference] = []
        for parent in pending:
            family = relations[parent].family
            found += around.foreign_keys(parent)
            found += [around.soft(one) for oid, one in soft if oid in family]
        fresh = []
        for one in found:
            number = len(references) + 1
            twin = one.parent == root and set(one.parent_columns) == plain
            references.append(replace(one, number=number, level=level, twin=twin))
            if one.child not in relations:
                relations[one.child] = around.relation(one.child)
            fresh.append(one.child)
        references = _with_losses(references, relations, policy)
        for child in dict.fromkeys(fresh):
            moved = {c for r in references if r.child == child and not r.twin for c in r.columns}
            keys = around.keys_with(relations[child], moved)
            how = collisions.get(child, Collision())
            relations[child] = replace(relations[child], keys=keys, collision=how)
        vanishing = _vanishing(references, pairs)
        pending = [
            child
            for child in dict.fromkeys(r.child for r in references)
            if child not in seen
            and (relations[child].keys or child in vanishing)
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
