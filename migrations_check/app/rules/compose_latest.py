"""An image whose tag moves: the next pull brings another major.

Source: https://docs.docker.com/reference/cli/docker/image/pull/
"""

from __future__ import annotations

from collections.abc import Iterator

from ...findings import Finding
from ..scene import Rule, Scene, blocker, warning

_NAME = "compose-latest"


def look(scene: Scene) -> Iterator[Finding]:
    """List services whose image has no version; one that is built here may have none."""
    for service in scene.now.services:
        image = service.image
        if not image.floating:
            continue
        if image.role == "database":
            yield blocker(
                _NAME, service,
                f"{image} is whatever version is newest: after the next pull the database may be"
                " of another major than its data, and not start",
                "name the version that runs now in the tag; `docker compose exec"
                f" {service.name} cat /etc/os-release` and the server's own version tell it",
            )
        elif not service.built:
            yield warning(
                _NAME, service,
                f"{image} is whatever version is newest: what runs depends on the day of the pull,"
                " and the tag does not lead back",
                "name a version in the tag",
            )
    told = {str(one.image) for one in scene.now.services if one.image.role == "database"}
    for place in scene.now.places:
        image_of_stage = place.image if place.kind in {"FROM", "COPY --from"} else None
        if image_of_stage and image_of_stage.floating and str(image_of_stage) not in told:
            yield Finding(
                rule=_NAME,
                severity="warning",
                object=place.at,
                message=f"{place.kind} {image_of_stage} is whatever version is newest at the time"
                " of the build",
                remedy="name a version in the tag",
            )


RULE = Rule(name=_NAME, look=look)
