"""Every unique index will rebuild: the rows decide, not the index."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from dedupe.errors import NotARunDirectory, RunMismatch
from dedupe.lab import Damage, damage

from ..faults import Breakable, page_of
from .conftest import Checked


@pytest.fixture
def people(checked: Checked) -> Checked:
    checked.run(
        "CREATE TABLE people (id int PRIMARY KEY, name text)",
        "INSERT INTO people SELECT n, 'name ' || n FROM generate_series(1, 1000) n",
        "CREATE UNIQUE INDEX people_name ON people (name)",
    )
    return checked


def test_duplicates_under_a_valid_index_are_blockers(people: Checked) -> None:
    if people.major >= 14:
        damage(people.dsn, "people_name", Damage.LOST_ENTRIES,
               ["INSERT INTO people VALUES (2001, 'name 7'), (2002, 'name 8')"])
    report = people.check(quick=False)
    if people.major < 14:
        assert [one.rule for one in report.unseen if not one.left_out] == [
            "duplicate-keys", "wide-keys", "amcheck", "snapshot"]
        assert report.blockers == ()
        return
    (found,) = report.blockers
    assert found.object == f"{people.dbname}/public.people_name"
    assert "4 rows of public.people share 2 keys" in found.message
    with pytest.raises(Exception, match="could not create unique index"):
        people.run("REINDEX INDEX people_name")
    people.run("DELETE FROM people WHERE ctid IN (SELECT ctid FROM people WHERE id > 2000)")
    assert people.check(quick=False).blockers == ()


def test_quick_reads_no_rows_and_says_so(people: Checked) -> None:
    report = people.check()
    left_out = [one.rule for one in report.unseen if one.left_out]
    assert left_out == ["duplicate-keys", "wide-keys", "amcheck"]
    # The receipts of its snapshots were not named.
    assert [one.rule for one in report.unseen if not one.left_out] == ["snapshot"]
    assert not (people.where / "keys").exists()


def test_a_key_too_wide_for_its_index_is_a_blocker(checked: Checked) -> None:
    if checked.major < 14:
        pytest.skip("rows are not read before 14")
    wide = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 150) n)"
    checked.run(
        "CREATE TABLE pages (id int PRIMARY KEY, url text)",
        "INSERT INTO pages VALUES (1, 'short'), (2, 'http://example.org/')",
        "CREATE UNIQUE INDEX pages_url ON pages (url)",
    )
    assert checked.check(quick=False).blockers == ()
    damage(checked.dsn, "pages_url", Damage.LOST_ENTRIES, [f"INSERT INTO pages SELECT 3, {wide}"])
    (found,) = checked.check(quick=False).blockers
    assert (found.rule, found.object) == ("wide-keys", f"{checked.dbname}/public.pages_url")
    assert "id 3" in found.message
    with pytest.raises(Exception, match="exceeds btree"):
        checked.run("REINDEX INDEX pages_url")


@pytest.mark.parametrize("of", ["heap", "toast"])
def test_damaged_rows_are_told_and_hide_nothing(checked: Checked, of: str) -> None:
    """Scenario: a page of the heap, or of the values outside of it, is overwritten on the disk.
    Outcome: unreadable rows are a blocker, their width is unseen, and other tables are read.
    """
    if checked.major < 14:
        pytest.skip("rows are not read before 14")
    wide = "(SELECT string_agg(md5((n * id)::text), '') FROM generate_series(1, 150) n)"
    checked.run(
        "CREATE TABLE pages (id int PRIMARY KEY, url text) PARTITION BY RANGE (id)",
        "CREATE TABLE first PARTITION OF pages FOR VALUES FROM (1) TO (1000)",
        "CREATE TABLE second PARTITION OF pages FOR VALUES FROM (1000) TO (2000)",
        "INSERT INTO pages SELECT n, repeat('x', 100) || n FROM generate_series(1, 1999) n",
        f"UPDATE pages SET url = {wide} WHERE id % 100 = 0",
        "CREATE UNIQUE INDEX pages_url ON pages (id, md5(url))",
        "CREATE TABLE others (name text UNIQUE)", "INSERT INTO others VALUES ('a')",
    )
    damage(checked.dsn, "others_name_key", Damage.LOST_ENTRIES, ["INSERT INTO others VALUES ('a')"])
    with psycopg.connect(checked.dsn) as connection:
        ((toast,),) = connection.execute(
            "SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'second'")
        file, size = page_of(connection, "second" if of == "heap" else toast)
    assert {one.rule for one in checked.check(quick=False).blockers} == {"duplicate-keys"}
    Breakable(checked.server, checked.dsn).spoil(file, [0], size, b"\xff" * size)
    report = checked.check(quick=False)
    assert [one.object.removeprefix(f"{checked.dbname}/public.") for one in report.blockers] == [
        "others_name_key", "second"]
    assert "invalid page in block 0" in report.blockers[1].message
    unseen = [one.object for one in report.unseen if one.rule == "wide-keys"]
    assert unseen == [f"{checked.dbname}/public.pages"]


def test_an_unfinished_scan_goes_on_and_a_finished_one_begins_anew(people: Checked) -> None:
    if people.major < 14:
        pytest.skip("rows are not read before 14")
    place = people.where / "keys"
    assert people.check(quick=False).blockers == ()
    (first,) = runs(place)
    damage(people.dsn, "people_name", Damage.LOST_ENTRIES,
           ["INSERT INTO people VALUES (2001, 'name 7')"])
    state = place / "check.json"
    facts = json.loads(state.read_text())
    assert facts["phase"] == "finished"
    # As a kill behind the last table leaves it: what was scanned is kept.
    state.write_text(json.dumps({**facts, "phase": "scanning"}))
    assert people.check(quick=False).blockers == ()
    assert runs(place) == [first]
    # And a finished one is no answer: the rows are read again.
    assert len(people.check(quick=False).blockers) == 1
    assert runs(place) != [first]


def test_a_directory_of_something_else_is_refused(people: Checked) -> None:
    if people.major < 14:
        pytest.skip("rows are not read before 14")
    place = people.where / "keys"
    place.mkdir()
    (place / "letter.txt").write_text("mine")
    with pytest.raises(NotARunDirectory):
        people.check(quick=False)
    assert (place / "letter.txt").read_text() == "mine"
    (place / "letter.txt").unlink()
    (place / "check.json").write_text('{"phase": "scanning", "system": "1"}')
    with pytest.raises(RunMismatch):
        people.check(quick=False)


def runs(place: Path) -> list[str]:
    from dedupe import Run

    return [Run.open(one).id for one in sorted(place.iterdir()) if one.is_dir()]
