"""A recipe that was carried out in part, or not at all: verified, taken back, and begun twice."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from dedupe import MatchKey, connect, decide, recipe_finished, scan, undo
from dedupe.errors import (
    NotARunDirectory,
    NotReady,
    RefusedError,
    RepairStopped,
    RunInUse,
    RunMismatch,
    UsageError,
)
from dedupe.lab import Server
from dedupe.recipes import Recipe, run_recipe, undo_recipe, verify_recipe
from dedupe.recipes.recipe import Before
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


def test_what_an_undo_will_do_is_shown_step_by_step(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: stopped before the last step; undo is asked what it would do, does it, and is
    asked again.

    Outcome: the SQL that makes each key unique again is there, of steps that rename or blank and
    of the index of the step that was not carried out as well; the second time nothing changes.
    """
    stopped_before("people.token", recipe, place, database)
    shown = undo_recipe(place, database)
    assert [(one.id, one.table) for one in shown] == [
        ("people.token", "public.people"), ("people", "public.people"),
        ("orders", "public.orders"),
    ]
    assert {one.undo.status for one in shown} == {"shown"}
    for one, index in zip(shown, ("people_token", "people_name", "orders_number"), strict=True):
        made = [text for text in one.undo.statements if text.startswith("CREATE UNIQUE INDEX")]
        assert [index in text for text in made] == [True]
    done = undo_recipe(place, database, execute=True)
    assert [one.undo.statements for one in done] == [one.undo.statements for one in shown]
    again = undo_recipe(place, database, execute=True)
    assert [one.undo.already_done for one in again] == [True, True, True]
    shop.execute(
        "UPDATE people SET token = NULL WHERE id NOT IN"
        " (SELECT min(id) FROM people GROUP BY token)"
    )
    for statement in shown[0].undo.statements:
        shop.execute(statement)
    assert shop.execute(
        "SELECT indisunique, obj_description(indexrelid, 'pg_class') FROM pg_index"
        " WHERE indexrelid = 'people_token'::regclass"
    ).fetchall() == [(True, None)]


def test_one_step_taken_back_is_a_finding_and_all_of_them_an_error(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: carried out whole; the last step is taken back, then all of it."""
    before = state(shop)
    done = run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    last = done.steps[-1]
    undo(last.path, db=database, execute=True)
    findings = {
        one.id: one.verification.findings for one in verify_recipe(place, database)
        if not one.verification.clean
    }
    assert findings == {last.id: (f"step {last.id} was taken back",)}
    undone = undo_recipe(place, database, execute=True)
    assert [one.undo.already_done for one in undone if one.id == last.id] == [True]
    assert state(shop) == before
    with pytest.raises(UsageError, match="was taken back: there is nothing"):
        verify_recipe(place, database)
    with pytest.raises(RefusedError, match="was taken back"):
        run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")


def test_carried_out_whole_it_changes_nothing_more(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: given again, to look and to write, while others are connected who may not be."""
    assert not recipe_finished(place, database)
    done = run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    assert recipe_finished(place, database)
    after, alone = state(shop), replace(recipe, before=Before(alone=True))
    steps = [(one.id, one.status, one.repaired, one.left) for one in done.steps]
    for execute in (False, True):
        again = run_recipe(recipe, place, database, execute=execute)
        assert (again.status, again.already_done, again.unmet) == ("repaired", True, ())
        assert [(one.id, one.status, one.repaired, one.left) for one in again.steps] == steps
    assert state(shop) == after
    with pytest.raises(RunMismatch, match="another text"):
        run_recipe(alone, place, database)


@pytest.mark.usefixtures("shop")
def test_other_decisions_are_named(database: str, recipe: Recipe, place: Path) -> None:
    stopped_before("people.token", recipe, place, database)
    with pytest.raises(
        RunMismatch, match="other decisions: strangers was the default, and now is merge"
    ):
        run_recipe(
            recipe, place, database, live=True, execute=True, reason="x",
            decisions=decide(recipe, ["strangers=merge"]),
        )


@pytest.mark.usefixtures("shop")
def test_what_is_no_recipes_directory_is_left_alone(
    database: str, recipe: Recipe, tmp_path: Path
) -> None:
    """Scenario: a file, somebody's directory, and that of a scan."""
    file, mine, scanned = (tmp_path / name for name in ("file", "mine", "scanned"))
    file.write_text("mine")
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    scan(connect(database), MatchKey.from_index("people_name"), scanned)
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for place in (file, file / "below", mine, scanned):
        with pytest.raises(NotARunDirectory, match="not the directory of a recipe"):
            run_recipe(recipe, place, database, live=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == there


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
