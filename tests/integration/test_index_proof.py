"""Indexes are proved against their heap, by amcheck or by counting, or else rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.errors import DuplicatesLeft, UnknownObject, UnprovenIndex
from dedupe.lab.comparator import comparator_class
from dedupe.lab.damage import Damage, damage
from dedupe.repair import proof
from dedupe.repair.proof import prove, prove_or_rebuild
from dedupe.session import Session
from dedupe.writer import Writer

from ..indexing import oid_of
from ..scanning import Connection

ROWS = 3000
#: definitions over t (id, a, b, n), and rows that a damaged index of it would miss
INDEXES = [
    "UNIQUE (a)",
    "(b)",
    "(b, id)",
    "(b DESC, a NULLS FIRST)",
    "(b DESC NULLS LAST, id DESC)",
    "(a text_pattern_ops)",
    '(a COLLATE "C")',
    "(lower(a), (n % 7))",
    "(upper(a) COLLATE \"C\" DESC) INCLUDE (b) WHERE b < 50 AND a <> 'x'",
    "(id) WHERE b = 3",
    "(b) WHERE b = 3",
    "(c, b)",
    "(r)",
    "(v)",
    "(nm, id)",
    "((nm || 'x'::text))",
    "(j, id)",
    "(arr, id)",
]


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    with connect(database).open("pgmend test") as opened:
        yield opened


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with connect(database).open_writer("pgmend test") as opened:
        yield opened


def mend(
    writer: Writer, database: str, index: int, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Prove one index or rebuild it."""
    prove_or_rebuild(
        writer, lambda: connect(database).open("pgmend test"), [index], lambda: False, tell,
        alone=False,
    )


@pytest.fixture(params=["amcheck", "counting"])
def way(request: pytest.FixtureRequest, db: Connection, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have indexes proved by amcheck, or by counting where there is none."""
    name: str = request.param
    if name == "amcheck":
        db.execute("CREATE EXTENSION amcheck SCHEMA public")

        def none(*_: object) -> None:
            pytest.fail("counted, though amcheck is there")

        monkeypatch.setattr(proof, "_count", none)
    return name


def fill(db: Connection, index: str = "") -> None:
    """Make the table t, and an index i of it."""
    db.execute(
        "CREATE TYPE pair AS (x int, y text);"
        "CREATE TABLE t (id int, a text, b int, n numeric, c pair, r int4range, v varchar(40),"
        " nm name, j jsonb, arr int[])"
    )
    db.execute(
        "INSERT INTO t SELECT n, nullif('Key ' || n * 7 % 1999, 'Key 4') || n,"
        " nullif(n % 97, 5), n / 7.0, CASE WHEN n % 9 > 0 THEN ROW(nullif(n % 5, 2),"
        " nullif('y' || n % 3, 'y1'))::pair END, int4range(n, n + 3), md5(n::text),"
        " 'n' || n % 50,"
        f" jsonb_build_object('k', n), ARRAY[n % 10, NULL] FROM generate_series(1, {ROWS}) n"
    )
    if index:
        unique = "UNIQUE " if index.startswith("UNIQUE ") else ""
        db.execute(f"CREATE {unique}INDEX i ON t {index.removeprefix('UNIQUE ')}")


def lose(db: Connection, index: str, statement: str) -> None:
    """Run a statement while the index gets no entries."""
    flag = "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass"
    with db.transaction():
        db.execute(flag, [False, index])
        db.execute(statement)
        db.execute(flag, [True, index])


@pytest.mark.parametrize("index", INDEXES)
def test_a_sound_index_of_any_kind_is_proved(
    db: Connection, session: Session, way: str, index: str
) -> None:
    """Scenario: rows changed and deleted since; then a row comes that the index never gets.
    Outcome: proved; then refused by name.
    """
    fill(db, index)
    db.execute("UPDATE t SET n = n + 1, b = b + 1 WHERE id % 5 = 0; DELETE FROM t WHERE id % 7 = 0")
    prove(session, oid_of(db, "i"))
    lose(
        db, "i",
        "INSERT INTO t VALUES (9999, 'zz', 3, 1, ROW(1, 'z'), '[1,2)', 'v', 'nm', '{}', '{1}')",
    )
    with pytest.raises(UnprovenIndex, match=r"the index public\.i could not be proved") as caught:
        prove(session, oid_of(db, "i"))
    assert caught.value.index == "public.i"
    assert 'REINDEX INDEX CONCURRENTLY "public"."i"' in (caught.value.hint or "")
    assert way == "amcheck" or "entries for" in caught.value.message


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "columns", ["(a)", "(b, a)", "(b DESC, a DESC)", "(lower(a)) WHERE b IS NOT NULL"]
)
def test_an_order_that_changed_is_noticed(
    database: str, db: Connection, session: Session, columns: str
) -> None:
    fill(db, "")
    db.execute(f"CREATE UNIQUE INDEX i ON t {columns}")
    damage(
        database, "i", Damage.FLIPPED_ORDER,
        ["INSERT INTO t SELECT n, 'Late ' || n, n % 90 FROM generate_series(10001, 10400) n"],
    )
    with pytest.raises(UnprovenIndex):
        prove(session, oid_of(db, "i"))


def test_a_comparator_that_changed_is_never_proved(
    database: str, db: Connection, session: Session, writer: Writer, way: str
) -> None:
    """Scenario: an operator class of the user's; rows came in while its order was another.
    Outcome: refused; rebuilt it is trusted.
    """
    name = comparator_class(database, "int8")
    db.execute("CREATE TABLE t (id int8, k text)")
    db.execute("INSERT INTO t SELECT n, 'k' FROM generate_series(1, 3000) n")
    db.execute(f"CREATE INDEX i ON t (id {name})")
    if way == "amcheck":
        prove(session, oid_of(db, "i"))
    db.execute(f"CREATE UNIQUE INDEX u ON t (id {name})")
    damage(
        database, "u", Damage.SWAPPED_COMPARATOR,
        ["INSERT INTO t SELECT n, 'x' FROM generate_series(4000, 4001) n"],
    )
    with pytest.raises(UnprovenIndex):
        prove(session, oid_of(db, "u"))
    before = oid_of(db, "u")
    mend(writer, database, before)
    assert oid_of(db, "u") != before, "it was rebuilt"


@pytest.mark.usefixtures("way")
def test_an_entry_whose_address_another_row_took_is_noticed(
    db: Connection, session: Session
) -> None:
    """Scenario: an old copy of the index; a row went since, and one of a higher key came where
    it was. Outcome: refused, though count, addresses and the rows' order are right.
    """
    fill(db, "(id)")
    db.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
    flag = "UPDATE pg_index SET indisready = %s WHERE indexrelid = 'i'::regclass"
    db.execute(flag, [False])
    db.execute("DELETE FROM t WHERE id = 3000")
    db.execute("VACUUM (INDEX_CLEANUP ON) t")
    db.execute("INSERT INTO t SELECT 5000, a, b, n, c, r, v, nm, j, arr FROM t WHERE id = 2999")
    db.execute(flag, [True])
    with pytest.raises(UnprovenIndex):
        prove(session, oid_of(db, "i"))


def test_a_duplicate_is_no_damage(
    database: str, db: Connection, session: Session, way: str
) -> None:
    """What proves is that every row is found; whether keys are unique, the scan says."""
    assert way
    fill(db, "UNIQUE (id)")
    damage(database, "i", Damage.INDEXED_TWICE, ["INSERT INTO t VALUES (64, 'again')"])
    prove(session, oid_of(db, "i"))


def test_a_partitioned_index_is_proved_leaf_by_leaf(
    database: str, db: Connection, session: Session, way: str
) -> None:
    assert way
    db.execute(
        "CREATE TABLE p (id int PRIMARY KEY, k int) PARTITION BY RANGE (id);"
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (1000) PARTITION BY RANGE (id);"
        "CREATE TABLE p_11 PARTITION OF p_1 FOR VALUES FROM (0) TO (500);"
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (1000) TO (9000);"
        "INSERT INTO p SELECT n, n FROM generate_series(1, 400) n"
    )
    prove(session, oid_of(db, "p_pkey"))
    damage(database, "p_11_pkey", Damage.LOST_ENTRIES, ["INSERT INTO p VALUES (450, 1)"])
    with pytest.raises(UnprovenIndex, match=r"public\.p_11_pkey"):
        prove(session, oid_of(db, "p_pkey"))


def test_hostile_names(
    database: str, db: Connection, session: Session, writer: Writer
) -> None:
    db.execute(
        'CREATE SCHEMA "S; ""x"; CREATE TABLE "S; ""x"."t %s $1" ("select" text, "A""b" int);'
        'CREATE INDEX "i \'; --" ON "S; ""x"."t %s $1" ("select" DESC, ("A""b" + 1))'
        ' WHERE "A""b" > 3;'
    )
    db.execute(
        'INSERT INTO "S; ""x"."t %s $1" SELECT n, n FROM generate_series(1, 100) n'
    )
    name = '"S; ""x"."i \'; --"'
    prove(session, oid_of(db, name))
    lose(db, name, 'INSERT INTO "S; ""x"."t %s $1" VALUES (1, 9)')
    with pytest.raises(UnprovenIndex):
        prove(session, oid_of(db, name))
    mend(writer, database, oid_of(db, name))
    prove(session, oid_of(db, name))


def test_a_function_that_needs_the_roles_own_search_path(
    database: str, db: Connection, way: str
) -> None:
    """On servers that still build such an index (before 17, outside the restricted path)."""
    assert way
    db.execute(
        "CREATE SCHEMA app; CREATE FUNCTION app.one() RETURNS int IMMUTABLE LANGUAGE sql"
        " AS 'SELECT 1'; CREATE FUNCTION app.f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql"
        " AS 'BEGIN RETURN $1 + one(); END'; CREATE TABLE t (id int);"
        "INSERT INTO t SELECT generate_series(1, 300)"
    )
    db.execute("SET search_path = app, public")
    if db.info.server_version >= 170000:
        with pytest.raises(psycopg.errors.UndefinedFunction):
            db.execute("CREATE INDEX i ON t (app.f(id))")
        return
    db.execute("CREATE INDEX i ON t (app.f(id))")
    db.execute(f"ALTER DATABASE {db.info.dbname} SET search_path = app, public")
    said: list[str] = []
    with connect(database).open_writer("pgmend test") as writer:
        if way == "counting":
            prove(writer, oid_of(db, "i"))
        db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass")
        mend(writer, database, oid_of(db, "i"), said.append)
    assert "invalid" in said[0]
    assert db.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


def test_what_cannot_be_proved_is_refused(db: Connection, session: Session) -> None:
    fill(db, "(id)")
    db.execute("CREATE INDEX h ON t USING hash (id); CREATE INDEX i2 ON t (id)")
    with pytest.raises(UnprovenIndex, match="it is a hash index"):
        prove(session, oid_of(db, "h"))
    refused = 0
    for name in ("i", "i2"):
        try:
            prove(session, oid_of(db, name))
        except UnprovenIndex as error:
            refused += 1
            assert "would not read as it was asked to" in error.message  # noqa: PT017
    assert refused == 1
    db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass")
    with pytest.raises(UnprovenIndex, match="marked invalid"):
        prove(session, oid_of(db, "i"))
    prove(session, oid_of(db, "i2"))
    with pytest.raises(UnknownObject):
        prove(session, 1)


def test_a_sound_index_is_left_as_it_is_and_another_rebuilt(
    database: str, db: Connection, session: Session, writer: Writer, way: str
) -> None:
    assert way
    fill(db, "(b, id)")
    said: list[str] = []
    before = oid_of(db, "i")
    mend(writer, database, before, said.append)
    assert oid_of(db, "i") == before
    assert said == []
    lose(db, "i", "INSERT INTO t VALUES (9999, 'zz', 3)")
    mend(writer, database, before, said.append)
    assert oid_of(db, "i") != before
    assert len(said) == 1
    assert "it is rebuilt" in said[0]
    prove(session, oid_of(db, "i"))


def test_an_index_that_rows_violate_is_named(
    database: str, db: Connection, writer: Writer, way: str
) -> None:
    assert way
    fill(db, "UNIQUE (id)")
    damage(database, "i", Damage.LOST_ENTRIES, ["INSERT INTO t VALUES (64, 'again')"])
    with pytest.raises(DuplicatesLeft, match=r"public\.i could not be built") as caught:
        mend(writer, database, oid_of(db, "i"))
    assert caught.value.index == "public.i"
    assert "Scan and repair the key of public.i first" in (caught.value.hint or "")
    names = db.execute("SELECT relname FROM pg_class WHERE relname LIKE 'i%%' AND relkind = 'i'")
    assert names.fetchall() == [("i",)]


def test_a_role_without_the_right_to_amcheck_counts(database: str, db: Connection) -> None:
    fill(db, "(b, id)")
    db.execute("CREATE EXTENSION amcheck SCHEMA public")
    role = f"prover_{db.info.backend_pid}"
    db.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON t TO {role}")
    try:
        with connect(psycopg.conninfo.make_conninfo(database, user=role)).open("x") as session:
            prove(session, oid_of(db, "i"))
            lose(db, "i", "INSERT INTO t VALUES (9999, 'zz', 3)")
            with pytest.raises(UnprovenIndex, match="3000 entries for 3001 rows"):
                prove(session, oid_of(db, "i"))
    finally:
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
