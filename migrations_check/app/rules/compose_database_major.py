"""The database image is of another major than the data directory or the running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...findings import Finding
from ..images import Known
from ..project import Running
from ..scene import Scene, data_of, databases

RULE = "compose-database-major"


def look(scene: Scene) -> Iterator[Finding]:
    """Compare each database image with PG_VERSION under its volume, and with the server."""
    found = list(databases(scene.now))
    for service, known in found:
        major = service.image.major
        if major is None or known.upgrades:
            continue
        for path, there in _versions(service, known):
            if there != major:
                yield _finding(service, f"the data directory {path.parent} is of {there}", there)
        if scene.server and len(found) == 1 and scene.server.major != major:
            yield _finding(
                service, f"the running server is {scene.server.major}", scene.server.major
            )


def _finding(service: Running, what: str, there: str) -> Finding:
    major = service.image.major
    return Finding(
        rule=RULE,
        severity="blocker",
        object=f"{service.at} ({service.name})",
        message=f"{service.image} is PostgreSQL {major}, and {what}: the server will not start"
        " on it, or starts with an empty database beside it",
        remedy=f"keep the image on {there}, or move the data first: pg_upgrade, or pg_dumpall"
        f" from {there} and a restore into an empty volume of {major}",
    )


def _versions(service: Running, known: Known) -> list[tuple[Path, str]]:
    """Read PG_VERSION where the image looks; else wherever another major would have put it."""
    data = data_of(service, known)
    own = data.host if data else None
    if own and (version := read_version(own / "PG_VERSION")):
        return [(own / "PG_VERSION", version)]
    found = []
    for mount in service.mounts:
        if mount.named:
            continue
        top = PurePosixPath(mount.target)
        if not any(PurePosixPath(volume).is_relative_to("/" + top.parts[1] if top.parts[1:] else "/")
                   and _related(top, volume) for _, _, volume in known.data):
            continue
        root = Path(mount.source)
        for path in sorted({root / "PG_VERSION", *_beneath(root)}):
            if version := read_version(path):
                found.append((path, version))
    return found


def _related(top: PurePosixPath, volume: str) -> bool:
    return top.is_relative_to(volume) or PurePosixPath(volume).is_relative_to(top)


def _beneath(root: Path) -> Iterator[Path]:
    try:
        yield from root.glob("data/PG_VERSION")
        yield from root.glob("pgdata/PG_VERSION")
        yield from root.glob("*/docker/PG_VERSION")
    except OSError:
        return


def read_version(path: Path) -> str | None:
    """Read a PG_VERSION; None where there is none, or it may not be read."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text or None
