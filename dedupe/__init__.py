"""pgmend's library: find every row that violates a unique key, whatever its index says.

::

    from dedupe import MatchKey, connect, scan

    run = scan(connect("postgresql://…"), MatchKey.from_index("users_email"), run="users-email")
    for group in run.groups():
        print(group.number, [member.ctid for member in group.members])

It prints nothing, changes no signal handler or logger, leaves no thread, and raises
``DedupeError`` alone.
"""

from __future__ import annotations

from .connect import Connectable, Database, Target, connect
from .decision import Decision
from .errors import DedupeError
from .groups import Group, Member, Members
from .journal import JournalRun, journal_drop, journal_export, journal_runs
from .key import KeyPart, MatchKey
from .plan import Plan, PlannedReference
from .planfile import export_plan, import_plan
from .planning import plan
from .policy import Policy, SoftReference, policies_to_json
from .progress import Progress, RepairProgress, RunStatus
from .recipes import (
    DECISIONS_FILE,
    HOW_TO_DECIDE,
    Decisions,
    Fit,
    Losses,
    Question,
    Recipe,
    RecipeResult,
    StepResult,
    StepUndo,
    StepVerification,
    Undecided,
    WaitingGroup,
    WaitingRow,
    decide,
    fit_recipe,
    load_recipe,
    recipe_finished,
    recipe_journal,
    recipe_names,
    run_recipe,
    undo_recipe,
    verify_recipe,
    waiting_choices,
)
from .repair.executor import repair
from .repair.losses import Loss
from .repair.result import Result, UndoResult
from .repair.undoing import undo
from .repair.verification import Verification, verify
from .scan.directory import default_run_directory, plain_name
from .scan.directory import empty as empty_run_directory
from .scan.directory import names_in as names_in_directory
from .scan.keys import unique_keys, usable_keys
from .scan.owner import is_owned as is_owned_directory
from .scan.owner import owned as owned_directory
from .scan.run import KeyResult, Run, Unreadable
from .scan.scanner import scan
from .session import Session

__all__ = [
    "DECISIONS_FILE",
    "HOW_TO_DECIDE",
    "Connectable",
    "Database",
    "Decision",
    "Decisions",
    "DedupeError",
    "Fit",
    "Group",
    "JournalRun",
    "KeyPart",
    "KeyResult",
    "Loss",
    "Losses",
    "MatchKey",
    "Member",
    "Members",
    "Plan",
    "PlannedReference",
    "Policy",
    "Progress",
    "Question",
    "Recipe",
    "RecipeResult",
    "RepairProgress",
    "Result",
    "Run",
    "RunStatus",
    "Session",
    "SoftReference",
    "StepResult",
    "StepUndo",
    "StepVerification",
    "Target",
    "Undecided",
    "UndoResult",
    "Unreadable",
    "Verification",
    "WaitingGroup",
    "WaitingRow",
    "connect",
    "decide",
    "default_run_directory",
    "empty_run_directory",
    "export_plan",
    "fit_recipe",
    "import_plan",
    "is_owned_directory",
    "journal_drop",
    "journal_export",
    "journal_runs",
    "load_recipe",
    "names_in_directory",
    "owned_directory",
    "plain_name",
    "plan",
    "policies_to_json",
    "recipe_finished",
    "recipe_journal",
    "recipe_names",
    "repair",
    "run_recipe",
    "scan",
    "undo",
    "undo_recipe",
    "unique_keys",
    "usable_keys",
    "verify",
    "verify_recipe",
    "waiting_choices",
]
