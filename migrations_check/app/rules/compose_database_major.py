"""The database image is of another major than the data directory or the running server.

Source: https://www.postgresql.org/docs/current/upgrading.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...findings import Finding, Unseen
from ..images import Known
from ..project import Running
from ..scene import Rule, Scene, blocker, data_of, databases, named, warning

_NAME = "compose-database-major"


def look(scene: Scene) -> Iterator[Finding | Unseen]:
    """Compare each database image with PG_VERSION under its volume, and with the server."""
    found = list(databases(scene.now))
    if scene.server and len(found) != 1:
        among = ", ".join(service.name for service, _ in found)
        yield Unseen(
            rule=_NAME, object="the running server",
            reason=f"to which of {among} the connection string leads is not known, so that it was"
            " compared with none: name files in which one service is a PostgreSQL"
            if found else
            "no service is known to run a PostgreSQL, so that it was compared with none",
        )
    for service, known in found:
        major = service.image.major
        if known.upgrades:
            continue
        if major is None:
            if service.image.named and not service.image.floating:
                yield Unseen(
                    rule=_NAME, object=named(service),
                    reason=f"of which major {service.image} is, its tag does not say: name a tag"
                    " that begins with the version",
                )
            continue
        server = scene.server if len(found) == 1 else None
        if server and server.major != major:
            yield _differs(service, "the running server is", server.major)
        versions = list(_versions(service, known))
        for directory, there in versions:
            if there != major:
                yield _differs(service, f"the data directory {directory} is of", there)
        if not versions and server is None:
            yield from _unread(service, known)


def _differs(service: Running, what: str, there: str) -> Finding:
    major = service.image.major
    return blocker(
        _NAME,
        service,
        f"{service.image} is PostgreSQL {major}, and {what} {there}: the server does not start on"
        " those files, or starts with an empty database beside them",
        f"keep the image on {there} until the data is moved: pg_upgrade, or pg_dumpall from"
        f" {there} and a restore into an empty volume of {major}",
    )


def _versions(service: Running, known: Known) -> Iterator[tuple[Path, str]]:
    """Read PG_VERSION where the image looks; else wherever another major would have put it."""
    data = data_of(service, known)
    if data and data.host and (version := _version(data.host)):
        yield data.host, version
        return
    for root in _roots(service, known):
        beneath = (root, *sorted(root.glob("*data")), *sorted(root.glob("*/docker")))
        for directory in beneath:
            if version := _version(directory):
                yield directory, version


def _roots(service: Running, known: Known) -> Iterator[Path]:
    """Yield the directories of the host that the service has its data in, or above it."""
    for mount in service.mounts:
        target = PurePosixPath(mount.target)
        places = [volume for _, _, volume in known.data]
        places += [service.pgdata] if service.pgdata else []
        if not mount.named and any(
            target.is_relative_to(place) or PurePosixPath(place).is_relative_to(target)
            for place in places
        ):
            yield Path(mount.source)


def _version(directory: Path) -> str | None:
    try:
        return (directory / "PG_VERSION").read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _unread(service: Running, known: Known) -> Iterator[Finding]:
    """Say that nothing tells the major of the data, unless there is none yet."""
    data = data_of(service, known)
    if data is None or data.source is None:
        return
    if data.named:
        why = f"Docker keeps the volume {data.source or 'without a name'}"
        seen = f"docker compose exec {service.name} cat {data.directory}/PG_VERSION"
        remedy = f"say -d DSN of the running server, or compare with `{seen}`"
    else:
        try:
            if any(Path(data.source).iterdir()):
                why = f"{data.host} cannot be read, or is no data directory"
            else:
                return
        except OSError as error:
            why = f"{data.source} cannot be read: {error.strerror}"
        remedy = "check as a user who may read it, on the machine that holds it, or say -d DSN"
    yield warning(
        _NAME, service,
        f"whether the data is of PostgreSQL {service.image.major} as {service.image} is not known:"
        f" {why}",
        remedy,
    )


RULE = Rule(name=_NAME, look=look)
