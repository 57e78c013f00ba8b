"""An instance is made: schema, sound rows, planted ones, indexes that lie."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ...errors import LabError
from ..damage import mark_unique
from . import accounts, others, posts
from .background import Sizes, filling
from .digest import digests, kinds
from .manifest import Manifest, Release, Row
from .scene import PLANTED, Scene
from .values import written

Connection = psycopg.Connection[tuple[Any, ...]]
_SCHEMAS = Path(__file__).parents[1] / "schemas"
FILES = {"3.5.3": ("mastodon-3.5.3.sql",), "4.7": ("mastodon-3.5.3.sql", "mastodon-4.7.sql")}
_STAMP = "2024-01-01 00:00:00"


def create_schema(dsn: str, release: Release) -> None:
    """Make the tables of a release, empty, in an empty database. Raises LabError."""
    try:
        with psycopg.connect(dsn) as connection:
            for name in FILES[release]:
                connection.execute(sql.SQL((_SCHEMAS / name).read_text("utf-8")))
    except psycopg.Error as error:
        raise LabError(f"the schema of {release} cannot be made: {str(error).strip()}") from error


def make_instance(
    dsn: str,
    release: Release,
    *,
    statuses: int,
    seed: int,
    duplicate_rate: float = 0.001,
    on_step: Callable[[str, float], None] = lambda _what, _seconds: None,
) -> Manifest:
    """Fill an empty database with a Mastodon instance, damage it, and return what is true.

    ``statuses`` posts come with a twentieth as many accounts, a fifth as many conversations,
    and children in proportion: 3.6 rows for each post. About ``duplicate_rate`` of the posts,
    accounts, conversations, media, cards, tags and users are in groups, but every scene is
    planted twice at least. ``seed`` decides which half of the rows comes before the planted
    ones. ``on_step`` is told what was done and how long it took.

    Indexes and foreign keys are made after the rows, so all references were proved by the
    server; the damaged unique indexes hold every row, and only look unique.
    Needs a superuser. Memory: little here; the server sorts and hashes.
    Raises LabError, ValueError (a rate beyond 0 to 0.5, fewer than 100 posts).
    """
    if not 0 <= duplicate_rate <= 0.5 or statuses < 100:
        raise ValueError("a rate is from 0 to 0.5, and an instance has 100 posts or more")
    watch = _Watch(on_step)
    create_schema(dsn, release)
    watch("schema")
    scenes = plan_scenes(release, statuses, duplicate_rate)
    placed = _place(scenes)
    rows: list[Row] = []
    groups = []
    for (scene, _), (copies, own) in zip(scenes, placed, strict=True):
        more, grouped = scene.expected(own, copies)
        rows += more
        groups += grouped
    damaged = sorted({group.index for group in groups})
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("SET LOCAL synchronous_commit = off")
            connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
            connection.execute("SET LOCAL jit = off")
            with _bare(connection, damaged, watch):
                share = (seed % 7 + 1) / 8
                steps = list(filling(release, statuses))
                for _, count, statement in steps:
                    _fill(connection, statement, 1, int(count * share))
                watch("first part of the sound rows")
                types = kinds(connection)
                for (scene, _), (copies, own) in zip(scenes, placed, strict=True):
                    _plant(connection, scene, own, copies, types)
                watch("planted rows")
                for _, count, statement in steps:
                    _fill(connection, statement, int(count * share) + 1, count)
                watch("second part of the sound rows")
            connection.execute("ANALYZE")
            watch("ANALYZE")
            connection.execute("REFRESH MATERIALIZED VIEW instances")
            _count_planted(connection)
            _set_sequences(connection)
            watch("counters and sequences")
        for index in damaged:
            mark_unique(dsn, index)
        with psycopg.connect(dsn, autocommit=True) as connection:
            background = digests(connection)
            total = sum(one.rows for one in background.values())
            watch("digests")
    except psycopg.Error as error:
        raise LabError(f"the instance cannot be made: {str(error).strip()}") from error
    planted = sum(
        copies * sum(scene.sizes.values())
        for (scene, _), (copies, _) in zip(scenes, placed, strict=True)
    )
    return Manifest(
        release=release, statuses=statuses, seed=seed, duplicate_rate=duplicate_rate,
        groups=tuple(groups), rows=tuple(rows), background=background, total=total + planted,
    )


def plan_scenes(
    release: Release, statuses: int, duplicate_rate: float
) -> list[tuple[Scene, int]]:
    """Return every scene and the number of its copies."""
    sizes = Sizes.of(statuses)
    found: list[tuple[Scene, int]] = []
    for scenes, among in (
        (posts.scenes(release), sizes.statuses),
        (accounts.scenes(release), sizes.accounts),
        (posts.conversation_scenes(release), sizes.conversations),
        (posts.media_scenes(release), sizes.media),
        (posts.card_scenes(release), sizes.cards),
        (others.tag_scenes(release), sizes.tags),
        (others.user_scenes(release), sizes.accounts // 20),
        (others.small_scenes(release), sizes.emojis),
    ):
        copies = max(2, int(among * duplicate_rate / 2 / len(scenes)))
        found += [(scene, copies) for scene in scenes]
    return found


class _Watch:
    def __init__(self, tell: Callable[[str, float], None]) -> None:
        self._tell = tell
        self._since = time.monotonic()

    def __call__(self, what: str) -> None:
        now = time.monotonic()
        self._tell(what, now - self._since)
        self._since = now


def _place(
    scenes: Sequence[tuple[Scene, int]],
) -> list[tuple[int, dict[str, int]]]:
    """Give each scene a range of ids in each of its tables."""
    following: dict[str, int] = {}
    placed = []
    for scene, copies in scenes:
        own = {table: following.get(table, PLANTED) for table in scene.sizes}
        for table, size in scene.sizes.items():
            following[table] = own[table] + size * copies
        placed.append((copies, own))
    return placed


def _fill(connection: Connection, statement: str, first: int, last: int) -> None:
    if first <= last:
        connection.execute(sql.SQL(statement), {"first": first, "last": last})


def _plant(
    connection: Connection,
    scene: Scene,
    starts: dict[str, int],
    copies: int,
    types: dict[str, dict[str, str]],
) -> None:
    for table, columns in scene.planted(starts):
        known = types[table]
        said = {
            name: _STAMP for name in ("created_at", "updated_at") if name in known
        } | columns
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(0::bigint, {}) n").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, said)),
                sql.SQL(", ").join(written(value, known[name]) for name, value in said.items()),
                sql.Literal(copies - 1),
            )
        )


@contextmanager
def _bare(connection: Connection, damaged: Sequence[str], watch: _Watch) -> Iterator[None]:
    """Take indexes and foreign keys off, and put them back; damaged ones as plain ones."""
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE contype IN ('p', 'f') AND connamespace = 'public'::regnamespace"
        " ORDER BY contype = 'f', conrelid::regclass::text, conname"
    ).fetchall()
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " JOIN pg_class c ON c.oid = indrelid AND c.relkind = 'r'"
        " WHERE c.relnamespace = 'public'::regnamespace AND NOT EXISTS"
        " (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype = 'p')"
        " ORDER BY 1"
    ).fetchall()
    for table, name, _ in reversed(constraints):
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.Identifier(table), sql.Identifier(name)
            )
        )
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    for table, name, definition in constraints:
        if definition.startswith("PRIMARY"):
            _constrain(connection, table, name, definition)
    for name, definition in indexes:
        plain = definition.replace("CREATE UNIQUE INDEX", "CREATE INDEX", 1)
        connection.execute(sql.SQL(plain if name in damaged else definition))
    watch("indexes")
    for table, name, definition in constraints:
        if not definition.startswith("PRIMARY"):
            _constrain(connection, table, name, definition)
    watch("foreign keys")


def _constrain(connection: Connection, table: str, name: str, definition: str) -> None:
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} " + definition).format(
            sql.Identifier(table), sql.Identifier(name)
        )
    )


def _set_sequences(connection: Connection) -> None:
    """Let new rows have ids behind the planted ones."""
    for table, sequence in connection.execute(
        "SELECT t.relname, s.relname FROM pg_depend d JOIN pg_class s ON s.oid = d.objid"
        " AND s.relkind = 'S' JOIN pg_class t ON t.oid = d.refobjid"
        " WHERE d.deptype = 'a' AND t.relnamespace = 'public'::regnamespace"
    ).fetchall():
        connection.execute(
            sql.SQL("SELECT setval({}::regclass, max(id)) FROM {}").format(
                sql.Literal(sequence), sql.Identifier(table)
            )
        )


def _count_planted(connection: Connection) -> None:
    """Set the counters of the planted rows to what is counted."""
    connection.execute(
        "UPDATE account_stats s SET statuses_count = (SELECT count(*) FROM statuses"
        " WHERE account_id = s.account_id AND deleted_at IS NULL), following_count ="
        " (SELECT count(*) FROM follows WHERE account_id = s.account_id), followers_count ="
        " (SELECT count(*) FROM follows WHERE target_account_id = s.account_id)"
        " WHERE id >= %s",
        [PLANTED],
    )
    connection.execute(
        "UPDATE status_stats s SET replies_count = (SELECT count(*) FROM statuses"
        " WHERE in_reply_to_id = s.status_id AND deleted_at IS NULL), reblogs_count ="
        " (SELECT count(*) FROM statuses WHERE reblog_of_id = s.status_id"
        " AND deleted_at IS NULL), favourites_count ="
        " (SELECT count(*) FROM favourites WHERE status_id = s.status_id) WHERE id >= %s",
        [PLANTED],
    )
