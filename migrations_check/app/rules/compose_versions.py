"""Services of one application name different versions.

Source: https://docs.joinmastodon.org/admin/upgrading/
"""

from __future__ import annotations

from collections.abc import Iterator

from ...findings import Finding
from ..change import applications
from ..scene import Rule, Scene

_NAME = "compose-versions"


def look(scene: Scene) -> Iterator[Finding]:
    """Compare the images of each application, and tell what a change had to leave."""
    for name, versions in applications(scene.now).items():
        if len(versions) > 1:
            told = ", ".join(f"{version} ({one.at} {one.owner})"
                             for version, one in sorted(versions.items()))
            yield Finding(
                rule=_NAME, severity="warning", object=name,
                message=f"its services name different versions: {told}; code and schema of two"
                " versions work on one database",
                remedy="name one version in all of them: pgmend check compose FILES --from OLD"
                " --to NEW --write",
            )
    for place, why in scene.change.left if scene.change else ():
        yield Finding(
            rule=_NAME, severity="warning", object=f"{place.at} ({place.owner})",
            message=f"{scene.change.old if scene.change else ''} stays in {place.kind}: {why}",
            remedy="change it by hand where it is said",
        )


RULE = Rule(name=_NAME, look=look)
