"""What the repair says of collations that changed under their indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe import MatchKey, plan, repair, scan
from dedupe.lab.damage import Damage, damage

from ..scanning import Connection


@pytest.mark.parametrize("changed", [True, False])
def test_a_changed_collation_is_refreshed_last(
    db: Connection, database: str, tmp_path: Path, *, changed: bool
) -> None:
    """Scenario: the library of the index's collation has another version than it was built with.
    Outcome: both versions are said, how many other indexes need a rebuild, and what comes last;
    of one that did not change, nothing.
    """
    (name,) = db.execute(
        "SELECT collname FROM pg_collation WHERE collversion IS NOT NULL"
        " AND collencoding IN (-1, 6) ORDER BY collname LIMIT 1"
    ).fetchone() or pytest.skip("no collation of this server has a version")
    db.execute(f'CREATE COLLATION mine FROM "{name}"'.encode())
    if changed:
        db.execute("UPDATE pg_collation SET collversion = 'old' WHERE collname = 'mine'")
    db.execute(
        "CREATE TABLE users (id int8 PRIMARY KEY, email text COLLATE mine, name text"
        " COLLATE mine); CREATE UNIQUE INDEX users_email ON users (email);"
        "CREATE INDEX users_name ON users (name);"
        "INSERT INTO users SELECT n, 'u' || n, 'n' FROM generate_series(1, 50) n"
    )
    damage(
        database, "users_email", Damage.LOST_ENTRIES,
        ["INSERT INTO users SELECT 100 + n, 'u' || n, 'n' FROM generate_series(1, 5) n"],
    )
    run = scan(database, MatchKey.from_index("users_email"), tmp_path / "run")
    result = repair(plan(run, keep="oldest", db=database), db=database, execute=True)
    said = [line for line in result.advice if "was version" in line]
    if not changed:
        assert said == []
        return
    (line,) = said
    assert line.startswith("The collation public.mine was version old and is ")
    assert "1 other indexes are sorted by it" in line
    assert line.endswith('ALTER COLLATION "public"."mine" REFRESH VERSION;')
