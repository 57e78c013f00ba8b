"""A survey says by which indexes repairs may go, and leaves everything else to their readings."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest

from dedupe import repair
from dedupe.connect import connect
from dedupe.errors import RepairStopped
from dedupe.lab.damage import Damage, damage
from dedupe.planning import known_key
from dedupe.recipes.surveying import survey_plans
from dedupe.references import load_references
from dedupe.repair.survey import Survey, take_survey
from dedupe.repair.telling import Telling
from dedupe.surroundings import Surroundings
from dedupe.table import quoted

from ..faults import Breakable, page_of
from ..promises.shop import Shop
from ..surveying import PEOPLE, TWINS, indexes, surveyed

pytestmark = pytest.mark.usefixtures("small_tables_count")

#: 20,000 rows: of each of 20 losers, their survivors and 30 others some 285
ORDERS = (
    "CREATE TABLE {0} (id int8 PRIMARY KEY, person int4 REFERENCES people, friend int4);"
    "INSERT INTO {0} SELECT g, (SELECT array_agg(id ORDER BY id) FROM people)[g % 70 + 1], g % 50"
    " FROM generate_series(0, 19999) g;"
)
BY_PERSON = "CREATE INDEX by_person ON {0} (person)"


def readings(shop: Shop, table: str) -> int:
    """Count how often a table was read from end to end."""
    # Backends tell what they have counted as they end, this session when it is asked to.
    limit = time.monotonic() + 30
    while shop.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'"
    ) != [1]:
        assert time.monotonic() < limit
        time.sleep(0.02)
    shop.server.execute("SELECT pg_stat_force_next_flush()")
    (count,) = shop.rows(f"SELECT seq_scan FROM pg_stat_user_tables WHERE relname = '{table}'")
    return int(count)


def moved(shop: Shop, table: str = "orders") -> None:
    """Look whether each loser's rows are their survivor's."""
    assert shop.rows(
        f"SELECT count(*), max(person), count(*) FILTER (WHERE person <= 20) FROM {table}"
    ) == [(20000, 50, 11420)]


@pytest.mark.parametrize("name", ["orders", 'a"; drop'])
def test_an_index_that_finds_what_the_heap_holds_spares_a_reading(shop: Shop, name: str) -> None:
    """Scenario: a child with an index on its reference; a repair with a survey, undone, and one
    without.
    Outcome: the same rows, and with the survey the repair reads the child once less.
    """
    table = quoted(name)
    shop.make(PEOPLE, "people_mail", TWINS, then=ORDERS.format(table) + BY_PERSON.format(table))
    counted = []
    for turn in range(2):
        plan = shop.planned("people_mail")
        survey = Survey()
        if turn == 0:
            survey = surveyed(shop, plan)
            assert indexes(shop, survey) == {f"{name}.person": "by_person"}
        before = readings(shop, name)
        repair(plan, db=shop.dsn, execute=True, alone=True, survey=survey)
        counted.append(readings(shop, name) - before)
        moved(shop, table)
        shop.undone(plan)
        shop.run = shop.run.with_name("again")
    assert counted[1] - counted[0] == 1


@pytest.mark.parametrize(("lost", "trusted"), [(110, False), (10, False), (45, True)])
def test_an_index_is_good_for_the_ids_that_it_finds(shop: Shop, lost: int, trusted: bool) -> None:
    """Scenario: an index has lost a row of a loser, of a survivor, or of somebody else.
    Outcome: it is not trusted, unless what it lost is nobody's who takes part; all rows move.
    """
    shop.make(
        PEOPLE, "people_mail", TWINS,
        then=ORDERS.format("orders") + "CREATE UNIQUE INDEX by_person ON orders (person, id)",
    )
    damage(shop.dsn, "by_person", Damage.LOST_ENTRIES, [
        f"INSERT INTO orders VALUES (20000, {lost}, 1)"
    ])
    plan = shop.planned("people_mail")
    survey = surveyed(shop, plan)
    assert indexes(shop, survey) == ({"orders.person": "by_person"} if trusted else {})
    shop.server.execute("DELETE FROM orders WHERE id = 20000 AND person = 45")
    result = repair(plan, db=shop.dsn, execute=True, alone=True, survey=survey)
    assert (result.status, result.left) == ("repaired", 0)
    assert shop.rows("SELECT count(*), max(person) FROM orders") == [
        (20000 if trusted else 20001, 50)
    ]


def test_ids_that_came_after_the_survey_are_looked_for_in_the_heap(shop: Shop) -> None:
    """Scenario: more twins, with rows that the index never had, arrive after the survey."""
    shop.make(
        PEOPLE, "people_mail", TWINS,
        then=ORDERS.format("orders") + "CREATE UNIQUE INDEX by_person ON orders (person, id)",
    )
    plan = shop.planned("people_mail")
    survey = surveyed(shop, plan)
    assert indexes(shop, survey) == {"orders.person": "by_person"}
    damage(shop.dsn, "people_mail", Damage.INDEXED_TWICE, [
        "INSERT INTO people SELECT 200 + g, 'm' || g FROM generate_series(30, 35) g"
    ])
    damage(shop.dsn, "by_person", Damage.LOST_ENTRIES, [
        "INSERT INTO orders SELECT 20000 + g, 200 + g, 1 FROM generate_series(30, 35) g"
    ])
    shop.repaired(plan, alone=True, survey=survey)
    assert shop.rows("SELECT count(*), max(person) FROM orders") == [(20006, 50)]


@pytest.mark.parametrize(
    "then",
    [
        "DROP INDEX by_person",
        "DROP INDEX by_person; CREATE INDEX another ON orders (person, friend)",
        "DROP INDEX by_person; CREATE INDEX by_person ON orders (friend, person)",
    ],
)
def test_an_index_that_is_not_the_surveyed_one_any_more(shop: Shop, then: str) -> None:
    shop.make(
        PEOPLE, "people_mail", TWINS, then=ORDERS.format("orders") + BY_PERSON.format("orders")
    )
    plan = shop.planned("people_mail")
    survey = surveyed(shop, plan)
    shop.server.execute(then)
    shop.repaired(plan, alone=True, survey=survey)
    moved(shop)
    shop.undone(plan)


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX ON orders (friend, person)",
        "CREATE INDEX ON orders USING hash (person)",
        "CREATE INDEX ON orders (person) WHERE friend > 10",
        "CREATE INDEX ON orders ((person + 0))",
        "CREATE INDEX ON orders USING brin (person)",
    ],
)
def test_other_indexes_are_none_that_could_be_trusted(shop: Shop, index: str) -> None:
    shop.make(PEOPLE, "people_mail", TWINS, then=ORDERS.format("orders") + index)
    plan = shop.planned("people_mail")
    survey = surveyed(shop, plan)
    assert indexes(shop, survey) == {}
    shop.repaired(plan, alone=True, survey=survey)
    moved(shop)


def test_a_small_database_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shop.make(
        PEOPLE, "people_mail", TWINS, then=ORDERS.format("orders") + BY_PERSON.format("orders")
    )
    assert surveyed(shop, shop.planned("people_mail")) == Survey()


def test_small_tables_and_partitioned_ones_are_left_to_the_repair(shop: Shop) -> None:
    shop.make(
        PEOPLE, "people_mail", TWINS,
        then="CREATE TABLE small (person int8 PRIMARY KEY REFERENCES people);"
        "INSERT INTO small SELECT id FROM people WHERE id > 40;"
        "CREATE TABLE visits (person int8 REFERENCES people, day int4, PRIMARY KEY (person, day))"
        " PARTITION BY RANGE (day);"
        "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (1000);"
        "INSERT INTO visits SELECT id, g FROM people, generate_series(1, 300) g",
    )
    plan = shop.planned("people_mail")
    survey = surveyed(shop, plan)
    assert survey.columns == {}
    shop.repaired(plan, alone=True, survey=survey)
    assert shop.rows("SELECT count(*) FROM visits UNION ALL SELECT count(*) FROM small") == [
        50 * 300, 30
    ]


def test_what_goes_with_others_is_surveyed_with_them(shop: Shop) -> None:
    """Scenario: rows collide with those of who stays, and more hangs on them, level by level.
    Outcome: the survey knows the ids of all levels; what hangs on rows that went is moved.
    """
    shop.make(
        PEOPLE, "people_mail", TWINS,
        then="CREATE TABLE carts (id int8 PRIMARY KEY, person int8 REFERENCES people, n int4,"
        " UNIQUE (person, n));"
        "INSERT INTO carts SELECT 1000 * n + p.id, p.id, n FROM people p, generate_series(1, 10) n;"
        "CREATE TABLE items (id int8 PRIMARY KEY, cart int8 REFERENCES carts);"
        "CREATE INDEX by_cart ON items (cart);"
        "INSERT INTO items SELECT row_number() OVER (), c.id FROM carts c, generate_series(1, 40)",
    )
    plan = shop.planned("people_mail")
    survey = surveyed(shop, plan)
    assert indexes(shop, survey) == {"items.cart": "by_cart"}
    (carts,) = (some.ids[0] for (_, column), some in survey.columns.items() if column == "cart")
    assert len(carts) == 40 * 10
    shop.repaired(plan, alone=True, survey=survey)
    assert shop.rows("SELECT count(*) FROM carts UNION ALL SELECT count(*) FROM items") == [
        50 * 10, 70 * 10 * 40
    ]
    assert shop.rows("SELECT count(*) FROM items i JOIN carts c ON c.id = i.cart") == [28000]
    shop.undone(plan)


def test_ids_that_are_counted_by_are_surveyed_for_that(shop: Shop) -> None:
    """Scenario: numbers of orders are kept for each friend; the orders in question may go.
    Outcome: the friends of these orders are surveyed, where rows are counted and where
    their numbers are kept.
    """
    shop.make(
        "CREATE TABLE orders (id int8 PRIMARY KEY, mail text, friend int8, filler text);"
        "CREATE UNIQUE INDEX orders_mail ON orders (mail);"
        "CREATE INDEX by_friend ON orders (friend);"
        "CREATE TABLE numbers (friend int8 PRIMARY KEY, n int8, filler text);"
        "INSERT INTO orders SELECT g, 'm' || g, g % 5000, repeat('x', 50)"
        " FROM generate_series(0, 9999) g;"
        "INSERT INTO numbers SELECT g, 2, repeat('x', 50) FROM generate_series(0, 4999) g",
        "orders_mail",
        "INSERT INTO orders SELECT 10000 + g, 'm' || g, 700 + g FROM generate_series(1, 3) g",
        then="CREATE TABLE notes (id int8, about int8 REFERENCES orders);"
        "INSERT INTO notes SELECT g, g FROM generate_series(1, 2000) g",
    )
    plan = shop.planned("orders_mail")
    survey = surveyed(shop, plan, counted=[("orders", "friend", "numbers", "friend")])
    assert indexes(shop, survey) == {"orders.friend": "by_friend", "numbers.friend": "numbers_pkey"}
    for trusted in survey.columns.values():
        assert frozenset().union(*trusted.ids) == {"1", "2", "3", "701", "702", "703"}


TRIGGER = (
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER own AFTER UPDATE ON orders EXECUTE FUNCTION nothing()"
)
RULE = "CREATE RULE own AS ON DELETE TO people DO ALSO SELECT 1"
FOLLOWING = (
    "ALTER TABLE people ADD UNIQUE (id, n); CREATE TABLE copies (id int8, n int4,"
    " FOREIGN KEY (id, n) REFERENCES people (id, n) ON UPDATE CASCADE)"
)


@pytest.mark.parametrize("also", [TRIGGER, RULE, FOLLOWING])
def test_where_others_than_the_repairs_may_write_nothing_is_surveyed(
    shop: Shop, also: str
) -> None:
    """Scenario: a trigger, a rule or a foreign key may write what the journal does not know of."""
    shop.make(
        PEOPLE + "; ALTER TABLE people ADD n int4", "people_mail",
        "INSERT INTO people (id, mail) SELECT 100 + g, 'm' || g FROM generate_series(1, 20) g",
        then=ORDERS.format("orders") + BY_PERSON.format("orders"),
    )
    plan = shop.planned("people_mail")
    database = connect(shop.dsn)


    def columns() -> int:
        with database.open() as session:
            around = Surroundings(session)
            return len(survey_plans(database, around, [plan], [], Telling(None, None)).columns)

    assert columns() == 1
    shop.server.execute(also)
    assert columns() == 0


@pytest.mark.parametrize("broken", ["by_person", "orders_pkey"])
def test_an_index_that_cannot_be_read_is_no_reason_to_stop(
    breakable: Breakable, place: Path, broken: str
) -> None:
    """Scenario: no page of an index can be read; the repair would read the heap as well."""
    with psycopg.connect(breakable.dsn, autocommit=True) as made:
        shop = Shop(dsn=breakable.dsn, server=made, run=place)
        shop.make(
            PEOPLE, "people_mail", TWINS,
            then=ORDERS.format("orders") + BY_PERSON.format("orders")
            + "; CREATE TABLE orders_of (id int8, orders int8 REFERENCES orders)",
        )
        plan = shop.planned("people_mail")
        file, size = page_of(made, broken)
    breakable.spoil(file, range(1, 20), size, b"\xff" * 24)
    with psycopg.connect(breakable.dsn, autocommit=True) as again:
        shop.server = again
        survey = surveyed(shop, plan, counted=[("orders", "friend", "orders", "id")])
        assert indexes(shop, survey) == (
            {} if broken == "by_person" else {"orders.person": "by_person"}
        )


def test_a_stop_is_heard(shop: Shop) -> None:
    """Scenario: somebody asks to stop while a survey is taken."""
    shop.make(
        PEOPLE, "people_mail", TWINS, then=ORDERS.format("orders") + BY_PERSON.format("orders")
    )
    plan = shop.planned("people_mail")
    database = connect(shop.dsn)
    with database.open() as session:
        around = Surroundings(session)
        key = known_key(around, plan.run, plan.key)
        pointing = [load_references(around, key, policy) for policy in plan.policies]

    stop = threading.Event()
    stop.set()
    with pytest.raises(RepairStopped):
        take_survey(database, [(plan, pointing)], [], Telling(None, stop))
