"""Nobody else may be connected: who counts, who does not, and how they are told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from dedupe import connect
from dedupe.lab import Server
from dedupe.recipes import Recipe, read_recipe
from dedupe.recipes.preconditions import look

from ..apps import APP


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(APP, "app.toml")


def unmet(dsn: str, recipe: Recipe) -> tuple[str, ...]:
    return look(connect(dsn), recipe, redis=None, live=False).unmet


@contextmanager
def role(dsn: str, name: str) -> Iterator[str]:
    """Make a role that owns nothing and may see nobody's details."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        unique = f"{name}_{connection.info.backend_pid}"
        connection.execute(f'CREATE ROLE "{unique}" LOGIN')
    try:
        yield unique
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f'DROP ROLE "{unique}"')


def test_nobody_is_there(database: str, recipe: Recipe) -> None:
    assert unmet(database, recipe) == ()


def test_they_are_told_by_name_role_and_place(database: str, recipe: Recipe) -> None:
    """Scenario: a pool of idle connections, one that works, one without a name."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(
                psycopg.connect(database, application_name="puma", autocommit=True)
            )
        busy = stack.enter_context(psycopg.connect(database, application_name="rake"))
        busy.execute("SELECT 1")
        nameless = stack.enter_context(psycopg.connect(database, autocommit=True))
        user = nameless.info.user
        (sentence,) = unmet(database, recipe)
    place = "from [0-9.:a-f]+|from this machine"
    assert re.search(rf"puma, role {user}, ({place}) \(3, all idle\)", sentence)
    assert re.search(rf"rake, role {user}, ({place}) \(1\)", sentence)
    assert re.search(rf": .*{user} ({place}) \(1, idle\)", sentence)
    assert "--live" in sentence
    assert look(connect(database), recipe, redis=None, live=True).unmet == ()


def test_sessions_of_pgmend_do_not_count(database: str, recipe: Recipe) -> None:
    """Scenario: an earlier pgmend was killed and its backend still works."""
    database_of_own = connect(database)
    with psycopg.connect(database, application_name="pgmend repair abc") as orphan:
        orphan.execute("SELECT 1")
        with database_of_own.open("pgmend scan"), database_of_own.open():
            assert unmet(database, recipe) == ()
    with psycopg.connect(database, application_name="pgmendicant"):
        assert "pgmendicant" in unmet(database, recipe)[0]


def test_other_databases_and_replication_do_not_count(database: str, recipe: Recipe) -> None:
    """Scenario: a session of another database, and one that replicates this one."""
    other = psycopg.conninfo.make_conninfo(database, dbname="postgres")
    with psycopg.connect(other, application_name="elsewhere") as elsewhere:
        elsewhere.execute("SELECT 1")
        with psycopg.connect(
            database, application_name="physical", replication="database", autocommit=True
        ) as sender:
            kinds = elsewhere.execute(
                "SELECT backend_type FROM pg_stat_activity WHERE pid = %s",
                [sender.info.backend_pid],
            ).fetchall()
            assert kinds == [("walsender",)]
            assert unmet(database, recipe) == ()


def test_hidden_details_count_and_are_told(database: str, recipe: Recipe) -> None:
    """Scenario: the role that repairs is neither a superuser nor a member of pg_read_all_stats."""
    with role(database, "mender") as mender, role(database, "app") as app:
        own = psycopg.conninfo.make_conninfo(database, user=mender)
        with psycopg.connect(
            psycopg.conninfo.make_conninfo(database, user=app), application_name="puma"
        ):
            (sentence,) = unmet(own, recipe)
            assert f"puma, role {app}, (1, details hidden)" in sentence
            assert "pg_read_all_stats" in sentence
        assert unmet(own, recipe) == ()


def test_prepared_transactions_are_told(own_server: Server, recipe: Recipe) -> None:
    dsn = own_server.create_database("prepared")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    own_server.stop()
    own_server.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE things (id int8 PRIMARY KEY)")
        connection.execute("BEGIN; INSERT INTO things VALUES (1); PREPARE TRANSACTION 'left-over'")
    (sentence,) = unmet(dsn, recipe)
    assert "left-over of " in sentence
    assert "ROLLBACK PREPARED" in sentence
    # Of another database, it is no matter.
    assert unmet(own_server.create_database("other"), recipe) == ()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ROLLBACK PREPARED 'left-over'")
    assert unmet(dsn, recipe) == ()
