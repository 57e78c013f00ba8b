"""How results and messages look: results on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TextIO

import click

from dedupe import Group, Member

P = ParamSpec("P")

#: version of the JSON of every command; raised when a field changes its meaning
FORMAT_VERSION = 1


def complain(message: str, hint: str | None = None, reasons: Sequence[str] = ()) -> None:
    """Print ``pgmend: error: …`` and ``HINT: …`` to stderr.

    Several ``reasons`` that the message ends with get a line each.
    """
    joined = "; ".join(reasons)
    listed = reasons if len(reasons) > 1 and message.endswith(f": {joined}") else ()
    if listed:
        message = message.removesuffix(f" {joined}")
    note(f"pgmend: {styled('error:', sys.stderr, fg='red', bold=True)} {one_line(message)}")
    for reason in listed:
        note(f"  {one_line(reason)}")
    if hint:
        note(f"HINT: {one_line(hint)}")


def note(line: str) -> None:
    """Print a line to stderr; nobody listening is no error."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        return


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """Colour ``text`` if ``stream`` is a terminal and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return click.style(text, **style)


def one_line(text: str) -> str:
    """Write control characters as escapes: names and values may hold any of them."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text
    )


def counted(number: int, what: str) -> str:
    """Write a number of things: ``1 group``, ``2,000 groups``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def heard(printer: Callable[P, None]) -> Callable[P, None]:
    """Let a printer of a result end quietly where nobody reads on.

    What it would have said stands in the exit code, which the command still has to return; what
    is still in the buffer is written, and may fail, at the very end (``main``).
    """

    @wraps(printer)
    def print_while_heard(*args: P.args, **named: P.kwargs) -> None:
        try:
            printer(*args, **named)
        except BrokenPipeError:
            # What is left in the buffer goes nowhere, now and at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return print_while_heard


@heard
def print_json(value: object) -> None:
    """Print one JSON value as one line of ASCII, which survives any locale."""
    print(_json_line(value))


def _json_line(value: object) -> str:
    return json.dumps(value, default=str)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str | int]]) -> Iterator[str]:
    """Lay out a small table: texts to the left, whole numbers to the right."""
    cells = [[f"{c:,}" if isinstance(c, int) else one_line(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [bool(rows) and isinstance(rows[0][place], int) for place in range(len(header))]
    for line in [list(header), ["-" * width for width in widths], *cells]:
        texts = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        ]
        yield "  ".join(texts).rstrip()


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def print_fact(name: str, value: str) -> None:
    """Print one line of a description: a name, and what it is."""
    print(f"{name:10} {one_line(value)}")


def print_groups(groups: Iterable[Group], form: str) -> None:
    """Stream every member of every group: ``table``, ``jsonl`` or ``csv``."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["key_name", "group", "schema", "table", "ctid", "pk", "key"])
        for group in groups:
            for member in group.members:
                facts = member_facts(group, member)
                facts["pk"] = json.dumps(facts["pk"])
                facts["key"] = json.dumps(facts["key"])
                writer.writerow(facts.values())
    elif form == "jsonl":
        for group in groups:
            for member in group.members:
                print(_json_line(member_facts(group, member)))
    else:
        for group in groups:
            _print_group(group)


def member_facts(group: Group, member: Member) -> dict[str, Any]:
    """Return the fields of one member, in the documented order."""
    return {"key_name": group.key_name, "group": group.number, **row_facts(member)}


def row_facts(member: Member) -> dict[str, Any]:
    """Return the fields of one row, in the documented order."""
    return {
        "schema": member.schema,
        "table": member.table,
        "ctid": member.ctid,
        "pk": member.pk,
        "key": list(member.key),
    }


def _print_group(group: Group) -> None:
    rows = len(group.members)
    shown_key: tuple[str | None, ...] | None = None
    print(f"{one_line(group.key_name)}: group {group.number:,}, {rows:,} rows")
    for member in group.members:
        if member.key != shown_key:
            # Equal keys may be written differently: citext, 1.0 and 1.00.
            shown_key = member.key
            print(f"  key ({', '.join(map(shown_value, member.key))})")
        pk = member.pk or {}
        names = ", ".join(f"{one_line(name)}={shown_value(value)}" for name, value in pk.items())
        place = one_line(f"{member.schema}.{member.table}")
        print(f"    {place} {member.ctid} {names}".rstrip())


def shown_value(value: str | None) -> str:
    """Write a value for people: on one line, and not too long."""
    if value is None:
        return "NULL"
    text = one_line(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
