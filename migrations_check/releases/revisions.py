"""Alembic's files: revisions and how they follow each other, read without running them.

Source: https://github.com/sqlalchemy/alembic/blob/main/alembic/script/revision.py
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from dedupe.errors import UsageError

from ..findings import Said, Voice
from .files import READ_HINT, matching, text_of

_NOT_RUN = "pgmend reads the files and does not run them: write the value itself."


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One file of a revision."""

    path: Path
    id: str
    #: revisions that it follows
    down: tuple[str, ...]
    #: revisions, or labels, that must have run besides
    depends: tuple[str, ...]
    labels: tuple[str, ...]
    #: what it says, without comments and layout
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All revisions of one release."""

    by_id: Mapping[str, Revision]
    #: what each follows and depends on
    parents: Mapping[str, tuple[str, ...]]
    #: every one behind those that it needs
    order: tuple[str, ...]
    said: tuple[Said, ...]

    @property
    def heads(self) -> list[str]:
        """Revisions that none follows."""
        followed = {one for revision in self.by_id.values() for one in revision.down}
        return [one for one in self.order if one not in followed]

    def reached(self, ids: Iterable[str]) -> frozenset[str]:
        """Return revisions with all that they need; unknown ones are left out."""
        found: set[str] = set()
        waiting = [one for one in ids if one in self.by_id]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.parents[one]
        return frozenset(found)


def read_history(directories: Sequence[Path], voice: Voice) -> History:
    """Read the revisions of some directories.

    Raises UsageError: a directory or file cannot be read, a file is no Python or computes what
    it says, a revision follows one that there is not, or itself.
    """
    found: dict[str, Revision] = {}
    said: list[Said] = []
    for path in matching(directories, "*.py"):
        if path.name.startswith((".#", "__init__")):
            continue
        revision = _revision(path)
        if revision is None:
            said.append(voice.blocker(
                str(path),
                "it names no revision: Alembic cannot tell what it is, and ends before it begins",
                "move it out of the directory of the revisions",
            ))
        elif revision.id in found:
            said.append(voice.warning(
                str(path),
                f"it is the revision {revision.id}, as {found[revision.id].path} is: Alembic runs"
                " one of them and never the other",
                "give one of them another revision, and mend what follows it",
            ))
        else:
            found[revision.id] = revision
    if not found:
        there = ", ".join(str(one / "versions") for one in directories
                          if (one / "versions").is_dir())
        raise UsageError(
            f"there is no revision in {', '.join(map(str, directories))}",
            hint=f"Did you mean {there}?" if there else
            "Name the directory of the revisions, such as alembic/versions.",
        )
    parents = _parents(found)
    return History(by_id=found, parents=parents, order=_ordered(parents), said=tuple(said))


def _parents(found: Mapping[str, Revision]) -> dict[str, tuple[str, ...]]:
    labelled = {label: one.id for one in found.values() for label in one.labels}
    for revision in found.values():
        for what, wanted, there in (
            ("follows", revision.down, found.keys()),
            ("depends on", revision.depends, found.keys() | labelled.keys()),
        ):
            for one in wanted:
                if one not in there:
                    raise UsageError(
                        f"{revision.path} {what} the revision {one}, and no file has that",
                        hint="Name all directories of the revisions (--migrations can be given"
                        " several times), of one and the same release.",
                        path=str(revision.path), revision=one,
                    )
    return {
        name: (*found[name].down,
               *(one if one in found else labelled[one] for one in found[name].depends))
        for name in sorted(found)
    }


def _ordered(parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise UsageError(
            f"the revisions follow each other in a circle: {circle}",
            hint="Mend down_revision and depends_on in their files; Alembic cannot run them.",
        ) from error


def _revision(path: Path) -> Revision | None:
    try:
        with warnings.catch_warnings():
            # An odd escape in a text is the file's own business.
            warnings.simplefilter("ignore")
            tree = ast.parse(text_of(path, READ_HINT), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UsageError(
            f"{path} is no Python{line}: {getattr(error, 'msg', None) or error}",
            hint="Alembic cannot load it either, unless it runs a newer Python.", path=str(path),
        ) from error
    values = dict(_assigned(tree.body))
    if "revision" not in values:
        return None
    (name, *more) = _names(path, "revision", values) or ("",)
    if more or not name:
        raise UsageError(f"{path} names no single revision", hint=_NOT_RUN, path=str(path))
    if tree.body and isinstance(tree.body[0], ast.Expr):
        # The docstring says when it was made.
        del tree.body[0]
    return Revision(
        path=path, id=name, down=_names(path, "down_revision", values),
        depends=_names(path, "depends_on", values), labels=_names(path, "branch_labels", values),
        text=ast.dump(tree),
    )


def _assigned(body: Collection[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
        elif (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value is not None
        ):
            yield statement.target.id, statement.value


def _names(path: Path, what: str, values: Mapping[str, ast.expr]) -> tuple[str, ...]:
    """Read None, a name, or several of them."""
    if what not in values:
        return ()
    try:
        value = ast.literal_eval(values[what])
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"{path} computes its {what}", hint=_NOT_RUN, path=str(path)
        ) from error
    names = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(names, (tuple, list, set)) or not all(isinstance(n, str) for n in names):
        raise UsageError(
            f"{path} has a {what} that is no name: {value!r}", hint=_NOT_RUN, path=str(path)
        )
    return tuple(names)
