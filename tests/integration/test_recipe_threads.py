"""What a recipe does at the same time: small tables are scanned, long keys looked for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dedupe import Progress, RepairProgress
from dedupe.errors import DedupeError, FailureError, RepairStopped, UsageError
from dedupe.recipes import Recipe, read_recipe, run_recipe
from dedupe.recipes.longkeys import Looking

from ..scanning import Connection

TEXT = """
format = 1
name = "tables"
title = "Ten small tables"

[schema]
tables = ["t0"]
"""
STEP = """
[[index]]
name = "t{0}_word"
table = "t{0}"
key = ["word"]

[[step]]
id = "t{0}"
table = "t{0}"
index = "t{0}_word"

[[step.case]]
keep = ["oldest"]
"""


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe for ten tables."""
    return read_recipe(TEXT + "".join(STEP.format(n) for n in range(10)), "tables.toml")


@pytest.fixture
def tables(db: Connection) -> Connection:
    """Give ten tables with duplicates."""
    for n in range(10):
        db.execute(
            f"CREATE TABLE t{n} (id int8 PRIMARY KEY, word text);"
            f"INSERT INTO t{n} SELECT g, g % {90 + n} FROM generate_series(1, 100) g"
        )
    return db


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_small_tables_are_scanned_together(
    database: str, recipe: Recipe, place: Path, jobs: int
) -> None:
    """Outcome: each table is scanned, whoever is told of it is told by one at a time, and no
    thread is left.
    """
    before, told, telling = threads(), set(), threading.Lock()

    def hear(what: str, event: RepairProgress | Progress) -> None:
        assert telling.acquire(blocking=False), "two at a time"
        told.add((what, event.phase))
        telling.release()

    shown = run_recipe(recipe, place, database, live=True, jobs=jobs, on_progress=hear)
    assert {step.id: step.losers for step in shown.steps} == {f"t{n}": 10 - n for n in range(10)}
    assert {what.strip('"').rpartition(".")[2] for what, phase in told if phase == "finished"} == {
        f"t{n}" for n in range(10)
    }
    assert threads() == before


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("options", "why"), [({"jobs": 0}, "0 jobs"), ({"jobs": 65}, "65 jobs"),
                         ({"memory": "1MB"}, "too few"), ({"memory": "some"}, "some")],
)
def test_options_that_no_scan_takes_are_refused(
    database: str, recipe: Recipe, place: Path, options: dict[str, int], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        run_recipe(recipe, place, database, live=True, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("tables")
def test_with_little_memory_tables_are_scanned_one_after_the_other(
    database: str, recipe: Recipe, place: Path
) -> None:
    shown = run_recipe(recipe, place, database, live=True, jobs=4, memory="9MiB")
    assert len(shown.steps) == 10


@pytest.mark.usefixtures("tables")
def test_a_stop_ends_all_scans(database: str, recipe: Recipe, place: Path) -> None:
    """Scenario: a stop is asked for while small tables are scanned; then the same call again."""
    stop, before = threading.Event(), threads()

    def hear(_: str, event: RepairProgress | Progress) -> None:
        if event.phase == "finished":
            stop.set()

    with pytest.raises(RepairStopped):
        run_recipe(recipe, place, database, live=True, on_progress=hear, stop=stop)
    assert threads() == before
    assert len(run_recipe(recipe, place, database, live=True).steps) == 10


def test_one_table_that_cannot_be_scanned_ends_the_others(
    tables: Connection, database: str, place: Path
) -> None:
    """Scenario: a key cannot be evaluated on one of the rows. Outcome: one error, no thread."""
    before = threads()
    tables.execute(
        "CREATE FUNCTION fails(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
        " $$BEGIN IF $1 = '7' THEN RAISE 'no such word'; END IF; RETURN $1; END$$"
    )
    other = read_recipe(
        TEXT + "".join(STEP.format(n) for n in range(9))
        + STEP.format(9).replace('["word"]', '["public.fails(word)"]'), "tables.toml",
    )
    with pytest.raises(DedupeError, match="no such word"):
        run_recipe(other, place, database, live=True)
    assert threads() == before


@pytest.mark.usefixtures("tables")
def test_what_fails_beside_the_planning_is_told(
    database: str, recipe: Recipe, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: the server goes away for the look at long keys, and then it is back."""
    before = threads()

    def gone(_: Looking) -> None:
        raise FailureError("the server went away")

    with monkeypatch.context() as patched:
        patched.setattr(Looking, "read", gone)
        with pytest.raises(FailureError, match="went away"):
            run_recipe(recipe, place, database, live=True)
    assert threads() == before
    assert len(run_recipe(recipe, place, database, live=True).steps) == 10
