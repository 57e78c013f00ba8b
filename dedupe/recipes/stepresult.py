"""What came of one step of a recipe, or would come of it."""

from __future__ import annotations

from dataclasses import dataclass
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
    #: the run of its repair, in ``steps/`` and in the journal
    run_id: str
    #: ``shown``, ``repaired``, ``left``, or ``sound`` where there was nothing to repair
    status: Literal["shown", "repaired", "left", "sound"]


def step_result(
    key: RecipeKey,
    plan: Plan,
    *,
    status: Literal["shown", "repaired", "left", "sound"],
    repaired: int = 0,
    left: int = 0,
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
        run_id=plan.run.id,
        status=status,
    )
