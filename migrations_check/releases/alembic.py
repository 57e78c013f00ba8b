"""Revisions of an application that uses Alembic: its files held against its database.

Source: https://alembic.sqlalchemy.org/en/latest/branches.html (heads, labels, alembic_version)
"""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Said, Voice
from .applied import Applied
from .files import edited, edits_unseen
from .revisions import History


def compare(
    voice: Voice, applied: Applied, files: History, installed: History | None
) -> tuple[list[Said], list[str], list[str]]:
    """Hold files against the database.

    Returns what is to be said, the revisions that an upgrade to all heads runs, in an order in
    which it may, and the rows whose revision no file has.
    """
    said: list[Said] = [*files.said, *(installed.said if installed else ())]
    rows = sorted(applied.versions)
    unknown = [one for one in rows if one not in files.by_id]
    for one in unknown:
        of = "of the installed release, and has no file in that one" if (
            installed and one in installed.by_id
        ) else "in no file: it is of a fork, of a branch or of a newer release"
        said.append(voice.blocker(
            applied.label,
            f"the database is at the revision {one}, which is {of}; Alembic ends with \"Can't"
            f" locate revision identified by '{one}'\"",
            "upgrade with the files that have it; only if its changes are all in another revision:"
            " alembic stamp --purge THAT",
        ))
    ran = files.reached(rows)
    pending = [one for one in files.order if one not in ran]
    if unknown:
        # What they have run is not known.
        said.append(voice.unseen(
            applied.label,
            f"what of the revisions ran: that depends on {', '.join(unknown)}",
        ))
        pending = []
    said += _heads(voice, applied, files, rows)
    if installed is None:
        said.append(edits_unseen(voice, applied.label, "revision"))
    else:
        said += _of_installed(voice, applied, files, installed)
    return said, pending, unknown


def _heads(voice: Voice, applied: Applied, files: History, rows: list[str]) -> Iterator[Said]:
    labels = {
        head: {label for one in files.reached([head]) for label in files.by_id[one].labels}
        for head in files.heads
    }
    if len(labels) > 1 and not all(labels.values()):
        yield voice.warning(
            "heads",
            f"the revisions have {len(labels)} heads, and not all of them a branch label:"
            f" {', '.join(labels)}; `alembic upgrade head` refuses",
            "alembic merge heads; or, if they are meant to stay apart: alembic upgrade heads",
        )
    for one in rows:
        behind = [other for other in rows if other != one and one in files.reached([other])]
        if behind:
            yield voice.blocker(
                applied.label,
                f"it has a row for {one} and one for {behind[0]}, which comes behind it: Alembic"
                f' ends with "Requested revision {behind[0]} overlaps with other requested'
                f' revisions {one}"',
                f"DELETE FROM {applied.table} WHERE version_num = '{one}' (look first that all"
                " revisions up to the other one ran)",
            )


def _of_installed(
    voice: Voice, applied: Applied, files: History, installed: History
) -> Iterator[Said]:
    ran = installed.reached(applied.versions)
    if applied.versions <= installed.by_id.keys():
        late = [one for one in installed.order if one not in ran]
        if late:
            yield voice.warning(
                applied.label,
                f"{len(late):,} of the revisions of the installed release did not run"
                f" ({late[0]}{', …' if len(late) > 1 else ''}): it was not migrated to its end",
                "with the code of the installed release: alembic upgrade heads",
            )
    for one in files.order:
        before, now = installed.by_id.get(one), files.by_id[one]
        if before is not None and one in ran and before.text != now.text:
            yield edited(voice, before.path, now.path)
