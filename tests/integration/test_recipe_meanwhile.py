"""Others change the database between the calls of a recipe, or while one runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import psycopg
import pytest

from dedupe.errors import (
    DedupeError,
    NotARunDirectory,
    RunDirectoryDamaged,
    RunInUse,
    UsageError,
)
from dedupe.lab import Server
from dedupe.lab.damage import Damage, damage
from dedupe.recipes import (
    Recipe,
    RecipeResult,
    decide,
    read_recipe,
    run_recipe,
    undo_recipe,
    verify_recipe,
)
from dedupe.repair import locking

from ..scanning import Connection

TEXT = """
format = 1
name = "blog"
title = "A blog"

[schema]
tables = ["accounts", "posts"]

[[question]]
id = "twins"
asks = "Which of two accounts of one name stays?"
answers = { older = "The older one.", newer = "The newer one." }
default = "older"

[[index]]
name = "accounts_name"
table = "accounts"
key = ["name"]

[[step]]
id = "accounts"
table = "accounts"
index = "accounts_name"

[[step.case]]
answered = { twins = "older" }
keep = ["oldest"]

[[step.case]]
answered = { twins = "newer" }
keep = ["newest"]

[[index]]
name = "posts_uri"
table = "posts"
key = ["uri"]

[[step]]
id = "posts"
table = "posts"
index = "posts_uri"

[[step.case]]
keep = ["oldest"]
merge = { seen = "sum" }

[otherwise]
keep = ["oldest"]
"""
COUNTERS = """
[[counter]]
table = "numbers"
column = "posts"
key = "account"
of = "posts"
by = "account"
"""
SCHEMA = """
CREATE TABLE accounts (id int8 PRIMARY KEY, name text, mail text);
CREATE TABLE posts (id int8 PRIMARY KEY, uri text, seen int4, account int8 REFERENCES accounts);
CREATE TABLE numbers (account int8 PRIMARY KEY REFERENCES accounts ON DELETE CASCADE, posts int8);
CREATE UNIQUE INDEX accounts_name ON accounts (name);
CREATE UNIQUE INDEX accounts_mail ON accounts (mail);
CREATE UNIQUE INDEX posts_uri ON posts (uri);
INSERT INTO accounts SELECT g, 'a' || g, 'm' || g FROM generate_series(1, 20) g;
INSERT INTO posts SELECT g, 'u' || g, g, g % 20 + 1 FROM generate_series(1, 50) g
"""
TWINS = ["INSERT INTO accounts VALUES (101, 'a1', 'm101'), (102, 'a2', 'm102')"]


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe for a blog."""
    return read_recipe(TEXT, "blog.toml")


@pytest.fixture
def blog(database: str, db: Connection) -> Connection:
    """Give a blog with two accounts twice, and one post twice, of an account that goes."""
    make_blog(database, db)
    return db


def make_blog(dsn: str, db: Connection) -> None:
    db.execute(SCHEMA)
    damage(dsn, "accounts_name", Damage.INDEXED_TWICE, TWINS)
    db.execute("UPDATE posts SET account = 101 WHERE id = 5")
    damage(dsn, "posts_uri", Damage.INDEXED_TWICE, [
        "INSERT INTO posts VALUES (1005, 'u5', 7, 101)"
    ])
    db.execute("INSERT INTO numbers SELECT a.id, count(p.id) FROM accounts a"
               " LEFT JOIN posts p ON p.account = a.id GROUP BY a.id")


def carry_out(recipe: Recipe, place: Path, dsn: str, *, execute: bool = True) -> RecipeResult:
    return run_recipe(
        recipe, place, dsn, defaults=True, execute=execute, reason="x", live=True
    )


def state(db: Connection) -> list[list[tuple[object, ...]]]:
    # By the heap: indexes are damaged.
    db.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off;"
               " SET enable_bitmapscan = off")
    return [
        db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        for table in ("accounts", "posts", "numbers")
    ]


def unique(db: Connection, index: str) -> bool:
    ((found,),) = db.execute(
        "SELECT indisunique FROM pg_index WHERE indexrelid = %s::regclass", [index]
    ).fetchall()
    return bool(found)


@contextmanager
def replaced(module: str, name: str, by: Callable[..., object]) -> Iterator[None]:
    """Have a function of the library replaced for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module(module), name, by)
        yield


# What is changed between a look and the repair


def test_an_index_that_was_made_plain_is_made_unique(
    blog: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: a dry run; the unique index is dropped and a plain one made in its place."""
    carry_out(recipe, place, database, execute=False)
    blog.execute("DROP INDEX accounts_name; CREATE INDEX accounts_name ON accounts (name)")
    assert carry_out(recipe, place, database).status == "repaired"
    assert unique(blog, "accounts_name")


def test_a_unique_index_that_was_made_is_looked_at(
    blog: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: a dry run; a unique index that lies is made on another column."""
    carry_out(recipe, place, database, execute=False)
    blog.execute("ALTER TABLE accounts ADD token text; CREATE UNIQUE INDEX accounts_token"
                 " ON accounts (token)")
    damage(database, "accounts_token", Damage.INDEXED_TWICE, [
        "INSERT INTO accounts VALUES (201, 'b1', 'n1', 't'), (202, 'b2', 'n2', 't')"
    ])
    done = carry_out(recipe, place, database)
    assert [(step.id, step.groups) for step in done.steps if step.groups] == [
        ("accounts", 2), ("posts", 1), ("accounts_token", 1)
    ]
    assert all(one.verification.clean for one in verify_recipe(place, database))
    assert blog.execute("SELECT count(*) FROM accounts WHERE token = 't'").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX accounts_mail",
        "ALTER INDEX accounts_mail RENAME TO other",
        "DROP INDEX accounts_mail; CREATE UNIQUE INDEX accounts_mail ON accounts (id, mail)",
    ],
)
def test_an_index_that_is_another_one_is_read_again(
    blog: Connection, database: str, recipe: Recipe, place: Path, change: str
) -> None:
    """Scenario: a dry run; an index that no step names is dropped, renamed, or another one."""
    carry_out(recipe, place, database, execute=False)
    blog.execute(change)
    assert carry_out(recipe, place, database).status == "repaired"


def test_a_table_that_was_written_anew_is_scanned_again(
    blog: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: a dry run; VACUUM FULL gives every row of a table another address."""
    carry_out(recipe, place, database, execute=False)
    for statement in (
        "DROP INDEX posts_uri", "VACUUM FULL posts", "CREATE INDEX posts_uri ON posts (uri)",
    ):
        blog.execute(statement)
    done = carry_out(recipe, place, database)
    assert [step.repaired for step in done.steps] == [2, 1, 0]


def test_decisions_stay_open_until_something_was_carried_out(
    blog: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: a failure before the first step has written anything; then another answer."""
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("before the first step")

    with (
        replaced("dedupe.recipes.work", "repair", fails),
        pytest.raises(RuntimeError, match="before the first step"),
    ):
        carry_out(recipe, place, database)
    done = run_recipe(
        recipe, place, database, decisions=decide(recipe, ["twins=newer"]), execute=True,
        reason="x", live=True,
    )
    assert done.status == "repaired"
    kept = blog.execute("SELECT id FROM accounts WHERE name IN ('a1', 'a2') ORDER BY id")
    assert kept.fetchall() == [(101,), (102,)]


def test_a_plain_index_whose_name_was_taken_is_dropped(
    db: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: killed after the unique index is gone and before the plain one has its name;
    somebody makes an index of that name.
    """

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    db.execute(SCHEMA)
    db.execute("ALTER TABLE posts ADD slug text; UPDATE posts SET slug = 's' || id")
    # With an index on what a merge changes, every index gets a new entry of the row.
    db.execute("CREATE UNIQUE INDEX posts_slug ON posts (slug); CREATE INDEX ON posts (seen)")
    # Post 5, which a merge changes, has a twin under the other index as well.
    damage(database, "posts_uri", Damage.INDEXED_TWICE, [
        "INSERT INTO posts VALUES (1005, 'u5', 7, 1, 't5')"
    ])
    damage(database, "posts_slug", Damage.INDEXED_TWICE, [
        "INSERT INTO posts VALUES (2005, 'v5', 7, 1, 's5')"
    ])
    with (
        replaced("dedupe.repair.plainindex", "_swap", killed),
        pytest.raises(KeyboardInterrupt),
    ):
        carry_out(recipe, place, database)
    waiting = "SELECT count(*) FROM pg_class WHERE relname LIKE 'pgmend_plain_%'"
    assert db.execute(waiting).fetchall() == [(1,)]
    assert db.execute("SELECT to_regclass('posts_slug')").fetchall() == [(None,)]
    db.execute("CREATE INDEX posts_slug ON posts (slug)")
    assert carry_out(recipe, place, database).status == "repaired"
    assert db.execute(waiting).fetchall() == [(0,)]
    assert unique(db, "posts_slug")
    assert db.execute("SELECT count(*) FROM posts WHERE slug = 's5'").fetchall() == [(1,)]


# Keys and tables with names that look alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("index_accounts_on_a_rather_long_list_of_columns_and_something_a",
         "index_accounts_on_a_rather_long_list_of_columns_and_something_b"),
        ("индекс", "ключ"),
        ("accounts a", "accounts_a"),
        ("Accounts_A", "accounts_a"),
    ],
)
def test_indexes_whose_names_look_alike_are_kept_apart(
    blog: Connection, database: str, recipe: Recipe, place: Path, one: str, other: str
) -> None:
    """Scenario: two more unique indexes of a table; the second has let a twin in."""
    blog.execute("ALTER TABLE accounts ADD a text, ADD b text")
    blog.execute(f'CREATE UNIQUE INDEX "{one}" ON accounts (a);'
                 f' CREATE UNIQUE INDEX "{other}" ON accounts (b)')
    damage(database, f'"{other}"', Damage.INDEXED_TWICE, [
        "INSERT INTO accounts VALUES (201, 'b1', 'n1', 'p', 'q'), (202, 'b2', 'n2', 'r', 'q')"
    ])
    assert carry_out(recipe, place, database).status == "repaired"
    assert blog.execute("SELECT count(*) FROM accounts WHERE b = 'q'").fetchall() == [(1,)]
    assert all(one.verification.clean for one in verify_recipe(place, database))


def test_tables_whose_names_look_alike_are_kept_apart(
    database: str, db: Connection, place: Path
) -> None:
    """Scenario: two tables without a letter of ASCII in their names."""
    text = 'format = 1\nname = "x"\ntitle = "x"\n[schema]\ntables = ["люди", "вещи"]\n'
    for table in ("люди", "вещи"):
        db.execute(f'CREATE TABLE "{table}" (id int8 PRIMARY KEY, name text)')
        db.execute(f'CREATE UNIQUE INDEX "{table}_name" ON "{table}" (name)')
        damage(database, f'"{table}_name"', Damage.INDEXED_TWICE, [
            f"INSERT INTO \"{table}\" VALUES (1, 'n'), (2, 'n')"
        ])
        text += (
            f'[[index]]\nname = "{table}_name"\ntable = "{table}"\nkey = ["name"]\n'
            f'[[step]]\nid = "{"one" if table == "люди" else "two"}"\ntable = "{table}"\n'
            f'index = "{table}_name"\n[[step.case]]\nkeep = ["oldest"]\n'
        )
    done = carry_out(read_recipe(text, "x.toml"), place, database)
    assert [(step.table, step.repaired) for step in done.steps] == [
        ("public.люди", 1), ("public.вещи", 1)
    ]


# Taking back


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("counters", ["", COUNTERS], ids=["without", "with"])
def test_steps_that_were_gone_on_with_are_taken_back(
    blog: Connection, database: str, place: Path, counters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: a group of the first step is left, because a row is locked, and repaired by the
    next call; it moves a row that the second step changed before, or that is counted.
    Outcome: undo brings all of it back, in whatever turns that takes.
    """
    recipe = read_recipe(TEXT.replace("[otherwise]", f"{counters}\n[otherwise]"), "blog.toml")
    monkeypatch.setattr(locking, "_LOCK_TRIES", 1)
    # Its rebuild would wait for whoever holds the lock.
    blog.execute("DROP INDEX accounts_mail")
    before = state(blog)
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM accounts WHERE id = 101 FOR UPDATE")
        done = carry_out(recipe, place, database)
    assert done.status == "left"
    # Whoever lets the application in again knows what keeps nothing out.
    told = [note for note in done.notes if "public.accounts_name is a plain one" in note]
    assert bool(told) != unique(blog, "accounts_name")
    found = [text for one in verify_recipe(place, database) for text in one.verification.findings]
    assert set(told) <= set(found)
    assert carry_out(recipe, place, database).status == "repaired"
    assert all(not one.undo.refused for one in undo_recipe(place, database, execute=True))
    assert state(blog) == before


def test_what_somebody_changed_since_holds_back_what_is_under_it(
    blog: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: a row that the second step changed was changed since by somebody else.
    Outcome: the first step stays, for the row is a state of things behind it.
    """
    carry_out(recipe, place, database)
    blog.execute("UPDATE posts SET seen = 0 WHERE id = 5")
    found = undo_recipe(place, database, execute=True)
    assert [(one.id, bool(one.undo.refused)) for one in found] == [("posts", True)]
    assert blog.execute("SELECT count(*) FROM accounts WHERE id > 100").fetchall() == [(0,)]


def test_nothing_is_taken_back_while_the_recipe_is_carried_out(
    blog: Connection, database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: undo is given while another call is between two steps."""
    before = state(blog)
    work = import_module("dedupe.recipes.work").Work
    carried = work.carry_out
    refused: list[RunInUse] = []

    def meanwhile(self: object, key: object, *rest: object) -> object:
        if getattr(key, "id", "") == "posts":
            with pytest.raises(RunInUse) as caught:
                undo_recipe(place, database, execute=True)
            refused.append(caught.value)
        return carried(self, key, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "carry_out", meanwhile)
        assert carry_out(recipe, place, database).status == "repaired"
    assert len(refused) == 1
    undo_recipe(place, database, execute=True)
    assert state(blog) == before


# A backup that was restored, a directory that was damaged


def test_a_database_that_was_restored_is_repaired_again(
    own_server: Server, recipe: Recipe, place: Path, tmp_path: Path
) -> None:
    """Scenario: a recipe is carried out; then the data directory of before is brought back.
    Outcome: the same call builds the indexes anew that lie once more.
    """
    dsn = own_server.create_database("restored")

    def looked() -> list[tuple[object, ...]]:
        with psycopg.connect(dsn) as db:
            db.execute("SET enable_seqscan = off")
            return db.execute("SELECT id FROM accounts WHERE mail = 'gone'").fetchall()

    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(SCHEMA)
    damage(dsn, "accounts_mail", Damage.LOST_ENTRIES, [
        "INSERT INTO accounts VALUES (500, 'a500', 'gone')"
    ])
    assert looked() == []
    own_server.stop()
    shutil.copytree(own_server.data, tmp_path / "copy", symlinks=True)
    own_server.start()
    assert carry_out(recipe, place, dsn).status == "repaired"
    assert carry_out(recipe, place, dsn).already_done
    assert looked() == [(500,)]

    own_server.stop()
    owner = own_server.data.stat()
    shutil.rmtree(own_server.data)
    shutil.copytree(tmp_path / "copy", own_server.data, symlinks=True)
    for path in (own_server.data, *own_server.data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    own_server.start()
    assert looked() == []
    with pytest.raises(UsageError, match="nothing of the recipe"):
        verify_recipe(place, dsn)
    assert not carry_out(recipe, place, dsn).already_done
    assert looked() == [(500,)]
    assert all(one.verification.clean for one in verify_recipe(place, dsn))


@pytest.mark.usefixtures("blog")
@pytest.mark.parametrize("what", ["steps", "step", "keys", "no keys", "counters", "views"])
def test_a_directory_that_lost_something_is_told(
    database: str, recipe: Recipe, place: Path, what: str
) -> None:
    """Scenario: of a finished recipe's directory a part is gone, or holds something else."""
    carry_out(recipe, place, database)
    if what == "steps":
        shutil.rmtree(place / "steps")
    elif what == "step":
        shutil.rmtree(place / "steps" / "posts")
    elif what in {"counters", "views"}:
        (place / f"{what}.json").unlink()
    else:
        (place / "keys.json").write_text(json.dumps([{"id": 3}] if what == "keys" else {}))
    for call in (
        lambda: carry_out(recipe, place, database),
        lambda: undo_recipe(place, database, execute=True),
        lambda: verify_recipe(place, database),
    ):
        names = r"steps/|(keys|counters|views)\.json"
        with pytest.raises(RunDirectoryDamaged, match=names) as caught:
            call()
        assert caught.value.hint is not None
        assert "pgmend journal list" in caught.value.hint


@pytest.mark.parametrize("rule", ["nothing_of_it desc", "count(*)"])
@pytest.mark.usefixtures("blog")
def test_a_rule_that_does_not_hold_is_named_by_its_step(
    database: str, place: Path, rule: str
) -> None:
    wrong = TEXT.replace('keep = ["oldest"]\nmerge', f'keep = ["{rule}"]\nmerge')
    with pytest.raises(DedupeError, match=r"^step posts: ") as caught:
        carry_out(read_recipe(wrong, "blog.toml"), place, database, execute=False)
    assert caught.value.hint is not None


def test_nothing_is_written_into_a_directory_of_somebody_elses(
    database: str, place: Path
) -> None:
    place.mkdir()
    with pytest.raises(NotARunDirectory):
        undo_recipe(place, database, execute=True)
    assert list(place.iterdir()) == []
