"""References that the catalog does not know, written while nobody guards them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe import MatchKey, SoftReference, plan, repair, scan, verify
from dedupe.lab.damage import Damage, damage

from ..scanning import Connection

KINDS = {
    "value": ("int8", "102"),
    "text": ("text", "'102'"),
    "array": ("int8[]", "'{3,102}'"),
    "jsonb": ("jsonb", '\'{"about": {"id": 102}}\''),
}


@pytest.mark.parametrize("kind", KINDS)
def test_verify_finds_rows_that_arrived_for_a_loser(
    db: Connection, database: str, tmp_path: Path, kind: str
) -> None:
    """Scenario: after its loser was deleted an application writes one more row that means it.
    Outcome: verify is clean before and names the row's table afterwards.
    """
    column, loser = KINDS[kind]
    db.execute(
        "CREATE TABLE posts (id int8 PRIMARY KEY, uri text);"
        "CREATE UNIQUE INDEX posts_uri ON posts (uri);"
        "INSERT INTO posts SELECT n, 'u' || n FROM generate_series(1, 50) n;"
        f"CREATE TABLE notes (id int8 PRIMARY KEY, kind text, about {column})"
    )
    damage(
        database, "posts_uri", Damage.LOST_ENTRIES,
        ["INSERT INTO posts SELECT 100 + n, 'u' || n FROM generate_series(1, 5) n"],
    )
    db.execute(f"INSERT INTO notes VALUES (1, 'Post', {loser}), (2, 'User', {loser})".encode())
    soft = SoftReference(
        table="notes", column="about", parent="posts", parent_column="id",
        kind=kind if kind in {"array", "jsonb"} else "value",
        type_column="kind", type_value="Post",
        path=("about", "id") if kind == "jsonb" else (),
    )
    run = scan(database, MatchKey.from_index("posts_uri"), tmp_path / "run")
    repair(plan(run, keep="oldest", db=database, soft=[soft]), db=database, execute=True)
    assert verify(run, db=database).clean
    db.execute(f"INSERT INTO notes VALUES (3, 'Post', {loser})".encode())
    (finding,) = verify(run, db=database).findings
    assert "1 rows of public.notes (about) point at rows of public.posts" in finding
