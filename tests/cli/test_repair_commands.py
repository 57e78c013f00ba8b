"""The way from a finished scan to a repaired table and back, by the command."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from cli.exits import ExitCode
from dedupe.lab import Damage, damage, server

from .conftest import Command, Connection

#: a table, two that point at it, and one that points at one of these
TABLES = """
    CREATE TABLE people (id int8 PRIMARY KEY, name text NOT NULL, note text);
    CREATE UNIQUE INDEX people_name ON people (name);
    INSERT INTO people SELECT n, 'name ' || n, 'first' FROM generate_series(1, 9) n;
    CREATE TABLE seats (id int8 PRIMARY KEY, row_no int4, UNIQUE (person, row_no),
        person int8 NOT NULL REFERENCES people ON DELETE CASCADE);
    CREATE TABLE letters (id int8 PRIMARY KEY,
        person int8 REFERENCES people ON DELETE SET NULL)
"""
#: two groups, one of three; the index knows nothing of it
TWINS = [
    "INSERT INTO people VALUES (101, 'name 1', 'b'), (102, 'name 2', 'c'), (202, 'name 2', 'd')"
]
CHILDREN = """
    INSERT INTO seats VALUES (1, 1, 1), (2, 1, 101), (3, 2, 101), (4, 1, 9);
    INSERT INTO letters VALUES (1, 1), (2, 101), (3, 202), (4, NULL)
"""
REASON = ["--execute", "--without-snapshot", "a test"]
ALL = "SELECT 'p', id, name, note FROM people UNION SELECT 's', id, person::text, row_no::text"
ALL += " FROM seats UNION SELECT 'l', id, person::text, NULL FROM letters ORDER BY 1, 2"


def build(connection: Connection, dsn: str) -> None:
    """Make the tables with duplicates under a unique index that denies them."""
    connection.execute(TABLES)
    damage(dsn, "people_name", Damage.LOST_ENTRIES, TWINS)
    connection.execute(CHILDREN)


@pytest.fixture
def scanned(pgmend: Command, db: Connection, database: str) -> Command:
    """Give the command with a finished scan of a damaged table in ``r``."""
    build(db, database)
    found = pgmend("scan", "--index", "people_name", "--run", "r", "-q")
    assert found.returncode == ExitCode.FOUND, found.stderr
    return pgmend


@pytest.fixture
def planned(scanned: Command) -> Command:
    """Give the command with a plan in ``r``."""
    made = scanned("plan", "r", "--keep", "oldest")
    assert made.returncode == ExitCode.OK, made.stderr
    return scanned


def told(command: Command, *arguments: str, code: ExitCode = ExitCode.OK) -> dict[str, Any]:
    """Run a command with --json and return its one object."""
    done = command(*arguments, "--json")
    assert done.returncode == code, done.stderr
    (line,) = done.stdout.splitlines()
    facts: dict[str, Any] = json.loads(line)
    assert facts["format_version"] == 1
    return facts


def test_a_plan_needs_to_be_told_who_stays(scanned: Command) -> None:
    done = scanned("plan", "r", env={"DATABASE_URL": "postgresql://127.0.0.1:1/x"})
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert "nothing says which row of a group stays" in done.stderr
    for choice in ("oldest", "newest", "most-referenced", "asc|desc"):
        assert choice in done.stderr.splitlines()[1]


def test_a_repair_needs_a_plan(scanned: Command) -> None:
    done = scanned("repair", "r", *REASON)
    assert done.returncode == ExitCode.USAGE
    assert "there is no plan in r yet" in done.stderr
    assert "HINT: Make one: pgmend plan r --keep oldest" in done.stderr


def test_a_plan_for_people(scanned: Command) -> None:
    """Outcome: counts, what hangs on the rows, statements, and groups side by side."""
    done = scanned("plan", "r", "--keep", "note desc", "--keep", "oldest", "--samples", "1")
    assert done.returncode == ExitCode.OK, done.stderr
    text = done.stdout
    assert "first by note desc, then by oldest" in text
    assert "3 rows to delete, in 2 groups" in text
    assert re.search(r"public\.seats \(person\) +public\.people \(id\) +CASCADE +re-point", text)
    assert "CASCADE: a plain DELETE would delete rows of public.seats." in text
    assert "SET NULL: a plain DELETE would empty columns of public.letters." in text
    assert "  DELETE FROM public.people" in text
    assert re.search(r"  row +public\.people \(0,\d+\) .*\n  id +\d +\d0\d \*.*\n  key ", text)
    assert "1 more group." in text
    assert text.endswith("To repair: pgmend repair r\n")


def test_a_plan_as_json(scanned: Command) -> None:
    facts = told(scanned, "plan", "r", "--keep", "newest", "--max-groups", "1")
    assert [facts[name] for name in ("run", "table", "key_name")] == [
        "r", "public.people", "people_name",
    ]
    assert (facts["groups"], facts["left_out"], facts["kept_apart"]) == (1, 1, 0)
    assert {each["child"] for each in facts["references"]} == {"public.seats", "public.letters"}
    (sample,) = facts["samples"]
    assert sample["survivor"]["pk"]["id"] in {"101", "202"}
    assert len(sample["losers"]) == facts["losers"]


@pytest.mark.parametrize("file", ["plan.csv", "plan.jsonl"])
def test_a_plan_is_changed_in_a_file(planned: Command, db: Connection, file: str) -> None:
    """Scenario: exported, row 101 and not row 1 shall stay, imported, repaired.
    Outcome: so it is; neither export nor import needs a server.
    """
    gone = {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    done = planned("plan", "r", "--export", file, env=gone)
    assert done.returncode == ExitCode.OK, done.stderr
    path = planned.where / file
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text("utf-8").splitlines(keepends=True)
    swapped = {"yes": "no", "no": "yes"}
    path.write_text(
        "".join(
            re.sub(r"\b(yes|no)\b", lambda found: swapped[found[0]], line)
            if re.search(r"name 1\b", line) else line
            for line in lines
        )
    )
    done = planned("plan", "r", "--import", file, env=gone)
    assert done.returncode == ExitCode.OK, done.stderr
    assert planned("plan", "r", "--import", file, "--keep", "newest").returncode == ExitCode.USAGE
    assert planned("repair", "r", *REASON, "--triggers", "fire").returncode == ExitCode.OK
    stay = [row[1] for row in db.execute(ALL) if row[0] == "p" and row[2] == "name 1"]
    assert stay == [101]


def test_without_execute_nothing_is_written(planned: Command, db: Connection) -> None:
    before = db.execute(ALL).fetchall()
    done = planned("repair", "r")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "3 rows to delete, in 2 groups" in done.stdout
    assert done.stdout.endswith("\nNothing was written. Add --execute to do it.\n")
    facts = told(planned, "repair", "r")
    assert (facts["status"], facts["losers"], facts["undo"]) == ("shown", 3, None)
    assert db.execute(ALL).fetchall() == before
    assert db.execute("SELECT to_regnamespace('pgmend')").fetchone() == (None,)


@pytest.mark.parametrize("name", ["production", "pgmend-lab"])
def test_the_snapshot_gate(offline: Command, name: str) -> None:
    """Scenario: --execute without a word about a snapshot, on a server with a name.
    Outcome: refused before anything is written, but on a server that may be ruined.
    """
    import psycopg

    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server(settings={"cluster_name": name}) as lab:
        dsn = lab.create_database("gate")
        with psycopg.connect(dsn, autocommit=True) as connection:
            build(connection, dsn)
            offline("scan", "--index", "people_name", "--run", "r", "-d", dsn)
            assert offline("plan", "r", "--keep", "oldest").returncode == ExitCode.OK
            done = offline("repair", "r", "--execute")
            (journal,) = connection.execute("SELECT to_regnamespace('pgmend')").fetchone() or ()
        assert re.match(
            rf"{lab.user}@{re.escape(lab.host)}:{lab.port}/gate, PostgreSQL \d+\.\d+, primary,"
            r" run [0-9a-f]+: 3 rows to delete, in 2 groups\n",
            done.stderr,
        )
        if name == "production":
            assert done.returncode == ExitCode.REFUSED
            assert "HINT: If it may be repaired all the same, say why: --without-snapshot" in (
                done.stderr
            )
            assert journal is None
            assert offline("repair", "r", "--execute", "--without-snapshot", " ").returncode == 2
        else:
            assert done.returncode == ExitCode.OK, done.stderr
            (run,) = told(offline, "journal", "list", "-d", dsn)["runs"]
            assert run["reason"] == "lab server"


def test_the_whole_way_and_back(planned: Command, db: Connection, database: str) -> None:
    """Scenario: repair, again, verify, undo by the run's id, again.
    Outcome: each says what it did, a second time that nothing changed; the rows are back.
    """
    before = db.execute(ALL).fetchall()
    done = planned("repair", "r", *REASON)
    assert done.returncode == ExitCode.OK, done.stderr
    assert re.search(r"^public\.people +3 +0$", done.stdout, re.MULTILINE)
    assert re.search(r"^public\.letters +0 +2$", done.stdout, re.MULTILINE)
    assert "2 of 2 groups repaired in 1 round" in done.stdout
    assert "Rebuilt: people_name." in done.stdout
    assert done.stdout.endswith("\nThe way back: pgmend undo r --execute\n")
    # After the line that says where: dated lines, for there is no terminal.
    assert all(re.match(r"\d{4}-.*Z ", line) for line in done.stderr.splitlines()[1:])
    left = {row[1] for row in db.execute(ALL) if row[0] == "p"}
    assert left == set(range(1, 10))

    again = planned("repair", "r", *REASON, "-q")
    assert again.returncode == ExitCode.OK, again.stderr
    assert "was finished before (2 of 2 groups repaired); nothing changed." in again.stdout
    facts = told(planned, "repair", "r", *REASON)
    assert (facts["status"], facts["already_done"], facts["left"]) == ("repaired", True, 0)
    assert facts["undo"] == "pgmend undo r --execute"

    checked = planned("verify", "r")
    assert checked.returncode == ExitCode.OK, checked.stderr
    assert "checked: no two rows of public.people are equal under people_name" in checked.stdout
    assert checked.stdout.endswith("all is well.\n")

    shown = planned("undo", facts["run_id"], "-d", database)
    assert shown.returncode == ExitCode.OK, shown.stderr
    assert re.search(r"^public\.people +3 +0$", shown.stdout, re.MULTILINE)
    assert 'CREATE UNIQUE INDEX "people_name"' in shown.stdout
    assert shown.stdout.endswith("\nNothing was written. Add --execute to do it.\n")
    undone = planned("undo", facts["run_id"], "-d", database, "--execute")
    assert undone.returncode == ExitCode.OK, undone.stderr
    assert "rows put back" in undone.stdout
    assert db.execute(ALL).fetchall() == before
    facts = told(planned, "undo", "r", "--execute")
    assert (facts["status"], facts["already_done"]) == ("undone", True)
    assert "was undone before; nothing changed." in planned("undo", "r", "--execute").stdout

    facts = told(planned, "verify", "r", code=ExitCode.FOUND)
    assert (facts["status"], facts["groups"]) == ("findings", 2)
    assert any("2 groups of duplicates" in finding for finding in facts["findings"])


def test_what_was_changed_since_is_not_undone(planned: Command, db: Connection) -> None:
    assert planned("repair", "r", *REASON).returncode == ExitCode.OK
    db.execute("UPDATE letters SET person = 5 WHERE id = 2")
    done = planned("undo", "r", "--execute")
    assert done.returncode == ExitCode.FOUND, done.stderr
    (refused,) = [line for line in done.stdout.splitlines() if line.startswith("refused: ")]
    assert "letters" in refused


def test_groups_that_were_left_are_findings(scanned: Command) -> None:
    assert scanned("plan", "r", "--keep", "oldest", "--max-groups", "1").returncode == 0
    done = scanned("repair", "r", *REASON)
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert "; 1 group left." in done.stdout
    assert told(scanned, "repair", "r", *REASON, code=ExitCode.FOUND)["status"] == "left"


def test_the_journal(planned: Command) -> None:
    assert told(planned, "journal", "list")["runs"] == []
    assert planned("journal", "list").stdout == "The journal of this database is empty.\n"
    facts = told(planned, "repair", "r", *REASON)
    (run,) = told(planned, "journal", "list")["runs"]
    assert (run["run_id"], run["state"], run["reason"]) == (facts["run_id"], "repaired", "a test")
    assert run["run_id"] in planned("journal", "list").stdout
    lines = planned("journal", "export", run["run_id"]).stdout.splitlines()
    assert len(lines) == run["entries"]
    gone = [entry for entry in map(json.loads, lines) if entry["action"] == "delete"]
    assert ["101", "name 1", "b"] in [entry["before"] for entry in gone]

    shown = planned("journal", "drop", "r")
    assert shown.returncode == ExitCode.OK, shown.stderr
    assert shown.stdout == "Nothing was written. Add --execute to do it.\n"
    assert len(told(planned, "journal", "list")["runs"]) == 1
    assert told(planned, "journal", "drop", "r", "--execute")["status"] == "dropped"
    assert told(planned, "journal", "list")["runs"] == []
    for gone_too in (["journal", "drop", "r"], ["journal", "export", "r"]):
        assert planned(*gone_too).returncode == ExitCode.USAGE
    assert planned("undo", "r").returncode > ExitCode.FOUND


def test_the_journal_in_another_schema(planned: Command, db: Connection) -> None:
    """Scenario: --journal-schema names a hostile schema when the repair begins.
    Outcome: the journal is there and nowhere else; the run remembers it, an id needs it said.
    """
    schema = 'Audit "1"; drop'
    before = db.execute(ALL).fetchall()
    done = planned("repair", "r", "--journal-schema", schema, *REASON, "-q")
    assert done.returncode == ExitCode.OK, done.stderr
    schemas = [name for (name,) in db.execute("SELECT nspname FROM pg_namespace").fetchall()]
    assert schema in schemas
    assert "pgmend" not in schemas
    run_id = told(planned, "repair", "r")["run_id"]
    assert told(planned, "journal", "list")["runs"] == []
    (run,) = told(planned, "journal", "list", "--journal-schema", schema)["runs"]
    assert run["run_id"] == run_id
    other = planned("undo", "r", "--journal-schema", "pgmend", *REASON[:1])
    assert other.returncode == ExitCode.REFUSED
    assert f"the journal of r is in schema {schema}, not in pgmend" in other.stderr
    lost = planned("undo", run_id, "--execute")
    assert lost.returncode == ExitCode.USAGE
    assert f"has no run {run_id}" in lost.stderr
    aside = told(planned, "undo", "r", "--side-table", "--execute")
    assert aside["restored"] == {f"{schema}.restored_people": 3, f"{schema}.restored_seats": 1}
    config = planned.where / "pgmend.toml"
    config.write_text(f"[repair]\njournal_schema = {json.dumps(schema)}\n")
    assert told(planned, "verify", run_id)["status"] == "clean"
    config.write_text("[repair]\njournal_schema = 'another'\n")
    assert told(planned, "undo", "r", "--execute")["status"] == "undone"
    assert db.execute(ALL).fetchall() == before


def test_a_schema_that_is_no_journal(planned: Command, db: Connection) -> None:
    """Outcome: it is refused before the first write and keeps its rights; an empty one is taken.
    Then the run is not bound to what was named in vain.
    """
    before = db.execute(ALL).fetchall()
    db.execute("CREATE SCHEMA given")
    done = planned("repair", "r", "--journal-schema", "public", *REASON)
    assert done.returncode == ExitCode.REFUSED
    assert "the journal's schema public holds something else already" in done.stderr
    privilege = "SELECT has_schema_privilege('pg_monitor', 'public', 'USAGE')"
    (allowed,) = db.execute(privilege).fetchall()
    assert allowed == (True,)
    for name in ("", "x" * 64):
        wrong = planned("repair", "r", "--journal-schema", name, *REASON)
        assert wrong.returncode == ExitCode.USAGE
        assert "cannot be the name of the journal's schema" in wrong.stderr
    assert db.execute(ALL).fetchall() == before
    assert told(planned, "repair", "r", "--journal-schema", "given", *REASON)["left"] == 0
    db.execute("CREATE TABLE given.restored_people (mine text)")
    aside = planned("undo", "r", "--side-table", "--execute")
    assert aside.returncode == ExitCode.REFUSED
    assert "there is a given.restored_people that no undo made" in aside.stderr
    db.execute("DROP TABLE given.restored_people")
    for _ in range(2):
        assert told(planned, "undo", "r", "--side-table", "--execute")["status"] == "undone"


def test_a_signal_stops_between_two_batches(pgmend: Command, db: Connection) -> None:
    """Scenario: a repair that sleeps most of its time gets SIGINT.
    Outcome: 3 and the command that goes on; that one does the rest, and all is whole.
    """
    db.execute(
        "CREATE TABLE crowd (id int8 PRIMARY KEY, name text);"
        "INSERT INTO crowd SELECT n, 'name ' || n % 1000 FROM generate_series(0, 1999) n"
    )
    assert pgmend("scan", "crowd", "--key", "name", "--run", "r", "-q").returncode == 1
    assert pgmend("plan", "r", "--keep", "oldest").returncode == ExitCode.OK
    with pgmend.start("repair", "r", *REASON, "--nice", "1000", "--json") as process:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "being nice" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.STOPPED, "".join(seen) + err
    assert json.loads(out)["status"] == "interrupted"
    assert "pgmend: stopped at a safe point, as asked\n" in err
    go_on = "HINT: Go on with: pgmend repair r --execute --without-snapshot 'a test' --nice 1000"
    assert go_on in err
    (run,) = told(pgmend, "journal", "list")["runs"]
    assert run["state"] == "repairing"
    assert 0 < run["groups"] < 1000
    done = pgmend("repair", "r", *REASON, "-q")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "1,000 of 1,000 groups repaired" in done.stdout
    assert db.execute("SELECT count(*), max(id) FROM crowd").fetchone() == (1000, 999)


def test_a_policy_file(scanned: Command, db: Connection) -> None:
    """Outcome: its rules are taken, and what is said on the line goes before them."""
    db.execute("CREATE TABLE visits (kind text, of_id int8); INSERT INTO visits VALUES ('p', 101)")
    (scanned.where / "rules.toml").write_text(
        'keep = ["note desc"]\nsame = "a.name = b.name"\n'
        '[merge]\nnote = "min"\n[on_collision]\nseats = "newest"\n'
        '[[soft]]\ntable = "visits"\ncolumn = "of_id"\nparent = "people"\nparent_column = "id"\n'
        'type_column = "kind"\ntype_value = "p"\n'
    )
    arguments = ["plan", "r", "--policy", "rules.toml"]
    (policy,) = told(scanned, *arguments)["policies"]
    assert policy["keep"] == [{"by": "note", "descending": True}]
    assert policy["same"] == "a.name = b.name"
    (policy,) = told(scanned, *arguments, "--keep", "oldest", "--merge", "note=max")["policies"]
    assert [keep["by"] for keep in policy["keep"]] == ["oldest"]
    assert policy["merge"] == {"note": "max"}
    assert policy["collisions"]["seats"]["by"] == "newest"
    assert policy["soft"][0]["type_value"] == "p"
    assert scanned("repair", "r", *REASON).returncode == ExitCode.OK
    assert db.execute("SELECT of_id FROM visits").fetchone() == (1,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keeps = 'oldest'", "unknown key: keeps"),
        ("keep = 1", "keep must be str or list"),
        ("keep = [1]", "keep must be str"),
        ("accept_loss = 'a.b'", "accept_loss must be list"),
        ("[merge]\nnote = 1", "merge.note must be str"),
        ("[drop_self_pairs]\nfollows = ['a']", "must name two columns, not 1"),
        ("[drop_self_pairs]\nfollows = 'ab'", "drop_self_pairs.follows must be a list"),
        ("[[soft]]\ntabel = 'x'", "unknown key: soft.tabel"),
        ("[[soft]]\ntable = 'x'", "a table of [[soft]] lacks column"),
        ("soft = ['x']", "soft must be dict"),
        ("[merge", "is not valid TOML"),
    ],
)
def test_policy_files_that_are_none(offline: Command, text: str, said: str) -> None:
    (offline.where / "rules.toml").write_text(text)
    done = offline("plan", "r", "--keep", "oldest", "--policy", "rules.toml")
    assert done.returncode == ExitCode.USAGE
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "r", "--keep", "oldest", "--merge", "note"], "--merge cannot read 'note'"),
        (["plan", "r", "--keep", "oldest", "--on-collision", "=x"], "--on-collision cannot read"),
        (["plan", "r", "--merge", "a=min", "--merge", "a=max"], "two things about a"),
        (["plan", "r", "--keep", "oldest", "--policy", "no.toml"], "cannot read the policy file"),
        (["plan", "r", "--keep", "oldest"], "r"),
        (["plan", "r", "--import", "no.csv"], "no.csv"),
        (["repair", "r"], "r"),
        (["repair", "r", "--triggers", "maybe"], "'maybe' is not one of"),
        (["undo", "r"], "there is no run directory r, and no database was named"),
        (["verify", "some/r"], "some/r"),
        (["journal"], "Missing command"),
    ],
)
def test_usage_of_a_repair(offline: Command, arguments: list[str], said: str) -> None:
    done = offline(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert said in done.stderr.splitlines()[0]
    assert "HINT: " in done.stderr


def test_triggers_in_the_settings_file(offline: Command) -> None:
    (offline.where / "pgmend.toml").write_text("[repair]\ntriggers = 'maybe'\n")
    done = offline("repair", "r")
    assert done.returncode == ExitCode.USAGE
    assert "repair.triggers must be fire or off, not 'maybe'" in done.stderr


def test_several_tables_are_repaired_one_at_a_time(scanned: Command) -> None:
    assert scanned("scan", "--all-unique", "--run", "all", "-q").returncode == ExitCode.FOUND
    done = scanned("plan", "all", "--keep", "oldest")
    assert done.returncode == ExitCode.USAGE
    place = re.search(r"Name one of: (all/\S*people\S*)\.", done.stderr)
    assert place is not None, done.stderr
    assert scanned("plan", place[1], "--keep", "oldest").returncode == ExitCode.OK
    assert Path(scanned.where / place[1] / "plan.sqlite").is_file()
