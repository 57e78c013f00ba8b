"""What takes other programs: pg_upgrade itself, a reference, amcheck, the way back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from dedupe.connect import connect
from dedupe.lab import Damage, Server, damage
from migrations_check import Asked, Demand, Guard, check_server

from .conftest import Checked, _numbers
from .servers import DEBIAN, MAJORS, bindir, of_major, run


def test_pg_upgrade_itself_runs_and_its_lines_are_folded_in(
    servers: Callable[[int], Server],
) -> None:
    old, new = servers(15), servers(18).bindir
    dsn = old.create_database("upgraded")

    def said() -> tuple[list[str], list[str]]:
        asked = Asked(to=18, quick=True, old_bindir=DEBIAN, new_bindir=new)
        report = check_server(dsn, asked).report
        return (
            [one.message for one in report.blockers if one.rule == "pg-upgrade"],
            [one.reason for one in report.unseen if one.rule == "pg-upgrade"],
        )

    assert said() == ([], [])
    run(dsn, "CREATE TABLE calls (f regproc)")
    ((message,), unseen) = said()
    assert unseen == []
    assert "public.calls.f" in message
    run(old.dsn(), "DROP DATABASE upgraded")
    assert said_of_a_bad_bindir(old.dsn(), Path("/nowhere"))


def said_of_a_bad_bindir(dsn: str, place: Path) -> bool:
    """Tell whether a directory without programs is said to be unseen."""
    report = check_server(dsn, Asked(to=18, quick=True, new_bindir=place)).report
    return any(one.rule == "pg-upgrade" and str(place) in one.reason for one in report.unseen)


def test_keys_that_a_reference_has_and_the_database_lacks(
    checked: Checked, tmp_path: Path
) -> None:
    schema = (
        "CREATE TABLE public.people (id int PRIMARY KEY, name text, gone timestamptz);",
        "CREATE UNIQUE INDEX people_name ON public.people (lower(name)) WHERE gone IS NULL;",
        "ALTER TABLE public.people ADD CONSTRAINT pair UNIQUE (name, gone);",
    )
    checked.run(*schema)
    file = tmp_path / "schema.sql"
    file.write_text("\n".join(schema))
    asked = {"expected": str(file)}
    assert checked.found("missing-keys", **asked) == []
    checked.run("DROP INDEX people_name", "ALTER TABLE people DROP CONSTRAINT pair",
                "CREATE UNIQUE INDEX another_name ON people (name, gone)")
    (found,) = checked.found("missing-keys", **asked)
    assert (found.object, found.severity) == (f"{checked.dbname}/public.people_name", "warning")
    assert "lower(name)" in found.message
    checked.run("CREATE UNIQUE INDEX renamed ON people (lower(name)) WHERE gone IS NULL")
    assert checked.found("missing-keys", **asked) == []


def test_a_database_may_be_the_reference(
    checked: Checked, servers: Callable[[int], Server]
) -> None:
    sound = servers(18)
    name = f"reference_{next(_numbers)}"
    dsn = sound.create_database(name)
    run(dsn, "CREATE TABLE people (id int PRIMARY KEY, name text UNIQUE)")
    checked.run("CREATE TABLE people (id int PRIMARY KEY, name text)")
    (found,) = checked.found("missing-keys", expected=dsn)
    assert found.object == f"{checked.dbname}/public.people_name_key"


def test_a_reference_that_does_not_load_is_no_pass(checked: Checked, tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("CREATE TABLE t (a no_such_type UNIQUE);\n")
    unseen = [one.reason for one in checked.check(expected=str(file)).unseen
              if one.rule == "missing-keys"]
    assert any("no_such_type" in reason for reason in unseen)


def test_amcheck_is_asked_where_it_is_installed(checked: Checked) -> None:
    if checked.major < 14:
        pytest.skip("rows are not read before 14")
    checked.run(
        "CREATE TABLE numbers (n int)", "INSERT INTO numbers SELECT generate_series(1, 5000)",
        "CREATE UNIQUE INDEX numbers_key ON numbers (n)", "CREATE EXTENSION amcheck",
    )
    assert checked.found("amcheck", quick=False) == []
    damage(checked.dsn, "numbers_key", Damage.FLIPPED_ORDER,
           ["INSERT INTO numbers SELECT generate_series(1, 5000, 7)"])
    (found,) = checked.found("amcheck", quick=False)
    assert (found.object, found.severity) == (f"{checked.dbname}/public.numbers_key", "warning")


def test_the_way_back_is_asked_for(tmp_path: Path) -> None:
    with of_major(18, {"max_wal_senders": "4"}) as server:
        guard = Guard(receipts=tmp_path / "receipts", providers={}, bindir=server.bindir)

        def told(age: timedelta = timedelta(hours=24)) -> list[tuple[str, str]]:
            asked = Asked(to=18, quick=True, guard=guard, demand=Demand(max_age=age))
            report = check_server(server.dsn(), asked).report
            return [(one.object, one.severity) for one in report.findings
                    if one.rule == "snapshot"]

        assert told() == [("receipts", "warning")]
        kept = guard.take(connect(server.dsn()), "pg_dump", to=str(tmp_path / "to"),
                          told=lambda _: None)
        guard.verify(kept, lambda _: None)
        assert told() == []
        assert told(timedelta(0)) == [("receipts", "warning")]


def test_every_major_of_the_tests_can_be_had() -> None:
    for major in MAJORS:
        found = bindir(major)
        assert found is None or (found / "postgres").exists()
