"""From a recipe to the policies of one repair: what counts for this key in this database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ..errors import RecipeError, RunMismatch
from ..groups import as_text
from ..key import ResolvedKey
from ..plan import Plan
from ..planning import known_key
from ..policy import Collision, Keep, Loser, Policy, SoftReference
from ..references import References, load_references
from ..repair.pointing import array, kind_of
from ..surroundings import Surroundings
from ..table import quoted
from .decisions import Decisions
from .fitting import Fit
from .recipe import Case, Soft, Step

#: stands in ``accept_loss`` for every reference to the step's table
EVERYTHING = "*"
#: rows that go for good up to which other steps look whether theirs hang on them
_MOST_GOING = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """Rows that another step lets go for good, with all that hangs on them."""

    table: int
    #: name and values of their primary key; integers or uuids
    pk: str
    ids: tuple[str, ...]
    #: ``TABLE.COLUMN`` of the references whose rows go with them
    losing: frozenset[str]


def going_by(around: Surroundings, plan: Plan) -> Iterator[Going]:
    """Give what goes for good by a plan. Reads the plan alone.

    Up to 10,000 rows a policy; of more there are no ``ids``.
    """
    table = around.relation(known_key(around, plan.run, plan.key).table_oid)
    if len(table.pk) != 1 or kind_of(table, table.pk[0]) is None:
        return
    for number, policy in enumerate(plan.policies):
        if not policy.accept_loss:
            continue
        rows = (json.loads(as_text(row[5])) for _, row in plan.losers_of(number))
        ids = tuple(one for (one,) in islice(rows, _MOST_GOING + 1))
        if ids:
            yield Going(
                table=table.oid,
                pk=table.pk[0],
                ids=ids if len(ids) <= _MOST_GOING else (),
                losing=frozenset(policy.accept_loss),
            )


def policies_of(
    around: Surroundings,
    fit: Fit,
    step: Step,
    key: ResolvedKey,
    decisions: Decisions,
    going: Sequence[Going],
) -> tuple[Policy, ...]:
    """Return the policies of a step, the first that a group fits being the one it belongs to.

    A row that references one of ``going`` stays only where no other of its group can: what was
    merged into it would go with it. Columns, tables and references that the schema does not have
    are left out. Reads the catalogs. Raises RecipeError (rows are chosen in a table without a
    primary key) and what ``load_references`` raises.
    """
    last = tuple(_hanging(around, key, going))
    return tuple(
        _related(around, fit, key, _policy(around, fit, step, key, case, decisions, last))
        for case in cases_of(fit, step, decisions)
    )


def _hanging(
    around: Surroundings, key: ResolvedKey, going: Sequence[Going]
) -> Iterator[Keep]:
    """Write the rules by which rows come last that reference rows that go for good."""
    relation = around.relation(key.table_oid)
    for one in (one for one in going if one.ids):
        for r in around.foreign_keys(one.table):
            named = {f"{name}.{r.columns[0]}" for name in (relation.name, relation.label)}
            hangs = r.on_delete != "SET NULL" and r.parent_columns == (one.pk,)
            if r.child == relation.oid and hangs and named & one.losing:
                column = relation.column(r.columns[0])
                ids = f"'{array(one.ids)}'::{column.type}[]"
                yield Keep(by=f"coalesce({column.sql} = ANY ({ids}), false)")


def cases_of(fit: Fit, step: Step, decisions: Decisions) -> tuple[Case, ...]:
    """List the cases of a step that count, one for each policy of its plan, in their order."""
    return tuple(
        case
        for case in step.cases
        if fit.counts(case, step.table)
        and all(
            decisions.answer(fit.recipe, question) == answer
            for question, answer in case.answered.items()
        )
    )


def cases_of_plan(fit: Fit, step: Step, decisions: Decisions, plan: Plan) -> tuple[Case, ...]:
    """List the cases of a step that its plan was made by. Raises RunMismatch: they are others."""
    cases, policies = cases_of(fit, step, decisions), plan.policies
    if len(cases) != len(policies):
        raise RunMismatch(
            f"the plan of {step.id} was made for {len(policies)} cases, and {len(cases)} count"
            " in this schema",
            hint="The schema was changed since: name a new directory with --run.",
            field="policies",
            expected=len(policies),
            found=len(cases),
        )
    return cases


def policies_otherwise(around: Surroundings, fit: Fit, key: ResolvedKey) -> tuple[Policy, ...]:
    """Return the policy for a unique key that no step names. Raises as ``policies_of`` does."""
    otherwise = fit.recipe.otherwise
    keep = otherwise.keep if otherwise is not None else ("most-referenced", "newest")
    policy = Policy(keep=tuple(Keep.parse(text) for text in keep), soft=_soft(fit))
    return (_related(around, fit, key, policy),)


def _policy(
    around: Surroundings,
    fit: Fit,
    step: Step,
    key: ResolvedKey,
    case: Case,
    decisions: Decisions,
    last: Sequence[Keep],
) -> Policy:
    """Write a case as a policy, without the rules that belong to the tables around."""
    keep = [*last, *(Keep.parse(text) for text in case.keep)]
    if case.choice is not None:
        (choice,) = (one for one in fit.recipe.choices if one.id == case.choice)
        keep = [*last, *(Keep.parse(text) for text in choice.default)]
        if chosen := decisions.chosen.get(case.choice):
            keep.insert(0, _among(around, key, chosen))
    loss = [name for name in case.accept_loss if name != EVERYTHING]
    if EVERYTHING in case.accept_loss:
        loss += _foreign_keys(around, key)
        loss += [f"{soft.table}.{soft.column}" for soft in fit.recipe.soft
                 if soft.parent == step.table and _here(fit, soft)]
    return Policy(
        keep=tuple(keep),
        loser=Loser.parse(case.loser),
        merge={
            column: how
            for column, how in case.merge.items()
            if fit.has(f"{step.table}.{column}")
        },
        same=case.same,
        accept_loss=tuple(loss),
        soft=_soft(fit),
    )


def _among(around: Surroundings, key: ResolvedKey, chosen: Iterable[str]) -> Keep:
    """Write the rule that rows with these primary keys come first, in their order.

    The keys are as ``key_text`` writes them. Raises RecipeError.
    """
    relation = around.relation(key.table_oid)
    if not relation.pk:
        raise RecipeError(
            f"{relation.label} has no primary key, so that no row of it can be chosen",
            hint="Leave the decision out, and take the default with --defaults.",
        )
    values = ", ".join("'" + text.replace("'", "''") + "'" for text in chosen)
    written = ",".join(["%s"] * len(relation.pk))
    column = f"pg_catalog.format('{written}', {', '.join(map(quoted, relation.pk))})"
    # Most rows are none of them, which a hash tells; the list itself is searched for the others.
    return Keep(
        by=f"CASE WHEN {column} = ANY (ARRAY[{values}])"
        f" THEN pg_catalog.array_position(ARRAY[{values}], {column}) END"
    )


def key_text(pk: Sequence[str]) -> str:
    """Write a primary key as decisions name it: the texts of its columns, commas between."""
    return ",".join(pk)


def _foreign_keys(around: Surroundings, key: ResolvedKey) -> list[str]:
    """List the foreign keys to a table as ``accept_loss`` names them."""
    return [
        f"{around.relation(one.child).label}.{column}"
        for one in around.foreign_keys(key.table_oid)
        for column in one.columns
    ]


def _soft(fit: Fit) -> tuple[SoftReference, ...]:
    """Write the soft references of the recipe that the schema has."""
    return tuple(
        SoftReference(
            table=quoted(soft.table),
            column=soft.column,
            parent=quoted(soft.parent),
            parent_column=soft.parent_column,
            kind=soft.kind,
            type_column=soft.type_column,
            type_value=soft.type_value,
            path=soft.path,
        )
        for soft in fit.recipe.soft
        if _here(fit, soft)
    )


def _here(fit: Fit, soft: Soft) -> bool:
    """Tell whether the schema has a soft reference of the recipe."""
    return (
        fit.counts(soft, soft.table)
        and fit.has(f"{soft.table}.{soft.column}")
        and fit.has(f"{soft.parent}.{soft.parent_column}")
    )


def _related(around: Surroundings, fit: Fit, key: ResolvedKey, policy: Policy) -> Policy:
    """Add the rules of the tables that take part: a rule about another one is an error.

    A rule can bring further tables in, so it is looked again until nothing is added.
    """
    children = [one for one in fit.recipe.children if fit.counts(one, one.table)]
    collisions: Mapping[str, Collision] = {}
    pairs: Mapping[str, tuple[str, str]] = {}
    while True:
        policy = replace(policy, collisions=collisions, drop_self_pairs=pairs)
        references = load_references(around, key, policy)
        near = _names(references)
        taking = [child for child in children if child.table in near]
        collisions = {
            quoted(child.table): _collision(fit, child.table, child.on_collision, references)
            for child in taking
            if child.on_collision is not None
        }
        pairs = {child.table: child.apart for child in taking if child.apart is not None}
        if (collisions, pairs) == (policy.collisions, policy.drop_self_pairs):
            return policy


def _collision(fit: Fit, table: str, text: str, references: References) -> Collision:
    """Read a rule for equal rows, without merges of columns that are not here or re-pointed.

    What is re-pointed is written already: nothing of it is lost, and two values for one
    column would be one too many.
    """
    rule = Collision.parse(text)
    moved = {
        column
        for reference in references.references
        if references.relations[reference.child].name == table
        for column in reference.columns
    }
    merge = {
        column: how
        for column, how in rule.merge.items()
        if column not in moved and fit.has(f"{table}.{column}")
    }
    return replace(rule, merge=merge)


def _names(references: References) -> set[str]:
    """Return the names of the tables that take part beside the one that is repaired."""
    return {
        relation.name
        for oid, relation in references.relations.items()
        if any(r.child == oid for r in references.references)
    }
