"""What shall become of duplicates, as values: who stays, what happens to the others.

A ``Policy`` knows no database. A plan has one, or several in an order: a group belongs to the
first whose ``same`` holds for one of its losers. They are written to the plan and to the
journal as JSON, so that a later round or another process decides by the same rules.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import KeyDefinitionError, PolicyError
from .key.text import check_expression

#: ``--keep`` words that are no SQL expression
KEEP_WORDS = ("oldest", "newest", "most-referenced")
#: what stands for a callable: it can be asked by its own process alone
CHOSEN = "chosen by a program"
#: takes a group's rows, column to text, by primary key; returns the place of the one to keep
Chooser = Callable[[Sequence[Mapping[str, str | None]]], int]
#: takes a column's values of a group as text, the survivor's first; returns what it becomes
Merger = Callable[[Sequence[str | None]], str | None]
#: what a merge of a column can be
MERGES = (
    "first", "sum", "min", "max", "or", "and", "concat", "union", "jsonb",
)
_DIRECTION = re.compile(r"\s+(asc|desc)\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which row of a group stays: the first by these orders, then by primary key."""

    #: a word of KEEP_WORDS, or SQL of one expression over the table's columns
    by: str
    #: for an expression: whether the greatest comes first; NULL is always last
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Keep:
        """Read ``oldest``, ``newest``, ``most-referenced`` or ``EXPR[ asc|desc]``.

        ``oldest`` and ``newest`` are by primary key. Raises PolicyError.
        """
        if text.strip() in KEEP_WORDS:
            return cls(by=text.strip())
        found = _DIRECTION.search(text)
        expression = text[: found.start()] if found else text
        if not expression.strip():
            raise PolicyError("--keep names no expression", hint=keep_choices())
        _checked(expression, "--keep expression")
        return cls(
            by=expression.strip(),
            descending=found is not None and found.group(1).lower() == "desc",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loser:
    """What happens to the rows that do not stay."""

    #: ``delete``; ``rename`` (append a free suffix to a column), ``blank`` (columns
    #: become NULL) or ``report`` (nothing)
    action: str = "delete"
    #: the column to rename, or the columns to blank
    columns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Loser:
        """Read ``delete``, ``report``, ``rename:COLUMN`` or ``blank:COLUMN[,COLUMN…]``."""
        action, _, rest = text.partition(":")
        columns = tuple(name.strip() for name in rest.split(",") if name.strip())
        wanted = {"delete": (0, 0), "report": (0, 0), "rename": (1, 1), "blank": (1, 1600)}
        low, high = wanted.get(action, (1, 0))
        if not low <= len(columns) <= high:
            raise PolicyError(
                f"no such fate of losers: {text}",
                hint="One of: delete, report, rename:COLUMN, blank:COLUMN[,COLUMN...].",
            )
        return cls(action=action, columns=columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """Which of two child rows stays when re-pointing makes them equal."""

    #: ``survivor`` (the row that needs no re-pointing), ``newest`` or ``oldest`` (by the
    #: child's primary key), or SQL of one expression
    by: str = "survivor"
    descending: bool = False
    #: columns of the row that stays that take something of the others: column to one of MERGES
    merge: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Collision:
        """Read ``survivor``, ``newest``, ``oldest`` or ``EXPR[ asc|desc]``.

        Behind it, each set off by a semicolon, may stand merges: ``COLUMN=FUNCTION``.
        """
        by, *merges = (part.strip() for part in text.split(";"))
        merge = {}
        for part in merges:
            column, _, function = part.rpartition("=")
            if not column or function not in MERGES:
                raise PolicyError(
                    f"no such merge on a collision: {part}",
                    hint=f"Write COLUMN=FUNCTION; the functions are {', '.join(MERGES)}.",
                )
            merge[column.strip()] = function
        if by in {"survivor", "newest", "oldest"}:
            return cls(by=by, merge=merge)
        keep = Keep.parse(by)
        return cls(by=keep.by, descending=keep.descending, merge=merge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The callables of a policy, which only the process that has them can ask."""

    keep: Chooser | None = None
    #: column to what merges it
    merge: Mapping[str, Merger] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftReference:
    """A reference that the catalog does not know."""

    #: table and column that hold the id; SQL names
    table: str
    column: str
    #: the referenced table and column
    parent: str
    parent_column: str
    #: ``value`` (the column is the id, perhaps as text), ``array`` (an array of ids) or
    #: ``jsonb`` (the id stands at ``path``)
    kind: str = "value"
    #: for a polymorphic pair: the column that names the type, and its value for this parent
    type_column: str | None = None
    type_value: str | None = None
    #: keys to the id inside a jsonb column
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All rules of one repair."""

    keep: tuple[Keep, ...]
    loser: Loser = field(default_factory=Loser)
    #: columns of the survivor that take something of the losers: column to one of MERGES,
    #: or to CHOSEN
    merge: Mapping[str, str] = field(default_factory=dict)
    #: SQL predicate over rows ``a`` (the survivor) and ``b`` (a loser); a group with a pair
    #: for which it is not true is left as it is
    same: str | None = None
    #: child table (SQL name) to what happens on a collision
    collisions: Mapping[str, Collision] = field(default_factory=dict)
    #: ``TABLE.COLUMN`` of references whose rows may go with the loser
    accept_loss: tuple[str, ...] = ()
    soft: tuple[SoftReference, ...] = ()
    #: child table to two of its columns: a row in which they became equal is deleted
    drop_self_pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be no policy in any database."""
        if not self.keep:
            raise PolicyError("nothing says which row of a group stays", hint=keep_choices())
        for column, how in self.merge.items():
            if how != CHOSEN:
                _merge_word(column, how)
        if self.merge and self.loser.action != "delete":
            raise PolicyError(
                f"columns are merged from deleted rows; the losers' fate is {self.loser.action}",
                hint="Leave --merge out, or --loser.",
            )
        if self.same is not None:
            _checked(self.same, "predicate of rows that may be merged")

    @property
    def by_program(self) -> bool:
        """Whether a callable has a say."""
        return CHOSEN in {*self.merge.values(), *(keep.by for keep in self.keep)}

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Policy:
        """Read one of the policies of ``policies_to_json``."""
        return cls(
            keep=tuple(Keep(**keep) for keep in facts["keep"]),
            loser=Loser(
                action=facts["loser"]["action"], columns=tuple(facts["loser"]["columns"])
            ),
            merge=facts["merge"],
            same=facts["same"],
            collisions={name: Collision(**how) for name, how in facts["collisions"].items()},
            accept_loss=tuple(facts["accept_loss"]),
            soft=tuple(
                SoftReference(**{**soft, "path": tuple(soft["path"])}) for soft in facts["soft"]
            ),
            drop_self_pairs={
                name: (pair[0], pair[1]) for name, pair in facts["drop_self_pairs"].items()
            },
        )


def policies_to_json(policies: Sequence[Policy]) -> str:
    """Write the policies of a plan, in their order, as one line of JSON."""
    return json.dumps([dataclasses.asdict(policy) for policy in policies], sort_keys=True)


def policies_from_json(text: str) -> tuple[Policy, ...]:
    """Read what ``policies_to_json`` wrote."""
    return tuple(Policy.read(facts) for facts in json.loads(text))


def _merge_word(column: str, how: object) -> str:
    """Return the word of a merge. Raises PolicyError."""
    if not isinstance(how, str) or how not in MERGES:
        raise PolicyError(
            f"no such merge for {column}: {how}",
            hint=f"One of: {', '.join(MERGES)}; in the library also a callable.",
        )
    return how


def _checked(expression: str, what: str) -> None:
    """Raise PolicyError unless a text is one SQL expression."""
    try:
        check_expression(expression, what)
    except KeyDefinitionError as error:
        raise PolicyError(
            error.message, hint=error.hint or "Write one expression over the table's columns."
        ) from error


def make_policy(
    keep: str | Sequence[str] | Chooser,
    *,
    loser: str = "delete",
    merge: Mapping[str, str | Merger] | None = None,
    same: str | None = None,
    on_collision: Mapping[str, str] | None = None,
    accept_loss: Sequence[str] = (),
    soft: Sequence[SoftReference] = (),
    drop_self_pairs: Mapping[str, tuple[str, str]] | None = None,
) -> tuple[Policy, Program]:
    """Make a policy of the words and callables that the library takes. Raises PolicyError."""
    if callable(keep):
        kept: tuple[Keep, ...] = (Keep(by=CHOSEN),)
    else:
        words = [keep] if isinstance(keep, str) else list(keep)
        kept = tuple(Keep.parse(word) for word in words)
    named, mergers = {}, {}
    for column, how in (merge or {}).items():
        if callable(how):
            mergers[column] = how
        else:
            named[column] = _merge_word(column, how)
    policy = Policy(
        keep=kept,
        loser=Loser.parse(loser),
        merge={**named, **dict.fromkeys(mergers, CHOSEN)},
        same=same,
        collisions={name: Collision.parse(how) for name, how in (on_collision or {}).items()},
        accept_loss=tuple(accept_loss),
        soft=tuple(soft),
        drop_self_pairs=dict(drop_self_pairs or {}),
    )
    return policy, Program(keep=keep if callable(keep) else None, merge=mergers)


def keep_choices() -> str:
    """Say what ``--keep`` can be."""
    return (
        "Say --keep oldest or --keep newest (by primary key), --keep most-referenced,"
        " or --keep 'EXPRESSION [asc|desc]', such as --keep 'updated_at desc'."
    )
