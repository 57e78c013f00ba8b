"""After the last repair of a recipe it is proved that nothing points at rows that went."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import psycopg
import pytest

from dedupe import Plan, SoftReference, repair
from dedupe.connect import connect
from dedupe.errors import FailureError
from dedupe.lab.damage import Damage, damage
from dedupe.recipes.surveying import prove_references
from dedupe.repair.survey import Survey
from dedupe.repair.telling import Telling
from dedupe.surroundings import Surroundings
from dedupe.writer import Writer

from ..faults import Breakable, page_of
from ..promises.heap import Connection
from ..promises.shop import Shop
from ..surveying import PEOPLE, TWINS, indexes, surveyed

pytestmark = pytest.mark.usefixtures("small_tables_count")


def split_and_lost(breakable: Breakable, *, many: bool) -> int:
    """Make people and their orders; return how many orders there are.

    Person 105 has the mail of 5, who has the nick of 3. A page of the index by person was split
    where the entries of 5 are, and the server lost one half of that: lookups come by the old page,
    while new entries of 5 go to a page that none of them reaches. What had entries there is gone.
    ``many``: 5 has few orders left, and 20,000 of another one are moved besides.
    """
    with psycopg.connect(breakable.dsn, autocommit=True) as made:
        made.execute(
            "CREATE TABLE people (id int8 PRIMARY KEY, mail text, nick text);"
            "CREATE UNIQUE INDEX people_mail ON people (mail);"
            "CREATE UNIQUE INDEX people_nick ON people (nick);"
            "INSERT INTO people SELECT g, 'm' || g, 'n' || g FROM generate_series(1, 50) g"
        )
        damage(breakable.dsn, "people_nick", Damage.INDEXED_TWICE, [
            "UPDATE people SET nick = 'n3' WHERE id = 5"
        ])
        damage(breakable.dsn, "people_mail", Damage.INDEXED_TWICE, [
            "INSERT INTO people VALUES (105, 'm5', 'n105'), (110, 'm10', 'n110')"
        ])
        made.execute(
            "CREATE TABLE orders (id int8 PRIMARY KEY, person int8 REFERENCES people, what text)"
            " WITH (autovacuum_enabled = off);"
            "CREATE INDEX by_person ON orders (person);"
            "INSERT INTO orders SELECT g, 11 + g % 40, repeat('x', 60)"
            " FROM generate_series(1, 20000) g;"
            "INSERT INTO orders SELECT 100000 + g, 5, 'x' FROM generate_series(1, 3000) g"
        )
        file, block = page_of(made, "by_person")
        assert breakable.server.data is not None
        index = breakable.server.data / file
        made.execute("CHECKPOINT")
        old, added = index.read_bytes(), 0
        while True:
            made.execute("INSERT INTO orders VALUES (%s, 5, 'x')", [200000 + added])
            (size,) = made.execute("SELECT pg_relation_size('by_person')").fetchone() or (0,)
            if size > len(old):
                break
            added += 1
        made.execute("CHECKPOINT")
        new = index.read_bytes()
        made.execute("DELETE FROM orders WHERE id >= 200000")
        made.execute("INSERT INTO orders SELECT 500000 + g, 105, '' FROM generate_series(1, 30) g")
        if many:
            made.execute("DELETE FROM orders WHERE person = 5 AND id <= 102990")
            made.execute(
                "INSERT INTO orders SELECT 600000 + g, 110, '' FROM generate_series(1, 20000) g"
            )
        made.execute("ANALYZE")
        made.execute("CHECKPOINT")

    def right(pages: bytes, n: int) -> bytes:
        # Where the page to the right is named: behind the one to the left, in the special space.
        return pages[(n + 1) * block - 12 : (n + 1) * block - 8]

    (split,) = (n for n in range(1, len(old) // block) if right(old, n) != right(new, n))
    breakable.spoil(file, [split], block, old[split * block : (split + 1) * block])
    return 20040 + 20000 if many else 23030


@pytest.mark.parametrize("many", [False, True])
def test_what_was_written_since_is_found_though_its_entry_is_out_of_reach(
    breakable: Breakable, place: Path, many: bool
) -> None:
    """Scenario: one repair moves rows to an id whose new entries no lookup reaches, and the next
    one lets this id go.
    Outcome: no row points at nothing, as the proof after all repairs says.
    """
    orders = split_and_lost(breakable, many=many)
    with psycopg.connect(breakable.dsn, autocommit=True) as again:
        shop, *plans = both(breakable, again, place)
        survey = surveyed(shop, *plans)
        assert indexes(shop, survey) == {"orders.person": "by_person"}
        for plan in plans:
            result = repair(plan, db=shop.dsn, execute=True, alone=True, survey=survey)
            assert (result.status, result.left) == ("repaired", 0)
        again.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
        dangling = "SELECT count(*), min(person), bool_or(person IN (5, 105, 110)) FROM orders"
        assert shop.rows(dangling) == [(orders, 3, False)]
        assert proved(shop, *plans)


def test_what_points_at_rows_that_went_ends_a_recipe(
    breakable: Breakable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: the same, and what was written since the survey is not looked at.
    Outcome: the proof finds the rows that point at nothing, and names them.
    """
    monkeypatch.setattr(import_module("dedupe.repair.byheap"), "note_written", _note_nothing)
    split_and_lost(breakable, many=False)
    with psycopg.connect(breakable.dsn, autocommit=True) as again:
        shop, *plans = both(breakable, again, place)
        survey = surveyed(shop, *plans)
        for plan in plans:
            repair(plan, db=shop.dsn, execute=True, alone=True, survey=survey)
        with pytest.raises(FailureError, match=r"30 of public\.orders\.person") as raised:
            proved(shop, *plans)
        assert "pgmend recipe undo" in str(raised.value.hint)


def _note_nothing(writer: Writer, _: Survey) -> None:
    writer.rows(
        "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_written (id int8, relid oid, place tid)"
    )


def both(breakable: Breakable, server: Connection, place: Path) -> tuple[Shop, Plan, Plan]:
    """Plan for the mails and then for the nicks."""
    plans = []
    for key in ("people_mail", "people_nick"):
        shop = Shop(dsn=breakable.dsn, server=server, run=place.with_name(key))
        plans.append(shop.planned(key))
    return shop, plans[0], plans[1]


def proved(shop: Shop, *plans: Plan) -> bool:
    """Prove that nothing points at what the repairs of plans deleted."""
    database = connect(shop.dsn)
    with database.open() as session:
        return prove_references(database, Surroundings(session), plans, Telling(None, None))


def test_references_that_are_no_foreign_keys_are_proved_as_well(shop: Shop) -> None:
    """Scenario: after the repair somebody writes ids of rows that went, of this type and another.
    Outcome: those are told that mean them.
    """
    soft = SoftReference(
        table="notes", column="about", parent="people", parent_column="id",
        type_column="kind", type_value="person",
    )
    shop.make(
        PEOPLE, "people_mail", TWINS,
        then="CREATE TABLE notes (kind text, about int8);"
        "INSERT INTO notes VALUES ('person', 101), ('person', 7)",
    )
    plan = shop.planned("people_mail", soft=[soft])
    shop.repaired(plan, alone=True)
    shop.server.execute("INSERT INTO notes VALUES ('thing', 105)")
    assert proved(shop, plan)
    shop.server.execute("INSERT INTO notes VALUES ('person', 105), ('person', 106), ('person', 6)")
    with pytest.raises(FailureError, match=r"deleted: 2 of public\.notes\.about$"):
        proved(shop, plan)


def test_an_id_that_was_there_twice_is_not_gone(shop: Shop) -> None:
    """Scenario: rows are the same to the byte, in number two and three, and their ids are pointed
    at; later somebody writes an id that nobody has.
    """
    soft = SoftReference(table="notes", column="about", parent="people", parent_column="id")
    shop.make(
        "CREATE TABLE people (id int8, mail text);"
        "CREATE UNIQUE INDEX people_mail ON people (mail);"
        "INSERT INTO people VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "people_mail", "INSERT INTO people VALUES (1, 'a'), (2, 'b'), (2, 'b'), (4, 'c')",
        then="CREATE TABLE notes (about int8); INSERT INTO notes VALUES (1), (2), (4)",
    )
    plan = shop.planned("people_mail", keep="id", soft=[soft])
    shop.repaired(plan, alone=True)
    assert shop.rows("SELECT about FROM notes ORDER BY 1") == [1, 2, 3]
    assert proved(shop, plan)
    shop.server.execute("INSERT INTO notes VALUES (4)")
    with pytest.raises(FailureError, match=r"deleted: 1 of public\.notes\.about$"):
        proved(shop, plan)
