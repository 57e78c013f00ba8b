"""A recipe's survey: of all its plans together, before the first of them is carried out."""

from __future__ import annotations

from collections.abc import Sequence

from .. import journal
from ..connect import Database
from ..plan import Plan
from ..planning import known_key
from ..references import load_references
from ..repair.survey import Counted, Survey, take_survey
from ..repair.telling import Telling
from ..surroundings import Surroundings
from ..table import quoted
from .recipe import Counter


def survey_plans(
    database: Database,
    around: Surroundings,
    plans: Sequence[Plan],
    counters: Sequence[Counter],
    telling: Telling,
) -> Survey:
    """Take the survey of the plans that are not carried out; see ``take_survey``."""
    waiting = []
    for plan in plans:
        known = journal.find_run(around.session, plan.run.id)
        if known is None or known.state == "repairing":
            key = known_key(around, plan.run, plan.key)
            pointing = [load_references(around, key, policy) for policy in plan.policies]
            waiting.append((plan, pointing))
    counted = [
        Counted(
            of=around.relation(around.find(quoted(counter.of))),
            by=counter.by,
            kept_in=around.relation(around.find(quoted(counter.table))),
            key=counter.key,
        )
        for counter in counters
    ]
    return take_survey(database, waiting, counted, telling)
