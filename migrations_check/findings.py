"""What a check says: findings, and what it could not see.

A rule looks at one thing and yields findings; the command renders them, and the exit code
follows from the worst one. What a rule could not look at is said as ``Unseen``, never passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from dedupe.errors import DedupeError, NotARunDirectory, RunInUse, RunMismatch, UsageError

Severity = Literal["blocker", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that will break, or may.

    A blocker makes the upgrade fail or lose data; everything else is a warning.
    """

    #: id of the rule, which is also the name of its page in docs/rules
    rule: str
    severity: Severity
    #: what it is about, as its users call it: schema.table, file:line, a setting
    object: str
    #: one sentence: what breaks, and why
    message: str
    #: a command or a step that mends it
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Something that a rule could not look at."""

    rule: str
    object: str
    #: one sentence: why, and what would let it be seen
    reason: str
    #: whoever asked wanted it left out, so that it is no reason to doubt
    left_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A rule, or a rule about one object, that somebody decided not to be told of."""

    rule: str
    #: None: whatever the rule is about
    object: str | None = None
    #: why; empty where the command line said it
    reason: str = ""

    def covers(self, said: Finding | Unseen) -> bool:
        """Tell whether it is about what a rule said."""
        return said.rule == self.rule and self.object in {None, said.object}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the rules of one check found, in the order of the rules."""

    findings: tuple[Finding, ...] = ()
    unseen: tuple[Unseen, ...] = ()

    @classmethod
    def of(cls, said: Iterable[Said]) -> Report:
        """Divide what rules said, in its order."""
        all_said = list(said)
        return cls(
            findings=tuple(one for one in all_said if isinstance(one, Finding)),
            unseen=tuple(one for one in all_said if isinstance(one, Unseen)),
        )

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The findings that make the upgrade fail."""
        return tuple(one for one in self.findings if one.severity == "blocker")

    @property
    def doubts(self) -> bool:
        """Whether something could not be seen that was to be looked at."""
        return any(not one.left_out for one in self.unseen)

    def joined(self, other: Report) -> Report:
        """Return both reports as one, this one's first."""
        return Report(
            findings=self.findings + other.findings, unseen=self.unseen + other.unseen
        )

    def without(self, ignored: tuple[Ignored, ...]) -> Report:
        """Return the report without what is ignored."""
        return Report(
            findings=tuple(
                one for one in self.findings if not any(i.covers(one) for i in ignored)
            ),
            unseen=tuple(one for one in self.unseen if not any(i.covers(one) for i in ignored)),
        )


Said = Finding | Unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How a rule says something: under its own name."""

    rule: str

    def blocker(self, what: str, message: str, remedy: str) -> Finding:
        """Make a finding that makes the upgrade fail or lose data."""
        return Finding(
            rule=self.rule, severity="blocker", object=what, message=message, remedy=remedy
        )

    def warning(self, what: str, message: str, remedy: str) -> Finding:
        """Make a finding about what may go wrong."""
        return Finding(
            rule=self.rule, severity="warning", object=what, message=message, remedy=remedy
        )

    def unseen(self, what: str, reason: str, *, left_out: bool = False) -> Unseen:
        """Say that something could not be looked at."""
        return Unseen(rule=self.rule, object=what, reason=reason, left_out=left_out)

    def heard(self, what: str, said: Iterable[Said]) -> Iterator[Said]:
        """Pass on what a rule says; what fails is unseen, and hides nothing of what others see.

        What was asked wrongly is an error all the same.
        """
        try:
            yield from said
        except DedupeError as error:
            # Those about a directory of scans are about what --run named.
            if type(error) is UsageError or isinstance(
                error, (NotARunDirectory, RunInUse, RunMismatch)
            ):
                raise
            hint = f" {error.hint}" if error.hint else ""
            yield self.unseen(what, f"{error.message}.{hint}")
