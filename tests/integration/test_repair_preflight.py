"""What stands in the way of a repair is said before the first write, all of it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dedupe import MatchKey, Plan, plan, repair, scan
from dedupe.errors import NotReady, PlanError, RunMismatch
from dedupe.lab import Server, server
from dedupe.lab.damage import Damage, damage

from ..faults import caught_up, page_of, standby
from ..promises.heap import observer
from ..promises.shop import Shop
from ..repairing import no_journal, refusal, role

MAKE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people VALUES (1, 'a'), (2, 'b')"
)
TWINS = "INSERT INTO people VALUES (11, 'a')"
CHILD = (
    "CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES people ON DELETE CASCADE);"
    "INSERT INTO c VALUES (1, 11)"
)
OWNED = (
    "ALTER TABLE people OWNER TO {}",
    "ALTER TABLE c OWNER TO {}",
    "GRANT CREATE, TEMPORARY ON DATABASE DBNAME TO {}",
    "REVOKE TEMPORARY ON DATABASE DBNAME FROM PUBLIC",
    "GRANT CREATE ON SCHEMA public TO {}",
)


@pytest.fixture
def people(shop: Shop) -> Shop:
    shop.make(MAKE, "people_mail", TWINS, then=CHILD)
    return shop


def test_an_owner_of_the_tables_may_repair(people: Shop) -> None:
    """Scenario: the role is no superuser; it owns the tables and may make the journal's schema."""
    made = people.planned("people_mail")
    with role(people, *OWNED) as dsn:
        result = repair(made, db=dsn, execute=True)
        assert (result.status, result.left) == ("repaired", 0)
        assert dsn.partition("user=")[2].split()[0] in result.target
        assert people.rows("SELECT p FROM c") == [1]


def test_too_small_a_disk_is_told_before_anything_is_written(people: Shop) -> None:
    """Scenario: by what the planner believes there are more child rows than the disk holds
    journal for.
    """
    made = people.planned("people_mail")
    people.server.execute("UPDATE pg_class SET reltuples = 1e13 WHERE relname = 'c'")
    error = refusal(people, made, NotReady)
    (reason,) = error.reasons
    assert re.match(r"the repair needs about [\d,]+ MB of the server's disk, and [\d,]+ MB", reason)
    no_journal(people)
    people.server.execute("ANALYZE c")
    assert repair(made, execute=True).status == "repaired"


def test_a_disk_that_cannot_be_looked_at(people: Shop) -> None:
    """Scenario: the role may not know where the server's files are; much is needed, then little.
    Outcome: somebody has to say that there is room; of little nobody is asked.
    """
    made = people.planned("people_mail")
    people.server.execute("UPDATE pg_class SET reltuples = 1e8 WHERE relname = 'c'")
    with role(people, *OWNED) as dsn:
        error = refusal(people, made, NotReady, db=dsn)
        (reason,) = error.reasons
        assert re.match(r"the repair needs about [\d,]{5,} MB of the server's disk,", reason)
        assert reason.endswith("look, then say --yes")
        no_journal(people)
        assert repair(made, db=dsn).status == "shown"
        assert repair(made, db=dsn, execute=True, assume_disk=True).status == "repaired"


def test_all_missing_rights_are_listed_at_once(people: Shop) -> None:
    made = people.planned("people_mail")
    with role(people, "GRANT SELECT ON people, c TO {}", OWNED[3]) as dsn:
        error = refusal(people, made, NotReady, db=dsn)
        shown = refusal(people, made, NotReady, db=dsn, execute=False)
    reasons = "\n".join(error.facts["reasons"])  # type: ignore[arg-type]
    assert shown.facts["reasons"] == error.facts["reasons"]
    for wanted in (
        "DELETE on public.people",
        "UPDATE on public.c",
        "schema pgmend",
        "temporary tables",
        "public.people",
    ):
        assert wanted in reasons, reasons
    no_journal(people)


@pytest.mark.parametrize(
    "lacking",
    ["people", "c"],
)
def test_a_table_whose_indexes_cannot_be_built_is_refused(people: Shop, lacking: str) -> None:
    """Scenario: the role may delete and update all it has to, and does not own a table of which
    an index has to be built.
    Outcome: that is found before the first write, not when all is deleted.
    """
    made = people.planned("people_mail")
    mine = [grant for grant in OWNED if not grant.startswith(f"ALTER TABLE {lacking} ")]
    rights = f"GRANT SELECT, UPDATE, DELETE ON {lacking} TO {{}}"
    with role(people, *mine, rights) as dsn:
        error = refusal(people, made, NotReady, db=dsn)
    assert f"public.{lacking}" in error.message
    no_journal(people)


def test_row_level_security_on_a_child(people: Shop) -> None:
    people.server.execute(
        "ALTER TABLE c ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON c USING (false)"
    )
    made = people.planned("people_mail")
    with role(people, *OWNED) as dsn:
        error = refusal(people, made, NotReady, db=dsn)
    assert "row-level security would hide rows of public.c" in error.message
    no_journal(people)


def test_triggers_off_without_the_right(people: Shop) -> None:
    made = people.planned("people_mail")
    with role(people, *OWNED) as dsn:
        error = refusal(people, made, NotReady, db=dsn, triggers="off")
    assert "session_replication_role" in error.message
    no_journal(people)


def test_track_counts_off(people: Shop) -> None:
    (database,) = people.rows("SELECT current_database()")
    made = people.planned("people_mail")
    people.server.execute(f"ALTER DATABASE {database} SET track_counts = off".encode())
    error = refusal(people, made, NotReady)
    assert "track_counts" in error.message
    no_journal(people)


def test_a_database_that_is_set_to_read_only(people: Shop) -> None:
    """Outcome: it is refused, and the reason says how to write all the same."""
    (database,) = people.rows("SELECT current_database()")
    people.server.execute(
        f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode()
    )
    made = people.planned("people_mail")
    error = refusal(people, made, NotReady)
    assert "read only" in error.message
    no_journal(people)
    off = "-c default_transaction_read_only=off"
    result = repair(
        made, db=psycopg.conninfo.make_conninfo(people.dsn, options=off), execute=True
    )
    assert result.status == "repaired"


@pytest.mark.parametrize("identity", ["NOTHING", "DEFAULT", "FULL"])
def test_a_published_table_needs_a_replica_identity(shop: Shop, identity: str) -> None:
    """Outcome: where the server would refuse to delete or update, it is said before."""
    shop.make(
        "CREATE TABLE people (id int8, mail text); CREATE UNIQUE INDEX people_mail ON people"
        " (mail); INSERT INTO people VALUES (1, 'a')",
        "people_mail",
        TWINS,
        then="CREATE PUBLICATION out FOR TABLE people;"
        f"ALTER TABLE people REPLICA IDENTITY {identity}",
    )
    made = shop.planned("people_mail", keep="id")
    if identity == "FULL":
        shop.repaired(made)
        return
    error = refusal(shop, made, NotReady)
    assert "public.people is published (out)" in error.message
    no_journal(shop)


@pytest.fixture(scope="module")
def another() -> Iterator[Server]:
    """Give a server with prepared transactions, whose settings can be changed."""
    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server(settings={"max_prepared_transactions": "5"}) as started:
        yield started


@pytest.fixture
def elsewhere(another: Server, place: Path) -> Iterator[Shop]:
    """Give the tables in a database of that server."""
    another.start()
    dsn = another.create_database("elsewhere")
    with observer(dsn) as watching:
        made = Shop(dsn=dsn, server=watching, run=place)
        made.make(MAKE, "people_mail", TWINS, then=CHILD)
        yield made
    another.drop_database("elsewhere")


def test_a_prepared_transaction_that_holds_a_lock(elsewhere: Shop) -> None:
    """Outcome: it is named before the first write; without it the repair goes through."""
    made = elsewhere.planned("people_mail")
    with psycopg.connect(elsewhere.dsn, autocommit=True) as other:
        other.execute("BEGIN; UPDATE c SET id = id; PREPARE TRANSACTION 'it''s held'")
        try:
            reasons = str(refusal(elsewhere, made, NotReady, execute=False))
        finally:
            other.execute("ROLLBACK PREPARED 'it''s held'")
    assert "it's held" in reasons
    no_journal(elsewhere)
    assert repair(made, db=elsewhere.dsn, execute=True).status == "repaired"


def test_a_server_that_is_set_to_read_only(elsewhere: Shop) -> None:
    made = elsewhere.planned("people_mail")
    elsewhere.server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    elsewhere.server.execute("SELECT pg_reload_conf(), pg_sleep(0.3)")
    try:
        error = refusal(elsewhere, made, NotReady)
    finally:
        elsewhere.server.execute("SET default_transaction_read_only = off")
        elsewhere.server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        elsewhere.server.execute("SELECT pg_reload_conf(), pg_sleep(0.3)")
    assert "read only" in error.message
    no_journal(elsewhere)


def test_a_standby_is_refused(place: Path) -> None:
    """Scenario: scan and plan were made on the standby; the repair belongs to the primary.
    Outcome: the standby refuses, with its reason, and the primary repairs by that plan.
    """
    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server(settings={"wal_level": "replica"}) as primary, standby(primary) as following:
        dsn = primary.create_database("followed")
        there = psycopg.conninfo.make_conninfo(following, dbname="followed")
        with observer(dsn) as watching:
            shop = Shop(dsn=dsn, server=watching, run=place)
            shop.make(MAKE, "people_mail", TWINS, then=CHILD)
            with psycopg.connect(following, autocommit=True) as follower:
                caught_up(watching, follower)
            run = scan(there, MatchKey.from_index("people_mail"), shop.run)
            made = plan(run, keep="oldest", db=there)
            error = refusal(shop, made, NotReady, db=there)
            assert "standby" in error.message
            no_journal(shop)
            result = repair(made, db=dsn, execute=True)
            assert (result.status, result.repaired) == ("repaired", 1)


def test_a_plan_of_another_database(people: Shop, lab: Server) -> None:
    made = people.planned("people_mail")
    other = lab.create_database("another_one")
    try:
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute((MAKE + ";" + CHILD.replace("11", "1")).encode())
        error = refusal(people, made, RunMismatch, db=other)
        assert error.hint
    finally:
        lab.drop_database("another_one")
    no_journal(people)


def test_a_repair_before_its_plan(people: Shop) -> None:
    scan(people.dsn, MatchKey.from_index("people_mail"), people.run)
    with pytest.raises(PlanError):
        Plan.open(people.run)


def test_shown_and_nothing_is_written(people: Shop) -> None:
    made = people.planned("people_mail")
    result = repair(made, db=people.dsn)
    assert (result.status, result.groups, result.losers, result.repaired) == ("shown", 1, 1, 0)
    no_journal(people)
    assert not list(people.run.glob("repairing*"))


@pytest.fixture
def unreadable(broken_often: Server, place: Path) -> Iterator[Shop]:
    """Give a table with a pair, one block of which cannot be read."""
    broken_often.start()
    dsn = broken_often.create_database("unreadable")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE t (id int8 PRIMARY KEY, k text, pad text);"
            "CREATE UNIQUE INDEX t_k ON t (k);"
            "INSERT INTO t SELECT n, 'k' || n, repeat('x', 1000) FROM generate_series(1, 60) n"
        )
        damage(dsn, "t_k", Damage.INDEXED_TWICE, ["INSERT INTO t VALUES (100, 'k1')"])
        connection.execute("CHECKPOINT")
        file, size = page_of(connection, "t")
    assert broken_often.data is not None
    broken_often.stop()
    with (broken_often.data / file).open("r+b") as heap:
        heap.seek(3 * size)
        heap.write(b"\x55" * 512)
    broken_often.start()
    with observer(dsn) as watching:
        yield Shop(dsn=dsn, server=watching, run=place)
    broken_often.drop_database("unreadable")


def test_rows_that_could_not_be_read(unreadable: Shop) -> None:
    """Scenario: a block of the table is destroyed, and duplicates may hide in it.
    Outcome: the repair is refused until it is said that it shall go on despite that.
    """
    shop = unreadable
    made = shop.planned("t_k")
    assert made.groups == 1
    error = refusal(shop, made, NotReady)
    assert "could not read" in error.message
    assert shop.rows("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgmend'") == [0]
    shown = repair(made, db=shop.dsn, despite_unreadable=True)
    assert shown.status == "shown"
