"""What a MatchKey accepts and what it makes of SQLAlchemy's objects."""

from __future__ import annotations

import pickle

import pytest
from sqlalchemy import (
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    collate,
    desc,
    func,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dedupe.errors import KeyDefinitionError
from dedupe.key import KeyPart, MatchKey


def accounts() -> Table:
    return Table(
        "Accounts",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("user name", String),
        Column("domain", String),
        schema="App",
    )


def texts(key: MatchKey) -> list[tuple[str, bool | None]]:
    return [(part.text, part.column) for part in key.parts]


def test_a_key_is_an_index_or_columns_never_both() -> None:
    """Scenario: wrong combinations. Outcome: refused at once, without a server."""
    parts = (KeyPart(text="a"),)
    for facts in ({}, {"index": "i", "parts": parts}, {"table": "t"}, {"parts": parts}):
        with pytest.raises(KeyDefinitionError):
            MatchKey(**facts)  # type: ignore[arg-type]


def test_names_for_people() -> None:
    """The index's name, the columns in order, or the label that was given."""
    assert MatchKey.from_index("public.i").name == "public.i"
    assert MatchKey.from_columns("t", "a", "lower(b)").name == "a, lower(b)"
    assert MatchKey(table="t", parts=(KeyPart(text="a"),), label="t_a_key").name == "t_a_key"


def test_a_key_is_a_value() -> None:
    """Equal keys are equal and hash alike; a key survives pickling."""
    one = MatchKey.from_columns("t", "a", where="b > 0", nulls_distinct=False)
    assert one == MatchKey.from_columns("t", "a", where="b > 0", nulls_distinct=False)
    assert hash(one) == hash(pickle.loads(pickle.dumps(one)))
    assert one != MatchKey.from_columns("t", "a", where="b > 0")


def test_a_predicate_must_be_one_expression() -> None:
    """A predicate that would end the statement is refused."""
    with pytest.raises(KeyDefinitionError, match="predicate"):
        MatchKey.from_columns("t", "a", where="true); DELETE FROM t; --")


def test_index_with_expressions_predicate_and_options() -> None:
    """Everything that decides about equality is read; ASC, DESC and INCLUDE are not."""
    table = accounts()
    index = Index(
        "accounts_key",
        func.lower(table.c["user name"]),
        desc(table.c.domain),
        unique=True,
        postgresql_where=table.c.domain.like("100%'x"),
        postgresql_nulls_not_distinct=True,
        postgresql_ops={"domain": "text_pattern_ops"},
        postgresql_include=["id"],
    )
    key = MatchKey.from_sqlalchemy(index)
    assert key.table == '"App"."Accounts"'
    assert texts(key) == [('lower("user name")', False), ("domain", True)]
    assert key.parts[1].operator_class == "text_pattern_ops"
    assert key.where == "domain LIKE '100%''x'"
    assert key.nulls_distinct is False
    assert key.name == "accounts_key"


def test_index_with_text_predicate_and_expression() -> None:
    """SQL given as text stays as it is, percent signs and colons included."""
    table = accounts()
    index = Index(
        "i",
        text("(domain::text || '%')"),
        postgresql_where=text("domain <> '50%'"),
        _table=table,
    )
    key = MatchKey.from_sqlalchemy(index)
    assert texts(key) == [("(domain::text || '%')", False)]
    assert key.where == "domain <> '50%'"


def test_constraints() -> None:
    """A unique constraint and a primary key give their columns."""
    table = accounts()
    unique = UniqueConstraint(
        table.c.domain, table.c["user name"], name="u", postgresql_nulls_not_distinct=True
    )
    key = MatchKey.from_sqlalchemy(unique)
    assert texts(key) == [("domain", True), ("user name", True)]
    assert (key.nulls_distinct, key.name) == (False, "u")
    assert texts(MatchKey.from_sqlalchemy(table.primary_key)) == [("id", True)]


def test_column_expressions() -> None:
    """A list of expressions finds its table; values are written in."""
    table = accounts()
    key = MatchKey.from_sqlalchemy(
        [table.c.id, func.coalesce(table.c.domain, "it's"), collate(table.c.domain, "C")]
    )
    assert texts(key) == [
        ("id", True),
        ("coalesce(domain, 'it''s')", False),
        ('domain COLLATE "C"', False),
    ]
    assert MatchKey.from_sqlalchemy(table.c.id).parts == (KeyPart(text="id", column=True),)


def test_mapped_attributes() -> None:
    """Attributes of a mapped class work like the table's columns."""

    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        mail: Mapped[str] = mapped_column("e_mail")

    key = MatchKey.from_sqlalchemy([Person.mail, func.lower(Person.mail)])
    assert key.table == "people"
    assert texts(key) == [("e_mail", True), ("lower(e_mail)", False)]


def test_what_sqlalchemy_cannot_say_is_refused() -> None:
    """No table, two tables, another index method, no expression: each by its name."""
    one, other = accounts(), Table("other", MetaData(), Column("x", Integer))
    for source, why in (
        ([literal_column("1")], "no table"),
        ([one.c.id, other.c.x], "App.Accounts, other"),
        (Index("g", one.c.domain, postgresql_using="gin"), "gin"),
        ([5], "int"),
        (7, "int"),
    ):
        with pytest.raises(KeyDefinitionError, match=why):
            MatchKey.from_sqlalchemy(source)  # type: ignore[arg-type]
