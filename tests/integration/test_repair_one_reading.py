"""A child is read once for all that points at rows that go, whatever its columns and its name."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from dedupe import Plan, SoftReference, repair

from ..promises.shop import Shop

PEOPLE = (
    "CREATE TABLE people (id {0} PRIMARY KEY, n int8, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people SELECT {1}, g, 'm' || g FROM generate_series(1, 50) g"
)
TWINS = "INSERT INTO people SELECT {0}, g, 'm' || g FROM generate_series(101, 120) g"
#: the id of a number, as a uuid
UUID = "lpad(({0})::text, 32, '0')::uuid"
#: and as a text that sorts as the number does
TEXT = "lpad(({0})::text, 9, '0')"


def made(shop: Shop, children: str, kind: str = "int8", own: str = "g", **rules: Any) -> Plan:
    """Make people, twins of 1 to 20 whose n are 101 to 120, and their children; plan."""
    twins = TWINS.format(own).replace("'m' || g", "'m' || g - 100")
    shop.make(PEOPLE.format(kind, own), "people_mail", twins, then=children)
    return shop.planned("people_mail", **rules)


def done(shop: Shop, plan: Plan) -> None:
    """Repair as if alone; by indexes would do as well, and it must not come to that."""
    told: list[str | None] = []
    shop.repaired(plan, alone=True, on_progress=lambda event: told.append(event.message))
    assert [one for one in told if one is not None] == []


@pytest.mark.parametrize(
    ("kind", "own", "child"),
    [
        ("int8", "{0}", "int4"),
        ("int4", "{0}", "int8"),
        ("int2", "{0}", "int2"),
        ("uuid", UUID, "uuid"),
        ("text", TEXT, "text"),
        ("numeric", "{0}", "numeric"),
    ],
)
def test_ids_of_any_type_are_found(shop: Shop, kind: str, own: str, child: str) -> None:
    """Scenario: ids of types that are read together, and of others; more rows than a page has.
    Outcome: each row points at who stays, those that became equal are one, undo brings all back.
    """
    plan = made(
        shop,
        f"CREATE TABLE orders (id int8 PRIMARY KEY, person {child} REFERENCES people,"
        f" friend {child} REFERENCES people, what int4, UNIQUE (person, what));"
        f"INSERT INTO orders SELECT g, {own.format('g % 20 + 1')}, {own.format('g % 20 + 101')},"
        " g / 20 FROM generate_series(0, 1999) g;"
        f"INSERT INTO orders SELECT 2000 + g, {own.format('g + 101')}, NULL, g % 3 * 1000"
        " FROM generate_series(0, 19) g",
        kind=kind, own=own.format("g"),
    )
    done(shop, plan)
    # Of 2000 + g those with g % 3 = 0 equal one that was there.
    assert shop.rows("SELECT count(*), count(friend) FROM orders") == [(2013, 2000)]
    assert shop.rows(
        "SELECT count(*), min(p.n), max(p.n), max(f.n) FROM orders o"
        " JOIN people p ON p.id = o.person LEFT JOIN people f ON f.id = o.friend"
    ) == [(2013, 1, 20, 20)]
    shop.undone(plan)


def test_ids_beside_the_name_of_what_they_mean(shop: Shop) -> None:
    """Scenario: a column holds ids of people or of something else, as another one says."""
    facts = {"table": "notes", "column": "about", "parent": "people", "parent_column": "id"}
    soft = SoftReference(type_column="kind", type_value="it's a person", **facts)
    plan = made(
        shop,
        "CREATE TABLE notes (id int8 PRIMARY KEY, kind text, about int8, UNIQUE (kind, about));"
        "INSERT INTO notes SELECT g, 'it''s a person', g FROM generate_series(101, 120) g;"
        "INSERT INTO notes SELECT 1000 + g, 'a thing', g FROM generate_series(101, 120) g;"
        "INSERT INTO notes VALUES (1, 'it''s a person', 1)",
        soft=[soft],
    )
    done(shop, plan)
    assert shop.rows(
        "SELECT kind, count(*), min(about), max(about) FROM notes GROUP BY kind ORDER BY kind"
    ) == [("a thing", 20, 101, 120), ("it's a person", 20, 1, 20)]
    shop.undone(plan)


@pytest.mark.parametrize("name", ["y", "t", "s", "pgmend row", 'a""; drop'])
def test_tables_and_columns_may_be_called_as_anything(shop: Shop, name: str) -> None:
    """Scenario: a child and its columns are called as the search calls its own."""
    plan = made(
        shop,
        f'CREATE TABLE "{name}" (place int8 REFERENCES people, relid int8 REFERENCES people,'
        " child int4, level int4, PRIMARY KEY (place, child));"
        f'INSERT INTO "{name}" SELECT g, g + 100, 1, 1 FROM generate_series(1, 20) g;'
        f'INSERT INTO "{name}" SELECT g + 100, g, g % 2, 2 FROM generate_series(1, 20) g',
    )
    done(shop, plan)
    assert shop.rows(
        f'SELECT child, count(*), max(place), max(relid) FROM "{name}" GROUP BY child'
        " ORDER BY child"
    ) == [(0, 10, 20, 20), (1, 20, 20, 20)]
    shop.undone(plan)


def test_partitions_are_read_and_rows_that_collide_in_them_are_found(shop: Shop) -> None:
    plan = made(
        shop,
        "CREATE TABLE visits (day int4, person int8 REFERENCES people, PRIMARY KEY (day, person))"
        " PARTITION BY RANGE (day);"
        "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (10) TO (20);"
        # Rows of both partitions stand at the same addresses.
        "INSERT INTO visits SELECT d, p FROM generate_series(0, 19) d,"
        " (SELECT id FROM people WHERE id <= 5 OR id > 100) p (p)",
    )
    done(shop, plan)
    assert shop.rows("SELECT count(*), count(DISTINCT person), max(person) FROM visits") == [
        (400, 20, 20)
    ]
    shop.undone(plan)


@pytest.mark.parametrize(
    "columns", ["(what) WHERE person < 50", "((person / 60), what)", "(what, (person > 50))"]
)
def test_a_key_that_rows_come_under_by_more_than_an_id(shop: Shop, columns: str) -> None:
    """Scenario: a key of the child holds the reference in its condition or in an expression.
    Outcome: moved rows that equal one of somebody who takes no part are found all the same.
    """
    plan = made(
        shop,
        "CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people, what int4);"
        f"CREATE UNIQUE INDEX ON orders {columns};"
        "INSERT INTO orders SELECT g, 30, g FROM generate_series(1, 10) g;"
        "INSERT INTO orders SELECT 100 + g, 100 + g, g + 5 FROM generate_series(1, 10) g",
    )
    done(shop, plan)
    assert shop.rows("SELECT count(*), count(DISTINCT what), max(person) FROM orders") == [
        (15, 15, 30)
    ]
    shop.undone(plan)


def test_who_writes_to_a_child_already_is_waited_for(shop: Shop) -> None:
    """Scenario: as the repair begins, somebody has written a row that no foreign key guards.
    Outcome: it is read once they have committed, and moved with the others.
    """
    facts = {"table": "notes", "column": "about", "parent": "people", "parent_column": "id"}
    plan = made(
        shop,
        "CREATE TABLE notes (id int8 PRIMARY KEY, about int8);"
        "INSERT INTO notes SELECT g, g FROM generate_series(101, 120) g",
        soft=[SoftReference(**facts)],
    )
    with psycopg.connect(shop.dsn) as other:
        other.execute("INSERT INTO notes VALUES (1, 101)")
        ended: list[object] = []
        work = threading.Thread(
            target=lambda: ended.append(repair(plan, db=shop.dsn, execute=True, alone=True))
        )
        work.start()
        limit = time.monotonic() + 30
        while not shop.rows(
            "SELECT FROM pg_locks WHERE relation = 'notes'::regclass AND NOT granted"
        ):
            assert time.monotonic() < limit, "nothing waits"
            time.sleep(0.02)
        other.commit()
    work.join(60)
    assert ended
    assert shop.rows("SELECT count(*), min(about), max(about) FROM notes") == [(21, 1, 20)]
