"""``pgmend check app`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from migrations_check.releases.data import releases

from .conftest import Command, Connection


@pytest.fixture
def mastodon(db: Connection) -> Connection:
    """Make a database at Mastodon 4.6 with two accounts of one URI."""
    at = next(one.versions for one in releases() if one.first == "4.6.0")
    db.execute("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    db.execute("INSERT INTO schema_migrations SELECT unnest(%s::text[])", [list(at)])
    db.execute(
        "CREATE TABLE accounts (id bigint PRIMARY KEY, domain varchar, uri varchar);"
        " INSERT INTO accounts VALUES (1, 'a', 'https://a/1'), (2, 'a', 'https://a/1')"
    )
    return db


def test_a_blocker_is_4_and_its_remedy_can_be_run(pgmend: Command, mastodon: Connection) -> None:
    ran = pgmend("check", "app", "mastodon", "--to", "v4.7.0")
    assert ran.returncode == 4, ran.stderr
    first, pending, blocker, remedy, *_ = ran.stdout.splitlines()
    assert first == "public.schema_migrations: Mastodon 4.6.0 to 4.6.5 -> 4.7.0"
    assert pending == "to run: 27, 20260618114230 to 20260812154114"
    assert blocker.startswith("blocker: public.index_accounts_on_uri [app-keys]: 2 rows of")
    look, _, plan = remedy.removeprefix("  remedy: pgmend ").partition("; or: pgmend ")
    listed = pgmend(*look.partition(" lists them")[0].split())
    assert (listed.returncode, listed.stdout.count("accounts (0,")) == (0, 2)
    words = plan.partition(", and then: ")[0].split()
    planned = pgmend(*words)
    assert planned.returncode == 0, planned.stderr
    assert "1 group" in planned.stdout
    # A fresh look finds it repaired.
    mastodon.execute("DELETE FROM accounts WHERE id = 2")
    assert pgmend("check", "app", "mastodon", "--to", "4.7.0", "-q").returncode == 1


def test_json_is_one_object(pgmend: Command, mastodon: Connection) -> None:
    mastodon.execute("INSERT INTO schema_migrations VALUES ('20180410220657'), ('20200202020202')")
    ran = pgmend("check", "app", "mastodon", "--to", "4.7.0", "--quick", "--json")
    facts = json.loads(ran.stdout)
    assert list(facts) == [
        "format_version", "findings", "unseen", "installed", "to", "table", "pending", "unknown"]
    assert (facts["format_version"], facts["installed"], facts["to"]) == (
        1, "4.6.0 to 4.6.5", "4.7.0")
    assert (len(facts["pending"]), facts["unknown"]) == (27, ["20180410220657", "20200202020202"])
    assert [one["rule"] for one in facts["findings"]] == ["app-steps"]
    ran = pgmend("check", "app", "mastodon", "--to", "4.7.0", "--quick")
    assert "of others: 2, 20180410220657 to 20200202020202, 1 of them of glitch-soc" in ran.stdout
    # What was left out as asked is no reason to doubt.
    ran = pgmend("check", "app", "mastodon", "--to", "4.7.0", "--quick", "--ignore", "app-steps")
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[-1] == "0 blockers, 0 warnings, 1 unseen"


@pytest.mark.usefixtures("mastodon")
def test_nothing_to_tell_is_0(pgmend: Command) -> None:
    ran = pgmend("check", "app", "mastodon", "--to", "4.6")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[1:] == ["to run: nothing", "0 blockers, 0 warnings, 0 unseen"]
    assert list(pgmend.where.iterdir()) == []


@pytest.mark.usefixtures("mastodon")
@pytest.mark.parametrize(("arguments", "says"), [
    (["--to", "4.9.0"], "newest that is known is 4.7.0"),
    (["--to", "../../etc"], "Known are 3.0.0 to 4.7.0"),
    (["--to", "4.5.0"], "there is no way down"),
    (["--to", "4.7.0", "--env", "none"], "cannot read none"),
    (["--to", "4.7.0", "--schema", 'no"where'], 'table schema_migrations in schema no"'),
    (["--to", "4.7.0", "--run", "."], "is not the directory of a check's scans"),
    (["--to", "4.7.0", "--ignore", "app-key"], "Did you mean app-keys?"),
    ([], "Missing option '--to'"),
])
def test_what_cannot_be_done_as_asked_ends_with_2(
    pgmend: Command, arguments: list[str], says: str
) -> None:
    (pgmend.where / "letter.txt").write_text("mine")
    ran = pgmend("check", "app", "mastodon", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert sorted(path.name for path in pgmend.where.iterdir()) == ["letter.txt"]


def test_files_of_rails_and_alembic(pgmend: Command, db: Connection, tmp_path: Path) -> None:
    for name in ("10_a.rb", "20_b.rb", "30_c.rb"):
        (tmp_path / name).write_text("class A\n")
    for name, down in (("a", None), ("b", "a")):
        (tmp_path / f"{name}.py").write_text(f"revision = {name!r}\ndown_revision = {down!r}\n")
    db.execute(
        "CREATE TABLE schema_migrations (version varchar); INSERT INTO schema_migrations VALUES"
        " ('10'), ('20');"
        " CREATE TABLE alembic_version (version_num varchar); INSERT INTO alembic_version VALUES"
        " ('a')"
    )
    for kind, pending in (("rails", "30"), ("alembic", "b")):
        where = ["check", "app", kind, "--migrations", str(tmp_path)]
        ran = pgmend(*where)
        assert (ran.returncode, ran.stderr) == (1, "")
        assert ran.stdout.splitlines()[1] == f"to run: {pending}"
        assert "--installed DIR" in ran.stdout
        assert pgmend(*where, "--ignore", "app-migrations:public." + (
            "schema_migrations" if kind == "rails" else "alembic_version")).returncode == 0
        ran = pgmend(*where, "--installed", str(tmp_path), "--json")
        facts = json.loads(ran.stdout)
        assert ran.returncode == 1
        assert (facts["pending"], facts["installed"]) == ([pending], None)
        ran = pgmend("check", "app", kind, "--migrations", "nowhere")
        assert ran.returncode == 2
        assert "nowhere" in ran.stderr


@pytest.mark.usefixtures("mastodon")
def test_another_role_is_told_what_it_lacks(
    pgmend: Command, role: Callable[[str], str]
) -> None:
    dsn = role("guest")
    ran = pgmend("check", "app", "mastodon", "--to", "4.7.0", "-d", dsn, env={"DATABASE_URL": ""})
    assert ran.returncode == 2
    assert "this role may not read public.schema_migrations" in ran.stderr
    assert f'TO "{psycopg.conninfo.conninfo_to_dict(dsn)["user"]}"' in ran.stderr
