"""What tests of the repair share beside the fixture ``shop``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from dedupe import Plan, repair
from dedupe.errors import DedupeError

from .promises.heap import Connection
from .promises.repaired import copies
from .promises.shop import Shop


@contextmanager
def role(shop: Shop, *grants: str) -> Iterator[str]:
    """Give the connection string of an ordinary role; ``grants`` say ``{}`` for its name."""
    database = psycopg.conninfo.conninfo_to_dict(shop.dsn)["dbname"]
    name = f"role_of_{database}"
    shop.server.execute(f"CREATE ROLE {name} LOGIN".encode())
    try:
        for grant in grants:
            shop.server.execute(grant.replace("{}", name).replace("DBNAME", str(database)).encode())
        yield psycopg.conninfo.make_conninfo(shop.dsn, user=name)
    finally:
        # A backend that is ending still drops its temporary tables.
        while shop.rows(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{name}'"):
            time.sleep(0.02)
        shop.server.execute(
            f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
            .encode()
        )


def unchanged(shop: Shop) -> None:
    """Look whether every table holds what it held."""
    assert copies(shop.server) == shop.before


def no_journal(shop: Shop) -> None:
    """Look whether nothing was written, not even a journal."""
    unchanged(shop)
    assert shop.rows("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgmend'") == [0]


def refusal(shop: Shop, made: Plan, kind: type[DedupeError], **options: object) -> DedupeError:
    """Repair, which has to be refused by an error of this kind, and give the error."""
    with pytest.raises(kind) as refused:
        repair(made, **{"db": shop.dsn, "execute": True, **options})  # type: ignore[arg-type]
    return refused.value


def sent(
    connection: Connection, table: str, columns: list[str], *, text: bool = False
) -> dict[int, tuple[object, ...]]:
    """Give the columns of each row as the server sends them in binary; ``text``: as texts."""
    kinds = connection.execute(
        "SELECT a.attname, t.typsend::regproc::text, t.typsend = 0 FROM pg_attribute a"
        " JOIN pg_type t ON t.oid = a.atttypid WHERE attrelid = %s::regclass AND attnum > 0",
        [table],
    ).fetchall()
    by_name = {name: None if text or none else send for name, send, none in kinds}
    listed = ", ".join(
        f"encode({by_name[name]}({name}), 'hex')" if by_name[name] else f"format('%s', {name})"
        for name in columns
    )
    rows = connection.execute(f"SELECT id, {listed} FROM {table}".encode()).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}
