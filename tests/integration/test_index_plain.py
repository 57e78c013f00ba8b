"""A unique index becomes a plain one and can be made what it was, whatever hangs on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.errors import LockNotAvailable, QueryFailed, UndoRefused, UnknownObject
from dedupe.lab.damage import Damage, damage
from dedupe.repair import beside, plainindex
from dedupe.repair.hangers import hangers
from dedupe.repair.plainindex import make_plain, restoring
from dedupe.repair.proof import prove
from dedupe.writer import Writer

from ..indexing import definition, oid_of, silent, state
from ..scanning import Connection


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with connect(database).open_writer("pgmend test") as opened:
        yield opened


def _as_if_unique(lines: list[str]) -> list[str]:
    return sorted(line.replace("CREATE INDEX", "CREATE UNIQUE INDEX", 1) for line in lines)


def restore(db: Connection, statements: tuple[str, ...]) -> None:
    db.execute("SET search_path = ''")
    for statement in statements:
        db.execute(statement)
    db.execute("RESET search_path")


def fill(db: Connection) -> None:
    db.execute(
        'CREATE TABLE t (id int NOT NULL, "K; k" text, v text);'
        "INSERT INTO t SELECT n, 'Key ' || n, 'v' FROM generate_series(1, 300) n"
    )


@pytest.mark.parametrize(
    "index",
    [
        "t (id)",
        't ("K; k" text_pattern_ops DESC, id) INCLUDE (v) WITH (fillfactor = 55) WHERE v <> \'N\'',
        't (lower("K; k") COLLATE "C", (id % 1000))',
    ],
)
def test_the_plain_one_is_the_same_but_for_its_uniqueness(
    db: Connection, writer: Writer, index: str
) -> None:
    """Scenario: a unique index with every option; made plain, and made again what it was."""
    fill(db)
    name = "\"I'm; \"\"u\""
    db.execute(
        f"CREATE UNIQUE INDEX {name} ON {index}; COMMENT ON INDEX {name} IS 'it''s \\ kept'"
    )
    if "lower" in index:
        db.execute(f"ALTER INDEX {name} ALTER COLUMN 1 SET STATISTICS 77")
    if "WHERE" not in index:
        db.execute(f"ALTER TABLE t CLUSTER ON {name}")
    before, was = state(db), definition(db, name)
    said: list[str] = []
    statements = make_plain(writer, oid_of(db, name), [], said.append)
    assert definition(db, name) == was.replace("CREATE UNIQUE INDEX", "CREATE INDEX", 1)
    assert _as_if_unique(state(db)) == before
    assert "ON CONFLICT no longer finds it" in said[-1]
    prove(writer, oid_of(db, name))
    assert make_plain(writer, oid_of(db, name), [], silent) == ()
    db.execute("BEGIN; INSERT INTO t SELECT * FROM t; ROLLBACK")
    restore(db, statements)
    assert state(db) == before


def test_nulls_not_distinct_and_a_damaged_unique_index(
    database: str, db: Connection, writer: Writer
) -> None:
    fill(db)
    nulls = " NULLS NOT DISTINCT" if db.info.server_version >= 150000 else ""
    db.execute(f"CREATE UNIQUE INDEX u ON t (id, v){nulls}")
    was = definition(db, "u")
    damage(database, "u", Damage.FAILED_BUILD, ["INSERT INTO t VALUES (7, 'again', 'v')"])
    make_plain(writer, oid_of(db, "u"), [], silent)
    assert definition(db, "u") == was.replace("UNIQUE ", "", 1)
    prove(writer, oid_of(db, "u"))


def test_a_tablespace_is_kept(database: str, db: Connection) -> None:
    fill(db)
    name = f"space_{db.info.backend_pid}"
    data = db.execute("SHOW data_directory").fetchone()
    assert data is not None
    place = Path(data[0]).parent / name
    try:
        place.mkdir()
        shutil.chown(place, Path(data[0]).owner())
        db.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
    except (OSError, psycopg.Error) as error:
        pytest.skip(f"no tablespace can be made here: {error}")
    try:
        db.execute(f"ALTER DATABASE {db.info.dbname} SET default_tablespace = '{name}'")
        db.execute(f"CREATE UNIQUE INDEX far ON t (id) TABLESPACE {name}")
        db.execute("CREATE UNIQUE INDEX near ON t (id, v) TABLESPACE pg_default")
        before = state(db)
        with connect(database).open_writer("pgmend test") as other:
            for index in ("far", "near"):
                statements = make_plain(other, oid_of(db, index), [], silent)
                assert _as_if_unique(state(db)) == before
                db.execute("SET default_tablespace = ''")
                restore(db, statements)
        assert state(db) == before
    finally:
        db.execute(f"DROP TABLE t; ALTER DATABASE {db.info.dbname} RESET default_tablespace")
        db.execute(f"DROP TABLESPACE {name}")
        shutil.rmtree(place, ignore_errors=True)


KEYED = """
CREATE TABLE t (id int, "K; k" text,
    CONSTRAINT "the 'key'" PRIMARY KEY (id) INCLUDE ("K; k") WITH (fillfactor = 60)
    , other int NOT NULL,
    CONSTRAINT later UNIQUE (other) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO t SELECT n, 'k', n FROM generate_series(1, 300) n;
CREATE SCHEMA "S s";
CREATE TABLE "S s"."Child" (p int, CONSTRAINT "fk ""1" FOREIGN KEY (p) REFERENCES t (id)
    ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE);
CREATE TABLE c2 (p int) PARTITION BY RANGE (p);
CREATE TABLE c2_1 PARTITION OF c2 FOR VALUES FROM (0) TO (10);
ALTER TABLE c2 ADD CONSTRAINT fk2 FOREIGN KEY (p) REFERENCES t (id);
ALTER TABLE t ADD CONSTRAINT own FOREIGN KEY (other) REFERENCES t (id) NOT VALID;
COMMENT ON CONSTRAINT "the 'key'" ON t IS 'why';
COMMENT ON CONSTRAINT fk2 ON c2 IS 'how';
COMMENT ON INDEX "the 'key'" IS 'what';
"""


def test_what_hangs_on_a_key_must_be_named_and_can_be_restored(
    db: Connection, writer: Writer
) -> None:
    """Scenario: a primary key with three foreign keys, replica identity and comments.
    Outcome: refused while one of them is not named, with nothing changed; then plain,
    and the statements restore all of it.
    """
    db.execute(KEYED)
    db.execute("ALTER TABLE t REPLICA IDENTITY USING INDEX \"the 'key'\"")
    key, before = "\"the 'key'\"", state(db)
    found = hangers(writer, oid_of(db, key))
    assert [(o.kind, o.name, o.table) for o in found] == [
        ("foreign key", 'fk "1', "S s.Child"),
        ("foreign key", "fk2", "public.c2"),
        ("foreign key", "own", "public.t"),
        ("replica identity", "the 'key'", "public.t"),
        ("primary key", "the 'key'", "public.t"),
    ]
    with pytest.raises(UndoRefused, match=r"hangs: foreign key fk2 of public\.c2") as caught:
        make_plain(writer, oid_of(db, key), ['fk "1', "own", "the 'key'"], silent)
    assert caught.value.reasons == ("foreign key fk2 of public.c2",)
    assert "--drop-constraint fk2" in (caught.value.hint or "")
    assert "--side-table" in (caught.value.hint or "")
    assert state(db) == before
    before_it = restoring(writer, oid_of(db, key))
    names = {o.name for o in found}
    statements = make_plain(writer, oid_of(db, key), names, silent)
    assert statements == before_it
    assert definition(db, key).startswith("CREATE INDEX")
    after = state(db)
    assert not [line for line in after if "FOREIGN KEY" in line or "PRIMARY KEY" in line]
    assert "t f" in after
    db.execute("BEGIN; INSERT INTO t SELECT id, 'x', 1000 + other FROM t; ROLLBACK")
    restore(db, statements)
    assert state(db) == before


def test_a_deferrable_constraint(db: Connection, writer: Writer) -> None:
    db.execute(KEYED)
    before = state(db)
    with pytest.raises(UndoRefused, match=r"hangs: unique constraint later of public\.t"):
        make_plain(writer, oid_of(db, "later"), [], silent)
    statements = make_plain(writer, oid_of(db, "later"), ["later"], silent)
    assert definition(db, "later").startswith("CREATE INDEX later ")
    restore(db, statements)
    assert state(db) == before


def test_a_published_table_keeps_an_identity(db: Connection, writer: Writer) -> None:
    fill(db)
    db.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    db.execute("CREATE PUBLICATION p FOR TABLE t")
    before = state(db)
    kinds = [o.kind for o in hangers(writer, oid_of(db, "t_pkey"))]
    assert kinds == ["replica identity", "primary key"]
    statements = make_plain(writer, oid_of(db, "t_pkey"), ["t_pkey"], silent)
    db.execute("DELETE FROM t WHERE id = 1")
    restore(db, statements)
    assert state(db) == before


def test_what_depends_on_a_key_in_another_way_refuses(db: Connection, writer: Writer) -> None:
    """A view that groups by a primary key and shows other columns."""
    db.execute(KEYED)
    db.execute('CREATE VIEW v AS SELECT id, "K; k" FROM t GROUP BY id')
    before = state(db)
    with pytest.raises(UndoRefused, match=r"view public\.v depends") as caught:
        make_plain(
            writer, oid_of(db, "\"the 'key'\""), ['fk "1', "fk2", "own", "the 'key'"], silent
        )
    assert "--side-table" in (caught.value.hint or "")
    assert state(db) == before


LEAVES = ("pk", "p_1_pkey", "odd_name", "p_2_pkey")


def test_a_partitioned_index(db: Connection, writer: Writer) -> None:
    """Scenario: a partitioned table's key with a foreign key on it.
    Outcome: its leaf is refused; it is replaced with its partitions', names kept.
    """
    db.execute(
        "CREATE TABLE p (id int, k int, CONSTRAINT pk PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);"
        "CREATE TABLE p_11 PARTITION OF p_1 FOR VALUES FROM (0) TO (5);"
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (10) TO (900);"
        "CREATE INDEX my_own ON p_2 (id); ALTER INDEX p_11_pkey RENAME TO odd_name;"
        "CREATE TABLE c (p int CONSTRAINT fk REFERENCES p (id));"
        "INSERT INTO p SELECT n, n FROM generate_series(1, 4) n;"
        "CREATE UNIQUE INDEX u ON p (k, id)"
    )
    with pytest.raises(UndoRefused, match=r"partition parent p_1_pkey of public\.p_11") as caught:
        make_plain(writer, oid_of(db, "odd_name"), ["odd_name", "p_1_pkey", "pk"], silent)
    assert "partitioned table's index" in (caught.value.hint or "")
    db.execute("COMMENT ON INDEX odd_name IS 'odd'; ALTER INDEX p_2_pkey SET (fillfactor = 70)")
    before, was = state(db), {name: definition(db, name) for name in LEAVES}
    statements = make_plain(writer, oid_of(db, "pk"), ["pk", "fk"], silent)
    for name in LEAVES:
        assert definition(db, name) == was[name].replace("UNIQUE ", "", 1)
    assert any(line.endswith("odd") for line in state(db))
    db.execute("INSERT INTO p VALUES (1, 100)")
    prove(writer, oid_of(db, "pk"))
    db.execute("DELETE FROM p WHERE k = 100")
    restore(db, statements)
    db.execute("ALTER INDEX p_11_pkey RENAME TO odd_name; COMMENT ON INDEX odd_name IS 'odd'")
    db.execute("ALTER INDEX p_2_pkey SET (fillfactor = 70)")
    assert state(db) == before
    unique = definition(db, "u")
    statements = make_plain(writer, oid_of(db, "u"), [], silent)
    assert definition(db, "u") == unique.replace("UNIQUE ", "", 1)
    restore(db, statements)
    assert state(db) == before


class _Killed(BaseException):
    """The client went away."""


@pytest.mark.parametrize("hanging", [False, True])
def test_killed_at_any_statement_it_is_finished_by_the_next_call(
    database: str, db: Connection, monkeypatch: pytest.MonkeyPatch, hanging: bool
) -> None:
    """Scenario: the client is lost before each of the statements, until none is left.
    Outcome: after the next call the index is the plain one, and nothing else is left.
    """
    for step in range(1, 60):
        db.execute("DROP TABLE IF EXISTS c; DROP TABLE IF EXISTS t")
        fill(db)
        if hanging:
            db.execute("ALTER TABLE t ADD CONSTRAINT u PRIMARY KEY (id)")
            db.execute("CREATE TABLE c (p int CONSTRAINT fk REFERENCES t)")
        else:
            db.execute("CREATE UNIQUE INDEX u ON t (id)")
        db.execute("COMMENT ON INDEX u IS 'kept'")
        oid = oid_of(db, "u")
        with connect(database).open_writer("pgmend test") as first:
            expected = restoring(first, oid)
            killed = _kill_at(
                monkeypatch, first, step, partial(make_plain, first, oid, {"u", "fk"}, silent)
            )
        with connect(database).open_writer("pgmend test") as second:
            statements = make_plain(second, oid, {"u", "fk"}, silent)
        assert statements in {(), expected}
        plain = "CREATE INDEX u ON public.t USING btree (id) | t | f | f | kept"
        assert state(db) == sorted([plain, "t d", *(["c d"] if hanging else [])])
        if not killed:
            assert step > 6
            return
    pytest.fail("it never came to its end")


def _kill_at(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, step: int, work: Callable[[], Any]
) -> bool:
    """Close the connection before statement number ``step``; False: there were fewer."""
    left = step
    execute = psycopg.Connection.execute

    def counted(connection: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal left
        if connection is writer.connection:
            left -= 1
            if left == 0:
                connection.close()
                raise _Killed
        return execute(connection, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "execute", counted)
        try:
            work()
        except _Killed:
            return True
    return False


def test_a_lock_that_is_not_to_be_had_leaves_all_as_it_is(
    database: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.execute(KEYED)
    monkeypatch.setattr(beside, "_ATTEMPTS", 2)
    before = state(db)
    with (
        connect(database).open_writer("pgmend test") as writer,
        psycopg.connect(database) as holding,
    ):
        oid = oid_of(db, "later")

        make = plainindex.comment_on
        first = True

        def commented(session: Writer, index: str, text: str | None) -> None:
            nonlocal first
            if first:
                # A concurrent build would have waited for it.
                first = False
                holding.execute("SELECT FROM t LIMIT 1")
            make(session, index, text)

        monkeypatch.setattr(plainindex, "comment_on", commented)
        with pytest.raises(LockNotAvailable):
            make_plain(writer, oid, ["later"], silent)
        holding.rollback()
        statements = make_plain(writer, oid, ["later"], silent)
    restore(db, statements)
    assert state(db) == before


def test_a_build_that_cannot_be_done_leaves_the_unique_index(
    database: str, db: Connection, writer: Writer
) -> None:
    fill(db)
    db.execute("CREATE UNIQUE INDEX u ON t (v, id)")
    db.execute("ALTER TABLE t ALTER v SET STORAGE external")
    damage(
        database, "u", Damage.LOST_ENTRIES,
        ["INSERT INTO t SELECT 900, '', string_agg(md5(n::text), '') FROM generate_series(1, 900)n"]
    )
    before = state(db)
    with pytest.raises(QueryFailed, match=r"public\.u could not be") as caught:
        make_plain(writer, oid_of(db, "u"), [], silent)
    assert caught.value.sqlstate == "54000"
    assert state(db) == before


def test_an_index_that_was_never_there(writer: Writer) -> None:
    assert make_plain(writer, 1, [], silent) == ()
    with pytest.raises(UnknownObject):
        restoring(writer, 1)
