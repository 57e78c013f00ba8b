"""The volume of a database is not where the image of this major keeps its data.

Source: https://github.com/docker-library/postgres/pull/1259
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from ...findings import Finding
from ..scene import Rule, Scene, blocker, data_of, databases

_NAME = "compose-volume-path"


def look(scene: Scene) -> Iterator[Finding]:
    """Compare the targets of the volumes with the place that the image wants."""
    for service, known in databases(scene.now):
        data = data_of(service, known)
        if data is None or any(mount.target == str(data.wanted) for mount in service.mounts):
            continue
        for mount in service.mounts:
            target = PurePosixPath(mount.target)
            others = [PurePosixPath(volume) for _, _, volume in known.data]
            if target not in others:
                continue
            if service.pgdata and data.directory.is_relative_to(target):
                continue
            yield blocker(
                _NAME, service,
                f"{service.image} keeps its data in {data.directory}, for which the volume belongs"
                f" at {data.wanted}; the volume at {target} is of another major's image, and what"
                " is written beside it is lost with the container",
                f"mount the volume at {data.wanted}, or stay on the major that its files are of",
            )


RULE = Rule(name=_NAME, look=look)
