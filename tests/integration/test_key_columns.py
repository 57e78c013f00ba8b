"""Keys of columns and expressions: types and collations found, mistakes explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Index, MetaData, String, Table, func, text

from dedupe.connect import connect
from dedupe.errors import (
    DedupeError,
    KeyDefinitionError,
    UnknownObject,
    UnsupportedKeyType,
    UnsupportedRelation,
)
from dedupe.key import MatchKey, ResolvedKey, resolve
from dedupe.session import Session

Connection = psycopg.Connection[tuple[Any, ...]]

TABLE = """
CREATE FUNCTION shout(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT upper($1) || ''!''';
CREATE TABLE people (no int, email text, "E-Mail" text COLLATE "C", born date, j json, b int8,
  px text COLLATE "POSIX");
INSERT INTO people VALUES (0, 'A@x', 'q', '2000-01-01', '1', 7), (1, 'a@X', 'q', NULL, '1', 8),
  (2, NULL, NULL, '2000-01-01', '1', 9);
CREATE VIEW seen AS SELECT * FROM people;
"""


@pytest.fixture
def server(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


@pytest.fixture
def session(database: str, server: Connection) -> Iterator[Session]:
    assert not server.closed
    with connect(database).open("test") as opened:
        yield opened


def digests(session: Session, key: ResolvedKey) -> list[tuple[Any, ...]]:
    names = [f"k{place}" for place in range(len(key.columns))]
    selected = ", ".join(
        f"{column.expression} AS {name}" for column, name in zip(key.columns, names, strict=True)
    )
    predicate = f"({key.where})" if key.where else "true"
    with session.transaction(settings={"search_path": key.search_path}):
        return session.rows(
            f"SELECT no, {key.digest(names)} FROM (SELECT no, {selected}, {predicate} AS p"
            f" FROM ONLY public.people OFFSET 0) s WHERE {key.takes_part(names, 'p')} ORDER BY no"
        )


def test_a_columns_name_is_the_column_anything_else_an_expression(session: Session) -> None:
    """``E-Mail`` is a column's name letter by letter; ``EMAIL`` is SQL and folds to email."""
    key = resolve(session, MatchKey.from_columns("people", "E-Mail"))
    assert key.columns[0].expression == '"E-Mail"'
    assert key.columns[0].collation == 'pg_catalog."C"'
    assert key.search_path == ""
    assert [no for no, _ in digests(session, key)] == [0, 1]
    key = resolve(session, MatchKey.from_columns("public.people", "EMAIL"))
    assert key.columns[0].expression == "(EMAIL\n)"
    assert key.search_path == session.own_search_path


def test_expressions_have_type_and_collation(session: Session) -> None:
    """Functions of the role's own path work, a trailing comment ends nothing, and types
    and collations are the server's.
    """
    key = resolve(
        session,
        MatchKey.from_columns(
            "people",
            "shout(email) -- loud )",
            "\"E-Mail\" || 'x'",
            "date_trunc('day', born)",
            "b % 2 = 0",
            'email COLLATE "C"',
            "'constant'",
            '"E-Mail" || email',
            "(ARRAY[email])",
            where="b > 0 -- all",
        ),
    )
    assert [(column.type, column.collation) for column in key.columns] == [
        ("text", 'pg_catalog."default"'),
        ("text", 'pg_catalog."C"'),
        ("timestamp with time zone", None),
        ("boolean", None),
        ("text", 'pg_catalog."C"'),
        ("text", 'pg_catalog."default"'),
        ("text", 'pg_catalog."C"'),
        ("text[]", 'pg_catalog."default"'),
    ]
    assert key.where == "(b > 0 -- all\n)"
    assert [no for no, _ in digests(session, key)] == [0]


def test_equal_expressions_share_a_digest(session: Session) -> None:
    """Two spellings that lower() makes one."""
    key = resolve(session, MatchKey.from_columns("people", "lower(email)", where="b < 9"))
    (first, second) = digests(session, key)
    assert (first[0], second[0]) == (0, 1)
    assert first[1] == second[1]
    key = resolve(session, MatchKey.from_columns("people", "email"))
    (first, second) = digests(session, key)
    assert first[1] != second[1]


def test_reading_types_reads_no_row(server: Connection, session: Session) -> None:
    """An expression that fails on every row is still resolved: nothing is evaluated."""
    server.execute(
        "CREATE FUNCTION fails(text) RETURNS text STRICT IMMUTABLE LANGUAGE plpgsql"
        " AS 'BEGIN RAISE EXCEPTION ''evaluated''; END'"
    )
    resolve(session, MatchKey.from_columns("people", "fails(email)", where="fails(email) = 'x'"))


def test_an_unknown_column_has_its_neighbours_named(session: Session) -> None:
    """A misspelt column: UnknownObject with a hint, as a name and inside an expression."""
    for column, name, similar in (
        ("emial", "emial", "email"),
        ("lower(emial)", "emial", "email"),
        ('"Email"', "Email", "email, E-Mail"),
        ("zzz", "zzz", "no, email, E-Mail, born, j, b, px"),
    ):
        with pytest.raises(UnknownObject) as caught:
            resolve(session, MatchKey.from_columns("people", "no", column))
        assert (caught.value.kind, caught.value.name) == ("column", name)
        assert similar in str(caught.value.hint)
        assert 'in table "public"."people"' in caught.value.message
    with pytest.raises(UnknownObject) as caught:
        resolve(session, MatchKey.from_columns("people", "no", where="emial = 'x'"))
    assert caught.value.name == "emial"


@pytest.mark.parametrize(
    ("column", "where", "words"),
    [
        ("max(email)", None, "an aggregate function"),
        ("row_number() OVER ()", None, "a window function"),
        ("generate_series(1, b)", None, "a function that returns several rows"),
        ("(SELECT 1)", None, "subquery"),
        ("email || random()", None, "volatile"),
        ("nextval('x')", None, 'relation "x" does not exist'),
        ("clock_timestamp()", None, "volatile"),
        ("no, email", None, "several expressions"),
        ("email) , (no", None, "no beginning"),
        ("no FROM people; DROP TABLE people; --", None, "semicolon"),
        ("no AS x", None, "syntax error"),
        ("no DESC", None, "syntax error"),
        ("people.email", None, "FROM-clause entry"),
        ("email || no_such(email)", None, "no_such"),
        ("1/0", None, "division by zero"),
        ('(email COLLATE "C") || ("E-Mail" COLLATE "POSIX")', None, "collation mismatch"),
        ('px || "E-Mail"', None, "mixes collations"),
        ("no", "email", "must be type boolean"),
        ("no", "email = ", "syntax error"),
        ("no", "random() < 0.5", "volatile"),
        ("no", "count(*) > 1", "an aggregate function"),
        ("no", "no > 'x'", "invalid input syntax"),
        ("no", "no IN (SELECT 1)", "subquery"),
    ],
)
def test_what_is_no_key_is_refused_in_the_servers_words(
    session: Session, column: str, where: str | None, words: str
) -> None:
    """The message says what it is and quotes the text; the table is untouched."""
    with pytest.raises(KeyDefinitionError, match="(?s)" + words.replace("*", r"\*")) as caught:
        resolve(session, MatchKey.from_columns("people", column, where=where))
    assert caught.value.hint or words == "volatile"
    assert session.row("SELECT count(*) FROM public.people") == (3,)


@pytest.mark.parametrize(
    ("column", "type_name"),
    [
        ("j", "json"),
        ("j -> 'a'", "json"),
        ("point(1, 2)", "point"),
        ("ROW(no, email)", "record"),
        ("(no, email)", "record"),
        ("to_tsquery('english', email)", "tsquery"),
    ],
)
def test_types_without_equality_are_named(session: Session, column: str, type_name: str) -> None:
    """json, point, bare rows and tsquery have no equality that would do."""
    with pytest.raises(UnsupportedKeyType) as caught:
        resolve(session, MatchKey.from_columns("people", column))
    assert caught.value.type == type_name
    assert column in caught.value.message


def test_a_table_that_is_none(session: Session) -> None:
    """A view is refused, an unknown table is unknown."""
    with pytest.raises(UnsupportedRelation):
        resolve(session, MatchKey.from_columns("seen", "no"))
    with pytest.raises(UnknownObject) as caught:
        resolve(session, MatchKey.from_columns("peeple", "no"))
    assert caught.value.kind == "table"


def test_sqlalchemy_index(session: Session) -> None:
    """An Index that exists only in the model resolves by its columns and options."""
    people = Table("people", MetaData(), Column("email", String), Column("E-Mail", String))
    index = Index(
        "only_in_the_model",
        func.lower(people.c.email),
        people.c["E-Mail"].desc(),
        postgresql_where=text("b > 0"),
        postgresql_ops={"E-Mail": "text_pattern_ops"},
    )
    key = resolve(session, MatchKey.from_sqlalchemy(index))
    assert key.name == "only_in_the_model"
    assert key.index_oid is None
    assert [no for no, _ in digests(session, key)] == [0, 1]
    index = Index("i", people.c.email, postgresql_ops={"email": "no_ops"})
    with pytest.raises(UnknownObject) as caught:
        resolve(session, MatchKey.from_sqlalchemy(index))
    assert caught.value.kind == "operator class"
    gone = Table("people", MetaData(), Column("lower(email)", String))
    with pytest.raises(UnknownObject):
        resolve(session, MatchKey.from_sqlalchemy([gone.c["lower(email)"]]))


def test_the_session_is_usable_after_every_refusal(session: Session) -> None:
    """A refused key leaves no open transaction behind."""
    for column in ("emial", "max(email)", "random()", "j"):
        with pytest.raises(DedupeError):
            resolve(session, MatchKey.from_columns("people", column))
        resolve(session, MatchKey.from_columns("people", "email"))
