"""Just enough of SQL's lexical rules to know that a text is one expression.

The text of a user is put inside parentheses in statements of ours. This makes sure
that it stays there: strings, quoted names and comments end, parentheses match,
and no semicolon, comma or SELECT stands where it would make it something else.

Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

import re

from ..errors import KeyDefinitionError

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<escaped>[eE]'(?:[^'\\]|''|\\.)*')
  | (?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")+")
  | (?P<dollar>\$(?P<tag>[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)?\$)
  | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<broken>['"])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUERY_WORDS = {"select", "with", "table", "values"}


def check_expression(text: str, what: str) -> None:
    """Raise KeyDefinitionError (``text``) unless the text is one SQL expression.

    It says nothing about names and types; the server does.
    """
    open_ones: list[str] = []
    previous = ""
    position = 0
    something = False
    while (match := _TOKEN.match(text, position)) is not None:
        kind, lexeme = match.lastgroup, match.group()
        position = match.end()
        if kind == "comment":
            position = _end_of_comment(text, position, what)
            continue
        if kind == "blank":
            continue
        something = True
        if kind == "dollar":
            end = text.find(lexeme, position)
            if end < 0:
                raise _refused(text, what, f"the string after {lexeme} does not end")
            position = end + len(lexeme)
        elif kind == "broken":
            raise _refused(text, what, f"a {lexeme} has no end")
        elif kind == "open":
            open_ones.append(lexeme)
        elif kind == "close":
            if not open_ones or open_ones.pop() + lexeme not in ("()", "[]"):
                raise _refused(text, what, f"a {lexeme} has no beginning")
        elif lexeme in (";", "\0"):
            raise _refused(text, what, "a semicolon or NUL byte does not belong in it")
        elif lexeme == "," and not open_ones:
            raise _refused(text, what, "it is several expressions; give them one by one")
        elif kind == "word" and lexeme.lower() in _QUERY_WORDS and previous in ("", "("):
            raise _refused(text, what, "a subquery cannot be part of a key")
        elif lexeme == "$" and re.match(r"[0-9]", text[position : position + 1]):
            raise _refused(text, what, "a parameter has no value here")
        previous = lexeme
    if open_ones:
        raise _refused(text, what, f"a {open_ones[-1]} has no end")
    if not something:
        raise _refused(text, what, "it is empty")


def _end_of_comment(text: str, position: int, what: str) -> int:
    """Return the position behind a comment, which may hold comments."""
    depth = 1
    while depth:
        match = re.compile(r"/\*|\*/").search(text, position)
        if match is None:
            raise _refused(text, what, "a comment does not end")
        depth += 1 if match.group() == "/*" else -1
        position = match.end()
    return position


def _refused(text: str, what: str, why: str) -> KeyDefinitionError:
    return KeyDefinitionError(
        f"the {what} {text!r} is not one SQL expression: {why}",
        hint="Write what could stand in CREATE INDEX ON … ((expression)).",
        key=text,
    )
