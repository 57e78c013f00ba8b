"""What the rules of compose files look at: the files, the change, and what runs already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..findings import Finding, Unseen
from .change import Change
from .images import Known, known_image
from .project import Project, Running


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server that runs now."""

    #: as PG_VERSION would say it
    major: str
    #: the distribution that its version text names, or empty
    libc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that a rule may look at."""

    #: as the files are, or would be after the change
    now: Project
    #: as they are, where ``now`` is after a change
    before: Project | None = None
    change: Change | None = None
    server: Server | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where a PostgreSQL service keeps its data."""

    #: directory in the container that the server uses
    directory: PurePosixPath
    #: where the image wants the volume
    wanted: PurePosixPath
    #: source and target of the volume that holds it; None: of none
    source: str | None
    target: PurePosixPath | None
    named: bool

    @property
    def host(self) -> Path | None:
        """The data directory on the host; None where Docker keeps it."""
        if self.source is None or self.target is None or self.named:
            return None
        return Path(self.source) / self.directory.relative_to(self.target)


def databases(project: Project) -> Iterator[tuple[Running, Known]]:
    """Yield the services that run a PostgreSQL."""
    for service in project.services:
        known = known_image(service.image.name)
        if known and known.role == "database" and known.major:
            yield service, known


def data_of(service: Running, known: Known) -> Data | None:
    """Find a service's data directory; None where the tag or the image does not tell it."""
    major = service.image.major
    if major is None:
        return None
    number = int(major.partition(".")[0])
    for first, place, volume in known.data:
        if number >= first:
            directory = PurePosixPath(service.pgdata or place.format(major=major))
            best = max(
                (mount for mount in service.mounts if directory.is_relative_to(mount.target)),
                key=lambda mount: len(mount.target),
                default=None,
            )
            return Data(
                directory=directory,
                wanted=directory if service.pgdata else PurePosixPath(volume),
                source=best.source if best else None,
                target=PurePosixPath(best.target) if best else None,
                named=best is not None and best.named,
            )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to look at in the files of a deployment."""

    #: its id, and the name of its page in docs/rules
    name: str
    look: Callable[[Scene], Iterable[Finding | Unseen]]


def blocker(rule: str, service: Running, message: str, remedy: str) -> Finding:
    """Make a finding about a service that keeps it from starting, or damages its data."""
    return Finding(rule=rule, severity="blocker", object=named(service), message=message,
                   remedy=remedy)


def warning(rule: str, service: Running, message: str, remedy: str) -> Finding:
    """Make a finding about what may go wrong with a service."""
    return Finding(rule=rule, severity="warning", object=named(service), message=message,
                   remedy=remedy)


def named(service: Running) -> str:
    """Name a service for people: ``file:line (service)``."""
    return f"{service.at} ({service.name})"
