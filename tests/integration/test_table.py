"""Tables: names are found as SQL finds them, leaves are listed, rights are checked first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from dedupe import Session, connect
from dedupe.errors import (
    PermissionDenied,
    RowSecurityHidesRows,
    UnknownObject,
    UnsupportedRelation,
    UsageError,
)
from dedupe.lab import Server
from dedupe.table import INDEX_KINDS, find_relation, load_table, parse_name, quoted

from ..scanning import Connection

HOSTILE = ['a""; drop', "with space", "MiXed", "x'y", "tab\tand\nline", "ü€😀", "%s $1 {}", "a.b"]


@pytest.fixture
def session(database: str, db: Connection) -> Iterator[Session]:
    assert not db.closed
    with connect(database).open("test") as opened:
        yield opened


@pytest.fixture
def reader(database: str, db: Connection) -> Iterator[Callable[[], Session]]:
    """Give a function that opens sessions of a role without rights."""
    name = f"reader_{db.info.backend_pid}"
    db.execute(f"CREATE ROLE {name} LOGIN")
    opened: list[Session] = []

    def open_one() -> Session:
        opened.append(connect(make_conninfo(database, user=name)).open())
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
    db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def oid(db: Connection, name: str) -> int:
    row = db.execute("SELECT %s::regclass::oid::int8", [name]).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("people", (None, "people")),
        ("People", (None, "people")),
        (' "People" ', (None, "People")),
        ("public.people", ("public", "people")),
        ('Public."My Table"', ("public", "My Table")),
        ('"a.b"."c""d"', ("a.b", 'c"d')),
        ('"a" . b', ("a", "b")),
        ("Ünder", (None, "ünder")),
    ],
)
def test_names_are_read_by_the_rules_of_sql(text: str, expected: tuple[str | None, str]) -> None:
    assert parse_name(text) == expected


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a.b.c", '"a', 'a"b', '"a"b', '""', 'a.""', '"a".', "a..b"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a name"):
        parse_name(text)


def test_hostile_names_are_quoted_and_found(db: Connection, session: Session) -> None:
    """Quoted as SQL does, and bare, letter by letter."""
    for name in HOSTILE:
        db.execute(f"CREATE TABLE {quoted(name)} (id int)".encode())
        expected = oid(db, quoted(name))
        assert find_relation(session, quoted(name)) == expected
        assert find_relation(session, name) == expected
        assert find_relation(session, f"public.{quoted(name)}") == expected
        assert load_table(session, expected).label == f"public.{name}"


def test_the_roles_own_search_path_decides(database: str, db: Connection) -> None:
    db.execute("CREATE SCHEMA first; CREATE TABLE first.t (a int); CREATE TABLE t (a int)")
    with connect(database).open() as session:
        assert find_relation(session, "t") == oid(db, "public.t")
    db.execute(f"ALTER DATABASE {db.info.dbname} SET search_path = first, public")
    with connect(database).open() as session:
        assert find_relation(session, "t") == oid(db, "first.t")
        assert find_relation(session, "public.t") == oid(db, "public.t")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("public.acounts", "Did you mean public.accounts?"),
        ("acounts", "Did you mean public.accounts?"),
        ("ACCOUNTS2", "Did you mean public.accounts?"),
        ("orders", "Did you mean shop.orders?"),
        ('"Orders"', "Did you mean shop.orders?"),
        ("mytable", 'Did you mean public."MyTable"?'),
        ("zzz", "looked up in the role's search_path"),
        ("nowhere.accounts", "Did you mean public.accounts?"),
    ],
)
def test_an_unknown_table_comes_with_a_suggestion(
    db: Connection, session: Session, text: str, hint: str
) -> None:
    db.execute(
        'CREATE SCHEMA shop; CREATE TABLE shop.orders (a int); CREATE TABLE "MyTable" (a int);'
        "CREATE TABLE accounts (a int PRIMARY KEY)"
    )
    with pytest.raises(UnknownObject) as caught:
        find_relation(session, text)
    assert caught.value.message == f"there is no table {text} in this database"
    assert (caught.value.kind, caught.value.name) == ("table", text)
    assert hint in (caught.value.hint or "")


def test_an_unknown_index_comes_with_a_suggestion(db: Connection, session: Session) -> None:
    db.execute("CREATE TABLE accounts (a int PRIMARY KEY)")
    with pytest.raises(UnknownObject, match="there is no index accounts_pky") as caught:
        find_relation(session, "accounts_pky", kinds=INDEX_KINDS)
    assert caught.value.hint == "Did you mean public.accounts_pkey?"


def test_what_has_no_rows_of_its_own_is_refused_by_its_kind(
    db: Connection, session: Session
) -> None:
    db.execute(
        "CREATE TABLE t (a int PRIMARY KEY, b text); CREATE VIEW v AS SELECT 1;"
        "CREATE SEQUENCE s; CREATE TYPE c AS (a int);"
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE f (a int) SERVER s"
    )
    for name, kind, letter in (
        ("v", "a view", "v"),
        ("s", "a sequence", "S"),
        ("c", "a composite type", "c"),
        ("f", "a foreign table", "f"),
        ("t_pkey", "an index", "i"),
    ):
        with pytest.raises(UnsupportedRelation) as caught:
            find_relation(session, name)
        assert caught.value.message == f"{name} is {kind}, not a table"
        assert (caught.value.name, caught.value.kind) == (name, letter)
    with pytest.raises(UnsupportedRelation, match="t is a table, not an index"):
        find_relation(session, "t", kinds=INDEX_KINDS)


def test_leaves_and_their_lineage(db: Connection, session: Session) -> None:
    """Two levels; a leaf in another schema; the primary key's columns in the key's order."""
    db.execute(
        "CREATE SCHEMA apart;"
        "CREATE TABLE p (a int, b int, c text, PRIMARY KEY (b, a)) PARTITION BY RANGE (a);"
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (b);"
        "CREATE TABLE apart.z PARTITION OF p_2 FOR VALUES IN (1);"
        "CREATE TABLE p_2_2 PARTITION OF p_2 DEFAULT;"
        "INSERT INTO p SELECT n % 20, n, 'x' FROM generate_series(1, 1000) n"
    )
    table = load_table(session, oid(db, "p"))
    assert (table.label, table.partitioned) == ("public.p", True)
    assert [leaf.label for leaf in table.leaves] == ["apart.z", "public.p_1", "public.p_2_2"]
    assert [leaf.number for leaf in table.leaves] == [0, 1, 2]
    assert {leaf.pk for leaf in table.leaves} == {("b", "a")}
    p, p_2 = oid(db, "p"), oid(db, "p_2")
    assert table.leaves[0].lineage == {oid(db, "apart.z"), p_2, p}
    assert table.leaves[1].lineage == {oid(db, "p_1"), p}
    assert table.leaves[0].pk_index == oid(db, "apart.z_pkey")
    assert table.blocks == sum(leaf.blocks for leaf in table.leaves) > 0
    again = table.numbered([leaf.oid for leaf in reversed(table.leaves)])
    assert [(leaf.number, leaf.name) for leaf in again.leaves] == [
        (0, "p_2_2"), (1, "p_1"), (2, "z"),
    ]
    below = load_table(session, p_2)
    assert [leaf.name for leaf in below.leaves] == ["z", "p_2_2"]
    empty = db.execute("CREATE TABLE none (a int) PARTITION BY RANGE (a)")
    assert empty is not None
    assert load_table(session, oid(db, "none")).leaves == ()


def test_a_foreign_partition_is_refused_by_its_name(db: Connection, session: Session) -> None:
    db.execute(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE TABLE p (a int) PARTITION BY RANGE (a);"
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE FOREIGN TABLE p_far PARTITION OF p FOR VALUES FROM (10) TO (20) SERVER s"
    )
    with pytest.raises(UnsupportedRelation, match=r"public\.p_far is a foreign table") as caught:
        load_table(session, oid(db, "p"))
    assert caught.value.name == "public.p_far"
    assert "detach" in (caught.value.hint or "")


def test_a_table_that_is_gone_is_told(session: Session) -> None:
    with pytest.raises(UnknownObject, match="the table with oid 4294967295 is gone"):
        load_table(session, 4294967295)


def test_a_missing_right_is_told_by_table_and_remedy(
    db: Connection, reader: Callable[[], Session]
) -> None:
    db.execute('CREATE SCHEMA "In"; CREATE TABLE "In"."T" (a int)')
    where = oid(db, '"In"."T"')
    session = reader()
    with pytest.raises(PermissionDenied, match=r"may not read In\.T") as caught:
        load_table(session, where)
    assert caught.value.object == "In.T"
    assert 'GRANT SELECT ON "In"."T"' in (caught.value.hint or "")
    db.execute('GRANT SELECT ON "In"."T" TO PUBLIC')
    with pytest.raises(PermissionDenied, match=r"may not read In\.T"):
        load_table(session, where)
    db.execute('GRANT USAGE ON SCHEMA "In" TO PUBLIC')
    assert load_table(session, where).label == "In.T"


def test_row_security_that_would_hide_rows_is_refused(
    database: str, db: Connection, reader: Callable[[], Session]
) -> None:
    """Scenario: a policy is on; then it is forced on the owner, too.
    Outcome: refused for whoever it concerns, taken from whoever it does not.
    """
    session = reader()
    (role,) = session.row("SELECT current_user::text")
    db.execute(
        "CREATE TABLE t (a int); GRANT SELECT ON t TO PUBLIC;"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON t USING (true);"
        f"CREATE TABLE own (a int); ALTER TABLE own OWNER TO {role};"
        "ALTER TABLE own ENABLE ROW LEVEL SECURITY"
    )
    t, own = oid(db, "t"), oid(db, "own")
    with pytest.raises(RowSecurityHidesRows, match=r"rows of public\.t from this role") as caught:
        load_table(session, t)
    assert caught.value.table == "public.t"
    assert "BYPASSRLS" in (caught.value.hint or "")
    assert load_table(session, own).label == "public.own"
    db.execute("ALTER TABLE own FORCE ROW LEVEL SECURITY")
    with pytest.raises(RowSecurityHidesRows):
        load_table(session, own)
    with connect(database).open() as superuser:
        assert load_table(superuser, own).leaves
    db.execute(f"ALTER ROLE {role} BYPASSRLS")
    assert load_table(reader(), t).leaves


@pytest.mark.parametrize(
    ("columns", "insert"),
    [
        ("", "SELECT FROM generate_series(1, 3000)"),
        ("a int", "SELECT NULL::int FROM generate_series(1, 3000)"),
        ("a bool NOT NULL", "SELECT true FROM generate_series(1, 3000)"),
        ("a int8 NOT NULL, b int8 NOT NULL", "SELECT n, n FROM generate_series(1, 3000) n"),
        ("a text NOT NULL, b text NOT NULL", "SELECT '', '' FROM generate_series(1, 3000)"),
        ("a uuid NOT NULL, b name NOT NULL, c char NOT NULL",
         "SELECT md5(n::text)::uuid, 'x', 'y' FROM generate_series(1, 3000) n"),
        ("a numeric NOT NULL, b int2 NOT NULL, c inet NOT NULL",
         "SELECT 0, 1, '10.0.0.0' FROM generate_series(1, 3000)"),
    ],
)
def test_no_block_holds_more_rows_than_was_reckoned_with(
    db: Connection, session: Session, columns: str, insert: str
) -> None:
    """The size of a chunk in memory rests on it."""
    db.execute(f"CREATE TABLE t ({columns}); INSERT INTO t {insert}")
    check_block_rows(db, session)


def check_block_rows(db: Connection, session: Session) -> None:
    row = db.execute(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM t"
        " GROUP BY split_part(ctid::text, ',', 1)) AS blocks"
    ).fetchone()
    assert row is not None
    (leaf,) = load_table(session, oid(db, "t")).leaves
    assert row[0] <= leaf.block_rows <= 291
    assert leaf.blocks * leaf.block_rows >= 3000


def test_columns_that_take_no_room_are_not_reckoned_with(
    lab: Server, db: Connection, session: Session
) -> None:
    """Dropped, added later with a default, generated on reading: none of them is in old rows."""
    db.execute("CREATE TABLE t (a int8 NOT NULL, gone uuid NOT NULL)")
    db.execute("ALTER TABLE t DROP COLUMN gone")
    db.execute("INSERT INTO t SELECT n FROM generate_series(1, 3000) n")
    db.execute("ALTER TABLE t ADD later uuid NOT NULL DEFAULT '00000000000000000000000000000000'")
    if lab.version >= 180000:
        for number in range(5):
            db.execute(f"ALTER TABLE t ADD v{number} int8 GENERATED ALWAYS AS (a) VIRTUAL NOT NULL")
    check_block_rows(db, session)


def test_a_temporary_table_of_another_session_cannot_be_named(
    database: str, session: Session
) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("CREATE TEMP TABLE mine (a int)")
        with pytest.raises(UnknownObject, match="there is no table mine"):
            find_relation(session, "mine")
