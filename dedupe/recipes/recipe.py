"""What a recipe says, as values: the tables of one application and the rules of their repair.

A recipe is written for every version of its application at once. What the database at hand
does not have (a table, a column, an index) is left out when the recipe meets it, and told;
``since`` and ``before`` are for what is there in every version and means something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

#: the number of a schema's version, compared as a number
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,18}\Z")]
#: names a step, a question or a choice on the command line and in a decisions file
Id = Annotated[str, Meta(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*\Z")]
_COUNTED = re.compile(r"\s*[^\W\d]\w*\.[^\W\d]\w*\s*\Z")
#: a name of the database, or a text that must say something
Text = Annotated[str, Meta(min_length=1)]


class Gated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts in some versions of the schema only."""

    #: the first version of the schema that it is for; None: from the oldest on
    since: Version | None = None
    #: the first version that it is no longer for; None: up to the newest
    before: Version | None = None
    #: tables (``TABLE``) and columns (``TABLE.COLUMN``) without which it is left out
    needs: tuple[Text, ...] = ()

    def counts_at(self, versions: AbstractSet[int] | None) -> bool:
        """Whether it counts where these versions were applied; None: taken for the newest.

        A version that is missing among later ones has not been reached, whatever the
        greatest number is.
        """
        if versions is None:
            return self.before is None
        reached = self.since is None or int(self.since) in versions
        return reached and (self.before is None or int(self.before) not in versions)


class Schema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the application's database is known."""

    #: tables that are in every version; without one of them the recipe is refused
    tables: Annotated[tuple[Text, ...], Meta(min_length=1)]
    #: ``TABLE.COLUMN`` whose values are the versions that were applied
    version: Text | None = None
    #: the same where the column holds the one version that was reached: all before it count
    reached: Text | None = None
    #: the oldest version that the recipe is for
    oldest: Version | None = None
    #: release to the version of its schema, the oldest release first
    releases: Mapping[Text, Version] = field(default_factory=dict)


class Asked(Gated, frozen=True, kw_only=True):
    """What only a person can decide."""

    id: Id
    asks: Text


class Question(Asked, frozen=True, kw_only=True):
    """What is decided once for the whole recipe."""

    #: answer to what it does
    answers: Mapping[Id, Text]
    #: the answer that ``--defaults`` gives
    default: Id


class Choice(Asked, frozen=True, kw_only=True):
    """What is decided anew for each group: the row that stays as it is."""

    #: rules that ``--defaults`` chooses by, as for ``--keep``
    default: Annotated[tuple[Text, ...], Meta(min_length=1)]
    #: heading to SQL over the table's columns, or ``TABLE.COLUMN`` whose rows are counted
    shows: Mapping[Text, Text]

    @property
    def counted(self) -> Mapping[str, str]:
        """Of ``shows``, heading to the ``TABLE.COLUMN`` whose rows are counted."""
        return {h: shown.strip() for h, shown in self.shows.items() if _COUNTED.match(shown)}


class ExpectedIndex(Gated, frozen=True, kw_only=True):
    """A unique index that the application has, and makes itself when it is new."""

    name: Text
    table: Text
    #: columns and expressions
    key: Annotated[tuple[Text, ...], Meta(min_length=1)]
    #: operator classes, one for each of ``key``; empty: the types' own
    operators: tuple[str, ...] = ()
    where: Text | None = None


class Case(Gated, frozen=True, kw_only=True):
    """The rules for some groups of a step; see ``Policy`` for their words."""

    #: SQL predicate over rows ``a`` (the survivor) and ``b``, that must hold for each loser
    same: Text | None = None
    #: question to the answer that the case is for
    answered: Mapping[Id, Id] = field(default_factory=dict)
    #: the choice that says which row stays; ``keep`` is then its default
    choice: Id | None = None
    keep: tuple[Text, ...] = ()
    loser: Text = "delete"
    #: column of the survivor to what it takes of the losers
    merge: Mapping[Text, Text] = field(default_factory=dict)
    #: foreign keys whose rows may go with the loser, ``TABLE.COLUMN``
    accept_loss: tuple[Text, ...] = ()
    #: why it is so, for people
    because: Text | None = None


class Step(Gated, frozen=True, kw_only=True):
    """The repair of one key of one table."""

    id: Id
    table: Text
    #: names of the key's index in the versions of the schema, as ``index`` describes them
    index: Text
    #: steps that must have come before
    after: tuple[Id, ...] = ()
    #: the cases in their order: a group belongs to the first whose ``same`` holds for a loser
    cases: Annotated[tuple[Case, ...], Meta(min_length=1)] = field(name="case")
    #: what the tool that the recipe replaces does, for people
    replaces: Text | None = None
    #: where the step differs from that, and why
    differs: Text | None = None


class Child(Gated, frozen=True, kw_only=True):
    """What happens to rows of a table that re-pointing makes equal, or turns on themselves."""

    table: Text
    #: which of two equal rows stays, and what it takes of the other; as ``--on-collision``
    on_collision: Text | None = None
    #: two columns: a row in which they became equal is deleted
    apart: tuple[Text, Text] | None = None


class Soft(Gated, frozen=True, kw_only=True):
    """A reference that the catalog does not know."""

    table: Text
    column: Text
    parent: Text
    parent_column: Text = "id"
    kind: Literal["value", "array", "jsonb"] = "value"
    type_column: Text | None = None
    type_value: Text | None = None
    path: tuple[Text, ...] = ()


class Counter(Gated, frozen=True, kw_only=True):
    """A number that is kept beside the rows it counts, and made anew after a merge."""

    #: where it is kept, in the row whose ``key`` is the id of what is counted for
    table: Text
    column: Text
    key: Text
    #: the rows that are counted, by the column that holds the same id
    of: Text
    by: Text
    #: SQL predicate of the rows that count, over their table's columns
    where: Text | None = None
    #: the table of what is counted for, by its ``id``, and an SQL predicate over it: for whom
    #: the number is one of these rows; for others it stays as it is
    parent: Text | None = None
    only: Text | None = None


class Otherwise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules for keys that the catalog knows and no step names."""

    keep: Annotated[tuple[Text, ...], Meta(min_length=1)]


class Before(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must be so before anything is written."""

    #: whether nobody else may be connected
    alone: bool = False
    #: set of Redis that holds the application's running workers, and what they are called
    redis_set: Text | None = None
    workers: Text | None = None
    #: key of the same Redis that is there even if no worker runs; a Redis that has neither is
    #: taken for another one
    redis_known: Text | None = None


class Afterwards(Gated, frozen=True, kw_only=True):
    """What is still to be done: by the run itself, or by whoever started it."""

    #: a materialized view to refresh
    refresh: Text | None = None
    #: what a person has to do
    tell: Text | None = None


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tables of one application, and how each of their keys is repaired."""

    #: version of this format
    format: Literal[1]
    name: Id
    #: what it is for, in one line
    title: Text
    schema: Schema
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)] = field(name="step")
    indexes: tuple[ExpectedIndex, ...] = field(name="index", default=())
    questions: tuple[Question, ...] = field(name="question", default=())
    choices: tuple[Choice, ...] = field(name="choice", default=())
    children: tuple[Child, ...] = field(name="child", default=())
    soft: tuple[Soft, ...] = ()
    counters: tuple[Counter, ...] = field(name="counter", default=())
    #: indexes that are not unique and suffer from the same cause
    rebuild: tuple[Text, ...] = ()
    otherwise: Otherwise | None = None
    before: Before = field(default_factory=Before)
    afterwards: tuple[Afterwards, ...] = ()

    @property
    def gated(self) -> tuple[Gated, ...]:
        """All that can be limited to some versions."""
        return (
            *self.steps,
            *(case for step in self.steps for case in step.cases),
            *self.indexes,
            *self.asked,
            *self.children,
            *self.soft,
            *self.counters,
            *self.afterwards,
        )

    def named_versions(self) -> frozenset[int]:
        """Return every version of the schema that something in the recipe depends on."""
        schema = self.schema
        texts = [schema.oldest, *schema.releases.values()]
        texts += [text for one in self.gated for text in (one.since, one.before)]
        return frozenset(int(text) for text in texts if text is not None)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The questions and choices."""
        return (*self.questions, *self.choices)

    def expected(self, step: Step) -> tuple[ExpectedIndex, ...]:
        """List what the index of a step looks like, in the versions of the schema."""
        return tuple(
            index
            for index in self.indexes
            if index.table == step.table and index.name == step.index
        )
