"""What the rows say of a group that waits for a person.

Groups come from the plans in a recipe's directory. Their rows are read by address, and only
as the scan saw them; children are counted through an index where one finds them. What is
read is shown to people and decides nothing, so an index that lies misleads nobody's repair.

Source: https://www.postgresql.org/docs/current/functions-string.html (format)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ..connect import Connectable, Database, connect
from ..errors import QueryFailed, RecipeDoesNotFit
from ..groups import as_text, member_columns
from ..plan import Plan
from ..relation import Relation, load_relation
from ..repair.helpers import finding_indexes
from ..scan.directory import own_name
from ..session import Session
from ..surroundings import Reference
from ..table import find_relation, quoted
from .decisions import Decisions
from .fitting import Fit
from .recipe import Choice, Step
from .rules import cases_of
from .undecided import OpenGroup, PlannedRow, choices_of, open_groups

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
        plan = Plan.open(Path(place) / "steps" / own_name(step.id))
        choices = choices_of(fit, step, decided, plan)
        waiting = open_groups(plan, choices, decided)
        looks: dict[str, _Look] = {}
        for batch in _batches(waiting):
            for policy, groups in groupby(batch, key=lambda group: group.policy):
                choice = choices[policy]
                look = looks.setdefault(choice.id, _Look(fit, choice, step, plan))
                yield from look.at(database, list(groups))


def _batches(groups: Iterator[OpenGroup]) -> Iterator[list[OpenGroup]]:
    most = _FIRST_BATCH
    batch: list[OpenGroup] = []
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

    def at(self, database: Database, groups: list[OpenGroup]) -> Iterator[WaitingGroup]:
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
        self, session: Session, root: Relation, rows: Sequence[PlannedRow]
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
        self, session: Session, root: Relation, counted: str, rows: Sequence[PlannedRow]
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
