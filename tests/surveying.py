"""People whose mails are there twice, and surveys of what points at them."""

from __future__ import annotations

from collections.abc import Sequence

from dedupe import Plan
from dedupe.connect import connect
from dedupe.planning import known_key
from dedupe.references import load_references
from dedupe.repair.survey import Counted, Survey, take_survey
from dedupe.repair.telling import Telling
from dedupe.surroundings import Surroundings

from .promises.shop import Shop

PEOPLE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people SELECT g, 'm' || g FROM generate_series(1, 50) g"
)
TWINS = "INSERT INTO people SELECT 100 + g, 'm' || g FROM generate_series(1, 20) g"


def surveyed(shop: Shop, *plans: Plan, counted: Sequence[tuple[str, str, str, str]] = ()) -> Survey:
    """Take the survey of some plans."""
    database = connect(shop.dsn)
    with database.open() as session:
        around = Surroundings(session)
        with_references = [
            (plan, [load_references(around, known_key(around, plan.run, plan.key), policy)
                    for policy in plan.policies])
            for plan in plans
        ]
        numbers = [
            Counted(
                of=around.relation(around.find(of)), by=by,
                kept_in=around.relation(around.find(kept_in)), key=own,
            )
            for of, by, kept_in, own in counted
        ]
    return take_survey(database, with_references, numbers, Telling(None, None))


def indexes(shop: Shop, survey: Survey) -> dict[str, str]:
    """Return the trusted index of each column."""
    names = dict(shop.rows("SELECT oid::int8, relname::text FROM pg_class"))
    return {f"{names[t]}.{c}": trusted.index for (t, c), trusted in survey.columns.items()}
