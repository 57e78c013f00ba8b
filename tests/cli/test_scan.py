"""``pgmend scan`` against a real server: results, messages, exit codes, run directories."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.exits import ExitCode

from .conftest import Command, Connection

NAMES = ["--key", "lower(name)", "--key", "coalesce(lower(domain), '')"]

#: every field of ``scan --json`` that users were promised, in this order
FIELDS = [
    "format_version", "run", "status", "as_of", "keys", "unreadable_rows", "seconds",
    "sweep_seconds", "peak_rss_bytes", "spill_bytes",
]
KEY_FIELDS = [
    "name", "schema", "table", "rows", "groups", "rows_in_groups", "surplus_rows",
    "false_candidates",
]


def result(text: str) -> dict[str, Any]:
    """Read the one JSON object that stdout must be."""
    (line,) = text.splitlines()
    return json.loads(line)


@pytest.mark.usefixtures("people")
def test_scan_finds_every_group(pgmend: Command) -> None:
    done = pgmend("scan", "--index", "people_key", "--json", "--run", "r")
    assert done.returncode == ExitCode.FOUND, done.stderr
    told = result(done.stdout)
    assert list(told)[: len(FIELDS)] == FIELDS
    (key,) = told["keys"]
    assert list(key)[: len(KEY_FIELDS)] == KEY_FIELDS
    assert {name: key[name] for name in KEY_FIELDS} == {
        "name": "people_key",
        "schema": "public",
        "table": "people",
        "rows": 7,
        "groups": 2,
        "rows_in_groups": 5,
        "surplus_rows": 3,
        "false_candidates": 0,
    }
    assert told["format_version"] == 1
    assert told["run"] == "r"
    assert told["status"] == "finished"
    assert told["unreadable_rows"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*\+00:00", told["as_of"])
    assert told["peak_rss_bytes"] > 10_000_000


@pytest.mark.usefixtures("people")
def test_nothing_found_is_zero(pgmend: Command) -> None:
    done = pgmend("scan", "people", "--key", "id")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "no duplicates" in done.stdout


@pytest.mark.usefixtures("people")
def test_groups_stream_every_member(pgmend: Command) -> None:
    assert pgmend("scan", "people", *NAMES, "--run", "r", "-q").returncode == ExitCode.FOUND
    # Neither command may need the server.
    gone = {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    done = pgmend("groups", "r", "--format", "jsonl", env=gone)
    assert done.returncode == ExitCode.OK
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {tuple(row) for row in rows} == {
        ("key_name", "group", "schema", "table", "ctid", "pk", "key")
    }
    groups: dict[int, set[str]] = {}
    for row in rows:
        assert (row["schema"], row["table"]) == ("public", "people")
        assert re.fullmatch(r"\(\d+,\d+\)", row["ctid"])
        groups.setdefault(row["group"], set()).add(row["pk"]["id"])
    assert sorted(map(sorted, groups.values())) == [["1", "2"], ["4", "5", "6"]]
    assert sorted(groups) == [1, 2]
    assert {tuple(row["key"]) for row in rows} == {("anna", ""), ("carl", "b.example")}

    csv = pgmend("groups", "r", "--format", "csv", env=gone).stdout.splitlines()
    assert csv[0] == "key_name,group,schema,table,ctid,pk,key"
    assert len(csv) == 6
    table = pgmend("groups", "r", env=gone).stdout
    assert table.count("group ") == 2
    assert "id=6" in table
    status = pgmend("status", "r", env=gone)
    assert status.returncode == ExitCode.OK
    assert "finished, 100% done" in status.stdout
    assert result(pgmend("status", "r", "--json", env=gone).stdout)["status"] == "finished"


@pytest.mark.usefixtures("people")
def test_results_and_progress_keep_apart(pgmend: Command) -> None:
    done = pgmend("scan", "people", *NAMES)
    assert done.returncode == ExitCode.FOUND
    first, *lines = done.stderr.splitlines()
    assert first.startswith("run directory: pgmend-runs/")
    # No terminal: plain dated lines, no bar and no colour.
    assert lines
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ", line) for line in lines), lines
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    quiet = pgmend("scan", "people", *NAMES, "-q", "--json")
    assert quiet.stderr == ""
    assert result(quiet.stdout)["keys"][0]["groups"] == 2


@pytest.mark.usefixtures("people")
def test_run_directories(pgmend: Command, db: Connection) -> None:
    """Scenario: the same scan three times, without --run and with that of the first.
    Outcome: a finished run is never taken for a fresh look, and prints its result again
    with its date when it is named.
    """
    first = result(pgmend("scan", "people", *NAMES, "--json").stdout)
    path = pgmend.where / first["run"]
    assert re.fullmatch(r"[A-Za-z0-9_.-]+-people-[A-Za-z0-9_.-]+-[0-9a-f]{8}", path.name)
    assert path.parent == pgmend.where / "pgmend-runs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    db.execute("INSERT INTO people VALUES (9, 'dora', NULL)")
    second = result(pgmend("scan", "people", *NAMES, "--json").stdout)
    assert second["run"] != first["run"]
    assert second["keys"][0]["groups"] == 3

    for arguments in (["--run", str(path)], ["people", *NAMES, "--run", str(path)]):
        again = pgmend("scan", *arguments, "--json")
        assert again.returncode == ExitCode.FOUND, again.stderr
        assert result(again.stdout) == {**first, "run": str(path)} | {
            "keys": [{**first["keys"][0], "run": result(again.stdout)["keys"][0]["run"]}]
        }
    gone = {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    text = pgmend("scan", "--run", str(path), env=gone)
    assert text.returncode == ExitCode.FOUND
    assert f"As of {first['as_of'][:10]} {first['as_of'][11:19]} UTC" in text.stdout

    fresh = result(pgmend("scan", "people", *NAMES, "--run", str(path), "--fresh", "--json").stdout)
    assert fresh["keys"][0]["groups"] == 3


@pytest.mark.usefixtures("people")
def test_the_target_is_remembered_and_another_one_refused(
    pgmend: Command, offline: Command, db: Connection
) -> None:
    assert pgmend("scan", "people", *NAMES, "--run", "r", "-q").returncode == ExitCode.FOUND
    known = offline("scan", "people", *NAMES, "--run", "r", "--fresh", "-q")
    assert known.returncode == ExitCode.FOUND, known.stderr
    for file in (pgmend.where / "r").iterdir():
        assert b"password" not in file.read_bytes()
    other = pgmend("scan", "people", "--key", "name", "--run", "r")
    assert other.returncode == ExitCode.REFUSED
    assert "key" in other.stderr
    db.execute("CREATE TABLE twin (LIKE people INCLUDING ALL)")
    table = pgmend("scan", "twin", *NAMES, "--run", "r")
    assert table.returncode == ExitCode.REFUSED


@pytest.mark.usefixtures("people")
def test_all_unique_of_a_table_and_of_all(pgmend: Command, db: Connection) -> None:
    db.execute(
        "CREATE TABLE pets (id int8 PRIMARY KEY, chip text UNIQUE NULLS DISTINCT, owner int8);"
        "INSERT INTO pets VALUES (1, 'x', 1), (2, NULL, 1), (3, NULL, 2);"
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.things (id int8 UNIQUE)"
    )
    one = result(pgmend("scan", "pets", "--all-unique", "--json").stdout)
    assert [key["name"] for key in one["keys"]] == ["pets_pkey", "pets_chip_key"]
    assert [key["rows"] for key in one["keys"]] == [3, 1]

    done = pgmend("scan", "--all-unique", "--json", "--run", "all")
    assert done.returncode == ExitCode.OK, done.stderr
    told = result(done.stdout)
    assert [(key["schema"], key["table"]) for key in told["keys"]] == [
        ("elsewhere", "things"),
        ("public", "people"),
        ("public", "pets"),
        ("public", "pets"),
    ]
    assert told["run"] == "all"
    assert pgmend("scan", "--run", "all", "--json").returncode == ExitCode.OK
    assert pgmend("groups", "all").stdout == ""
    assert pgmend("status", "all").returncode == ExitCode.OK

    narrow = result(pgmend("scan", "--all-unique", "--schema", "elsewhere", "--json").stdout)
    assert [key["table"] for key in narrow["keys"]] == ["things"]
    assert "-all-unique-" in narrow["run"]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["peeple", "--key", "name"], "peeple"),
        (["people", "--key", "nmae"], "nmae"),
        (["--index", "people_kye"], "people_kye"),
        (["people", "--key", "lower(name"], ""),
        (["people", "--key", "name", "--where", "nonsense("], ""),
        (["people_view", "--key", "name"], "is a view"),
        (["people", "--key", "name", "--memory", "64XB"], "64XB"),
        (["people", "--key", "name", "--memory", "1MB"], "memory"),
        (["people", "--key", "name", "--jobs", "0"], "jobs"),
    ],
)
def test_what_cannot_be_scanned(
    pgmend: Command, db: Connection, arguments: list[str], said: str
) -> None:
    db.execute("CREATE VIEW people_view AS SELECT * FROM people")
    done = pgmend("scan", *arguments, "--run", "r")
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert done.stdout == ""
    error = next(line for line in done.stderr.splitlines() if line.startswith("pgmend: error: "))
    assert said in error


@pytest.mark.usefixtures("people")
def test_rights(pgmend: Command, db: Connection, role: Callable[[str], str]) -> None:
    """Scenario: a role without SELECT, then with it, then under row-level security.
    Outcome: 2, 1 and 4; an answer about some of the rows is never given.
    """
    db.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    reader = {"DATABASE_URL": role("reader")}
    denied = pgmend("scan", "people", *NAMES, env=reader)
    assert denied.returncode == ExitCode.USAGE
    assert "people" in denied.stderr
    assert "HINT: GRANT SELECT" in denied.stderr
    db.execute("GRANT SELECT ON people TO PUBLIC")
    assert pgmend("scan", "people", *NAMES, env=reader).returncode == ExitCode.FOUND
    db.execute("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    hidden = pgmend("scan", "people", *NAMES, env=reader)
    assert hidden.returncode == ExitCode.REFUSED
    assert "row-level security would hide rows of public.people" in hidden.stderr
    # One refused table does not keep the others from being looked at.
    db.execute("CREATE TABLE open (id int8 UNIQUE); GRANT SELECT ON open TO PUBLIC")
    both = pgmend("scan", "--all-unique", "--json", env=reader)
    assert both.returncode == ExitCode.REFUSED
    told = result(both.stdout)
    assert [key["table"] for key in told["keys"]] == ["open"]
    assert [each["table"] for each in told["refused"]] == ["public.people"]


def test_hostile_identifiers(pgmend: Command, db: Connection) -> None:
    """Scenario: schema, table, column and index are named to break quoting and terminals.
    Outcome: found like any other, written as escapes for people and exactly in JSON.
    """
    name = "x\"'; DROP TABLE t; --\n\x1b[31m%s {} ü\\"
    quoted = '"' + name.replace('"', '""') + '"'
    index = quoted.replace("ü", "i")
    db.execute(f"CREATE SCHEMA {quoted}".encode())
    db.execute(
        f"CREATE TABLE {quoted}.{quoted} ({quoted} text, id int8 GENERATED ALWAYS AS IDENTITY,"
        f" CONSTRAINT {quoted.replace('ü', 'u')} UNIQUE (id))".encode()
    )
    db.execute(f"INSERT INTO {quoted}.{quoted} VALUES ('a'), ('a'), ('b')".encode())
    db.execute(f"CREATE INDEX {index} ON {quoted}.{quoted} ({quoted})".encode())
    done = pgmend("scan", "--index", f"{quoted}.{index}", "--run", "r")
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\\x1b[31m" in done.stdout
    by_column = pgmend("scan", f"{quoted}.{quoted}", "--key", name, "--json", "--run", "c")
    (key,) = result(by_column.stdout)["keys"]
    assert (key["schema"], key["table"], key["groups"]) == (name, name, 1)
    (row, _) = pgmend("groups", "r", "--format", "jsonl").stdout.splitlines()
    assert (json.loads(row)["schema"], json.loads(row)["table"]) == (name, name)
    everything = pgmend("scan", "--all-unique", "--run", "all")
    assert everything.returncode == ExitCode.OK, everything.stderr
    for told in (everything, pgmend("status", "all"), pgmend("status", "r")):
        assert "\x1b" not in told.stdout + told.stderr
        assert "\\x1b[31m" in told.stdout


@pytest.mark.usefixtures("people")
def test_foreign_and_broken_run_directories(pgmend: Command) -> None:
    foreign: Path = pgmend.where / "foreign"
    foreign.mkdir()
    (foreign / "letters").write_text("mine")
    done = pgmend("scan", "people", *NAMES, "--run", "foreign")
    assert done.returncode == ExitCode.USAGE
    assert "foreign is not a run directory" in done.stderr
    assert [file.name for file in foreign.iterdir()] == ["letters"]
    fresh = pgmend("scan", "people", *NAMES, "--run", "foreign", "--fresh")
    assert fresh.returncode == ExitCode.USAGE
    assert (foreign / "letters").read_text() == "mine"

    assert pgmend("scan", "people", *NAMES, "--run", "r", "-q").returncode == ExitCode.FOUND
    groups = pgmend.where / "r" / "groups.sqlite"
    groups.write_bytes(groups.read_bytes()[:5000])
    broken = pgmend("groups", "r")
    assert broken.returncode == ExitCode.FAILURE
    assert "is damaged" in broken.stderr


def test_one_group_is_one_group(pgmend: Command, db: Connection) -> None:
    db.execute("CREATE TABLE t (k text); INSERT INTO t VALUES ('a'), ('a')")
    done = pgmend("scan", "t", "--key", "k", "--run", "the run")
    assert done.returncode == ExitCode.FOUND
    assert ": 1 group of duplicates. Every row of them: pgmend groups 'the run'\n" in done.stdout
    assert ", 1 group" in done.stderr
    assert "1 groups" not in done.stdout + done.stderr
    assert "found      k: 1 group, 2 rows, 1 more than unique" in pgmend("status", "the run").stdout


@pytest.mark.usefixtures("people")
def test_status_writes_a_key_as_people_read_it(pgmend: Command) -> None:
    assert pgmend("scan", "people", *NAMES, "--run", "r", "-q").returncode == ExitCode.FOUND
    done = pgmend("status", "r")
    assert done.returncode == ExitCode.OK
    lines = done.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("key "))
    key = lines[place : place + 4]
    assert key[0] == 'key        table "public"."people"'
    assert [line[:11] for line in key[1:]] == [" " * 11] * 3
    assert key[1].strip().startswith("column (lower(name)) text")
    assert key[2].strip().startswith("column (coalesce(lower(domain), '')) text")
    assert key[3].strip() == "nulls distinct"
    assert lines[place + 4].startswith("found ")
    assert "\\n" not in done.stdout
    assert "digest" not in done.stdout
    assert "search_path" not in done.stdout
    (definition,) = result(pgmend("status", "r", "--json").stdout)["runs"][0]["definitions"]
    assert "\ndigest " in definition
    assert "\nsearch_path " in definition


def test_unknown_database_and_server(offline: Command, db: Connection) -> None:
    gone = offline("scan", "--index", "i", "-h", "127.0.0.1", "-p", "1")
    assert gone.returncode == ExitCode.FAILURE
    assert "cannot be reached" in gone.stderr
    where = db.info
    unknown = offline("scan", "--index", "i", "-h", where.host, "-p", str(where.port), "-U",
                      where.user, "-d", "no_such_database")
    assert unknown.returncode == ExitCode.USAGE
    assert 'database "no_such_database" does not exist' in unknown.stderr
