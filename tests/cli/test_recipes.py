"""``pgmend recipe``: what a recipe says, and what it comes to in a database."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

from cli.exits import ExitCode

from ..redising import PASSWORD, Sidekiq, redis_server
from .conftest import Command, Connection

OWN = """
format = 1
name = "shop"
title = "A shop"

[schema]
tables = ["customers"]

[[index]]
name = "customers_mail"
table = "customers"
key = ["mail"]

[[step]]
id = "customers"
table = "customers"
index = "customers_mail"
case = [{ keep = ["oldest"] }]
"""


def test_the_recipes_are_listed_and_shown(offline: Command) -> None:
    listed = offline("recipe", "list")
    assert listed.returncode == ExitCode.OK
    assert "mastodon" in listed.stdout
    facts = json.loads(offline("recipe", "list", "--json").stdout)
    assert "mastodon" in [recipe["name"] for recipe in facts["recipes"]]
    shown = offline("recipe", "show", "mastodon")
    assert shown.returncode == ExitCode.OK
    for said in ("Sidekiq must be stopped", "remote-accounts", "index_statuses_on_uri"):
        assert said in shown.stdout
    whole = json.loads(offline("recipe", "show", "mastodon", "--json").stdout)
    assert whole["recipe"]["schema"]["oldest"] == "20191001213028"


def test_a_recipe_of_ones_own_is_checked_without_a_server(offline: Command, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    done = offline("recipe", "check", str(own))
    assert done.returncode == ExitCode.OK
    assert "1 step" in done.stdout
    assert "only the recipe itself" in done.stderr
    own.write_text(OWN.replace("keep", "kep"))
    done = offline("recipe", "check", str(own))
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.splitlines()[0] == (
        f"pgmend: error: the recipe {own}, step[0].case[0]: Object contains unknown field `kep`"
    )
    assert done.stderr.splitlines()[1].startswith("HINT: ")


def test_a_recipe_is_compared_with_a_database(
    pgmend: Command, database: str, db: Connection, tmp_path: Path
) -> None:
    """Scenario: the unique index is there, then gone; then the table is, too."""
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    db.execute("CREATE TABLE customers (id int PRIMARY KEY, mail text)")
    db.execute("CREATE UNIQUE INDEX customers_mail ON customers (mail)")
    done = pgmend("recipe", "check", str(own), "-d", database)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "sound" in done.stdout
    db.execute("DROP INDEX customers_mail")
    done = pgmend("recipe", "check", str(own), "-d", database, "--json")
    assert done.returncode == ExitCode.FOUND
    assert json.loads(done.stdout)["steps"] == [
        {
            "step": "customers",
            "table": "customers",
            "index": "customers_mail",
            "state": "missing",
        }
    ]
    db.execute("DROP TABLE customers")
    done = pgmend("recipe", "check", str(own), "-d", database)
    assert done.returncode == ExitCode.REFUSED
    assert "no database of shop" in done.stderr


def test_each_reason_has_a_line_of_its_own(
    pgmend: Command, db: Connection, tmp_path: Path, role: Callable[[str], str]
) -> None:
    """Scenario: a role that may read and nothing else. Outcome: what it lacks, line by line."""
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    dsn = role("reader")
    db.execute("CREATE TABLE customers (id int PRIMARY KEY, mail text)")
    db.execute("INSERT INTO customers VALUES (1, 'a'), (2, 'a')")
    db.execute("GRANT SELECT ON customers TO PUBLIC")
    run = ("recipe", "run", str(own), "--run", str(tmp_path / "run"), "-d", dsn, "--live")
    shown = pgmend(*run)
    assert shown.returncode == ExitCode.OK
    told = shown.stdout[shown.stdout.index("Not met yet") :].splitlines()
    refused = pgmend(*run, "--execute", "--without-snapshot", "x")
    assert refused.returncode == ExitCode.REFUSED
    lines = refused.stderr.splitlines()
    at = lines.index("pgmend: error: the recipe cannot be carried out yet:")
    assert lines[at + 1] == "  the role lacks DELETE on public.customers"
    assert lines[at + 1] in told
    assert lines[-1] == "HINT: Mend what is named."


WITH_WORKERS = (
    OWN + '[before]\nalone = true\nredis_set = "processes"\nworkers = "Sidekiq"\n'
)


def test_a_recipe_is_not_carried_out_while_workers_run(
    pgmend: Command, db: Connection, tmp_path: Path
) -> None:
    """Scenario: the Redis is named by an option, then by the environment, and Sidekiq runs."""
    own = tmp_path / "own.toml"
    own.write_text(WITH_WORKERS)
    db.execute("CREATE TABLE customers (id int PRIMARY KEY, mail text)")
    db.execute("CREATE UNIQUE INDEX customers_mail ON customers (mail)")
    db.close()
    run = ("recipe", "run", str(own), "--run", str(tmp_path / "run"))
    done = pgmend(*run)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "whether Sidekiq is stopped was not checked" in done.stdout
    with tempfile.TemporaryDirectory(prefix="rd") as place, redis_server(Path(place)) as socket:
        sidekiq = Sidekiq(socket, namespace="app")
        sidekiq.beat("web-1", 812)
        done = pgmend(*run, "--redis", sidekiq.url, "--redis-namespace", "app")
        assert done.returncode == ExitCode.OK, done.stderr
        assert "Sidekiq is running: 1 process (web-1:812)" in done.stdout
        write = (*run, "--execute", "--without-snapshot", "a test", "--redis-namespace", "app")
        done = pgmend(*write, env={"PGMEND_REDIS_URL": sidekiq.url})
        assert done.returncode == ExitCode.REFUSED
        assert "web-1:812" in done.stderr
        done = pgmend(*run, env={"PGMEND_REDIS_URL": sidekiq.url_with("wr0ng")})
        assert done.returncode == ExitCode.USAGE
        assert "does not let us in" in done.stderr
    done = pgmend(*write, env={"PGMEND_REDIS_URL": sidekiq.url})
    assert done.returncode == ExitCode.FAILURE
    assert "does not answer" in done.stderr
    assert PASSWORD not in done.stderr
    assert pgmend(*write).returncode == ExitCode.USAGE


def test_a_recipe_remembers_the_schema_of_its_journal(
    pgmend: Command, database: str, db: Connection, tmp_path: Path
) -> None:
    """Scenario: --journal-schema names a schema as the recipe begins, and is left out later.
    Outcome: it goes on, verifies and undoes by that journal, whatever the settings file says;
    another one that the command line names is refused.
    """
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    db.execute("CREATE TABLE customers (id int PRIMARY KEY, mail text)")
    db.execute("INSERT INTO customers VALUES (1, 'a'), (2, 'a'), (3, 'b')")
    db.execute("CREATE TABLE before AS TABLE customers")
    place, schema = str(tmp_path / "run"), 'Audit "1"; drop'
    run = ("recipe", "run", str(own), "--run", place, "-d", database, "--live")
    write = (*run, "--execute", "--without-snapshot", "a test")
    done = pgmend(*write, "--journal-schema", schema)
    assert done.returncode == ExitCode.OK, done.stderr
    (pgmend.where / "pgmend.toml").write_text("[repair]\njournal_schema = 'another'\n")
    for again in (run, write, ("recipe", "verify", place, "-d", database)):
        done = pgmend(*again, "--json")
        assert done.returncode == ExitCode.OK, done.stderr
        assert len(json.loads(done.stdout)["steps"]) == 1
    undo = ("recipe", "undo", place, "-d", database, "--execute")
    done = pgmend(*undo, "--journal-schema", "pgmend")
    assert done.returncode == ExitCode.REFUSED
    assert f"is in schema {schema}, not in pgmend" in done.stderr
    done = pgmend(*undo)
    assert done.returncode == ExitCode.OK, done.stderr
    rows = "TABLE before EXCEPT ALL TABLE customers"
    assert db.execute(rows).fetchall() == []
    schemas = {name for (name,) in db.execute("SELECT nspname FROM pg_namespace").fetchall()}
    assert schema in schemas
    assert schemas.isdisjoint({"pgmend", "another"})


def test_a_recipe_that_was_carried_out_names_what_comes_next(
    pgmend: Command, database: str, db: Connection, tmp_path: Path
) -> None:
    """Scenario: carried out; given again, with no snapshot on record; the commands that it
    names are pasted, the one that takes it back twice.
    """
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    db.execute("CREATE TABLE customers (id int PRIMARY KEY, mail text)")
    db.execute("INSERT INTO customers VALUES (1, 'a'), (2, 'a'), (3, 'b')")
    place = str(tmp_path / "run")
    run = ("recipe", "run", str(own), "--run", place, "-d", database, "--live")
    shown = pgmend(*run)
    assert shown.stdout.endswith("Nothing was written. Add --execute to do it.\n")
    assert json.loads(pgmend(*run, "--json").stdout)["undo"] is None
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    gated = (*run, "--execute", "--receipts", str(receipts))
    refused = pgmend(*gated)
    assert refused.returncode != ExitCode.OK
    assert "guard verify" in refused.stderr
    done = pgmend(*run, "--execute", "--without-snapshot", "a test")
    assert done.returncode == ExitCode.OK, done.stderr
    again = pgmend(*gated)
    assert again.returncode == ExitCode.OK, again.stderr
    assert "carried out before; nothing changed" in again.stdout
    facts = json.loads(pgmend(*run, "--json").stdout)
    assert (facts["status"], facts["already_done"]) == ("repaired", True)
    assert [one["run"] for one in facts["steps"]] == [f"{place}/steps/customers"]
    look, back = done.stdout.splitlines()[-2:]
    assert look.startswith("Look once more: pgmend recipe verify ")
    verified = pgmend(*shlex.split(look.partition(": pgmend ")[2]))
    assert verified.returncode == ExitCode.OK, verified.stderr
    assert back.removeprefix("The way back: ") == facts["undo"]
    undo = shlex.split(facts["undo"])[1:]
    undone = pgmend(*undo)
    assert undone.returncode == ExitCode.OK, undone.stderr
    row = next(line for line in undone.stdout.splitlines() if line.startswith("customers "))
    assert row.split() == ["customers", "public.customers", "1", "0", "undone"]
    assert db.execute("SELECT count(*) FROM customers").fetchone() == (3,)
    assert "was taken back before; nothing changed" in pgmend(*undo).stdout
    nothing = pgmend("recipe", "verify", place, "-d", database)
    assert nothing.returncode == ExitCode.USAGE
    assert "was taken back" in nothing.stderr
