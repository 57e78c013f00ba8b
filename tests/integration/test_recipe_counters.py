"""Numbers kept beside what they count are counted again, by whatever tells the truth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from dedupe.errors import NotReady
from dedupe.lab.damage import Damage, damage
from dedupe.recipes import Recipe, read_recipe, run_recipe, undo_recipe
from dedupe.writer import Writer

from ..promises.recipe_killer import SIZES
from ..scanning import Connection

TEXT = """
format = 1
name = "forum"
title = "A forum"

[schema]
tables = ["posts", "numbers"]

[before]
alone = true

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

[[child]]
table = "likes"
on_collision = "oldest"

[[counter]]
table = "numbers"
column = "answers"
key = "post"
of = "posts"
by = "answer_to"
where = "NOT hidden"

[[counter]]
table = "numbers"
column = "likes"
key = "post"
of = "likes"
by = "post"
"""
RIGHT = (
    "SELECT n.post FROM numbers n WHERE"
    " n.answers <> (SELECT count(*) FROM posts p WHERE p.answer_to = n.post AND NOT hidden)"
    " OR n.likes <> (SELECT count(*) FROM likes l WHERE l.post = n.post)"
)


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe for a forum."""
    return read_recipe(TEXT, "forum.toml")


@pytest.fixture
def forum(database: str, db: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Give a forum in which posts 1001 to 1020 are twins of 1 to 20; its numbers are right."""
    for module, name in SIZES:
        monkeypatch.setattr(import_module(f"dedupe.repair.{module}"), name, 0)
    # Else somebody is connected beside the recipe.
    db.execute("SET application_name = 'pgmend test'")
    db.execute(
        """
        CREATE TABLE posts (id int8 PRIMARY KEY, uri text, answer_to int8 REFERENCES posts,
            hidden bool NOT NULL DEFAULT false);
        CREATE UNIQUE INDEX posts_uri ON posts (uri);
        CREATE UNIQUE INDEX posts_answer ON posts (answer_to, id);
        CREATE TABLE likes (id int8 PRIMARY KEY, post int8 REFERENCES posts, who int4);
        CREATE UNIQUE INDEX likes_post ON likes (post, who);
        CREATE TABLE numbers (post int8 PRIMARY KEY REFERENCES posts ON DELETE CASCADE,
            answers int8, likes int8);
        INSERT INTO posts SELECT g, 'u' || g, CASE WHEN g > 50 THEN g % 50 + 1 END, g % 7 = 0
            FROM generate_series(1, 200) g
        """
    )
    damage(database, "posts_uri", Damage.INDEXED_TWICE, [
        "INSERT INTO posts SELECT 1000 + g, 'u' || g, g + 30 FROM generate_series(1, 20) g"
    ])
    db.execute(
        """
        INSERT INTO posts SELECT 2000 + g, 'v' || g, 1000 + g FROM generate_series(1, 20) g;
        INSERT INTO likes SELECT g * 100 + w, g, w FROM generate_series(1, 40) g,
            generate_series(1, 5) w;
        INSERT INTO likes SELECT 100000 + g * 100 + w, 1000 + g, w FROM generate_series(1, 20) g,
            generate_series(4, 8) w;
        INSERT INTO numbers SELECT p.id, 0, 0 FROM posts p
        """
    )
    db.execute(
        "UPDATE numbers n SET answers = (SELECT count(*) FROM posts p WHERE p.answer_to = n.post"
        " AND NOT hidden), likes = (SELECT count(*) FROM likes l WHERE l.post = n.post)"
    )
    assert db.execute(RIGHT).fetchall() == []
    return db


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the statements by which rows to count are looked up."""
    found: list[str] = []
    rows = Writer.rows

    def listened(
        self: Writer, query: str, params: Sequence[object] = ()
    ) -> list[tuple[object, ...]]:
        if query.startswith("INSERT INTO pg_temp.pgmend_found"):
            found.append(query)
        return rows(self, query, params)

    monkeypatch.setattr(Writer, "rows", listened)
    return found


def state(db: Connection) -> Mapping[str, list[tuple[object, ...]]]:
    return {
        table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        for table in ("posts", "likes", "numbers")
    }


@pytest.mark.parametrize(
    ("index", "lost", "by_index"),
    [
        (None, None, True),
        # An answer to a post that takes no part, and to one that loses an answer.
        ("posts_answer", "INSERT INTO posts VALUES (5000, 'x', 29)", True),
        ("posts_answer", "INSERT INTO posts VALUES (5000, 'x', 35)", False),
        ("likes_post", "INSERT INTO likes VALUES (500000, 5, 99)", False),
    ],
)
def test_counters_are_right_whatever_an_index_lost(
    forum: Connection, database: str, recipe: Recipe, place: Path, looked_up: list[str],
    index: str | None, lost: str | None, by_index: bool,
) -> None:
    """Scenario: an index by which is counted is sound, or has lost a row that counts or not.
    Outcome: the numbers are those of the heap; the index is used where it is good for them, and
    undo brings all back.
    """
    if index is not None and lost is not None:
        damage(database, index, Damage.LOST_ENTRIES, [lost])
        forum.execute(
            "UPDATE numbers n SET answers = (SELECT count(*) FILTER (WHERE p.answer_to = n.post"
            " AND NOT hidden) FROM posts p), likes = (SELECT count(*) FILTER (WHERE l.post ="
            " n.post) FROM likes l)"
        )
    forum.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off;"
                  "SET enable_bitmapscan = off")
    before = state(forum)
    done = run_recipe(recipe, place, database, live=False, defaults=True, execute=True, reason="x")
    assert done.status == "repaired"
    assert done.counted
    assert forum.execute(RIGHT).fetchall() == []
    gone = forum.execute("SELECT count(*) FROM posts WHERE id BETWEEN 1001 AND 1020")
    assert gone.fetchall() == [(0,)]
    # In posts and likes for what counts, and in numbers for where it stands.
    assert (len(looked_up) == 3) == by_index
    undo_recipe(place, database, execute=True)
    assert state(forum) == before


@pytest.mark.usefixtures("forum")
def test_a_finished_recipe_is_not_proved_again(
    database: str, recipe: Recipe, place: Path
) -> None:
    """Scenario: a recipe that has counted anew is given once more."""
    heard: list[str] = []
    for proofs in (True, False):
        heard.clear()
        run_recipe(
            recipe, place, database, defaults=True, execute=True, reason="x",
            on_progress=lambda what, _: heard.append(what),
        )
        assert ("proof" in heard) == proofs


OWN_KEY = """
[[counter]]
table = "numbers"
column = "said"
key = "author"
of = "posts"
by = "author"
"""


def test_counters_of_one_table_with_two_keys_are_all_right(
    forum: Connection, database: str, place: Path
) -> None:
    """Scenario: some numbers are kept for a post, others in the same table for who wrote it."""
    # A default writes no row anew, which the damaged index would refuse.
    forum.execute("ALTER TABLE posts ADD author int8 NOT NULL DEFAULT 7;"
                  "ALTER TABLE numbers ADD author int8, ADD said int8")
    forum.execute("UPDATE numbers SET author = 7 WHERE post = 1")
    forum.execute("UPDATE numbers n SET said = (SELECT count(*) FROM posts p"
                  " WHERE p.author = n.author)")
    before = state(forum)
    run_recipe(
        read_recipe(TEXT + OWN_KEY, "forum.toml"), place, database, defaults=True, execute=True,
        reason="x",
    )
    assert forum.execute(RIGHT).fetchall() == []
    said = "SELECT said = (SELECT count(*) FROM posts p WHERE p.author = n.author) FROM numbers n"
    assert forum.execute(f"{said} WHERE post = 1").fetchall() == [(True,)]
    undo_recipe(place, database, execute=True)
    assert state(forum) == before


@pytest.mark.parametrize(
    ("column", "kind", "told"),
    [
        ("likes", "numeric", "numbers.likes is no counter: it is of type numeric"),
        ("likes", "text", "numbers.likes is no counter: it is of type text"),
        ("post", "text", "post is of type text, and likes.post of type bigint"),
    ],
)
def test_counters_of_other_types_are_told_first(
    forum: Connection, database: str, recipe: Recipe, place: Path,
    column: str, kind: str, told: str,
) -> None:
    """Outcome: a dry run tells it, and nothing is written."""
    if column == "post":
        forum.execute("ALTER TABLE numbers DROP CONSTRAINT numbers_post_fkey")
    forum.execute(f"ALTER TABLE numbers ALTER {column} TYPE {kind}")
    before = state(forum)
    assert any(told in one for one in run_recipe(recipe, place, database, defaults=True).unmet)
    with pytest.raises(NotReady, match=re.escape(told)):
        run_recipe(recipe, place, database, defaults=True, execute=True, reason="x")
    assert state(forum) == before


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
def test_counters_that_others_change_meanwhile_are_counted_again(
    forum: Connection, database: str, recipe: Recipe, place: Path, always: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scenario: rows of numbers are written by somebody between counting and changing them.
    Outcome: they are counted again; if that happens each time it is told, and the next call
    does it.
    """
    counting = import_module("dedupe.recipes.counting")
    change, calls = counting._change, 0

    def meanwhile(*given: object) -> object:
        nonlocal calls
        calls += 1
        if always or calls == 1:
            forum.execute("UPDATE numbers SET likes = likes WHERE post = 1")
        return change(*given)

    with monkeypatch.context() as patch:
        patch.setattr(counting, "_change", meanwhile)
        done = run_recipe(
            recipe, place, database, defaults=True, execute=True, reason="x", live=True
        )
    assert done.status == ("left" if always else "repaired")
    assert any("were changed by others" in note for note in done.notes) == always
    assert bool(forum.execute(RIGHT).fetchall()) == always
    done = run_recipe(recipe, place, database, defaults=True, execute=True, reason="x", live=True)
    assert done.status == "repaired"
    assert done.already_done != always
    assert forum.execute(RIGHT).fetchall() == []
