"""Foreign keys of every kind lead to the row that stays, and back again when it is undone."""

from __future__ import annotations

import pytest

from dedupe.errors import LossNotAccepted, NotReady, ReferenceNotHandled

from ..promises.shop import Shop
from ..repairing import no_journal, refusal, role

ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")

#: people 1 and 2; 11 and 12 are twins of 1, and 21 of 2
PEOPLE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people VALUES (1, 'a'), (2, 'b'), (3, 'c')"
)
TWINS = "INSERT INTO people VALUES (11, 'a'), (12, 'a'), (21, 'b')"


def people(shop: Shop, then: str) -> None:
    shop.make(PEOPLE, "people_mail", TWINS, then=then)


def test_every_action_moves_the_children(shop: Shop) -> None:
    """Scenario: twenty-five children, one for each pair of ON DELETE and ON UPDATE.
    Outcome: each row points at the survivor, none is gone or emptied; undo brings all back.
    """
    tables = [
        f"CREATE TABLE c{n}_{m} (id int8 PRIMARY KEY, p int8 DEFAULT 3 REFERENCES people"
        f" ON DELETE {delete} ON UPDATE {update});"
        f"INSERT INTO c{n}_{m} VALUES (1, 1), (2, 11), (3, 12), (4, 21), (5, 3), (6, NULL)"
        for n, delete in enumerate(ACTIONS)
        for m, update in enumerate(ACTIONS)
    ]
    people(shop, ";".join(tables))
    made = shop.planned("people_mail")
    shop.repaired(made)
    for n in range(5):
        for m in range(5):
            rows = shop.rows(f"SELECT p FROM c{n}_{m} ORDER BY id")
            assert rows == [1, 1, 1, 2, 3, None], (ACTIONS[n], ACTIONS[m])
    shop.undone(made)


def test_a_composite_reference_moves_as_one(shop: Shop) -> None:
    """Scenario: children name their parent by two columns of a unique key that is not the
    primary key, one of them MATCH FULL, one with the columns the other way round.
    Outcome: both columns change together; half-empty references stay as they are.
    """
    shop.make(
        "CREATE TABLE places (id int8 PRIMARY KEY, land text, no int4, name text,"
        " UNIQUE (land, no)); CREATE UNIQUE INDEX places_name ON places (name);"
        "INSERT INTO places VALUES (1, 'at', 1, 'x'), (2, 'at', 2, 'y')",
        "places_name",
        "INSERT INTO places VALUES (3, 'de', 1, 'x'), (4, 'de', 2, 'y')",
        then="CREATE TABLE visits (id int8 PRIMARY KEY, land text, no int4,"
        " FOREIGN KEY (land, no) REFERENCES places (land, no) ON UPDATE CASCADE);"
        "CREATE TABLE notes (no int4, id int8 PRIMARY KEY, land varchar(10),"
        " FOREIGN KEY (no, land) REFERENCES places (no, land) MATCH FULL ON DELETE SET NULL);"
        "INSERT INTO visits VALUES (1, 'de', 1), (2, 'de', 2), (3, 'de', NULL), (4, NULL, 9);"
        "INSERT INTO notes VALUES (1, 1, 'de'), (2, 2, 'at'), (NULL, 3, NULL)",
    )
    made = shop.planned("places_name")
    shop.repaired(made)
    visits = shop.rows("SELECT land, no FROM visits ORDER BY id")
    assert visits == [("at", 1), ("at", 2), ("de", None), (None, 9)]
    notes = shop.rows("SELECT land, no FROM notes ORDER BY id")
    assert notes == [("at", 1), ("at", 2), (None, None)]
    shop.undone(made)


def test_a_reference_to_another_unique_key_moves(shop: Shop) -> None:
    """Scenario: children name their parent by code: a char without length, one of char(8), and
    a number of another size.
    Outcome: they hold the survivor's code and number, whole.
    """
    shop.make(
        "CREATE TABLE goods (id int8 PRIMARY KEY, code bpchar UNIQUE, no int4 UNIQUE, name text);"
        "CREATE UNIQUE INDEX goods_name ON goods (name);"
        "INSERT INTO goods VALUES (1, 'first', 100, 'x')",
        "goods_name",
        "INSERT INTO goods VALUES (2, 'second', 200, 'x')",
        then="CREATE TABLE a (id int8 PRIMARY KEY, code bpchar REFERENCES goods (code));"
        "CREATE TABLE b (id int8 PRIMARY KEY, code char(8) REFERENCES goods (code));"
        "CREATE TABLE c (id int8 PRIMARY KEY, no int8 REFERENCES goods (no));"
        "INSERT INTO a VALUES (1, 'second'); INSERT INTO b VALUES (1, 'second');"
        "INSERT INTO c VALUES (1, 200)",
    )
    made = shop.planned("goods_name")
    shop.repaired(made)
    found = shop.rows("SELECT a.code::text, b.code::text, c.no FROM a, b, c")
    assert found == [("first", "first", 100)]
    shop.undone(made)


def test_a_table_that_references_itself(shop: Shop) -> None:
    """Scenario: rows are each other's parent, their own, and the parents of their twins.
    Outcome: whoever had a loser as parent has its survivor, also the survivor itself.
    """
    shop.make(
        "CREATE TABLE nodes (id int8 PRIMARY KEY, name text,"
        " up int8 REFERENCES nodes ON DELETE CASCADE, root int8 REFERENCES nodes);"
        "CREATE UNIQUE INDEX nodes_name ON nodes (name);"
        "INSERT INTO nodes VALUES (1, 'a', NULL, 1), (2, 'b', 1, 1), (3, 'c', 3, 1)",
        "nodes_name",
        "INSERT INTO nodes VALUES (4, 'a', 5, 4), (5, 'b', 4, 4), (6, 'd', 5, 4), (7, 'c', 6, 4);"
        "UPDATE nodes SET up = 4 WHERE id = 1; UPDATE nodes SET root = 7 WHERE id = 3",
    )
    made = shop.planned("nodes_name")
    shop.repaired(made)
    rows = shop.rows("SELECT id, up, root FROM nodes ORDER BY id")
    assert rows == [(1, 1, 1), (2, 1, 1), (3, 3, 3), (6, 2, 1)]
    shop.undone(made)


@pytest.mark.parametrize(
    "parted",
    ["parent", "child", "both"],
)
def test_partitions_on_either_side(shop: Shop, parted: str) -> None:
    """Scenario: parent, child or both are partitioned; moving a child takes it to another
    partition, whose columns stand in another order.
    Outcome: all of them are moved, and undo moves them back.
    """
    parents, children = parted != "child", parted != "parent"
    make = "CREATE TABLE people (land text, id int8, mail text, PRIMARY KEY (land, id))"
    if parents:
        make += (
            "PARTITION BY LIST (land); CREATE TABLE people_at PARTITION OF people FOR VALUES"
            " IN ('at'); CREATE TABLE people_x PARTITION OF people DEFAULT"
        )
    then = (
        "CREATE TABLE c (no int8, land text, p int8, note text DEFAULT 'n', FOREIGN KEY (land, p)"
        " REFERENCES people ON DELETE CASCADE)"
    )
    if children:
        then += (
            "PARTITION BY RANGE (p); CREATE TABLE c_2 (z text, p int8, note text, land text,"
            " no int8); ALTER TABLE c_2 DROP COLUMN z;"
            "ALTER TABLE c ATTACH PARTITION c_2 FOR VALUES FROM (10) TO (100);"
            "CREATE TABLE c_1 PARTITION OF c DEFAULT"
        )
    shop.make(
        f"{make}; CREATE UNIQUE INDEX people_mail ON people (land, mail);"
        "INSERT INTO people VALUES ('at', 1, 'a'), ('de', 2, 'a'), ('ch', 3, 'c')",
        "people_mail",
        "INSERT INTO people VALUES ('at', 11, 'a'), ('de', 12, 'a'), ('de', 13, 'a')",
        then=f"{then}; INSERT INTO c VALUES (1, 'at', 1), (2, 'at', 11), (3, 'de', 12),"
        " (4, 'de', 13), (5, 'ch', 3), (6, 'de', NULL)",
    )
    made = shop.planned("people_mail", keep="id")
    shop.repaired(made)
    assert shop.rows("SELECT land, p, note FROM c ORDER BY no") == [
        ("at", 1, "n"), ("at", 1, "n"), ("de", 2, "n"), ("de", 2, "n"), ("ch", 3, "n"),
        ("de", None, "n"),
    ]  # fmt: skip
    shop.undone(made)


@pytest.mark.parametrize("when", ["INITIALLY DEFERRED", "INITIALLY IMMEDIATE"])
def test_a_deferrable_reference_moves(shop: Shop, when: str) -> None:
    people(
        shop,
        "CREATE TABLE c (id int8 PRIMARY KEY, p int8 NOT NULL REFERENCES people"
        f" ON DELETE CASCADE DEFERRABLE {when}); INSERT INTO c VALUES (1, 11), (2, 21), (3, 3)",
    )
    made = shop.planned("people_mail")
    shop.repaired(made)
    assert shop.rows("SELECT p FROM c ORDER BY id") == [1, 2, 3]
    shop.undone(made)


@pytest.mark.parametrize("on_delete", ["CASCADE", "SET NULL", "NO ACTION"])
def test_an_accepted_loss_is_journaled_and_comes_back(shop: Shop, on_delete: str) -> None:
    """Scenario: the rows of a reference may go with the loser; they have children themselves.
    Outcome: what CASCADE would delete is deleted, what SET NULL would empty is empty, and undo
    brings all of it back.
    """
    people(
        shop,
        f"CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES people ON DELETE {on_delete},"
        " note text); CREATE TABLE d (id int8 PRIMARY KEY, c int8 REFERENCES c ON DELETE CASCADE);"
        "INSERT INTO c VALUES (1, 1, 'x'), (2, 11, 'y'), (3, 21, NULL), (4, 3, 'z');"
        "INSERT INTO d VALUES (1, 1), (2, 2), (3, 4)",
    )
    accepted = ["c.p"] if on_delete == "SET NULL" else ["c.p", "public.d.c"]
    made = shop.planned("people_mail", accept_loss=accepted)
    result = shop.repaired(made)
    if on_delete == "SET NULL":
        found = shop.rows("SELECT id, p FROM c ORDER BY id")
        assert found == [(1, 1), (2, None), (3, None), (4, 3)]
        assert shop.rows("SELECT id FROM d ORDER BY 1") == [1, 2, 3]
        assert result.changed == {"public.c": 2}
    else:
        assert shop.rows("SELECT id, p FROM c ORDER BY id") == [(1, 1), (4, 3)]
        assert shop.rows("SELECT id FROM d ORDER BY 1") == [1, 3]
        assert result.deleted == {"public.people": 3, "public.c": 2, "public.d": 1}
    shop.undone(made)


def test_a_generated_reference_is_refused_unless_its_rows_may_go(shop: Shop) -> None:
    people(
        shop,
        "CREATE TABLE c (id int8 PRIMARY KEY, p text, n int8 GENERATED ALWAYS AS"
        " (length(p)) STORED REFERENCES people ON DELETE CASCADE);"
        "INSERT INTO c (id, p) VALUES (1, 'x'), (2, 'xxxxxxxxxxx')",
    )
    with pytest.raises(LossNotAccepted) as refused:
        shop.planned("people_mail")
    assert "public.c.n" in str(refused.value.references)
    made = shop.planned("people_mail", accept_loss=["c.n"])
    shop.repaired(made)
    assert shop.rows("SELECT id, n FROM c") == [(1, 1)]
    shop.undone(made)


@pytest.mark.parametrize("superuser", [True, False])
def test_a_reference_to_the_duplicated_key_itself(shop: Shop, superuser: bool) -> None:
    """Scenario: the primary key is there twice, and others reference it with CASCADE.
    Outcome: as a superuser one row stays and every child; as another role all that is in the
    way is said, and nothing is written.
    """
    shop.make(
        "CREATE TABLE people (id int8 PRIMARY KEY, stamp int4);"
        "INSERT INTO people VALUES (1, 1), (2, 2)",
        "people_pkey",
        "INSERT INTO people VALUES (1, 3)",
        then="CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES people"
        " ON DELETE CASCADE ON UPDATE CASCADE); INSERT INTO c VALUES (1, 1), (2, 1), (3, 2)",
    )
    made = shop.planned("people_pkey", keep="stamp desc")
    if superuser:
        shop.repaired(made)
        assert shop.rows("SELECT * FROM people ORDER BY id") == [(1, 3), (2, 2)]
        assert shop.rows("SELECT id, p FROM c ORDER BY id") == [(1, 1), (2, 1), (3, 2)]
        shop.undone(made, "people_pkey", "c_p_fkey")
        return
    with role(shop, "ALTER TABLE people OWNER TO {}", "ALTER TABLE c OWNER TO {}",
              "GRANT CREATE ON DATABASE DBNAME TO {}") as dsn:
        error = refusal(shop, made, NotReady, db=dsn)
    assert "public.c references the duplicated key itself" in error.message
    no_journal(shop)


@pytest.mark.parametrize("on_update", ["CASCADE", "NO ACTION"])
@pytest.mark.parametrize("on_delete", ["CASCADE", "NO ACTION"])
def test_grandchildren_that_share_the_moved_column_are_refused(
    shop: Shop, on_delete: str, on_update: str
) -> None:
    """Scenario: children have their parent in a natural key, by which grandchildren name them;
    so moving a child changes what its own children have to say.
    Outcome: planning names the reference; where its rows may go, the repair is done.
    """
    people(
        shop,
        "CREATE TABLE c (p int8 REFERENCES people ON DELETE CASCADE, no int4, PRIMARY KEY (p, no));"
        "CREATE TABLE d (id int8 PRIMARY KEY, p int8, no int4, FOREIGN KEY (p, no) REFERENCES c"
        f" ON DELETE {on_delete} ON UPDATE {on_update});"
        "INSERT INTO c VALUES (1, 1), (11, 1), (11, 2), (3, 1);"
        "INSERT INTO d VALUES (1, 1, 1), (2, 11, 1), (3, 11, 2), (4, 3, 1)",
    )
    with pytest.raises(ReferenceNotHandled) as refused:
        shop.planned("people_mail")
    assert "public.d (p, no)" in refused.value.message
    made = shop.planned("people_mail", accept_loss=["c.p", "d.p"])
    shop.repaired(made)
    assert shop.rows("SELECT p, no FROM c ORDER BY 1, 2") == [(1, 1), (3, 1)]
    assert shop.rows("SELECT id FROM d ORDER BY id") == [1, 4]
    shop.undone(made)
