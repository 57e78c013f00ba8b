"""Another C library under the same data: text is sorted in another way, and indexes lie.

Source: https://wiki.postgresql.org/wiki/Locale_data_changes
"""

from __future__ import annotations

from collections.abc import Iterator

from ...findings import Finding
from ..images import glibc
from ..project import Running
from ..scene import Rule, Scene, blocker, data_of, databases, named, warning

_NAME = "compose-libc"


def look(scene: Scene) -> Iterator[Finding]:
    """Compare with the server, with the image before the change, and between services."""
    found = list(databases(scene.now))
    before = {service.name: service for service, _ in databases(scene.before or scene.now)}
    volumes: dict[str, Running] = {}
    for service, known in found:
        here = _library(service.image.libc)
        if scene.server and len(found) == 1:
            yield from _compared(service, here, _library(scene.server.libc), "the running server")
        old = before.get(service.name)
        if old and str(old.image) != str(service.image):
            yield from _compared(service, here, _library(old.image.libc), str(old.image))
        data = data_of(service, known)
        if data is None or not data.source:
            continue
        first = volumes.setdefault(data.source, service)
        if first is not service:
            yield from _compared(
                service, here, _library(first.image.libc),
                f"{first.image} of {named(first)} on the same volume",
            )


def _library(libc: str) -> tuple[str, str]:
    """Name the kind and the release: ``("glibc", "2.36")``; Debian's where none is named."""
    return ("musl", "") if libc.startswith("alpine") else ("glibc", glibc().get(libc, ""))


def _compared(
    service: Running, here: tuple[str, str], there: tuple[str, str], whose: str
) -> Iterator[Finding]:
    if here[0] != there[0] or (here[1] and there[1] and here[1] != there[1]):
        yield blocker(
            _NAME, service,
            f"{service.image} sorts text by {' '.join(here).strip()}, {whose} by"
            f" {' '.join(there).strip()}: indexes on text that one of them built are wrong for the"
            " other, unique ones let duplicates in",
            "keep the distribution of the tag; to change it, dump and restore, or REINDEX DATABASE"
            " at once and look for duplicates: pgmend scan --all-unique",
        )
    elif bool(here[1]) != bool(there[1]):
        yield warning(
            _NAME, service,
            f"whether {service.image} sorts text as {whose} does is not known: one of the tags"
            " does not name its Debian release",
            "name the release in both tags, as in postgres:17-bookworm, and compare",
        )


RULE = Rule(name=_NAME, look=look)
