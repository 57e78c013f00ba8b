"""With nobody else connected child rows are found by their heaps, whatever the indexes say."""

from __future__ import annotations

import time

import pytest

from dedupe import RepairProgress, SoftReference, repair
from dedupe.lab.damage import Damage, damage

from ..promises.shop import Shop

MAKE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people SELECT g, 'm' || g FROM generate_series(1, 50) g"
)
#: with one of a user's, triggers run, and those of foreign keys with them
OWN_TRIGGER = (
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER own AFTER INSERT ON orders EXECUTE FUNCTION nothing()"
)
TWINS = "INSERT INTO people SELECT 100 + g, 'm' || g FROM generate_series(1, 20) g"


def said(shop: Shop, **rules: object) -> list[str]:
    """Repair as if alone, find all well, take it back; return what was told."""
    told: list[str] = []

    def hear(event: RepairProgress) -> None:
        if event.message is not None:
            told.append(event.message)

    made = shop.planned("people_mail", **rules)  # type: ignore[arg-type]
    shop.repaired(made, alone=True, on_progress=hear)
    assert shop.rows(
        "SELECT count(*) FROM orders o LEFT JOIN people p ON p.id = o.person WHERE p.id IS NULL"
    ) == [0]
    return told


def test_rows_that_an_index_lost_are_moved(shop: Shop) -> None:
    """Scenario: the index by which a child's rows are found has lost those of the losers.
    Outcome: they are moved all the same, and no index is built or proved for it.
    """
    shop.make(
        MAKE, "people_mail", TWINS,
        then="CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people"
        " ON DELETE CASCADE, n int4); CREATE UNIQUE INDEX orders_person ON orders (person, n);"
        "INSERT INTO orders SELECT g, g, 1 FROM generate_series(1, 50) g",
    )
    lost = "INSERT INTO orders SELECT 1000 + g, 100 + g, 2 FROM generate_series(1, 20) g"
    damage(shop.dsn, "orders_person", Damage.LOST_ENTRIES, [lost])
    told = said(shop)
    assert told == []
    assert shop.rows("SELECT count(*), count(DISTINCT person) FROM orders") == [(70, 50)]


def test_what_collides_under_a_lying_key_is_found(shop: Shop) -> None:
    """Scenario: a child's unique key has lost the rows that its moved ones are going to equal.
    Outcome: one of each pair stays; the rule for collisions says which.
    """
    shop.make(
        MAKE, "people_mail", TWINS,
        then="CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people, n int4);"
        "CREATE UNIQUE INDEX orders_person ON orders (person, n);"
        "INSERT INTO orders SELECT 1000 + g, 100 + g, 1 FROM generate_series(1, 20) g",
    )
    lost = "INSERT INTO orders SELECT g, g, 1 FROM generate_series(1, 20) g"
    damage(shop.dsn, "orders_person", Damage.LOST_ENTRIES, [lost])
    made = shop.planned("people_mail", on_collision={"orders": "oldest"})
    done = repair(made, db=shop.dsn, execute=True, alone=True)
    assert (done.status, done.left) == ("repaired", 0)
    assert shop.rows("SELECT count(*), max(id) FROM orders") == [(20, 20)]


def test_nulls_that_are_equal_collide(shop: Shop) -> None:
    if shop.server.info.server_version < 150000:
        pytest.skip("NULLS NOT DISTINCT came with PostgreSQL 15")
    shop.make(
        MAKE, "people_mail", TWINS,
        then="CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people, n int4,"
        " UNIQUE NULLS NOT DISTINCT (person, n));"
        "INSERT INTO orders SELECT g, g, NULL FROM generate_series(1, 50) g;"
        "INSERT INTO orders SELECT 1000 + g, 100 + g, NULL FROM generate_series(1, 20) g",
    )
    said(shop)
    assert shop.rows("SELECT count(*), max(id) FROM orders") == [(50, 50)]


def test_arrays_and_documents_are_read(shop: Shop) -> None:
    """Scenario: ids stand in arrays, twice in one of them, and in documents, without indexes."""
    shop.make(
        MAKE, "people_mail", TWINS,
        then="CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people,"
        " others int8[], told jsonb);"
        "INSERT INTO orders VALUES (1, 101, '{101,2,102,101}', '{\"by\": 103}'),"
        " (2, 2, NULL, NULL), (3, 3, '{7}', '{\"by\": \"4\"}')",
    )
    facts = {"table": "orders", "parent": "people", "parent_column": "id"}
    soft = [
        SoftReference(column="others", kind="array", **facts),  # type: ignore[arg-type]
        SoftReference(column="told", kind="jsonb", path=("by",), **facts),  # type: ignore[arg-type]
    ]
    told = said(shop, soft=soft)
    assert [one for one in told if "told" in one or "others" in one] == []
    assert shop.rows("SELECT person, others, told FROM orders ORDER BY id") == [
        (1, [1, 2], {"by": 3}), (2, None, None), (3, [7], {"by": "4"}),
    ]


def test_what_the_server_refuses_is_done_by_proved_indexes(shop: Shop) -> None:
    """Scenario: the primary key that foreign keys are checked by has lost the survivors.
    Outcome: the server refuses to point children at them; the index is rebuilt, and all is done.
    """
    shop.server.execute(
        "CREATE TABLE people (id int8 PRIMARY KEY, mail text);"
        "CREATE UNIQUE INDEX people_mail ON people (mail);"
        "INSERT INTO people SELECT 100 + g, 'm' || g FROM generate_series(1, 20) g"
    )
    flag = "UPDATE pg_index SET indisready = %s WHERE indexrelid = 'people_pkey'::regclass"
    shop.server.execute(flag, [False])
    twins = "INSERT INTO people SELECT g, 'm' || g FROM generate_series(1, 20) g"
    damage(shop.dsn, "people_mail", Damage.INDEXED_TWICE, [twins])
    shop.server.execute(flag, [True])
    shop.server.execute(
        "CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people);"
        "INSERT INTO orders SELECT g, 100 + g FROM generate_series(1, 20) g;" + OWN_TRIGGER
    )
    told = said(shop)
    assert any("every index that takes part is proved first" in one for one in told)
    assert any("people_pkey" in one and "it is rebuilt" in one for one in told)


@pytest.mark.parametrize("own_trigger", [False, True])
def test_foreign_keys_are_checked_row_by_row_only_beside_triggers_of_users(
    shop: Shop, own_trigger: bool
) -> None:
    """Scenario: a repair of many rows that go, without a trigger of a user's, and with one.
    Outcome: rows are moved and all references resolve; the index that foreign keys' checks go
    by is asked only where triggers run.
    """
    shop.make(
        MAKE, "people_mail", TWINS,
        then="CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people);"
        "CREATE INDEX orders_person ON orders (person);"
        "INSERT INTO orders SELECT g, g FROM generate_series(1, 50) g;"
        "INSERT INTO orders SELECT 1000 + g, 100 + g FROM generate_series(1, 20) g;"
        # So many that a check goes by the index.
        "INSERT INTO orders SELECT 2000 + g, 50 FROM generate_series(1, 5000) g;"
        "ANALYZE orders;"
        + (OWN_TRIGGER if own_trigger else ""),
    )
    before = asked(shop)
    made = shop.planned("people_mail")
    repair(made, db=shop.dsn, execute=True, reason="test", alone=True)
    assert (asked(shop) > before) == own_trigger
    assert shop.rows(
        "SELECT count(*), count(p.id), count(DISTINCT o.person) FROM orders o"
        " LEFT JOIN people p ON p.id = o.person"
    ) == [(5070, 5070, 50)]


def asked(shop: Shop) -> int:
    """Count how often the index of the orders was asked; a session tells when it ends."""
    limit = time.monotonic() + 20
    while shop.rows(
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND application_name ~ '^pgmend'"
    ):
        assert time.monotonic() < limit
        time.sleep(0.02)
    (count,) = shop.rows("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname"
                         " = 'orders_person'")
    return int(count)
