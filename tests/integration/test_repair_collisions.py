"""Children that become equal by being moved: which stays, to any depth, under any kind of key."""

from __future__ import annotations

import pytest

from dedupe.errors import PolicyError, UnknownObject

from ..promises.shop import Shop

PEOPLE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people VALUES (1, 'a'), (2, 'b'), (3, 'c')"
)
TWINS = "INSERT INTO people VALUES (11, 'a'), (12, 'a'), (21, 'b')"


def people(shop: Shop, then: str) -> None:
    shop.make(PEOPLE, "people_mail", TWINS, then=then)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (None, [2, 4, 6, 8]),
        ("survivor", [2, 4, 6, 8]),
        ("oldest", [1, 4, 6, 7]),
        ("newest", [3, 4, 6, 8]),
        ("stars desc", [1, 4, 6, 7]),
        ("stars", [3, 4, 6, 8]),
        ("coalesce(stars, 100) desc", [2, 4, 6, 7]),
    ],
)
def test_which_of_two_children_stays(shop: Shop, rule: str | None, kept: list[int]) -> None:
    """Scenario: votes are unique for a person and a film; twins voted for the same film.
    Outcome: the rule of the child's table says whose vote stays, NULLs last; undo brings back all.
    """
    people(
        shop,
        "CREATE TABLE votes (id int8 PRIMARY KEY, person int8 NOT NULL REFERENCES people ON"
        " DELETE CASCADE, film int4, stars int4, UNIQUE (person, film));"
        "INSERT INTO votes VALUES (1, 11, 7, 5), (2, 1, 7, NULL), (3, 12, 7, 1), (4, 2, 7, 3),"
        " (6, 12, 8, 2), (7, 11, 9, 4), (8, 1, 9, 3)",
    )
    rules = {} if rule is None else {"on_collision": {"votes": rule}}
    made = shop.planned("people_mail", **rules)
    result = shop.repaired(made)
    assert shop.rows("SELECT id FROM votes ORDER BY 1") == kept
    assert shop.rows("SELECT DISTINCT person FROM votes ORDER BY 1") == [1, 2]
    assert result.deleted["public.votes"] == 3
    shop.undone(made)


def test_collisions_three_levels_deep(shop: Shop) -> None:
    """Scenario: folders are unique by owner and name, files by folder and name, tags by file and
    word; marks hang on tags. All of them become equal by the merge of two people.
    Outcome: each level's losers lead to what stayed, every mark is there; undo brings back all.
    """
    people(
        shop,
        "CREATE TABLE folders (id int8 PRIMARY KEY, p int8 REFERENCES people, name text,"
        " UNIQUE (p, name));"
        "CREATE TABLE files (id int8 PRIMARY KEY, folder int8 REFERENCES folders ON DELETE CASCADE,"
        " name text, UNIQUE (folder, name));"
        "CREATE TABLE tags (id int8 PRIMARY KEY, file int8 REFERENCES files ON DELETE SET NULL,"
        " word text, UNIQUE (file, word));"
        "CREATE TABLE marks (id int8 PRIMARY KEY, tag int8 REFERENCES tags ON DELETE CASCADE);"
        "INSERT INTO folders VALUES (1, 1, 'x'), (2, 11, 'x'), (3, 12, 'x'), (4, 12, 'y');"
        "INSERT INTO files VALUES (1, 1, 'f'), (2, 2, 'f'), (3, 3, 'f'), (4, 3, 'g'), (5, 2, 'g');"
        "INSERT INTO tags VALUES (1, 2, 't'), (2, 3, 't'), (3, 1, 'u'), (4, 4, 't'), (5, 5, 't');"
        "INSERT INTO marks SELECT n, 1 + n % 5 FROM generate_series(1, 10) n",
    )
    made = shop.planned("people_mail")
    assert {one.child: one.level for one in made.references} == {
        "public.folders": 1,
        "public.files": 2,
        "public.tags": 3,
        "public.marks": 4,
    }
    result = shop.repaired(made)
    assert shop.rows("SELECT p, name FROM folders ORDER BY 2") == [(1, "x"), (1, "y")]
    assert shop.rows("SELECT f.name FROM files f JOIN folders d ON d.id = f.folder ORDER BY 1") == [
        "f",
        "g",
    ]
    words = "SELECT f.name, t.word FROM tags t JOIN files f ON f.id = t.file ORDER BY 1, 2"
    assert shop.rows(words) == [("f", "t"), ("f", "u"), ("g", "t")]
    assert shop.rows("SELECT count(*) FROM marks JOIN tags t ON t.id = tag") == [10]
    assert result.deleted == {
        "public.people": 3,
        "public.folders": 2,
        "public.files": 3,
        "public.tags": 2,
    }
    shop.undone(made)


@pytest.mark.parametrize(
    ("key", "left"),
    [
        ("(p, lower(word))", [1, 3, 5]),
        ("(p, word)", [1, 2, 3, 5]),
        ("(p) WHERE live", [1, 2, 3, 5]),
        ("((p * 2), word) WHERE word <> 'B'", [1, 2, 3, 4, 5]),
        ("(coalesce(p, 0), (lower(word)), live)", [1, 2, 3, 5]),
        ("(joined)", [1, 3, 5]),
        ("((twice + 1), word)", [1, 2, 3, 5]),
    ],
    ids=["expression", "plain", "partial", "expression and partial", "several expressions",
         "generated", "expression of a generated one"],
)
def test_child_keys_of_every_kind(shop: Shop, key: str, left: list[int]) -> None:
    """Scenario: a child's unique key is over an expression, or holds for some rows only.
    Outcome: rows go only where that key would be violated.
    """
    people(
        shop,
        "CREATE TABLE words (id int8 PRIMARY KEY, p int8 REFERENCES people ON DELETE CASCADE,"
        " word text, live bool, twice int8 GENERATED ALWAYS AS (p * 2) STORED,"
        " joined text GENERATED ALWAYS AS (p::text || lower(word)) STORED);"
        f" CREATE UNIQUE INDEX words_key ON words {key};"
        "INSERT INTO words VALUES (1, 1, 'a', true), (2, 11, 'A', false), (3, 2, 'B', true),"
        " (4, 21, 'B', true), (5, NULL, 'b', true)",
    )
    made = shop.planned("people_mail")
    shop.repaired(made)
    assert shop.rows("SELECT id FROM words ORDER BY 1") == left
    shop.undone(made)


def test_child_keys_that_take_nulls_for_equal(shop: Shop) -> None:
    """Scenario: the child's key has NULLS NOT DISTINCT (PostgreSQL 15 and later)."""
    if shop.server.info.server_version < 150000:
        pytest.skip("the server is older than NULLS NOT DISTINCT")
    people(
        shop,
        "CREATE TABLE words (id int8 PRIMARY KEY, p int8 REFERENCES people, word text,"
        " UNIQUE NULLS NOT DISTINCT (p, word));"
        "INSERT INTO words VALUES (1, 11, NULL), (2, 1, NULL), (3, 12, 'x'), (4, 11, 'x'),"
        " (5, NULL, NULL), (6, 3, NULL), (7, 21, NULL)",
    )
    made = shop.planned("people_mail")
    shop.repaired(made)
    assert shop.rows("SELECT id FROM words ORDER BY 1") == [2, 4, 5, 6, 7] or shop.rows(
        "SELECT id FROM words ORDER BY 1"
    ) == [2, 3, 5, 6, 7]
    shop.undone(made)


def test_a_child_whose_primary_key_is_its_references(shop: Shop) -> None:
    """Scenario: a table of pairs has both of its references in its primary key, to one table.
    Outcome: pairs that became equal are there once; a pair of equal people is there as well.
    """
    people(
        shop,
        "CREATE TABLE friends (a int8 REFERENCES people ON DELETE CASCADE, b int8 REFERENCES"
        " people ON DELETE CASCADE, PRIMARY KEY (a, b));"
        "INSERT INTO friends VALUES (1, 2), (11, 21), (12, 3), (1, 12), (21, 1), (2, 11), (3, 3)",
    )
    made = shop.planned("people_mail")
    shop.repaired(made)
    found = shop.rows("SELECT a, b FROM friends ORDER BY 1, 2")
    assert found == [(1, 1), (1, 2), (1, 3), (2, 1), (3, 3)]
    shop.undone(made)


@pytest.mark.parametrize("unique", [True, False])
def test_pairs_of_a_row_with_itself_go_if_they_shall(shop: Shop, unique: bool) -> None:
    """Scenario: an account follows its twin; the merge would make it follow itself.
    Outcome: that row goes, one that was there before stays, and undo brings back all.
    """
    people(
        shop,
        "CREATE TABLE follows (id int8 PRIMARY KEY, a int8 REFERENCES people, b int8 REFERENCES"
        f" people{', UNIQUE (a, b)' if unique else ''}); CREATE TABLE seen (id int8 PRIMARY KEY,"
        " follow int8 REFERENCES follows ON DELETE SET NULL);"
        "INSERT INTO follows VALUES (1, 1, 11), (2, 11, 2), (3, 3, 3), (4, 21, 3), (5, NULL, 12);",
    )
    made = shop.planned("people_mail", drop_self_pairs={"follows": ("a", "b")})
    shop.repaired(made)
    found = shop.rows("SELECT id, a, b FROM follows ORDER BY 1")
    assert found == [(2, 1, 2), (3, 3, 3), (4, 2, 3), (5, None, 1)]
    shop.undone(made)


def test_what_points_at_a_dropped_pair_may_be_lost(shop: Shop) -> None:
    """Scenario: a notice points at a follow that goes because it became one of a row with itself;
    there is no row that it could point at instead.
    Outcome: with consent the notice is as SET NULL leaves it, and undo fills it again.
    """
    people(
        shop,
        "CREATE TABLE follows (id int8 PRIMARY KEY, a int8 REFERENCES people, b int8 REFERENCES"
        " people); CREATE TABLE seen (id int8 PRIMARY KEY,"
        " follow int8 REFERENCES follows ON DELETE SET NULL);"
        "INSERT INTO follows VALUES (1, 1, 11), (2, 11, 2); INSERT INTO seen VALUES (1, 1), (2, 2)",
    )
    made = shop.planned(
        "people_mail", drop_self_pairs={"follows": ("a", "b")}, accept_loss=["seen.follow"]
    )
    shop.repaired(made)
    assert shop.rows("SELECT id, follow FROM seen ORDER BY 1") == [(1, None), (2, 2)]
    shop.undone(made)


@pytest.mark.parametrize(
    "rules",
    [
        {"on_collision": {"people_of_mars": "newest"}},
        {"on_collision": {"apart": "newest"}},
        {"on_collision": {"votes": "no_such_column desc"}},
        {"accept_loss": ["votes.no_such"]},
        {"accept_loss": ["nothing"]},
        {"drop_self_pairs": {"votes": ("person", "no_such")}},
        {"drop_self_pairs": {"apart": ("id", "id")}},
    ],
    ids=lambda rules: str(rules)[:60],
)
def test_rules_that_name_nothing_are_refused(shop: Shop, rules: dict[str, object]) -> None:
    people(
        shop,
        "CREATE TABLE apart (id int8); CREATE TABLE votes (id int8 PRIMARY KEY, person int8"
        " REFERENCES people, film int4, UNIQUE (person, film))",
    )
    with pytest.raises((PolicyError, UnknownObject)) as refused:
        shop.planned("people_mail", **rules)
    assert refused.value.hint
