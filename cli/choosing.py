"""A person decides what a recipe leaves open: question by question, group by group.

Each answer is in the run's directory before the next question is asked, so that neither a
stop nor a kill loses one.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dedupe import (
    DECISIONS_FILE,
    Decisions,
    Losses,
    Question,
    Recipe,
    RecipeResult,
    Undecided,
    WaitingGroup,
    decide,
    owned_directory,
    waiting_choices,
)
from dedupe.connect import Database

from .losses import losses_lines
from .output import counted, note, one_line, styled
from .sidebyside import cut_to, harmless, side_by_side, wrapped
from .stopping import same_command

#: shows by some decisions what would be done, or does it; None: it was stopped
Carry = Callable[[Decisions, bool], RecipeResult | None]


class Deciding:
    """What is decided about a recipe: on the command line, in files, and by a person."""

    def __init__(
        self, recipe: Recipe, place: Path, given: Sequence[str], file: Path | None
    ) -> None:
        """Read what is decided already. Raises RecipeError."""
        self.recipe = recipe
        self.place = place
        self.path = place / DECISIONS_FILE
        self._kept = decide(recipe, kept=self.path)
        #: all of it
        self.decisions = decide(recipe, given, file, self.path)
        #: answers that a person gave now
        self.answered = 0

    def answer(self, question: str, answer: str) -> None:
        """Keep an answer to a question. Raises LocalStorageError."""
        self._keep(lambda decisions: decisions.with_answer(question, answer))

    def choose(self, choice: str, key: str) -> None:
        """Keep which row of a group stays. Raises LocalStorageError, RecipeError."""
        self._keep(lambda decisions: decisions.with_chosen(choice, key))

    def _keep(self, add: Callable[[Decisions], Decisions]) -> None:
        kept = add(self._kept)
        kept.write(self.path)
        self._kept, self.decisions = kept, add(self.decisions)
        self.answered += 1


def person_there() -> bool:
    """Tell whether somebody can be asked: all three streams are a terminal's."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def carried_out(
    carry: Carry, deciding: Deciding, database: Database, *, execute: bool, ask: bool
) -> RecipeResult | None:
    """Carry a recipe out; with ``ask``, let a person decide what is open before.

    None: it was stopped, which is told. Raises what ``carry`` and ``waiting_choices`` raise.
    """
    if not ask:
        return carry(deciding.decisions, execute)
    shown = carry(deciding.decisions, False)
    if shown is not None and shown.undecided and not shown.begun:
        try:
            shown = _Asking(deciding, database, carry).all(shown, again=not execute)
        except (_Left, KeyboardInterrupt):
            kept = f"what was answered is kept in {one_line(str(deciding.path))}"
            told = kept if deciding.path.exists() else "nothing was answered"
            note(f"\npgmend: stopped; {told}")
            note(f"HINT: Go on with: {shlex.join(same_command(sys.argv[1:]))}")
            return None
    return carry(deciding.decisions, True) if execute and shown is not None else shown


class _Left(Exception):
    """The person does not want to be asked any more, or is gone."""


class _Asking:
    """One round of questions."""

    def __init__(self, deciding: Deciding, database: Database, carry: Carry) -> None:
        self._deciding = deciding
        self._database = database
        self._carry = carry
        self._skipped = 0
        try:
            self._width = os.get_terminal_size(sys.stderr.fileno()).columns
        except OSError:
            self._width = 0
        # A line that fills the last cell may wrap.
        self._width = max((self._width or 80) - 1, 20)

    def all(self, shown: RecipeResult, *, again: bool) -> RecipeResult | None:
        """Ask whatever groups wait for; with ``again``, return what would be done then.

        None: that was stopped. Raises _Left.
        """
        for line in shown.unmet:
            note(f"not met yet: {one_line(line)}")
        self._say(f"Each answer is kept at once in {self._deciding.path}.")
        _forget_typed()
        result: RecipeResult | None = shown
        seen: set[str] = set()
        # What is open, and what goes by it, is known anew after each answer.
        while result is not None:
            open_now = [
                one for one in result.undecided if not one.choice and one.id not in seen
            ]
            if not open_now:
                break
            seen.add(open_now[0].id)
            result = self._answered(open_now[0], result)
        if result is None:
            return None
        before = self._deciding.answered
        self._choices(result)
        self._say("")
        answers = counted(self._deciding.answered, "answer")
        where = f" in {self._deciding.path}" if self._deciding.answered else ""
        self._say(f"{answers} kept{where}, {self._skipped:,} skipped.")
        if again and self._deciding.answered != before:
            return self._carry(self._deciding.decisions, False)
        return result

    def _answered(self, one: Undecided, result: RecipeResult) -> RecipeResult | None:
        """Ask one question until its answer is kept or it is skipped; return what would be done.

        None: that was stopped.
        """
        (question,) = (known for known in self._deciding.recipe.questions if known.id == one.id)
        told = [losses for losses in result.losses if one.id in losses.answered]
        tried = False
        while True:
            with owned_directory(self._deciding.place):
                said = self._question(question, one.groups, told)
            if said is None:
                self._skipped += 1
                # What was tried must not stay in the directory.
                return self._carry(self._deciding.decisions, False) if tried else result
            decisions = self._deciding.decisions.with_answer(one.id, said)
            trial = self._carry(decisions, False)
            if trial is None:
                return None
            tried = True
            lost = [losses for losses in trial.losses if one.id in losses.answered]
            # Of the default it was shown with the question.
            if lost and lost != told and not self._sure(lost):
                continue
            self._deciding.answer(one.id, said)
            return trial

    def _question(
        self, question: Question, groups: int, losses: Sequence[Losses]
    ) -> str | None:
        """Ask a question once; ``losses`` is what goes by its default. None: it is skipped."""
        self._say("")
        self._head(f"{question.id}, for {counted(groups, 'group')}")
        self._text(question.asks)
        answers = list(question.answers)
        for number, (answer, does) in enumerate(question.answers.items(), 1):
            usual = " (default)" if answer == question.default else ""
            self._say(f"  {number}  {answer}{usual}")
            self._text(does, "     ")
        self._losses(losses)
        known = {answer: answer for answer in answers}
        known.update({str(number): answer for number, answer in enumerate(answers, 1)})
        return self._asked(
            f"Which answer? 1 to {len(answers)}", f"Enter = {question.default}",
            {**known, "": question.default},
        )

    def _losses(self, losses: Sequence[Losses]) -> None:
        """Show what would go for good."""
        for one in losses:
            self._say("")
            for line in losses_lines(one, ()):
                self._text(line, "  ")

    def _sure(self, losses: Sequence[Losses]) -> bool:
        """Show what would go for good by an answer, and ask whether it may."""
        self._losses(losses)
        said = self._asked(
            "Shall all that go for good? y or n", "Enter = no", {"y": "y", "n": "n", "": "n"}
        )
        return said == "y"

    def _choices(self, result: RecipeResult) -> None:
        """Let rows be chosen, group by group."""
        choices = {one.id: one for one in self._deciding.recipe.choices}
        total = {one.id: one.groups for one in result.undecided if one.choice}
        number = dict.fromkeys(total, 0)
        if not total:
            return
        with owned_directory(self._deciding.place):
            for group in waiting_choices(
                result.fit, self._deciding.place, self._database,
                decisions=self._deciding.decisions,
            ):
                name = group.choice
                number[name] = number.get(name, 0) + 1
                self._say("")
                self._head(f"{name}, group {number[name]:,} of {total.get(name, 0):,}")
                if number[name] == 1:
                    self._text(choices[name].asks)
                    self._say("")
                self._group(group, choices[name].shows)
                chosen = self._chosen(group)
                if chosen is None:
                    self._skipped += 1
                else:
                    self._deciding.choose(name, chosen)

    def _group(self, group: WaitingGroup, shows: Mapping[str, str]) -> None:
        """Show the rows of a group."""
        rows = group.rows
        headings = [h for h in shows if any(h in row.shown for row in rows)]
        named = any(
            all(row.changed or row.shown[heading] == row.key for row in rows)
            for heading in headings
        )
        keys = [] if named else [[row.key if row.key is not None else "none"] for row in rows]
        titles = [f"{n}{' (default)' if row.default else ''}" for n, row in enumerate(rows, 1)]
        values = [
            [*(keys[n] if keys else ()), *(row.shown.get(h, "?") for h in headings)]
            for n, row in enumerate(rows)
        ]
        labels = [*(() if named else ("primary key",)), *headings]
        for line in side_by_side(labels, titles, values, self._width):
            self._say(line)
        changed = [str(number) for number, row in enumerate(rows, 1) if row.changed]
        if changed:
            self._say(f"  Changed since the scan, so nothing is shown: {', '.join(changed)}")
        if group.size > len(rows):
            self._text(
                f"Only {len(rows)} of {group.size:,} rows are shown; another one can be named"
                f" with --decide {group.choice}=PRIMARY-KEY."
            )

    def _chosen(self, group: WaitingGroup) -> str | None:
        """Ask which row of a group stays; None: it was skipped."""
        if group.rows[0].key is None:
            self._text("The table has no primary key to name a row by: skipped.")
            return None
        known = {str(number): row.key for number, row in enumerate(group.rows, 1)}
        return self._asked(
            f"Which one stays as it is? 1 to {len(group.rows)}", "Enter = 1, the default",
            {name: key for name, key in known.items() if key is not None}
            | {"": group.rows[0].key},
        )

    def _asked(self, ask: str, enter: str, known: Mapping[str, str]) -> str | None:
        """Ask until the answer is a known one; None: it is to be skipped. Raises _Left."""
        while True:
            self._write(f"{ask}; {enter}; s = skip, q = stop: ")
            try:
                line = sys.stdin.buffer.readline().decode("utf-8", "replace")
            except OSError as error:
                raise _Left from error
            word = line.strip()
            if not line or word == "q":
                raise _Left
            if word in known:
                return known[word]
            if word == "s":
                return None
            self._say(f"{word[:40]!a} is no answer.")

    def _head(self, text: str) -> None:
        self._write(styled(cut_to(harmless(text), self._width), sys.stderr, bold=True) + "\n")

    def _text(self, text: str, indent: str = "") -> None:
        for line in wrapped(text, self._width, indent):
            self._say(line)

    def _say(self, line: str) -> None:
        self._write(harmless(line) + "\n")

    def _write(self, text: str) -> None:
        """Write to the terminal. Raises _Left where it is gone."""
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError as error:
            raise _Left from error


def _forget_typed() -> None:
    """Forget what was typed while nothing was asked: it was no answer."""
    # Only where there are terminals of this kind.
    import termios  # noqa: PLC0415

    with suppress(termios.error):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
