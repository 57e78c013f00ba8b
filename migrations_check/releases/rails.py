"""Migrations of an application built on Rails: its files held against its database.

Source: https://github.com/rails/rails/blob/main/activerecord/lib/active_record/migration.rb
(MigrationContext: which files count, and which names it refuses)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..findings import Said, Voice
from .applied import Applied
from .files import READ_HINT, edited, edits_unseen, matching, text_of
from .rules.app_migrations import spanned

#: what Rails' own pattern of files lets through, and what it then takes for a migration
_COUNTS = re.compile(r"[0-9].*_.*\.rb")
_ACCEPTED = re.compile(r"([0-9]+)_([_a-z0-9]*)\.?([_a-z0-9]*)?\.rb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of a migration."""

    path: Path
    #: as the file's name writes it
    version: str
    #: its class, as Rails derives it
    name: str
    #: what it says, without comments, indentation and empty lines
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The migrations of one release, by number, and what is wrong with their files."""

    by_number: Mapping[int, Migration]
    said: tuple[Said, ...]


def read_files(directories: Sequence[Path], voice: Voice) -> Files:
    """Read the migrations of some directories and those below, as Rails finds them.

    Raises UsageError: a directory cannot be listed, or a file not be read.
    """
    found: dict[int, Migration] = {}
    names: dict[str, Migration] = {}
    said: list[Said] = []
    for path in matching(directories, "**/*.rb"):
        accepted = _ACCEPTED.fullmatch(path.name)
        if accepted is None:
            said.append(_refused(voice, path))
            continue
        migration = Migration(
            path=path, version=accepted[1],
            name="".join(part.capitalize() for part in accepted[2].split("_")),
            text=tuple(_said_by(text_of(path, READ_HINT))),
        )
        for other, what in (
            (found.get(int(migration.version)), f"the version {migration.version}"),
            (names.get(migration.name), "its class"),
        ):
            if other is not None:
                said.append(voice.blocker(
                    str(path),
                    f"it shares {what} with {other.path}: Rails refuses both, and db:migrate ends"
                    " before it begins",
                    f"keep one of them: diff {shlex.quote(str(other.path))}"
                    f" {shlex.quote(str(path))}",
                ))
                break
        else:
            found[int(migration.version)] = names[migration.name] = migration
    if not found:
        said.append(voice.unseen(
            ", ".join(map(str, directories)),
            "there is no migration in it: Rails' stand in db/migrate, as NUMBER_name.rb",
        ))
    return Files(by_number=found, said=tuple(said))


def compare(
    voice: Voice, applied: Applied, files: Files, installed: Files | None
) -> tuple[list[Said], list[str], list[str]]:
    """Hold files against the database.

    Returns what is to be said, the versions that db:migrate will run, and those that ran and
    have no file.
    """
    said: list[Said] = [*files.said, *(installed.said if installed else ())]
    ran = {int(one): one for one in applied.versions if re.fullmatch("[0-9]{1,99}", one)}
    odd = sorted(applied.versions - set(ran.values()))
    if odd:
        said.append(voice.warning(
            applied.label,
            f"it has rows that are no versions of migrations: {', '.join(odd)}",
            "look where they come from, and delete them",
        ))
    here = files.by_number
    pending = sorted(here.keys() - ran.keys())
    said += _lacking(voice, applied, installed, pending, ran)
    unknown = sorted(ran.keys() - here.keys())
    # What is older than the oldest file was squashed, which is how old applications live.
    oldest = min(here, default=0)
    if gone := [one for one in unknown if one > oldest and here]:
        of_installed = [one for one in gone if installed and one in installed.by_number]
        others = [one for one in gone if one not in of_installed]
        if of_installed:
            said.append(voice.warning(
                applied.label,
                f"{spanned([ran[one] for one in of_installed])} of its migrations have a file in"
                " the installed release and none in that one: it is older, or took them out",
                "make sure that it is the newer release; there is no way down but a snapshot",
            ))
        if others:
            said.append(voice.warning(
                applied.label,
                f"{spanned([ran[one] for one in others])} of its migrations have no file: they"
                " are of a fork, of a branch or of a newer release, and nobody knows here what"
                " they did",
                "look for their files where the application was installed from",
            ))
    if installed is None:
        said.append(edits_unseen(voice, applied.label, "migration"))
    else:
        said += _edited(voice, installed.by_number, here, ran)
    return said, [here[one].version for one in pending], [ran[one] for one in unknown] + odd


def _lacking(
    voice: Voice, applied: Applied, installed: Files | None, pending: Collection[int],
    ran: Mapping[int, str],
) -> Iterator[Said]:
    if installed is not None:
        if late := sorted(installed.by_number.keys() - ran.keys()):
            yield voice.warning(
                applied.label,
                f"{spanned([installed.by_number[one].version for one in late])} of the migrations"
                " of the installed release did not run: it was not migrated to its end",
                "with the code of the installed release: bin/rails db:migrate",
            )
        return
    newest = max(ran, default=0)
    if late := [one for one in pending if one < newest]:
        yield voice.warning(
            applied.label,
            f"{len(late):,} of the migrations did not run and are older than {ran[newest]}, which"
            f" did: {', '.join(map(str, late[:3]))}{', …' if len(late) > 3 else ''}; they were"
            " left out, failed, or came later with a branch",
            "name the files of the installed release with --installed DIR to tell these apart;"
            " bin/rails db:migrate runs them",
        )


def _edited(
    voice: Voice, before: Mapping[int, Migration], now: Mapping[int, Migration],
    ran: Collection[int],
) -> Iterator[Said]:
    for number in sorted(before.keys() & now.keys()):
        if number in ran and before[number].text != now[number].text:
            yield edited(voice, before[number].path, now[number].path)


def _refused(voice: Voice, path: Path) -> Said:
    if _COUNTS.fullmatch(path.name):
        return voice.blocker(
            str(path),
            "Rails takes it for a migration and refuses its name, so that db:migrate ends before"
            " it begins",
            "rename it to NUMBER_name.rb, in small letters, digits and underscores",
        )
    return voice.warning(
        str(path),
        "Rails passes over it, because its name does not begin with a number and an underscore:"
        " it never runs",
        "rename it to NUMBER_name.rb, or move it out of the directory",
    )


def _said_by(text: str) -> Iterator[str]:
    for line in text.splitlines():
        bare = line.strip()
        if bare and not bare.startswith("#"):
            yield bare
