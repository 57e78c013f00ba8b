"""Sidekiq must be stopped before a recipe writes: a real Redis tells whether it is."""

from __future__ import annotations

import builtins
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dedupe.errors import (
    ConnectionSettingsError,
    DedupeError,
    NotReady,
    ServerUnavailable,
    UsageError,
)
from dedupe.recipes import Recipe, read_recipe, run_recipe
from dedupe.recipes.workers import Place, find_workers, place_of

from ..apps import APP
from ..redising import PASSWORD, Sidekiq, redis_server
from ..scanning import Connection

TEXT = APP + """\
redis_set = "processes"
workers = "Sidekiq"
redis_known = "stat:processed"
"""


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    # A socket's path may have 107 bytes; those of tmp_path can be longer.
    with tempfile.TemporaryDirectory(prefix="rd") as place, redis_server(Path(place)) as path:
        yield path


@pytest.fixture
def sidekiq(socket: Path) -> Sidekiq:
    found = Sidekiq(socket)
    with found.client() as client:
        client.flushall()
    return found


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(TEXT, "app.toml")


@pytest.fixture
def things(db: Connection) -> str:
    """Give the name of a database in which nobody else is."""
    db.execute(
        """
        CREATE TABLE things (id int8 PRIMARY KEY, name text);
        CREATE INDEX things_name ON things (name);
        INSERT INTO things VALUES (1, 'a'), (2, 'a');
        UPDATE pg_index SET indisunique = true WHERE indexrelid = 'things_name'::regclass
        """
    )
    name = db.info.dsn
    db.close()
    return name


def test_workers_that_run_are_named(
    database: str, things: str, recipe: Recipe, place: Path, sidekiq: Sidekiq
) -> None:
    """Outcome: shown in the dry run, refused when it should write, until Sidekiq is stopped."""
    del things
    sidekiq.beat("web-1", 812)
    sidekiq.beat("web-2", 77)
    shown = run_recipe(recipe, place, database, redis=sidekiq.url)
    (unmet,) = shown.unmet
    assert "Sidekiq is running: 2 processes (web-1:812, web-2:77)" in unmet
    assert PASSWORD not in unmet
    with pytest.raises(NotReady, match="Sidekiq is running") as caught:
        run_recipe(recipe, place, database, redis=sidekiq.url, execute=True, reason="a test")
    assert caught.value.facts["reasons"] == (unmet,)
    sidekiq.stop()
    done = run_recipe(recipe, place, database, redis=sidekiq.url, execute=True, reason="a test")
    assert (done.status, done.unmet, done.notes) == ("repaired", (), ())


def test_live_lets_them_run(
    database: str, things: str, recipe: Recipe, place: Path, sidekiq: Sidekiq
) -> None:
    del things
    sidekiq.beat("web-1", 812)
    done = run_recipe(
        recipe, place, database, redis=sidekiq.url, live=True, execute=True, reason="a test"
    )
    assert done.status == "repaired"


def test_a_worker_that_comes_back_during_the_scan_is_seen(
    database: str, things: str, recipe: Recipe, place: Path, sidekiq: Sidekiq
) -> None:
    """Scenario: Sidekiq is stopped at first and started while the tables are scanned."""
    del things
    sidekiq.beat("web-1", 812)
    sidekiq.stop()

    def started(*_: object) -> None:
        sidekiq.beat("web-1", 813)

    with pytest.raises(NotReady, match="web-1:813"):
        run_recipe(
            recipe, place, database, redis=sidekiq.url, execute=True, reason="a test",
            on_progress=started,
        )


def test_a_process_that_died_does_not_count(recipe: Recipe, sidekiq: Sidekiq) -> None:
    """Scenario: a killed process stays in the set, its hash expires."""
    sidekiq.beat("web-1", 812, expires_ms=100)
    at = Place(url=sidekiq.url)
    assert find_workers(at, recipe.before).running == ("web-1:812",)
    time.sleep(0.2)
    found = find_workers(at, recipe.before)
    assert (found.running, found.known) == ((), True)


def test_a_namespace_is_looked_into(recipe: Recipe, sidekiq: Sidekiq) -> None:
    Sidekiq(sidekiq.socket, namespace="mastodon").beat("web-1", 812)
    found = find_workers(Place(url=sidekiq.url, namespace="mastodon"), recipe.before)
    assert found.running == ("web-1:812",)
    assert "namespace mastodon" in found.where
    # Without it, the set is not there, and that does not mean that Sidekiq is stopped.
    assert not find_workers(Place(url=sidekiq.url), recipe.before).known


def test_another_redis_is_not_taken_for_a_stopped_sidekiq(
    database: str, things: str, recipe: Recipe, place: Path, sidekiq: Sidekiq
) -> None:
    del things
    Sidekiq(sidekiq.socket, database=1).beat("web-1", 812)
    shown = run_recipe(recipe, place, database, redis=sidekiq.url)
    assert "nothing of Sidekiq is in Redis" in shown.unmet[0]
    assert "--redis-namespace" in shown.unmet[0]


def test_an_identity_alone_names_a_process(recipe: Recipe, sidekiq: Sidekiq) -> None:
    """Scenario: what is written of itself cannot be read."""
    with sidekiq.client() as client:
        client.sadd("processes", "web-1:812:abc", "odd")
        client.hset("web-1:812:abc", "info", "{")
        client.hset("odd", "info", "[]")
    assert find_workers(Place(url=sidekiq.url), recipe.before).running == ("odd", "web-1:812")


def test_without_a_redis_it_is_told(
    database: str, things: str, recipe: Recipe, place: Path
) -> None:
    """Outcome: a note, and the connections of the database decide."""
    del things
    note = "whether Sidekiq is stopped was not checked: give --redis URL"
    shown = run_recipe(recipe, place, database)
    assert (shown.unmet, shown.notes) == ((), (note,))
    done = run_recipe(recipe, place, database, execute=True, reason="a test")
    assert (done.status, done.notes) == ("repaired", (note,))


@pytest.mark.usefixtures("db")
def test_without_a_redis_connections_count_whatever_the_recipe_says(
    database: str, db: Connection, place: Path
) -> None:
    """Scenario: a recipe that lets others be connected, but no workers run."""
    db.execute("CREATE TABLE things (id int8 PRIMARY KEY, name text)")
    recipe = read_recipe(TEXT.replace("alone = true", ""), "app.toml")
    assert "others are connected" in run_recipe(recipe, place, database).unmet[0]


def test_a_recipe_without_workers_says_that_redis_is_not_used(
    database: str, db: Connection, place: Path
) -> None:
    db.execute("CREATE TABLE things (id int8 PRIMARY KEY, name text)")
    recipe = read_recipe(TEXT.partition("[before]")[0], "app.toml")
    (note,) = run_recipe(recipe, place, database, redis="redis://127.0.0.1:1/0").notes
    assert "--redis is not used" in note


class _Garbage(socketserver.BaseRequestHandler):
    """Answers what a server of another kind would, with what it was sent in it."""

    def handle(self) -> None:
        self.request.sendall(b"HELLO " + self.request.recv(4096).replace(b"\r\n", b" ") + b"\r\n")


@pytest.fixture
def garbage() -> Iterator[int]:
    with socketserver.TCPServer(("127.0.0.1", 0), _Garbage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def told(place: Place, recipe: Recipe) -> DedupeError:
    with pytest.raises(DedupeError) as caught:
        find_workers(place, recipe.before)
    error = caught.value
    assert PASSWORD not in f"{error.message} {error.hint} {error.facts} {place!r}"
    assert error.hint
    return error


def test_a_wrong_password_is_a_setting(recipe: Recipe, sidekiq: Sidekiq) -> None:
    for password in (None, "wr0ng"):
        error = told(Place(url=sidekiq.url_with(password)), recipe)
        assert isinstance(error, ConnectionSettingsError)
        assert "wr0ng" not in error.message
        assert "redis://:PASSWORD@host" in str(error.hint)


def test_a_user_without_rights_is_a_setting(recipe: Recipe, sidekiq: Sidekiq) -> None:
    with sidekiq.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", f">{PASSWORD}", "-@all")
    url = f"unix://poor:{PASSWORD}@{sidekiq.socket}"
    assert isinstance(told(Place(url=url), recipe), ConnectionSettingsError)


def test_another_kind_of_value_is_a_setting(recipe: Recipe, sidekiq: Sidekiq) -> None:
    with sidekiq.client() as client:
        client.set("processes", "1")
    assert isinstance(told(Place(url=sidekiq.url), recipe), ConnectionSettingsError)


def test_nobody_answers(recipe: Recipe) -> None:
    error = told(Place(url=f"redis://:{PASSWORD}@127.0.0.1:1/0"), recipe)
    assert isinstance(error, ServerUnavailable)
    assert "127.0.0.1:1/0" in error.message


def test_what_answers_is_no_redis(recipe: Recipe, garbage: int) -> None:
    error = told(Place(url=f"redis://:{PASSWORD}@127.0.0.1:{garbage}/0"), recipe)
    assert isinstance(error, ServerUnavailable)
    assert "no Redis" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        f"http://:{PASSWORD}@localhost/0",
        f"redis://:{PASSWORD}/@localhost:6379/0",
        f"redis://:{PASSWORD}@localhost:6379/mastodon",
        f"redis://:{PASSWORD}@localhost:6379/0?nonsense=1",
        f"redis://:{PASSWORD}@localhost:port/0",
    ],
)
def test_a_url_that_is_none(recipe: Recipe, url: str) -> None:
    error = told(Place(url=url), recipe)
    assert isinstance(error, ConnectionSettingsError)
    assert "cannot be read" in error.message


def test_a_namespace_needs_a_redis() -> None:
    with pytest.raises(ConnectionSettingsError, match="and no Redis"):
        place_of(None, "mastodon")


def test_without_the_package_the_command_is_named(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "redis":
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="not installed") as caught:
        find_workers(Place(url="redis://localhost"), recipe.before)
    assert "pip install 'pgmend[redis]'" in str(caught.value.hint)
