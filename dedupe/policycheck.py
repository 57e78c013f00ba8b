"""Whether a policy fits a database: its names are looked up, its expressions read by the server.

Reads the catalogs, and lets the server plan the user's expressions; no row is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .errors import PolicyError, QueryFailed
from .policy import CHOSEN, Policy
from .references import References
from .relation import Relation
from .repair.merging import check_merge
from .repair.pointing import matches
from .surroundings import Reference, Surroundings


def check_policy(around: Surroundings, policy: Policy, references: References) -> None:
    """Raise PolicyError where a rule names nothing, or cannot be carried out."""
    _check_root(around, policy, references.relations[references.root])
    _check_rules(around, policy, references)
    _check_followers(around, policy, references)
    _check_lost(around, references)


def _check_followers(around: Surroundings, policy: Policy, references: References) -> None:
    """Raise PolicyError where the server would change rows because others are changed in place.

    A foreign key that follows updates takes the rows of both twins along with the one that is
    changed, and no journal would know them.
    """
    root = references.root
    changed = [
        (root, policy.merge, "merging"),
        (root, policy.loser.columns, f"--loser {policy.loser.action}"),
        *((one.oid, one.collision.merge, "--on-collision")
          for one in references.relations.values()),
    ]
    for oid, columns, what in changed:
        for column, r in _referencing(around, oid, columns):
            if r.follows_updates:
                child = around.relation(r.child).label
                raise PolicyError(
                    f"{what} would change {around.relation(oid).label}.{column}, and by the foreign"
                    f" key {r.constraint} (ON UPDATE {r.on_update}) the server would change rows of"
                    f" {child} with it, of both twins, and without a journal",
                    hint="Choose a rule that leaves that column alone, or recreate the foreign key"
                    " as ON UPDATE NO ACTION for the time of the repair.",
                    constraint=r.constraint,
                )


def _check_lost(around: Surroundings, references: References) -> None:
    """Raise PolicyError where a column that is to become NULL is itself pointed at."""
    for one in references.references:
        if not one.lose or one.on_loss != "null":
            continue
        for column, r in _referencing(around, one.child, one.columns):
            table, child = around.relation(one.child).label, around.relation(r.child).label
            raise PolicyError(
                f"--accept-loss {table}.{column}: rows of {child} point at that column by the"
                f" foreign key {r.constraint}, and it would become NULL",
                hint="Leave it out, or drop that foreign key for the time of the repair.",
                constraint=r.constraint,
            )


def _referencing(
    around: Surroundings, oid: int, columns: Collection[str]
) -> Iterator[tuple[str, Reference]]:
    """Give the foreign keys to a table by one of some columns, with the first such column."""
    for r in around.foreign_keys(oid) if columns else ():
        for column in r.parent_columns:
            if column in columns:
                yield column, r
                break


def _check_root(around: Surroundings, policy: Policy, root: Relation) -> None:
    """Raise PolicyError where a rule names nothing or fits no column of the table."""
    names = {column.name for column in root.columns}
    for name, how in policy.merge.items():
        if name not in names:
            raise _no_column(f"--merge {name}={how}", root)
        check_merge(how, root.column(name), root)
        column = root.column(name).sql
        if how in {"min", "max"}:
            _tried(around, root, column, f"--merge {name}={how}")
        if how == "union":
            query = f"SELECT DISTINCT v FROM {root.source}, pg_catalog.unnest({column}) u (v)"
            _tried_query(around, query, f"--merge {name}={how}")
    for name in policy.loser.columns:
        if name not in names:
            raise _no_column(f"--loser {policy.loser.action}:{name}", root)
        if policy.loser.action == "rename" and not root.column(name).text:
            raise PolicyError(
                f"--loser rename:{name}: the column's type is {root.column(name).type}, not a text",
                hint="Rename a column of texts, or say another fate of losers.",
            )
        if root.column(name).generated or root.column(name).identity_always:
            raise PolicyError(
                f"--loser {policy.loser.action}:{name}: {root.label}.{name} is generated",
                hint="Name a column that can be written.",
            )
    for keep in policy.keep:
        if keep.by in {"oldest", "newest"} and not root.pk:
            raise PolicyError(
                f"--keep {keep.by} goes by primary key, and {root.label} has none",
                hint="Name a column or an expression, such as --keep 'created_at desc'.",
            )
        if keep.by in {"oldest", "newest", "most-referenced", CHOSEN}:
            continue
        _tried(around, root, f"({keep.by})", f"--keep {keep.by}")
    if policy.same is not None:
        query = f"SELECT 1 FROM {root.source} a, {root.source} b WHERE ({policy.same}) AND false"
        _tried_query(around, query, "the predicate of rows that may be merged")


def _check_rules(around: Surroundings, policy: Policy, references: References) -> None:
    """Raise PolicyError where a rule about a child or a soft reference cannot be carried out."""
    relations = references.relations
    for r in references.references:
        child, parent = relations[r.child], relations[r.parent]
        columns = r.parent_columns if r.parent == references.root else ()
        columns += r.columns if r.child == references.root else ()
        merged = [name for name in columns if name in policy.merge]
        if merged and not r.lose and not r.twin:
            raise PolicyError(
                f"--merge {merged[0]}={policy.merge[merged[0]]}: {child.label}"
                f" ({', '.join(r.columns)}) references {parent.label} by that column; what it"
                " becomes and where its rows lead cannot be decided together",
                hint="Leave that merge out, or change the column before or after the repair.",
            )
        if r.soft is None:
            continue
        _tried_query(
            around,
            f"SELECT 1 FROM {parent.source} p, {child.source} c"
            f" WHERE {matches(r, parent, child, 'p', 'c')}",
            f"the soft reference {r.soft.table}.{r.soft.column}",
        )
    for relation in relations.values():
        how = relation.collision
        _check_collision_merge(around, relation, references)
        if relation.keys and how.by not in {"survivor", "newest", "oldest"}:
            _tried(around, relation, f"({how.by})", f"--on-collision {relation.name}={how.by}")
    known = {name: one for one in relations.values() for name in (one.name, one.label)}
    for table, pair in policy.drop_self_pairs.items():
        if table not in known:
            raise PolicyError(
                f"drop_self_pairs names {table}, which references none of the tables",
                hint=f"Tables here: {', '.join(sorted(r.label for r in relations.values()))}.",
            )
        for name in pair:
            if name not in {column.name for column in known[table].columns}:
                raise _no_column(f"drop_self_pairs of {table}: {name}", known[table])


def _check_collision_merge(
    around: Surroundings, relation: Relation, references: References
) -> None:
    """Raise PolicyError where a merge on a collision names or fits no column."""
    fixed = {name for r in references.of(relation.oid) for name in r.columns}
    fixed |= {name for r in references.to(relation.oid) for name in r.parent_columns}
    fixed |= {name for key in relation.keys for name in key.columns}
    for name, function in relation.collision.merge.items():
        what = f"--on-collision {relation.name}=...;{name}={function}"
        if name not in {column.name for column in relation.columns}:
            raise _no_column(what, relation)
        check_merge(function, relation.column(name), relation)
        if name in fixed:
            raise PolicyError(
                f"{what}: the column is part of a key or of a reference",
                hint="Only columns that nothing else hangs on can be merged.",
            )
        if function in {"min", "max"}:
            _tried(around, relation, relation.column(name).sql, what)


def _tried(around: Surroundings, root: Relation, expression: str, what: str) -> None:
    query = f"SELECT 1 FROM {root.source} WHERE false ORDER BY {expression}"
    _tried_query(around, query, what)


def _tried_query(around: Surroundings, query: str, what: str) -> None:
    """Have the server read a statement of the user's; raises PolicyError with its words."""
    if query in around.tried:
        return
    session = around.session
    try:
        with session.transaction(settings={"search_path": session.own_search_path}):
            session.rows(f"EXPLAIN {query}")
    except QueryFailed as error:
        raise PolicyError(
            f"{what} cannot be evaluated: {error.message}",
            hint="Names are those of the table's columns.",
        ) from error
    around.tried.add(query)


def _no_column(what: str, root: Relation) -> PolicyError:
    return PolicyError(
        f"{what} names no column of {root.label}",
        hint=f"Its columns: {', '.join(column.name for column in root.columns)}.",
    )
