"""``check_compose``: read the files, plan the change, and let every rule look."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dedupe.connect import conninfo_of

from ..findings import Report
from ..server.catalog import Catalog
from .change import Change, applications, change
from .project import Project, read
from .rules import RULES
from .scene import Scene, Server

_DEBIAN = re.compile(r"\(Debian [^)]*?pgdg(\d+)0\+")
_RELEASES = {"9": "stretch", "10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What a check of compose files found, and what it would change."""

    #: the files as they are
    project: Project
    change: Change | None
    #: what holds after the change; of the files as they are without one
    report: Report
    #: blockers that are not there without the change
    made: Report

    @property
    def agree(self) -> bool:
        """Whether each application's places name one version."""
        return all(len(versions) == 1 for versions in applications(self.project).values())


def check_compose(
    files: Sequence[Path],
    environment: Mapping[str, str],
    *,
    old: str | None = None,
    new: str | None = None,
    dsn: str | None = None,
) -> Composed:
    """Look at the files of a deployment, and at what they would be with NEW instead of OLD.

    Reads the files, those that they name, PG_VERSION in data directories, and with ``dsn`` the
    version of the server. Writes nothing; ``writing.write`` takes the change. Raises UsageError,
    and with ``dsn`` what connecting raises.
    """
    project = read(files, environment)
    planned = change(project, old, new) if new is not None else None
    server = running_server(dsn) if dsn is not None else None
    was = _looked(Scene(now=project, server=server))
    if planned is None:
        return Composed(project=project, change=None, report=was, made=Report())
    after = read(files, environment, planned.contents)
    report = _looked(Scene(now=after, before=project, change=planned, server=server))
    known = {(one.rule, one.object, one.message) for one in was.blockers}
    made = tuple(one for one in report.blockers
                 if (one.rule, one.object, one.message) not in known)
    return Composed(project=project, change=planned, report=report, made=Report(findings=made))


def running_server(dsn: str) -> Server:
    """Ask the running server for its major, and which distribution it was built for."""
    with Catalog(conninfo_of(dsn)) as catalog:
        ((text,),) = catalog.rows("SELECT pg_catalog.version()")
        debian = _DEBIAN.search(text)
        libc = _RELEASES.get(debian[1], "") if debian else ""
        return Server(major=str(catalog.major), libc="alpine" if "musl" in text else libc)


def _looked(scene: Scene) -> Report:
    return Report.of((*scene.now.unseen, *(one for rule in RULES for one in rule.look(scene))))
