"""What is open in a recipe's plans: questions, choices, and the groups that wait for them.

Reads the plans in a recipe's directory alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

from ..errors import RecipeError
from ..groups import as_text
from ..plan import Plan
from .decisions import Decisions
from .fitting import Fit
from .keys import RecipeKey
from .recipe import Choice, Step
from .rules import cases_of, cases_of_plan, key_text

#: rows of a group that are shown at most
MOST_ROWS = 100
#: what is said beside all that is open
HOW_TO_DECIDE = (
    "Decide with --decide ID=ANSWER or --decisions FILE, or take the defaults with --defaults."
)


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


class PlannedRow(NamedTuple):
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


class OpenGroup(NamedTuple):
    """A group in which no row was chosen; its first rows, the default before the others."""

    policy: int
    number: int
    rows: list[PlannedRow]
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
            for shares in (plan.shares, plan.later_shares):
                waits[question] += sum(groups for groups, _ in shares[place:])
        choices = choices_of(fit, key.step, decisions, plan)
        for group in open_groups(plan, choices, decisions):
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
        choices = choices_of(fit, key.step, decisions, plan)
        for row in plan.rows_of(choices) if choices else ():
            found = PlannedRow(*row[2:]).key
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


def choices_of(fit: Fit, step: Step, decisions: Decisions, plan: Plan) -> dict[int, Choice]:
    """Map policies of a step's plan to the choice that says which row stays."""
    cases = cases_of_plan(fit, step, decisions, plan)
    known = {choice.id: choice for choice in fit.recipe.choices}
    return {
        number: known[case.choice] for number, case in enumerate(cases) if case.choice is not None
    }


def open_groups(
    plan: Plan, choices: Mapping[int, Choice], decisions: Decisions
) -> Iterator[OpenGroup]:
    """Stream the groups in which no row was chosen."""
    if not choices:
        return
    chosen = {
        number: frozenset(decisions.chosen.get(choice.id, ()))
        for number, choice in choices.items()
    }
    by_group = groupby(plan.rows_of(choices), key=lambda row: (row[0], row[1]))
    for (policy, number), found in by_group:
        rows = (PlannedRow(*row[2:]) for row in found)
        shown = list(islice(rows, MOST_ROWS))
        size = len(shown)
        known = any(row.key in chosen[policy] for row in shown)
        for row in rows:
            size += 1
            known = known or row.key in chosen[policy]
        if not known:
            yield OpenGroup(policy, number, shown, size)
