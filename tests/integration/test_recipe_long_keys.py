"""Rows that are too long for an index are found before it is built, and no others."""

from __future__ import annotations

import random
import string
import threading
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from dedupe import connect
from dedupe.errors import NotReady, RepairStopped
from dedupe.key import MatchKey, resolve
from dedupe.recipes import Recipe, read_recipe, run_recipe
from dedupe.recipes.entries import read_entry
from dedupe.recipes.pglz import compressed_size
from dedupe.recipes.preconditions import Met

from ..scanning import Connection

RECIPE = """
format = 1
name = "cards"
title = "Cards"
rebuild = ["cards_title", "cards_words", "nowhere"]

[schema]
tables = ["cards"]

[[index]]
name = "cards_url"
table = "cards"
key = ["url"]

[[step]]
id = "cards"
table = "cards"
index = "cards_url"
case = [{ keep = ["newest"] }]
"""


def noise(size: int, seed: int = 1) -> str:
    """Give a text that nothing makes shorter."""
    return "".join(random.Random(seed).choices(string.ascii_letters + string.digits + "-_", k=size))


def built(db: Connection, key: str) -> bool:
    """Whether PostgreSQL can build the index."""
    try:
        db.execute(f"CREATE INDEX ON t ({key})")
    except psycopg.errors.ProgramLimitExceeded:
        return False
    return True


def judged(database: str, key: MatchKey) -> list[bool | None]:
    """Return what is said of each row, of those that are looked at at all."""
    with connect(database).open() as session:
        entry = read_entry(session, resolve(session, key))
        if entry is None:
            return []
        with session.transaction():
            rows = session.rows(
                f'SELECT {", ".join(entry.columns)} FROM public.t AS "the row" WHERE {entry.long}'
            )
        return [entry.judge(row) for row in rows]


CASES = {
    "a text": ("a text", ["a"], [(noise(n),) for n in (2691, 2692, 2693, 2696, 3000, 9000)]),
    "a text that repeats itself": (
        "a text", ["a"], [("x" * n,) for n in (9000, 234_525, 234_526, 900_000)],
    ),
    "half noise": (
        "a text", ["a"],
        [("x" * 9000 + noise(n),) for n in (2200, 2290, 2295, 2296, 2297, 2298, 2300, 2350)],
    ),
    # pglz gives up where the first thousand bytes do not become fewer.
    "noise first": ("a text", ["a"], [(noise(n) + "x" * 9000,) for n in (900, 908, 909, 1100)]),
    "lz4": (
        "a text COMPRESSION lz4", ["a"],
        [(noise(n) + "x" * 5000,) for n in (2600, 2638, 2639, 2640, 2641, 2650)],
    ),
    "never compressed": ("a text", ["a"], [("x" * n,) for n in (2692, 2693)]),
    "an expression": (
        "a text", ["lower(a)"], [(noise(2692),), (noise(2693),), ("X" * 9000,), (noise(9000),)],
    ),
    "an expression of what is compressed": (
        "a text", ["lower(a)"],
        [("x" * 9000 + noise(n),) for n in (2200, 2290, 2295, 2296, 2297, 2298, 2300, 2350)],
    ),
    "what grows with its case": (
        "a text, b text", ["upper(coalesce(a, b, 'ß'))"],
        [("ŉ" * 1000, None), (None, "ŉ" * 900 + noise(1900)), (noise(2692), None)],
    ),
    "an expression of another kind": (
        "a text", ["repeat(a, 3)"], [("x" * 80_000,), (noise(900),), (noise(897),)],
    ),
    "letters of two bytes": ("a text", ["a"], [("ß" + noise(n),) for n in (2690, 2691)]),
    "two texts": (
        "a text, b text", ["a", "b"],
        [(noise(n), noise(1000, 2)) for n in (1684, 1685, 1688, 1689, 1692)]
        + [("x" * 9000, noise(n)) for n in (2400, 2560, 2570, 2576, 2580, 2590, 2600)],
    ),
    "a number before it": ("a text, b int8", ["b", "a"], [(noise(n), 5) for n in (2684, 2685)]),
    "a number behind it": ("a text, b int8", ["a", "b"], [(noise(n), 5) for n in (2684, 2685)]),
    "a NULL beside it": ("a text, b int8", ["b", "a"], [(noise(n), None) for n in (2684, 2685)]),
    "a short text before it": (
        "a text, b text", ["b", "a"],
        [(noise(2600), noise(n)) for n in (80, 85, 86, 87, 88, 90, 126, 127)],
    ),
    "blanks": ("a char(3000)", ["a"], [(noise(2692),), ("x",)]),
    "bytes": ("a bytea", ["a"], [(noise(n).encode(),) for n in (2692, 2693)] + [(b"x" * 9000,)]),
    "a domain": ("a mail", ["a"], [(noise(n),) for n in (2692, 2693)]),
    "a row larger than a page's quarter that is kept whole": (
        "a text", ["a"], [(noise(1500) + "x" * 1500,), (noise(2500) + "x" * 300,)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_is_what_the_server_does(database: str, db: Connection, case: str) -> None:
    """Outcome: exactly the rows on which an index build fails are called too long."""
    columns, key, rows = CASES[case]
    offered = db.execute(
        "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
    ).fetchone()
    if case == "lz4" and "lz4" not in str(offered):
        pytest.skip("the server was built without lz4")
    db.execute("CREATE DOMAIN mail AS text")
    for row in rows:
        db.execute("DROP TABLE IF EXISTS t")
        db.execute(f"CREATE TABLE t ({columns})")
        if case.startswith("a row larger"):
            db.execute("ALTER TABLE t SET (toast_tuple_target = 8160)")
        if case == "never compressed":
            db.execute("ALTER TABLE t ALTER a SET STORAGE EXTERNAL")
        db.execute(f"INSERT INTO t VALUES ({', '.join(['%s'] * len(row))})", row)
        said = any(judged(database, MatchKey.from_columns("t", *key)))
        fits = built(db, ", ".join(key))
        assert said != fits, (case, [len(str(value)) for value in row], said)


def test_no_text_without_end_means_no_look(database: str, db: Connection) -> None:
    """Outcome: such a table is not read."""
    db.execute("CREATE TABLE t (a varchar(255), b varchar(255), c int8, d inet)")
    key = MatchKey.from_columns("t", "a", "b", "c", "d")
    with connect(database).open() as session:
        assert read_entry(session, resolve(session, key)) is None
        key = MatchKey.from_columns("t", "lower(a)", "b")
        assert read_entry(session, resolve(session, key)) is not None


def test_included_columns_count(database: str, db: Connection) -> None:
    db.execute("CREATE TABLE t (a int8, b text)")
    db.execute("CREATE INDEX i ON t (a) INCLUDE (b) WHERE a < 0")
    db.execute("INSERT INTO t VALUES (1, %s)", [noise(3000)])
    assert judged(database, MatchKey.from_index("i")) == []
    db.execute("DROP INDEX i; CREATE INDEX i ON t (a) INCLUDE (b) WHERE a > 1")
    db.execute("UPDATE pg_index SET indislive = false, indisready = false, indisvalid = false"
               " WHERE indexrelid = 'i'::regclass")
    db.execute("INSERT INTO t VALUES (2, %s)", [noise(3000)])
    assert judged(database, MatchKey.from_index("i")) == [True]


def test_lz4_is_not_guessed(database: str, db: Connection) -> None:
    """Scenario: the index would compress by a method whose result is not computed here."""
    db.execute("CREATE TABLE t (a text)")
    db.execute("INSERT INTO t VALUES (%s)", ["X" * 3000])
    with connect(database).open() as session:
        entry = read_entry(session, resolve(session, MatchKey.from_columns("t", "lower(a)")))
    assert entry is not None
    (part,) = entry.parts
    lz4 = replace(entry, parts=(replace(part, method="lz4"),))
    assert lz4.judge([True, 3000, None, 3004]) is None
    assert lz4.judge([True, 2000, None, 2004]) is False
    assert lz4.judge([True, 9000, "lz4", 2694]) is True
    assert lz4.judge([True, 9000, "lz4", 2686]) is False


@pytest.mark.grows
def test_pglz_is_computed_as_the_server_does_it(db: Connection) -> None:
    """Scenario: texts of all degrees of order, compressed by the server."""
    db.execute("CREATE TABLE t (a bytea COMPRESSION pglz) WITH (toast_tuple_target = 128)")
    drawn = random.Random(7)
    for _ in range(150):
        letters = bytes(drawn.sample(range(256), drawn.choice([1, 2, 3, 8, 20, 64, 256])))
        words = [
            bytes(drawn.choices(letters, k=drawn.randint(1, 60)))
            for _ in range(drawn.choice([1, 3, 10, 100]))
        ]
        value = b"".join(
            drawn.choice(words)
            if drawn.random() < 0.7
            else bytes(drawn.choices(letters, k=drawn.randint(1, 30)))
            for _ in range(400)
        )[: drawn.randint(2040, 9000)]
        if len(value) < 2040:
            continue
        db.execute("TRUNCATE t")
        db.execute("INSERT INTO t VALUES (%s)", [value])
        row = db.execute(
            "SELECT pg_column_compression(a), pg_column_size(a) FROM t"
        ).fetchone()
        assert row is not None
        size = compressed_size(value)
        # Beside the row, the header's first 4 bytes are not counted.
        assert (size is None) if row[0] is None else size in {row[1], row[1] + 4}


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(RECIPE, "cards.toml")


@pytest.fixture
def cards(db: Connection) -> None:
    """Make a table that lost its unique index long ago, and got rows that it could not hold."""
    db.execute(
        "CREATE TABLE cards (id int8 PRIMARY KEY, url text NOT NULL, title text,"
        " words tsvector)"
    )
    db.execute("CREATE INDEX cards_title ON cards (title)")
    db.execute("CREATE INDEX cards_words ON cards USING gin (words)")
    for number in range(8):
        db.execute(
            "INSERT INTO cards VALUES (%s, %s)", [number + 10, noise(2700 + number, number)]
        )
    db.execute("INSERT INTO cards VALUES (1, 'a'), (2, 'a'), (3, %s)", ["x" * 9000])


@pytest.mark.usefixtures("cards")
def test_they_are_told_and_nothing_is_written(
    database: str, db: Connection, recipe: Recipe, place: Path
) -> None:
    shown = run_recipe(recipe, place, database)
    (sentence,) = shown.unmet
    assert sentence.startswith(
        "public.cards: 8 rows are too long for the index cards_url, which holds entries of 2704"
        " bytes: id 10, id 11, id 12, id 13, id 14 and 3 more; shorten"
    )
    with pytest.raises(NotReady, match="too long for the index cards_url") as caught:
        run_recipe(recipe, place, database, live=True, execute=True, reason="a test")
    assert caught.value.facts["reasons"] == (sentence,)
    assert db.execute("SELECT count(*) FROM cards").fetchone() == (11,)
    db.execute("DELETE FROM cards WHERE id >= 10")
    done = run_recipe(recipe, place, database, live=True, execute=True, reason="a test")
    assert (done.status, done.unmet, done.notes) == ("repaired", (), ())
    assert db.execute("SELECT count(*) FROM cards").fetchone() == (2,)


@pytest.mark.usefixtures("cards")
def test_indexes_that_are_rebuilt_besides_count(
    database: str, db: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: a plain index of the recipe was left invalid, and took no row since."""
    db.execute("DELETE FROM cards WHERE id >= 10")
    db.execute("UPDATE pg_index SET indislive = false, indisready = false, indisvalid = false"
               " WHERE indexrelid = 'cards_title'::regclass")
    db.execute("UPDATE cards SET title = %s WHERE id = 2", [noise(2693)])
    (sentence,) = run_recipe(recipe, place, database).unmet
    assert "1 row is too long for the index cards_title" in sentence
    assert "id 2;" in sentence


@pytest.mark.usefixtures("cards")
def test_it_stops_when_asked(database: str, recipe: Recipe, place: Path) -> None:
    run_recipe(recipe, place, database)
    stop = threading.Event()
    stop.set()
    with pytest.raises(RepairStopped):
        run_recipe(recipe, place, database, stop=stop)


def test_what_is_not_met_is_joined() -> None:
    one, other = Met(unmet=("a",), notes=("b",)), Met(unmet=("c",))
    assert one.joined(other) == Met(unmet=("a", "c"), notes=("b",))
