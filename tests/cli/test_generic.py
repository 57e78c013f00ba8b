"""Any application, by the catalog alone: all unique indexes scanned, each key repaired, all undone.

What docs/any-application.md tells to do, in its order.
"""

from __future__ import annotations

import re
import shlex

import pytest

from cli.exits import ExitCode

from .conftest import Command, Connection

#: customers with orders and addresses, and twins under a key of each of them
SHOP = """
    CREATE SCHEMA app;
    CREATE TABLE app.customers (id int8 PRIMARY KEY, mail text NOT NULL, name text);
    CREATE UNIQUE INDEX customers_mail ON app.customers (lower(mail));
    CREATE TABLE app.products (sku text PRIMARY KEY, name text);
    CREATE TABLE app.orders (id int8 PRIMARY KEY, number text NOT NULL, CONSTRAINT orders_number
        UNIQUE (number), customer_id int8 NOT NULL
        REFERENCES app.customers ON DELETE CASCADE, token text);
    CREATE INDEX orders_customer ON app.orders (customer_id);
    CREATE UNIQUE INDEX orders_token ON app.orders (token);
    CREATE TABLE app.lines (id int8 PRIMARY KEY, order_id int8 NOT NULL REFERENCES app.orders
        ON DELETE CASCADE, sku text NOT NULL REFERENCES app.products, UNIQUE (order_id, sku));
    CREATE TABLE app.addresses (id int8 PRIMARY KEY, customer_id int8 NOT NULL
        REFERENCES app.customers ON DELETE CASCADE, label text NOT NULL,
        CONSTRAINT addresses_label UNIQUE (customer_id, label));
    CREATE TABLE app.sound (id int8 PRIMARY KEY, name text UNIQUE);
    INSERT INTO app.sound VALUES (1, 'x'), (2, 'y');
    INSERT INTO app.customers VALUES (1, 'a@x', 'Anna'), (3, 'b@x', 'Bert');
    INSERT INTO app.products VALUES ('s1', 'one'), ('s2', 'two');
    INSERT INTO app.orders VALUES (1, 'n1', 1, 'a'), (2, 'n2', 3, 'b'), (4, 'n4', 3, 'c');
    INSERT INTO app.lines VALUES (1, 1, 's1'), (2, 2, 's2');
    INSERT INTO app.addresses VALUES (1, 1, 'home'), (2, 3, 'home')
"""
UNIQUE = """
    UPDATE pg_index SET indisunique = {} WHERE indexrelid IN ('app.customers_mail'::regclass,
        'app.orders_number'::regclass, 'app.orders_token'::regclass, 'app.products_pkey'::regclass,
        'app.addresses_label'::regclass)
"""
TWINS = """
    INSERT INTO app.customers VALUES (2, 'A@x', 'Anna');
    INSERT INTO app.products VALUES ('s1', 'one again');
    INSERT INTO app.orders VALUES (3, 'n1', 2, 'd'), (5, 'n5', 2, 'c');
    INSERT INTO app.lines VALUES (3, 3, 's1'), (4, 5, 's1');
    INSERT INTO app.addresses VALUES (3, 1, 'home'), (4, 2, 'home'), (5, 2, 'work')
"""
TABLES = ("customers", "products", "orders", "lines", "addresses", "sound")
SCAN = ("scan", "--all-unique", "--schema", "app", "-q", "--run")
EXECUTE = ("--execute", "-q", "--without-snapshot", "a test")


@pytest.fixture
def shop(db: Connection) -> Connection:
    """Give a shop whose unique indexes deny the twins in them."""
    for statements in (SHOP, UNIQUE.format("false"), TWINS, UNIQUE.format("true")):
        db.execute(statements)
    return db


def state(db: Connection) -> dict[str, list[str]]:
    return {
        table: [row for (row,) in db.execute(f"SELECT t::text FROM app.{table} t ORDER BY 1")]
        for table in TABLES
    }


def scanned(pgmend: Command, place: str) -> dict[str, str]:
    """Scan everything; return the run of each key with duplicates, as the command prints it."""
    done = pgmend(*SCAN, place)
    assert done.returncode == ExitCode.FOUND, done.stderr
    words = [shlex.split(line) for line in done.stdout.splitlines() if "--keep RULE" in line]
    return {key: run for _, _, run, _, key, _, _ in words}


def repaired(pgmend: Command, run: str, key: str, keep: str, code: ExitCode = ExitCode.OK) -> str:
    """Plan a key, look at its repair, and carry it out; return what the plan printed."""
    made = pgmend("plan", run, "--key", key, "--keep", keep)
    assert made.returncode == ExitCode.OK, made.stderr
    shown = pgmend("repair", run)
    assert "Nothing was written." in shown.stdout
    done = pgmend("repair", run, *EXECUTE)
    assert done.returncode == code, (done.stdout, done.stderr)
    return made.stdout + done.stdout


def test_every_key_of_an_application_is_repaired_and_taken_back(
    pgmend: Command, shop: Connection
) -> None:
    """Outcome: children first, then what they reference; in the end no key is violated, and undo,
    the last repair first, brings back every row.
    """
    before = state(shop)
    runs = scanned(pgmend, "all")
    assert set(runs) == {
        "addresses_label", "customers_mail", "orders_number", "orders_token", "products_pkey",
    }  # fmt: skip
    several = pgmend("plan", "all", "--keep", "oldest")
    assert several.returncode == ExitCode.USAGE
    assert "repaired one at a time" in several.stderr
    two = pgmend("plan", runs["orders_number"], "--keep", "oldest")
    assert two.returncode == ExitCode.USAGE
    assert "--key 'orders_number' or --key 'orders_token'" in two.stderr
    done = []
    for key, keep in (("addresses_label", "newest"), ("orders_number", "oldest")):
        repaired(pgmend, runs[key], key, keep)
        done.append(runs[key])
    # A run is for the repair of one key: the second key of a table takes another scan.
    begun = pgmend("plan", runs["orders_token"], "--key", "orders_token", "--keep", "oldest")
    assert begun.returncode == ExitCode.REFUSED
    assert "scan again" in begun.stderr
    again = scanned(pgmend, "again")
    assert set(again) == {"customers_mail", "orders_token", "products_pkey"}
    for key, keep in (
        ("orders_token", "oldest"), ("customers_mail", "newest"), ("products_pkey", "name"),
    ):  # fmt: skip
        repaired(pgmend, again[key], key, keep)
        done.append(again[key])
    for run in done:
        assert pgmend("verify", run, "-q").returncode == ExitCode.OK, run
    assert pgmend(*SCAN, "sound").returncode == ExitCode.OK
    now = state(shop)
    assert now["customers"] == ["(2,A@x,Anna)", "(3,b@x,Bert)"]
    assert now["orders"] == ["(1,n1,2,a)", "(2,n2,3,b)", "(4,n4,3,c)"]
    assert now["lines"] == ["(1,1,s1)", "(2,2,s2)", "(4,4,s1)"]
    assert now["products"] == ["(s1,one)", "(s2,two)"]
    for run in reversed(done):
        asked = pgmend("undo", run, "--execute", "-q")
        if asked.returncode == ExitCode.REFUSED:
            # What hangs on the index is told, ready to paste.
            names = re.findall(r"--drop-constraint (\S+)", asked.stderr)
            options = [word for name in names for word in ("--drop-constraint", name)]
            asked = pgmend("undo", run, "--execute", "-q", *options)
        assert asked.returncode == ExitCode.OK, asked.stderr
    assert state(shop) == before


def test_a_parent_that_is_taken_first_is_left(pgmend: Command, shop: Connection) -> None:
    """Scenario: customers are merged while their orders have twins under a key of their own.
    Outcome: the plan tells what to repair first; the group is left as it was, and the exit code
    says so. Once the orders are repaired, a new scan and plan of customers goes through.
    """
    before = state(shop)
    runs = scanned(pgmend, "all")
    told = repaired(pgmend, runs["customers_mail"], "customers_mail", "newest", ExitCode.FOUND)
    assert "first: app.orders had duplicates under orders_number, orders_token when" in told
    assert "first: app.addresses had duplicates under addresses_label when" in told
    refused = r'left: group 1: .*duplicate key value violates .* "(orders|addresses)_'
    assert re.search(refused, told)
    assert state(shop) == before
    repaired(pgmend, runs["addresses_label"], "addresses_label", "newest")
    repaired(pgmend, runs["orders_number"], "orders_number", "oldest")
    again = scanned(pgmend, "again")
    repaired(pgmend, again["customers_mail"], "customers_mail", "newest")
    assert state(shop)["customers"] == ["(2,A@x,Anna)", "(3,b@x,Bert)"]
