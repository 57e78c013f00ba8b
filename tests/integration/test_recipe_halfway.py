"""A recipe that was carried out in part, or not at all: verified, taken back, and begun twice."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from dedupe.errors import (
    NotARunDirectory,
    NotReady,
    RepairStopped,
    RunInUse,
    RunMismatch,
    UsageError,
)
from dedupe.lab import Server
from dedupe.recipes import Recipe, run_recipe, undo_recipe, verify_recipe
from dedupe.repair import locking

from ..scanning import Connection
from .test_recipe_run import recipe, shop, state

__all__ = ["recipe", "shop"]


def stopped_before(step: str, recipe: Recipe, place: Path, database: str) -> None:
    stop = threading.Event()
    with pytest.raises(RepairStopped):
        run_recipe(
            recipe, place, database, live=True, defaults=True, execute=True, reason="x", stop=stop,
            on_progress=lambda what, _: stop.set() if what == step else None,
        )


def test_a_step_that_was_not_carried_out_is_found_and_does_not_hinder_undo(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: stopped before the last step, whose index is unique by name, over twins.
    Outcome: verify names the step; undo brings back all of the others, though that index would
    refuse the rows; or the recipe goes on.
    """
    before = state(shop)
    for number, go_on in enumerate((False, True)):
        here = place / str(number)
        here.parent.mkdir(exist_ok=True)
        stopped_before("people.token", recipe, here, database)
        assert state(shop) != before
        found = verify_recipe(here, database)
        told = [text for one in found for text in one.verification.findings]
        assert len(told) == 1
        assert told[0].startswith("step people.token was not carried out")
        if go_on:
            run_recipe(
                recipe, here, database, live=True, defaults=True, execute=True, reason="x"
            )
            assert all(one.verification.clean for one in verify_recipe(here, database))
        assert not any(one.undo.refused for one in undo_recipe(here, database, execute=True))
        assert state(shop) == before


@pytest.mark.usefixtures("shop")
def test_where_nothing_was_carried_out_nothing_is_well(
    database: str, lab: Server, recipe: Recipe, place: Path, tmp_path: Path
) -> None:
    """Scenario: an empty directory, a recipe that was only shown, and another database."""
    for look in (verify_recipe, undo_recipe):
        with pytest.raises(NotARunDirectory):
            look(tmp_path, database)
    run_recipe(recipe, place, database, live=True)
    for look in (verify_recipe, undo_recipe):
        with pytest.raises(UsageError, match="was carried out"):
            look(place, database)
    run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    other = lab.create_database("pgmend_test_another")
    try:
        for look in (verify_recipe, undo_recipe, lambda at, db: run_recipe(recipe, at, db)):
            with pytest.raises(RunMismatch, match="another database") as refused:
                look(place, other)
            assert "--fresh" not in str(refused.value.hint)
    finally:
        lab.drop_database("pgmend_test_another")


def test_what_stands_in_the_way_of_a_later_step_is_told_before_the_first(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: the server would refuse to change a table of the recipe's last step."""
    before = state(shop)
    shop.execute(
        "ALTER TABLE people REPLICA IDENTITY NOTHING;"
        "CREATE PUBLICATION all_people FOR TABLE people"
    )
    shown = run_recipe(recipe, place, database, live=True)
    assert [text for text in shown.unmet if "no replica identity" in text] != []
    with pytest.raises(NotReady, match="no replica identity") as refused:
        run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    assert refused.value.hint == "Mend what is named."
    assert state(shop) == before
    assert shop.execute("SELECT to_regnamespace('pgmend')").fetchall() == [(None,)]
    shop.execute("DROP PUBLICATION all_people")
    done = run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    assert done.status == "repaired"


@pytest.mark.usefixtures("shop")
def test_one_recipe_at_a_time(
    database: str, recipe: Recipe, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: another process carries out a recipe; its session ends."""
    monkeypatch.setattr(locking, "_LEFTOVER_SECONDS", 0.3)
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('pgmend recipe', 7))")
        with pytest.raises(RunInUse, match="in this database"):
            run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
        assert run_recipe(recipe, place, database, live=True).status == "shown"
        other.execute("SELECT pg_advisory_unlock_all()")
        run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
