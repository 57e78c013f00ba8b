"""One SQL expression is told from anything else before it reaches a statement."""

from __future__ import annotations

import pytest

from dedupe.errors import KeyDefinitionError
from dedupe.key.text import check_expression


@pytest.mark.parametrize(
    "text",
    [
        "email",
        "lower(email)",
        "coalesce(lower(domain), '')",
        "a[1] || b",
        "'it''s; -- (' || a",
        r"E'\'; (' || a",
        '"odd"" name; (" || a',
        "$x$ ) ; $x$ || a",
        "$$(;$$",
        "a -- trailing comment )",
        "a /* comment /* nested ) */ ; */ + 1",
        "(a, b) = (1, 2)",
        'a COLLATE "C"',
        "selected + tables",
        "x.values",
        "a::text",
        "größe * 2",
        "price$ + 1",
    ],
)
def test_one_expression_is_accepted(text: str) -> None:
    """Strings, quoted names, comments and nesting hide what would end the expression."""
    check_expression(text, "key expression")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" -- only a comment", "it is empty"),
        ("a, b", "several expressions"),
        ("a) + (b", "a ) has no beginning"),
        ("a); DROP TABLE t; --", "a ) has no beginning"),
        ("a; DROP TABLE t", "semicolon"),
        ("lower(a", "a ( has no end"),
        ("a[1", "a [ has no end"),
        ("(a]", "a ] has no beginning"),
        ("'abc", "a ' has no end"),
        ('"abc', 'a " has no end'),
        ("$x$ abc", "does not end"),
        ("a /* /* */", "a comment does not end"),
        ("(SELECT 1)", "subquery"),
        ("select 1", "subquery"),
        ("a = ANY (\n  Values (1))", "subquery"),
        ("exists (/* c */ with x as (select 1) table x)", "subquery"),
        ("a + $1", "parameter"),
        ("a\0", "NUL"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, why: str) -> None:
    """The message quotes the text, says what is wrong, and the text is a fact."""
    with pytest.raises(KeyDefinitionError) as caught:
        check_expression(text, "predicate")
    assert why in caught.value.message
    assert repr(text) in caught.value.message
    assert caught.value.key == text
    assert caught.value.hint
