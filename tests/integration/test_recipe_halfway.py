"""A recipe that was carried out in part, or not at all: verified, taken back, and begun twice."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from functools import partial
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
    RunDirectoryDamaged,
    RunInUse,
    RunMismatch,
    UndoRefused,
    UsageError,
)
from dedupe.lab import Server
from dedupe.recipes import Recipe, read_recipe, run_recipe, undo_recipe, verify_recipe
from dedupe.recipes.recipe import Before
from dedupe.repair import locking

from ..scanning import Connection
from .test_recipe_run import TEXT, recipe, shop, state

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
    Outcome: verify names the step, and whether its index keeps anything out; undo brings back all
    of the others, though that index would refuse the rows; or the recipe goes on.
    """
    before = state(shop)
    for number, go_on in enumerate((False, True)):
        here = place / str(number)
        here.parent.mkdir(exist_ok=True)
        stopped_before("people.token", recipe, here, database)
        assert state(shop) != before
        found = verify_recipe(here, database)
        told = [text for one in found for text in one.verification.findings]
        assert told[0].startswith("step people.token was not carried out")
        # The first undo has made it a plain one.
        assert len(told) == 1 + number
        assert all("the index public.people_token is a plain one" in one for one in told[1:])
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


def test_a_sound_database_is_well_and_has_nothing_to_take_back(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: no duplicates anywhere. Outcome: indexes are built anew, and that is all."""
    shop.execute(
        "DELETE FROM friends; DELETE FROM visits; DELETE FROM orders;"
        " DELETE FROM people WHERE id IN (1, 3, 5)"
    )
    done = run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    assert {one.status for one in done.steps} == {"sound"}
    found = verify_recipe(place, database)
    assert {(one.id, one.verification.clean) for one in found} == {
        ("orders", True), ("people", True), ("people.token", True),
    }
    assert undo_recipe(place, database) == ()
    assert undo_recipe(place, database, execute=True) == ()


def test_a_finished_recipe_is_not_taken_back_in_another_database(
    database: str, shop: Connection, lab: Server, recipe: Recipe, place: Path
) -> None:
    """Scenario: a copy without a journal; before, an index of it was unique."""
    name, template = "pgmend_test_copy", shop.info.dbname
    shop.close()
    other = lab.create_database(name, template=template)
    unique = "SELECT count(*) FROM pg_index WHERE indisunique AND indrelid = 'people'::regclass"
    try:
        run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
        for execute in (False, True):
            with pytest.raises(RunMismatch, match="another database"):
                undo_recipe(place, other, execute=execute)
        with pytest.raises(RunMismatch, match="another database"):
            verify_recipe(place, other)
        with psycopg.connect(other) as connection:
            assert connection.execute(unique).fetchone() == (3,)
    finally:
        lab.drop_database(name)


def test_all_that_has_to_go_for_an_undo_is_told_before_anything_is_written(
    database: str, shop: Connection, place: Path
) -> None:
    """Scenario: a constraint keeps one of the keys, and numbers are counted again.
    Outcome: undo says what has to go and writes nothing; the recipe is still known as finished;
    named, it goes. Of numbers that were taken back alone the recipe counts anew.
    """
    recipe = read_recipe(
        TEXT + """
[[counter]]
table = "numbers"
column = "orders"
key = "person"
of = "orders"
by = "person"
""",
        "shop.toml",
    )
    shop.execute(
        "CREATE TABLE numbers (person int8 PRIMARY KEY REFERENCES people ON DELETE CASCADE,"
        " orders int); INSERT INTO numbers VALUES (1, 1), (2, 7), (3, 1), (4, 1), (5, 0);"
        " ALTER TABLE orders ADD CONSTRAINT orders_number UNIQUE USING INDEX orders_number"
    )
    numbers = "SELECT * FROM numbers ORDER BY 1"
    before, known = state(shop), shop.execute(numbers).fetchall()
    run = partial(run_recipe, live=True, defaults=True, execute=True, reason="x")
    run(recipe, place, database)
    counted = shop.execute(numbers).fetchall()
    assert counted != known
    with pytest.raises(UndoRefused, match="orders: unique constraint orders_number") as refused:
        undo_recipe(place, database, execute=True)
    assert len(refused.value.facts["reasons"]) == 1
    assert shop.execute(numbers).fetchall() == counted
    assert recipe_finished(place, database)
    (counters,) = [one for one in undo_recipe(place, database) if one.id == "counters"]
    undo(counters.undo.run_id, db=database, execute=True)
    assert shop.execute(numbers).fetchall() != counted
    assert not recipe_finished(place, database)
    again = run(recipe, place, database)
    assert (again.already_done, shop.execute(numbers).fetchall()) == (False, counted)
    drop = ["orders_number"]
    assert not any(
        one.undo.refused
        for one in undo_recipe(place, database, execute=True, drop_constraints=drop)
    )
    assert (state(shop), shop.execute(numbers).fetchall()) == (before, known)


def test_a_view_is_refreshed_by_the_undo_as_well(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    names = "SELECT name FROM names ORDER BY 1"
    before = shop.execute(names).fetchall()
    run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    assert shop.execute(names).fetchall() != before
    undo_recipe(place, database, execute=True)
    assert shop.execute(names).fetchall() == before


@pytest.mark.usefixtures("shop")
def test_a_look_tells_how_far_a_recipe_is(database: str, recipe: Recipe, place: Path) -> None:
    """Scenario: stopped before the last step; then taken back.
    Outcome: a look says which steps were carried out; after the undo it is refused, as going on is.
    """
    stopped_before("people.token", recipe, place, database)
    look = run_recipe(recipe, place, database, live=True, defaults=True)
    assert {one.id: one.status for one in look.steps} == {
        "orders": "repaired", "people": "repaired", "people.token": "shown",
    }
    undo_recipe(place, database, execute=True)
    with pytest.raises(UsageError, match="was taken back"):
        verify_recipe(place, database)
    for execute in (False, True):
        with pytest.raises(RefusedError, match="was taken back"):
            run_recipe(
                recipe, place, database, live=True, defaults=True, execute=execute, reason="x"
            )


def test_an_index_that_stays_plain_is_told_however_its_step_ended(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: a trigger refuses one change of a step whose index was set aside; undo, twice.
    Outcome: the SQL that makes that index unique again is told each time it is still plain.
    """
    shop.execute(
        """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'not this one'; END $$;
        CREATE TRIGGER no BEFORE UPDATE ON people FOR EACH ROW
            WHEN (OLD.token IS DISTINCT FROM NEW.token AND OLD.id = 1) EXECUTE FUNCTION no()
        """
    )
    merge = decide(recipe, ["strangers=rename"])
    done = run_recipe(
        recipe, place, database, live=True, decisions=merge, execute=True, reason="x"
    )
    plain = "SELECT relname FROM pg_class WHERE obj_description(oid, 'pg_class') ~ 'pgmend'"
    aside = {name for (name,) in shop.execute(plain).fetchall()}
    shown = undo_recipe(place, database)
    told = " ".join(text for one in shown for text in one.undo.statements)
    assert all(str(name) in told for name in aside), (aside, done.status)
    undo_recipe(place, database, execute=True)
    still = {name for (name,) in shop.execute(plain).fetchall()}
    again = undo_recipe(place, database, execute=True)
    told = " ".join(text for one in again for text in one.undo.statements)
    assert all(str(name) in told for name in still)


def test_what_a_kill_cut_off_in_the_first_call_is_made_anew(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: the run of a step was begun and not finished."""
    run_recipe(recipe, place, database, live=True)
    (step,) = place.glob("steps/people")
    for file in ("groups.sqlite", "plan.sqlite"):
        (step / file).unlink()
    with closing(sqlite3.connect(step / "state.sqlite")) as kept, kept:
        kept.execute("UPDATE fact SET value = '\"confirming\"' WHERE name = 'phase'")
    before = state(shop)
    assert run_recipe(recipe, place, database, live=True).status == "shown"
    run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    assert state(shop) != before


@pytest.mark.usefixtures("shop")
def test_a_sign_that_is_somebody_elses_is_known(
    database: str, recipe: Recipe, tmp_path: Path
) -> None:
    """Scenario: files of that name of another program, one that is no JSON, and a file system
    of its own, which is empty.
    """
    for number, text in enumerate(('{"a": 1}', "[]", "3")):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "recipe.json").write_text(text)
        with pytest.raises(NotARunDirectory):
            run_recipe(recipe, place, database, live=True)
        assert [file.name for file in place.iterdir()] == ["recipe.json"]
    (tmp_path / "0" / "recipe.json").write_text("{")
    with pytest.raises(RunDirectoryDamaged):
        run_recipe(recipe, tmp_path / "0", database, live=True)
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    assert run_recipe(recipe, tmp_path / "disk", database, live=True).status == "shown"


def test_a_group_that_was_taken_back_is_known(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: carried out whole; one group of one step is taken back, so that its index is plain.
    Outcome: neither is it finished nor well, and it is not gone on with.
    """
    done = run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="x")
    step = next(one for one in done.steps if one.id == "people")
    group = shop.execute("SELECT groups[1] FROM pgmend.entry WHERE run = %s", [step.run_id])
    undo(step.path, db=database, execute=True, groups=[group.fetchall()[0][0]])
    assert not recipe_finished(place, database)
    (findings,) = [
        one.verification.findings for one in verify_recipe(place, database)
        if one.id == "people"
    ]
    assert any("taken back in part" in text for text in findings)
    with pytest.raises(RefusedError, match=r"taken back in part \(people\)"):
        run_recipe(recipe, place, database, live=True, defaults=True)
