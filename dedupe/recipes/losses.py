"""What goes for good by a recipe's answers: written down row by row before anything is done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, groupby
from pathlib import Path

import msgspec

from .. import journal
from ..errors import RunDirectoryDamaged
from ..plan import Plan
from ..repair.losses import Loss, list_losses
from ..repair.telling import Telling
from ..scan.directory import REPAIRING_FILE
from ..surroundings import Surroundings
from .decisions import Decisions
from .files import remove, unfinished, whole
from .fitting import Fit
from .keys import RecipeKey
from .rules import cases_of_plan

#: beside a step's plan: each row that goes for good by it, a line of JSON each
LOSSES_FILE = "losses.jsonl"
#: of a step, the rows that are kept in memory to be shown
MOST_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What goes for good by one case of a step, because its policy accepts that."""

    step: str
    #: schema.table
    table: str
    #: question to the answer that it goes by
    answered: Mapping[str, str]
    #: rows of the table that go and are not merged
    rows: int
    #: schema.table to its rows that go with them, each counted once
    gone: Mapping[str, int]
    #: schema.table.column to rows that stay and lose what they say there
    emptied: Mapping[str, int]
    #: the first of the rows, each with what goes with it
    first: tuple[Loss, ...] = field(repr=False)
    #: all of them, a line of JSON each
    file: Path
    #: whether the repair of the step has begun, so that it is what was counted before that
    begun: bool

    @property
    def heading(self) -> str:
        """Say which rows go, and by which answer."""
        by = " and ".join(f"{question}={answer}" for question, answer in self.answered.items())
        return f"{self.step}{f', by {by}' if by else ''}: {self.rows:,} of {self.table}"

    @property
    def sentence(self) -> str:
        """Say for people how much goes."""
        gone, emptied = sum(self.gone.values()), sum(self.emptied.values())
        return (
            f"for good go, in step {self.heading}, and with them {gone:,} rows of other tables"
            f" ({emptied:,} more are emptied of what they say)"
        )


def find_losses(
    around: Surroundings,
    fit: Fit,
    decisions: Decisions,
    plans: Sequence[tuple[RecipeKey, Plan]],
    telling: Telling,
) -> tuple[tuple[Losses, ...], tuple[str, ...]]:
    """List what goes for good by plans, and say what could not be read of it.

    Of a plan whose repair has not begun it is counted anew and written into its directory; of one
    that has, it is what was written then. Reads as ``list_losses`` does. Raises what that raises,
    RunMismatch (the schema is not the one of the plan), LocalStorageError, RunDirectoryDamaged.
    """
    found: list[Losses] = []
    unread: list[str] = []
    for key, plan in plans:
        if key.step is None:
            continue
        file = plan.run.path / LOSSES_FILE
        if not (file.exists() or any(policy.accept_loss for policy in plan.policies)):
            continue
        # The directory knows it as well: a journal can be dropped.
        begun = (plan.run.path / REPAIRING_FILE).exists() or (
            journal.find_run(around.session, plan.run.id) is not None
        )
        if not begun:
            cases = cases_of_plan(fit, key.step, decisions, plan)
            answered = [dict(case.answered) for case in cases]
            _write(file, list_losses(around, plan, telling, unread), answered)
        found += _summed(key.id, plan.table, file, begun=begun)
    return tuple(found), tuple(unread)


def _summed(step: str, table: str, file: Path, *, begun: bool) -> Iterator[Losses]:
    """Add up what the file of a step says, case by case."""
    for _, some in groupby(_read(file), key=lambda one: one[0].policy):
        first: list[Loss] = []
        rows = 0
        gone: Counter[str] = Counter()
        emptied: Counter[str] = Counter()
        by: Mapping[str, str] = {}
        for loss, answered in some:
            rows, by = rows + 1, answered
            if rows <= MOST_SHOWN:
                first.append(loss)
            gone.update(loss.gone)
            emptied.update(loss.emptied)
        yield Losses(
            step=step, table=table, answered=by, rows=rows, gone=dict(sorted(gone.items())),
            emptied=dict(sorted(emptied.items())), first=tuple(first), file=file, begun=begun,
        )


def _write(
    file: Path, losses: Iterator[Loss], answered: Sequence[Mapping[str, str]]
) -> None:
    """Write the file in one piece; none where nothing is lost."""
    first = next(losses, None)
    if first is None:
        forget_losses(file.parent)
        return
    with whole(file) as out:
        for loss in chain([first], losses):
            # ASCII: a text of the database may be no text of Unicode.
            facts = {**asdict(loss), "answered": answered[loss.policy]}
            out.write(json.dumps(facts) + "\n")


def forget_losses(step: Path) -> None:
    """Remove what is listed beside a step's plan, also what a kill left of it."""
    remove(step / LOSSES_FILE, unfinished(step / LOSSES_FILE))


def _read(file: Path) -> Iterator[tuple[Loss, Mapping[str, str]]]:
    """Stream the rows of the file, each with the answers that it goes by."""
    if not file.exists():
        return
    try:
        with file.open() as lines:
            for line in lines:
                facts = json.loads(line)
                answered = facts.pop("answered")
                yield msgspec.convert(facts, Loss), answered
    except (OSError, ValueError, KeyError, AttributeError, msgspec.ValidationError) as error:
        raise RunDirectoryDamaged(
            f"{file} is damaged: {error}",
            hint="Remove it: before the repair has begun it is written again.", path=file,
        ) from error
