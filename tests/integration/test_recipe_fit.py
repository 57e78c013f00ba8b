"""A recipe meets a database: what counts there is told, and what it is not for is refused."""

from __future__ import annotations

import pytest

from dedupe import fit_recipe
from dedupe.errors import RecipeDoesNotFit
from dedupe.recipes.reading import read_recipe
from dedupe.recipes.recipe import Recipe

from ..scanning import Connection

TEXT = """
format = 1
name = "shop"
title = "A shop"

[schema]
tables = ["customers", "orders"]
version = "migrations.number"
oldest = "10"
releases = { "1" = "10", "2" = "20", "3" = "30" }

[[index]]
name = "customers_mail"
table = "customers"
key = ["lower(mail)", "COALESCE(shop, '')"]
where = "mail IS NOT NULL"

[[step]]
id = "customers"
table = "customers"
index = "customers_mail"
case = [{ keep = ["oldest"], merge = { points = "sum", nickname = "first" } }]

[[index]]
name = "coupons_code"
table = "coupons"
key = ["code"]

[[step]]
id = "coupons"
table = "coupons"
index = "coupons_code"
case = [{ keep = ["oldest"] }]

[[index]]
name = "orders_number"
table = "orders"
key = ["number"]
since = "20"

[[step]]
id = "orders"
table = "orders"
index = "orders_number"
since = "20"
case = [{ keep = ["oldest"] }]

[[index]]
name = "orders_receipt"
table = "orders"
key = ["receipt"]

[[soft]]
table = "notes"
column = "customer_id"
parent = "customers"
"""


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe for a shop."""
    return read_recipe(TEXT, "shop.toml")


@pytest.fixture
def shop(db: Connection) -> Connection:
    """Give a database of the shop at release 1."""
    db.execute("CREATE TABLE migrations (number text PRIMARY KEY)")
    db.execute("INSERT INTO migrations VALUES ('10'), ('not a number')")
    db.execute(
        "CREATE TABLE customers (id int8 PRIMARY KEY, mail varchar, shop varchar, points int)"
    )
    db.execute(
        "CREATE UNIQUE INDEX customers_mail ON customers (lower(mail), COALESCE(shop, ''))"
        " WHERE mail IS NOT NULL"
    )
    db.execute("CREATE TABLE orders (id int8 PRIMARY KEY, number text, receipt text)")
    return db


@pytest.mark.usefixtures("shop")
def test_what_counts_is_told(database: str, recipe: Recipe) -> None:
    """Scenario: release 1, without coupons, notes and nicknames.
    Outcome: one step counts; the others say why they do not.
    """
    fit = fit_recipe(database, recipe)
    assert fit.release == "1"
    assert [(one.step.id, one.state) for one in fit.steps] == [("customers", "sound")]
    assert fit.skipped == {
        "coupons": "there is no coupons",
        "orders": "it is for other versions of the schema",
    }
    assert fit.absent == (
        "step customers, merge: customers.nickname",
        "soft reference notes.customer_id to customers",
    )
    assert [index.name for index in fit.unnamed] == ["customers_pkey", "orders_pkey"]
    assert [one.expected.name for one in fit.missing] == ["orders_receipt"]


@pytest.mark.parametrize(
    ("statements", "state"),
    [
        (("DROP INDEX customers_mail",), "missing"),
        (("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'customers_mail'::regclass",),
         "invalid"),
        (("DROP INDEX customers_mail",
          "CREATE INDEX customers_mail ON customers (lower(mail), COALESCE(shop, ''))"),
         "not unique"),
        (("ALTER INDEX customers_mail RENAME TO another",), "sound"),
    ],
)  # fmt: skip
def test_the_state_of_an_index_is_told(
    database: str, shop: Connection, recipe: Recipe, statements: tuple[str, ...], state: str
) -> None:
    """Scenario: the index is missing, half-built, not unique, or has another name."""
    for statement in statements:
        shop.execute(statement)
    (step,) = fit_recipe(database, recipe).steps
    assert step.state == state


def test_a_newer_schema_is_told_and_not_refused(
    database: str, shop: Connection, recipe: Recipe
) -> None:
    shop.execute("INSERT INTO migrations VALUES ('20'), ('30'), ('31'), ('44')")
    fit = fit_recipe(database, recipe)
    assert fit.release == "3"
    assert [one.step.id for one in fit.steps] == ["customers", "orders"]
    assert "2 versions more" in fit.notes[0]


@pytest.mark.parametrize(
    ("reached", "release", "steps"),
    [(10, "1", ["customers"]), (29, "2", ["customers", "orders"])],
)
def test_one_number_can_say_how_far_a_schema_is(
    database: str, shop: Connection, reached: int, release: str, steps: list[str]
) -> None:
    """Scenario: the table holds the one version that was reached, not all that were applied.
    Outcome: every version below it counts, so none is missing.
    """
    shop.execute("DELETE FROM migrations")
    shop.execute("INSERT INTO migrations VALUES (%s)", [str(reached)])
    recipe = read_recipe(TEXT.replace('version = "', 'reached = "'), "shop.toml")
    fit = fit_recipe(database, recipe)
    assert fit.release == release
    assert [one.step.id for one in fit.steps] == steps
    assert max(fit.versions or ()) == reached
    shop.execute("UPDATE migrations SET number = '9'")
    with pytest.raises(RecipeDoesNotFit, match="older than the oldest"):
        fit_recipe(database, recipe)


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (("DROP TABLE orders",), "no table orders"),
        (("DROP TABLE orders", "DROP TABLE customers"), "no table customers, orders"),
        (("UPDATE migrations SET number = '9' WHERE number = '10'",), "older than the oldest"),
        (("INSERT INTO migrations VALUES ('30')",), "half-migrated: release 3"),
        (("DROP TABLE migrations",), "migrations"),
    ],
)  # fmt: skip
def test_what_the_recipe_is_not_for_is_refused(
    database: str, shop: Connection, recipe: Recipe, statements: tuple[str, ...], why: str
) -> None:
    """Scenario: not the application, too old, half-migrated."""
    for statement in statements:
        shop.execute(statement)
    with pytest.raises(RecipeDoesNotFit, match=why) as caught:
        fit_recipe(database, recipe)
    assert caught.value.hint


def test_a_schema_off_the_search_path_is_found_by_it(
    database: str, shop: Connection, recipe: Recipe
) -> None:
    """Scenario: hostile names beside, and the application in a schema of its own."""
    shop.execute('CREATE SCHEMA "the ""shop"')
    for table in ("migrations", "customers", "orders"):
        shop.execute(f'ALTER TABLE {table} SET SCHEMA "the ""shop"')
    shop.execute('CREATE TABLE "a""; drop" ("x y" text UNIQUE)')
    with pytest.raises(RecipeDoesNotFit, match="no table"):
        fit_recipe(database, recipe)
    there = f"{database} options='-csearch_path=\"the\\\\ \"\"shop\"'"
    assert [one.step.id for one in fit_recipe(there, recipe).steps] == ["customers"]
