"""All files of one deployment, read together: its services, and the places that name a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dedupe.errors import UsageError

from ..findings import Unseen
from . import dockerfile, envfile, source
from .compose import Build, Mount, Reader, Service, lacking
from .dockerfile import Dockerfile
from .images import Image, Role, image_of, named_after_store, version_in
from .pieces import Lookup, Text, interpolated, joined, nothing_set
from .source import Source, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One value that may name a version."""

    #: ``file:line``
    at: str
    #: image, build argument, ARG, ENV, .env, FROM or COPY --from
    kind: str
    #: the service, stage or variable
    owner: str
    #: the value as it is resolved
    value: Text
    #: the same as it is where no variable is set, for defaults that are not in use
    unset: Text
    #: the image; None where the value is a variable's
    image: Image | None
    #: what the image or the variable is
    role: Role

    @property
    def version(self) -> str | None:
        """The version that an image's tag begins with, or that a variable is."""
        if self.image:
            return self.image.version
        value = joined(self.value)
        return value if version_in(value) == value else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A service with what runs in it."""

    name: str
    #: ``file:line``
    at: str
    #: the image that it starts from; that of its Dockerfile where it is built
    image: Image
    built: bool
    mounts: tuple[Mount, ...]
    pgdata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Everything that the files say, as of their contents now."""

    #: of the first compose file
    directory: Path
    #: every file, those too that others name
    sources: Mapping[Path, Source]
    places: tuple[Place, ...]
    #: those that have an image or are built from a Dockerfile that is here
    services: tuple[Running, ...]
    #: what the files name and nobody can read here
    unseen: tuple[Unseen, ...] = ()

    def at(self, span: Span) -> str:
        """Name a span for people: ``file:line``."""
        return self.sources[span.real].at(span.start)


def read(
    files: Sequence[Path],
    environment: Mapping[str, str],
    overlay: Mapping[Path, bytes] | None = None,
) -> Project:
    """Read all files; ``overlay`` holds contents that shall be taken instead of a file's own.

    A file that is named by another one (``.env`` of the first compose file's directory,
    ``extends``, ``include``, the Dockerfile of a build) is read too. Raises UsageError.
    """
    return _Reading(environment, overlay or {}).project(files)


class _Reading:
    def __init__(self, environment: Mapping[str, str], overlay: Mapping[Path, bytes]) -> None:
        self.environment, self.overlay = environment, overlay
        self.sources: dict[Path, Source] = {}
        self.dockerfiles: dict[Path, Dockerfile] = {}
        self.places: list[Place] = []
        self.unseen: list[Unseen] = []

    def load(self, path: Path, kind: source.Kind | None = None) -> Source:
        loaded = source.load(_short(path), self.overlay, kind)
        # A file that two names lead to is one file, under the name that was first.
        return self.sources.setdefault(loaded.real, loaded)

    def project(self, files: Sequence[Path]) -> Project:
        given = [self.load(path) for path in files]
        composes = [one for one in given if one.kind == "compose"]
        base = project_directory(files)
        envs = [one for one in given if one.kind == "env"]
        if composes and not envs and (beside := composes[0].path.parent / ".env").is_file():
            envs = [self.load(beside, "env")]
        variables: dict[str, Text] = {}
        for env in envs:
            variables |= envfile.variables(env)
        look = envfile.lookup(self.environment, variables)
        for one in given:
            if one.kind == "dockerfile":
                self.dockerfile(one)
        services: dict[str, Service] = {}
        reader = Reader(lambda path: self.load(path, "compose"), look)
        for one in composes:
            for name, service in reader.services(one, base).items():
                services[name] = services[name].under(service) if name in services else service
        for said in reader.said:
            self.said(said.service, look)
        running = [found for one in services.values() if (found := self.running(one, look))]
        for name, value in variables.items():
            self.variable(".env", name, interpolated(value, look), value)
        for built in list(self.dockerfiles.values()):
            self.built(built)
        unique = {(place.kind, place.owner, _where(place)): place for place in self.places}
        return Project(directory=base, sources=dict(self.sources),
                       places=tuple(unique.values()), services=tuple(running),
                       unseen=(*reader.unseen, *self.unseen))

    def said(self, service: Service, look: Lookup) -> None:
        """Note the places of one service as one file writes it."""
        if service.image:
            self.image("image", service.name, interpolated(service.image, look), service.image)
        for name, value in (service.build.args if service.build else {}).items():
            self.variable("build argument", name, interpolated(value, look), value)

    def running(self, service: Service, look: Lookup) -> Running | None:
        """Find what a service runs, through its Dockerfile where that is here."""
        own = image_of(interpolated(service.image, look)) if service.image else None
        if service.build:
            under = self.under(service.build, look)
            # The name of an image that is built here may have a tag of its own.
            image = under if under and (not own or not own.version) else own
            image = under if under and under.role != "application" else image
        else:
            image = own
        path = _dockerfile_of(service.build) if service.build else None
        if image is None:
            if path:
                self.cannot_see(service, f"what it runs is not known: there is no {path}")
            return None
        if service.build and not image.named:
            self.cannot_see(
                service, f"which version it is built on is not known: {image} lacks a value that"
                " only the build is given",
            )
        if image.role == "database" and service.missing:
            self.cannot_see(service, lacking("the place of its data", service.missing),
                            "compose-database-major")
        return Running(name=service.name, at=service.at, image=image,
                       built=service.build is not None, mounts=service.mounts,
                       pgdata=service.pgdata)

    def cannot_see(
        self, service: Service, reason: str, rule: str = "compose-versions"
    ) -> None:
        self.unseen.append(
            Unseen(rule=rule, object=f"{service.at} ({service.name})", reason=reason)
        )

    def under(self, build: Build, look: Lookup) -> Image | None:
        path = _dockerfile_of(build)
        if path is None or not path.is_file():
            return None
        read_here = self.dockerfile(self.load(path, "dockerfile"))
        args = {name: interpolated(value, look) for name, value in build.args.items()}
        return image_of(read_here.base(build.target, args))

    def dockerfile(self, one: Source) -> Dockerfile:
        if one.real not in self.dockerfiles:
            self.dockerfiles[one.real] = dockerfile.read(one)
        return self.dockerfiles[one.real]

    def built(self, one: Dockerfile) -> None:
        """Note the places of a Dockerfile."""
        before: set[str] = {"scratch"}
        for stage in one.stages:
            value = one.resolved(stage.base, {})
            if joined(value).lower() not in before:
                self.image("FROM", stage.name, value, stage.base)
            before.add(stage.name.lower())
        for copied in one.copied:
            self.image("COPY --from", joined(copied), one.resolved(copied, {}), copied)
        for default in one.defaults:
            self.variable(default.word, default.name, default.value, default.value)

    def image(self, kind: str, owner: str, value: Text, raw: Text) -> None:
        image = image_of(value)
        self.place(kind, owner, value, raw, image, image.role)

    def variable(self, kind: str, name: str, value: Text, raw: Text) -> None:
        role: Role = "database" if named_after_store(name) else "application"
        held = image_of(value)
        if "/" in joined(value) or held.tag:
            # A whole image in a variable is what that image is.
            role = held.role if held.role != "application" else role
        self.place(kind, name, value, raw, None, role)

    def place(
        self, kind: str, owner: str, value: Text, raw: Text, image: Image | None, role: Role
    ) -> None:
        spans = list(spans_of(raw)) or list(spans_of(value))
        at = self.sources[spans[0].real].at(spans[0].start) if spans else "?"
        self.places.append(Place(at=at, kind=kind, owner=owner, value=value, image=image,
                                 unset=interpolated(raw, nothing_set), role=role))


def _dockerfile_of(build: Build) -> Path | None:
    return build.context / (build.dockerfile or "Dockerfile") if build.context else None


def spans_of(text: Text) -> Iterator[Span]:
    """Yield where a value stands."""
    for piece in text:
        if piece.span is not None:
            yield piece.span


def _short(path: Path) -> Path:
    """Name a file from where the command runs, if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _where(place: Place) -> tuple[Span, ...] | str:
    return tuple(spans_of(place.unset)) or tuple(spans_of(place.value)) or place.at


def project_directory(files: Sequence[Path]) -> Path:
    """Return where the first compose file is, else the first file. Raises UsageError: none."""
    if not files:
        raise UsageError(
            "no file is named",
            hint="Name the compose files, Dockerfiles and .env files of the deployment.",
        )
    first = next((one for one in files if source.kind_of(one) == "compose"), files[0])
    return first.parent.resolve()
