"""Compose files: services with their images, builds and volumes, as Compose joins them.

Sources: https://docs.docker.com/reference/compose-file/services/,
https://docs.docker.com/reference/compose-file/merge/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ruamel.yaml.nodes import Node

from dedupe.errors import UsageError

from ..findings import Unseen
from .pieces import Lookup, Piece, Text, interpolated, joined
from .source import Source
from .yamlfile import entries, items, mapping, text_of

#: what Compose and Docker fetch from elsewhere
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One volume of a service."""

    #: directory of the host, or the name of a volume; empty for one without a name
    source: str
    #: directory in the container
    target: str

    @property
    def named(self) -> bool:
        """Whether Docker keeps it, and not a directory of the host."""
        return not self.source.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How a service's image is built."""

    context: Path | None = None
    dockerfile: str | None = None
    target: str | None = None
    #: build arguments, as they stand
    args: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service, of one file or of several joined."""

    name: str
    #: ``file:line`` of what was said last of its image, else of itself
    at: str
    #: as it stands
    image: Text | None = None
    build: Build | None = None
    mounts: tuple[Mount, ...] = ()
    #: the environment's PGDATA
    pgdata: str | None = None
    #: variables in its volumes and PGDATA that have no value
    missing: frozenset[str] = frozenset()

    def under(self, other: Service) -> Service:
        """Return what Compose makes of this service and what a later file says of it."""
        build = other.build or self.build
        if self.build and other.build:
            build = Build(
                context=other.build.context or self.build.context,
                dockerfile=other.build.dockerfile or self.build.dockerfile,
                target=other.build.target or self.build.target,
                args={**self.build.args, **other.build.args},
            )
        mounts = {mount.target: mount for mount in (*self.mounts, *other.mounts)}
        return Service(
            name=other.name,
            at=other.at if other.image or not self.image else self.at,
            image=other.image or self.image,
            build=build,
            mounts=tuple(mounts.values()),
            pgdata=other.pgdata or self.pgdata,
            missing=self.missing | other.missing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one file says of one service, before anything is joined."""

    source: Source
    service: Service


class Reader:
    """Reads compose files, and those that ``extends`` and ``include`` name."""

    def __init__(self, load: Callable[[Path], Source], lookup: Lookup) -> None:
        self._load = load
        self._lookup = lookup
        self._tops: dict[Path, Mapping[str, Node]] = {}
        #: every file that was read, in the order of reading
        self.sources: dict[Path, Source] = {}
        #: what each file says of each service
        self.said: list[Said] = []
        #: what the files name and nobody can read here
        self.unseen: list[Unseen] = []
        #: those of ``said``, by file and service
        self._done: set[tuple[Path, str]] = set()

    def services(self, source: Source, base: Path) -> dict[str, Service]:
        """Read the services of a file. Raises UsageError."""
        return self._services(source, base, frozenset())

    def _services(
        self, source: Source, base: Path, above: frozenset[Path]
    ) -> dict[str, Service]:
        if source.real in above:
            raise _circle(source, "include")
        top = self._top(source)
        found: dict[str, Service] = {}
        for node in items(top.get("include")):
            parts = entries(node)
            paths = [node] if text_of(source, node) else _one_or_more(parts.get("path"))
            for one in paths:
                if self._elsewhere(source, one, f"include of {self._word(source, one)}"):
                    continue
                other = self._load(self._path(source, one, base))
                if "env_file" in parts or (
                    other.real.parent != base and (other.real.parent / ".env").is_file()
                ):
                    self._unseen(
                        source, one, f"include of {other.path}",
                        "the variables that it has of its own (.env beside it, or env_file) are"
                        " not read: name that file, too",
                    )
                found |= self._services(other, other.real.parent, above | {source.real})
        devices = self._devices(source, top)
        for name in entries(top.get("services")):
            service = self._service(source, name, base, frozenset())
            mounts = tuple(
                replace(mount, source=devices.get(mount.source, mount.source))
                for mount in service.mounts
            )
            found[name] = replace(service, mounts=mounts)
        return found

    def _top(self, source: Source) -> Mapping[str, Node]:
        if source.real not in self._tops:
            self._tops[source.real] = entries(mapping(source))
            self.sources[source.real] = source
        top = self._tops[source.real]
        if not {"services", "include", "volumes", "name"} & top.keys():
            raise UsageError(
                f"{source.path} is no compose file: it has no services",
                hint="Name compose files, Dockerfiles and .env files only.",
                path=str(source.path),
            )
        return top

    def _service(
        self, source: Source, name: str, base: Path, above: frozenset[tuple[Path, str]]
    ) -> Service:
        if (source.real, name) in above:
            raise _circle(source, "extends", name)
        services = entries(self._top(source).get("services"))
        if name not in services:
            raise UsageError(
                f"{source.path} has no service {name}, which another one extends",
                hint=f"Its services: {', '.join(services) or 'none'}.",
                path=str(source.path),
            )
        parts = entries(services[name])
        own = self._own(source, name, services[name], parts, base)
        if (source.real, name) not in self._done:
            self._done.add((source.real, name))
            self.said.append(Said(source=source, service=own))
        extends = parts.get("extends")
        if extends is None:
            return own
        options = entries(extends)
        other, root = source, base
        if "file" in options:
            if self._elsewhere(source, options["file"], f"{name}, extends"):
                return own
            other = self._load(self._path(source, options["file"], base))
            root = other.real.parent
        wanted = self._word(source, options.get("service", extends))
        beneath = self._service(other, wanted or name, root, above | {(source.real, name)})
        return beneath.under(own)

    def _own(
        self, source: Source, name: str, node: Node, parts: Mapping[str, Node], base: Path
    ) -> Service:
        image = text_of(source, parts.get("image"))
        spot = parts["image"] if image else node
        settings = _pairs(source, parts.get("environment"))
        pgdata = settings.get("PGDATA")
        missing: set[str] = set()
        mounts = [self._mount(source, one, base, missing) for one in items(parts.get("volumes"))]
        data = joined(interpolated(pgdata, self._lookup, missing)) if pgdata else None
        lacking: set[str] = set()
        interpolated(image or (), self._lookup, lacking)
        self._lacks(source, spot, name, lacking, "which image it runs")
        return Service(
            name=name,
            at=source.at(source.start + spot.start_mark.index),
            image=image,
            build=self._build(source, name, parts.get("build"), base),
            mounts=tuple(mount for mount in mounts if mount),
            pgdata=data,
            missing=frozenset(missing),
        )

    def _build(
        self, source: Source, name: str, node: Node | None, base: Path
    ) -> Build | None:
        if node is None:
            return None
        parts = entries(node)
        place = parts.get("context", None if parts else node)
        missing: set[str] = set()
        context = self._word(source, place, missing) or "."
        file = self._word(source, parts.get("dockerfile"), missing)
        self._lacks(source, node, name, missing, "which Dockerfile it is built from")
        remote = place is not None and self._elsewhere(source, place, name)
        if inline := parts.get("dockerfile_inline"):
            self._unseen(
                source, inline, name,
                "its Dockerfile stands in the compose file (dockerfile_inline) and is not read:"
                " move it into a file of its own, or look at its versions yourself",
            )
            return Build(args=_pairs(source, parts.get("args")))
        return Build(
            context=None if remote or missing else base / context,
            dockerfile=file,
            target=self._word(source, parts.get("target")),
            args=_pairs(source, parts.get("args")),
        )

    def _mount(
        self, source: Source, node: Node, base: Path, missing: set[str]
    ) -> Mount | None:
        parts = entries(node)
        if parts:
            kind = self._word(source, parts.get("type"))
            place = self._word(source, parts.get("source", parts.get("src")), missing) or ""
            target = self._word(source, parts.get("target", parts.get("dst")), missing)
            if not target or kind not in {"bind", "volume"}:
                return None
            bind = kind == "bind"
        else:
            words = (self._word(source, node, missing) or "").split(":")
            place, target = (words[0], words[1]) if len(words) > 1 else ("", words[0])
            bind = place.startswith((".", "/", "~"))
        if bind:
            place = str((base / Path(place).expanduser()).resolve())
        return Mount(source=place, target=target.rstrip("/") or "/")

    def _devices(self, source: Source, top: Mapping[str, Node]) -> dict[str, str]:
        """Find the volumes that are directories of the host under a name."""
        found = {}
        for name, node in entries(top.get("volumes")).items():
            options = entries(entries(node).get("driver_opts"))
            device = self._word(source, options.get("device")) or ""
            flags = (self._word(source, options.get("o")) or "").split(",")
            if device.startswith("/") and {"bind", "rbind"} & set(flags):
                found[name] = device
        return found

    def _path(self, source: Source, node: Node, base: Path) -> Path:
        return base / (self._word(source, node) or "")

    def _word(
        self, source: Source, node: Node | None, missing: set[str] | None = None
    ) -> str | None:
        text = text_of(source, node)
        return joined(interpolated(text, self._lookup, missing)) if text else None

    def _elsewhere(self, source: Source, node: Node, whose: str) -> bool:
        """Tell whether a path leads away from this machine, and note that it is not followed."""
        word = self._word(source, node) or ""
        if not _REMOTE.match(word):
            return False
        self._unseen(
            source, node, whose,
            f"{word} is not on this machine, so that the versions that it names are neither"
            " compared nor changed: check a copy of it",
        )
        return True

    def _lacks(
        self, source: Source, node: Node, name: str, missing: set[str], what: str
    ) -> None:
        if missing:
            self._unseen(source, node, name, lacking(what, missing))

    def _unseen(self, source: Source, node: Node, whose: str, reason: str) -> None:
        at = source.at(source.start + node.start_mark.index)
        said = Unseen(rule="compose-versions", object=f"{at} ({whose})", reason=reason)
        if said not in self.unseen:
            self.unseen.append(said)


def lacking(what: str, variables: Iterable[str]) -> str:
    """Say that something is not known, for variables have no value here."""
    names = sorted(variables)
    verb = "has" if len(names) == 1 else "have"
    return (f"{what} is not known, for {', '.join(names)} {verb} no value here: name the .env file"
            " that says it, or set it in the environment")


def _one_or_more(node: Node | None) -> list[Node]:
    return items(node) or ([node] if node is not None else [])


def _pairs(source: Source, node: Node | None) -> dict[str, Text]:
    """Read ``args`` or ``environment``: a mapping, or a list of ``NAME=value``."""
    found: dict[str, Text] = {}
    for name, one in entries(node).items():
        text = text_of(source, one)
        if text and joined(text):
            found[name] = text
    for one in items(node):
        for piece in text_of(source, one) or ():
            name, sign, value = piece.text.partition("=")
            if not sign:
                continue
            span = piece.span and replace(piece.span, start=piece.span.start + len(name) + 1)
            found[name] = (Piece(text=value, span=span),)
    return found


def _circle(source: Source, word: str, name: str = "") -> UsageError:
    return UsageError(
        f"{source.path}: {word} goes in a circle{f' at {name}' if name else ''}",
        hint="See what `docker compose config` says of it.",
        path=str(source.path),
    )
