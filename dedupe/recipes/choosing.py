"""What waits for a person: open questions and choices, and what the rows of a group say.

Groups come from the plans in a recipe's directory. Their rows are read by address, and only
as the scan saw them; children are counted through an index where one finds them. What is
read is shown to people and decides nothing, so an index that lies misleads nobody's repair.

Source: https://www.postgresql.org/docs/current/functions-string.html (format)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from ..connect import Connectable, Database, connect
from ..errors import QueryFailed, RecipeDoesNotFit, RecipeError, RunMismatch
from ..groups import as_text, member_columns
from ..plan import Plan
from ..relation import Relation, load_relation
from ..repair.helpers import finding_indexes
from ..scan.directory import plain_name
from ..session import Session
from ..surroundings import Reference
from ..table import find_relation, quoted
from .decisions import Decisions
from .fitting import Fit
from .keys import RecipeKey
from .recipe import Choice, Step
from .rules import cases_of, key_text

#: rows of a group that are shown at most
MOST_ROWS = 100
#: characters of a value that are read at most
MOST_CHARACTERS = 500
#: groups of the first batch, so that it comes soon; each one after it has four times as many
_FIRST_BATCH = 8
_LARGEST_BATCH = 512
#: rows after which a batch ends, however few its groups are
_BATCH_ROWS = 2000
#: SQLSTATE undefined_column
_NO_COLUMN = "42703"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """A question or a choice that is open, and the groups that wait for it."""

    id: str
    #: what is asked
    asks: str
    #: how many groups wait
    groups: int
    #: whether it is decided for each group
    choice: bool

    @property
    def sentence(self) -> str:
        """Say for people what is not decided."""
        groups = f"{self.groups:,} group{'' if self.groups == 1 else 's'}"
        return f"{self.id} is not decided for {groups}: {self.asks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRow:
    """One row of a group that waits."""

    #: how decisions name it; None: its table has no primary key, and nothing can name it
    key: str | None
    #: heading to value as text, cut after MOST_CHARACTERS; None is NULL
    shown: Mapping[str, str | None] = field(repr=False)
    #: whether it is the one that stays unless somebody decides
    default: bool
    #: whether it was changed or deleted since the scan; nothing is shown of it then
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingGroup:
    """A group of which nobody has said yet which row stays as it is."""

    choice: str
    step: str
    #: schema.table
    table: str
    #: number of the group within the step's plan
    group: int
    #: the default first, the others in its order; not more than MOST_ROWS
    rows: tuple[WaitingRow, ...]
    #: rows of the group, shown or not
    size: int


class _Row(NamedTuple):
    """A row as the plan knows it."""

    leaf: int
    ctid: str
    xmin: str
    #: JSON array of texts, as stored
    pk: bytes

    @property
    def key(self) -> str | None:
        """The primary key as decisions name it."""
        texts = json.loads(as_text(self.pk))
        return key_text(texts) if texts else None


class _Group(NamedTuple):
    policy: int
    number: int
    rows: list[_Row]
    size: int


def list_undecided(
    fit: Fit, decisions: Decisions, plans: Iterable[tuple[RecipeKey, Plan]]
) -> tuple[Undecided, ...]:
    """List what groups wait for. Reads the plans alone; memory: a group's rows to be shown.

    A choice is open for the groups that its case decides and in which nobody chose a row. A
    question is open for those that come to its cases, whatever the answer.

    Raises RunMismatch (the schema is not the one of the plan), PlanError.
    """
    waits = {one.id: 0 for one in fit.recipe.asked}
    for key, plan in plans:
        if key.step is None or not plan.groups:
            continue
        for question, place in _questions(fit, key.step, decisions).items():
            waits[question] += sum(groups for groups, _ in plan.shares[place:])
        choices = _choices(fit, key.step, decisions, plan)
        for group in _waiting(plan, choices, decisions):
            waits[choices[group.policy].id] += 1
    return tuple(
        Undecided(
            id=one.id, asks=one.asks, groups=waits[one.id], choice=one in fit.recipe.choices
        )
        for one in fit.recipe.asked
        if waits[one.id]
    )


def check_chosen(
    fit: Fit, decisions: Decisions, plans: Iterable[tuple[RecipeKey, Plan]]
) -> None:
    """Raise RecipeError where a row was chosen that is in no group of its choice.

    Reads the plans alone; memory: the rows that were chosen.
    """
    unknown = {name: dict.fromkeys(keys) for name, keys in decisions.chosen.items()}
    for key, plan in plans:
        if key.step is None or not plan.groups or not any(unknown.values()):
            continue
        choices = _choices(fit, key.step, decisions, plan)
        for row in plan.rows_of(choices) if choices else ():
            found = _Row(*row[2:]).key
            if found is not None:
                unknown.get(choices[row[0]].id, {}).pop(found, None)
    for name, keys in unknown.items():
        if keys:
            raise RecipeError(
                f"{name}: no row with the primary key {', '.join(keys)} is in one of its groups",
                hint="Look at the primary keys once more; a run without --execute, on a terminal,"
                " shows the rows of each group.",
                choice=name,
            )


def waiting_choices(
    fit: Fit, place: str | Path, db: Connectable, *, decisions: Decisions | None = None
) -> Iterator[WaitingGroup]:
    """Stream the groups of a recipe's directory that wait for a person to choose a row.

    ``fit`` is that of ``run_recipe``, which has made the plans in ``place``; of ``decisions``
    the answers must be those that they were made by. Headings whose column or table the
    schema does not have are left out. Rows are counted that hold the row's primary key.

    Reads rows by address, a batch of groups a statement, and counts children with one
    statement each a batch: through an index that finds them, else by reading the child once
    a batch. No transaction is open between two groups. Locks: ACCESS SHARE. Memory: one batch.

    Raises RecipeDoesNotFit (the server cannot evaluate what is to be shown), RunMismatch,
    PlanError, UnknownObject, UnsupportedRelation, FailureError.
    """
    database = connect(db)
    decided = decisions or Decisions()
    for fitted in fit.steps:
        step = fitted.step
        if not any(case.choice for case in cases_of(fit, step, decided)):
            continue
        plan = Plan.open(Path(place) / "steps" / plain_name(step.id))
        choices = _choices(fit, step, decided, plan)
        waiting = _waiting(plan, choices, decided)
        looks: dict[str, _Look] = {}
        for batch in _batches(waiting):
            for policy, groups in groupby(batch, key=lambda group: group.policy):
                choice = choices[policy]
                look = looks.setdefault(choice.id, _Look(fit, choice, step, plan))
                yield from look.at(database, list(groups))


def _questions(fit: Fit, step: Step, decisions: Decisions) -> dict[str, int]:
    """Map the open questions of a step to the first policy that their answers can change."""
    found: dict[str, int] = {}
    counting = cases_of(fit, step, decisions)
    place = 0
    for case in step.cases:
        if fit.counts(case, step.table):
            for question in case.answered:
                if question not in decisions.answers:
                    found.setdefault(question, place)
        place += case in counting
    return found


def _choices(fit: Fit, step: Step, decisions: Decisions, plan: Plan) -> dict[int, Choice]:
    """Map policies of a step's plan to the choice that says which row stays."""
    cases = cases_of(fit, step, decisions)
    policies = plan.policies
    if len(cases) != len(policies):
        raise RunMismatch(
            f"the plan of {step.id} was made for {len(policies)} cases, and {len(cases)} count"
            " in this schema",
            hint="The schema was changed since: name a new directory with --run.",
            field="policies",
            expected=len(policies),
            found=len(cases),
        )
    known = {choice.id: choice for choice in fit.recipe.choices}
    return {
        number: known[case.choice] for number, case in enumerate(cases) if case.choice is not None
    }


def _waiting(
    plan: Plan, choices: Mapping[int, Choice], decisions: Decisions
) -> Iterator[_Group]:
    """Stream the groups in which no row was chosen."""
    if not choices:
        return
    chosen = {
        number: frozenset(decisions.chosen.get(choice.id, ()))
        for number, choice in choices.items()
    }
    by_group = groupby(plan.rows_of(choices), key=lambda row: (row[0], row[1]))
    for (policy, number), found in by_group:
        rows = (_Row(*row[2:]) for row in found)
        shown = list(islice(rows, MOST_ROWS))
        size = len(shown)
        known = any(row.key in chosen[policy] for row in shown)
        for row in rows:
            size += 1
            known = known or row.key in chosen[policy]
        if not known:
            yield _Group(policy, number, shown, size)


def _batches(groups: Iterator[_Group]) -> Iterator[list[_Group]]:
    most = _FIRST_BATCH
    batch: list[_Group] = []
    for group in groups:
        batch.append(group)
        if len(batch) >= most or sum(len(one.rows) for one in batch) >= _BATCH_ROWS:
            yield batch
            batch, most = [], min(4 * most, _LARGEST_BATCH)
    if batch:
        yield batch


class _Look:
    """Looks at rows through what one choice shows."""

    def __init__(self, fit: Fit, choice: Choice, step: Step, plan: Plan) -> None:
        self._fit = fit
        self._choice = choice
        self._step = step
        self._plan = plan
        self._leaves = [
            f"{quoted(schema)}.{quoted(name)}"
            for _, _, schema, name in plan.run.identity.leaves
        ]
        #: heading to SQL, once the server has been asked which of them it can evaluate
        self._expressions: dict[str, str] | None = None

    def at(self, database: Database, groups: list[_Group]) -> Iterator[WaitingGroup]:
        """Look at groups, all of them before the first is yielded."""
        rows = [row for group in groups for row in group.rows]
        with database.open("pgmend recipe") as session:
            root = load_relation(session, find_relation(session, quoted(self._step.table)))
            if self._expressions is None:
                self._expressions = self._usable(session, root)
            values = self._values(session, root, rows)
            counts = {
                heading: self._counts(session, root, counted, rows)
                for heading, counted in self._choice.counted.items()
                if self._fit.has(counted) and len(root.pk) == 1
            }
        place = 0
        for group in groups:
            found = []
            for rank, row in enumerate(group.rows):
                texts = values.get(place)
                shown: dict[str, str | None] = {}
                for heading in self._choice.shows if texts is not None else ():
                    if heading in counts:
                        shown[heading] = str(counts[heading].get(place, 0))
                    elif texts is not None and heading in texts:
                        shown[heading] = texts[heading]
                found.append(
                    WaitingRow(
                        key=row.key, shown=shown, default=rank == 0, changed=texts is None
                    )
                )
                place += 1
            yield WaitingGroup(
                choice=self._choice.id,
                step=self._step.id,
                table=self._plan.table,
                group=group.number,
                rows=tuple(found),
                size=group.size,
            )

    def _usable(self, session: Session, root: Relation) -> dict[str, str]:
        """Return the expressions over columns that are there. Raises RecipeDoesNotFit."""
        found = {}
        for heading, expression in self._choice.shows.items():
            if heading in self._choice.counted:
                continue
            try:
                with session.transaction(settings={"search_path": session.own_search_path}):
                    session.rows(f"SELECT ({expression}\n) FROM {root.source} WHERE false")
            except QueryFailed as error:
                if error.sqlstate == _NO_COLUMN:
                    continue
                raise RecipeDoesNotFit(
                    f"choice {self._choice.id} cannot show {heading}: {error.message}",
                    hint="Mend that line of the recipe, or decide with --decide.",
                    recipe=self._fit.recipe.name,
                ) from error
            found[heading] = expression
        return found

    def _values(
        self, session: Session, root: Relation, rows: Sequence[_Row]
    ) -> dict[int, dict[str, str | None]]:
        """Read what is shown of rows, by their place; a row that was changed is missing."""
        headings = dict(self._expressions or {})
        texts = "".join(
            f", CASE WHEN pg_catalog.num_nulls({sql}\n) = 0 THEN pg_catalog.left("
            f"pg_catalog.format('%s', {sql}\n), {MOST_CHARACTERS}) END AS \"pgmend {number}\""
            for number, sql in enumerate(f"({one}" "\n)" for one in headings.values())
        )
        pk, _ = member_columns(root.pk, ())
        parts: list[str] = []
        params: list[object] = []
        for leaf in dict.fromkeys(row.leaf for row in rows):
            here = [(place, row) for place, row in enumerate(rows) if row.leaf == leaf]
            first = len(params) + 1
            params += [
                [row.ctid for _, row in here],
                [place for place, _ in here],
                [row.xmin for _, row in here],
            ]
            given = ", ".join(
                f"pg_catalog.unnest(${first + n}::{kind}[])"
                for n, kind in enumerate(("text[]::tid", "int4", "text"))
            )
            parts.append(
                f'SELECT i."pgmend place", r.* FROM ROWS FROM ({given})'
                ' i ("pgmend ctid", "pgmend place", "pgmend xmin")'
                f' CROSS JOIN LATERAL (SELECT {pk} AS "pgmend pk"{texts}'
                f" FROM ONLY {self._leaves[leaf]}"
                ' WHERE ctid = i."pgmend ctid" AND xmin::text = i."pgmend xmin") r'
            )
        with session.transaction(settings={"search_path": session.own_search_path}):
            found = session.rows(" UNION ALL ".join(parts), params)
        return {
            place: dict(zip(headings, texts, strict=True))
            for place, key, *texts in found
            # A table that was rewritten may hold another row of the same transaction there.
            if key == as_text(rows[place].pk)
        }

    def _counts(
        self, session: Session, root: Relation, counted: str, rows: Sequence[_Row]
    ) -> dict[int, int]:
        """Count the rows of a child that hold each row's primary key, by the row's place."""
        table, _, name = counted.partition(".")
        child = load_relation(session, find_relation(session, quoted(table)))
        column, key = child.column(name), root.column(root.pk[0])
        reference = Reference(
            number=0, child=child.oid, parent=root.oid, columns=(name,),
            parent_columns=root.pk, operators=("=",), constraint=None,
        )
        found = bool(finding_indexes(session, reference, child))
        settings = {
            "search_path": session.own_search_path,
            "work_mem": "32MB",
            # Without an index of its own the child is read once, not once for each key.
            "enable_seqscan": "off" if found else "on",
            **{
                f"enable_{kind}": "on" if found else "off"
                for kind in ("indexscan", "indexonlyscan", "bitmapscan")
            },
        }
        kind = "text" if column.text and not key.text else key.type
        with session.transaction(settings=settings):
            answer = session.rows(
                "SELECT k.n::int4, pg_catalog.count(*)"
                f" FROM pg_catalog.unnest($1::text[]::{kind}[]) WITH ORDINALITY k (v, n)"
                f" JOIN {child.source} c ON c.{column.sql} = k.v GROUP BY k.n",
                [[row.key for row in rows]],
            )
        return {int(number) - 1: count for number, count in answer}
