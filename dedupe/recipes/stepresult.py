"""What came of one step of a recipe, or would come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..plan import Plan
from .keys import RecipeKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What came of one step, or would come of it."""

    #: the step's id; of a key that no step names, the index
    id: str
    #: schema.table
    table: str
    key_name: str
    #: groups and rows that do not stay, by the plan
    groups: int
    losers: int
    #: groups that were repaired, and those that are left
    repaired: int
    left: int
    #: of those that are left, the group's number in the last round, and why
    skipped: tuple[tuple[int, str], ...]
    #: the run of its repair, in ``steps/`` and in the journal
    run_id: str
    #: the directory of that run
    path: Path
    #: ``shown``, ``repaired``, ``left``, or ``sound`` where there was nothing to repair
    status: Literal["shown", "repaired", "left", "sound"]


def step_result(
    key: RecipeKey,
    plan: Plan,
    *,
    status: Literal["shown", "repaired", "left", "sound"],
    repaired: int = 0,
    left: int = 0,
    skipped: tuple[tuple[int, str], ...] = (),
) -> StepResult:
    """Say what came of a step."""
    return StepResult(
        id=key.id,
        table=plan.table,
        key_name=plan.key_name,
        groups=plan.groups,
        losers=plan.losers,
        repaired=repaired,
        left=left,
        skipped=skipped,
        run_id=plan.run.id,
        path=plan.run.path,
        status=status,
    )
