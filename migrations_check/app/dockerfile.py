"""Dockerfiles: the images that they build on, and the defaults of their variables.

Source: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dockerfile_parse import DockerfileParser

from dedupe.errors import UsageError

from .pieces import Lookup, Text, interpolated, joined, literal, nothing_set
from .source import Source

_FLAGS = r"(?:--\S+\s+)*"
_FROM = re.compile(rf"\s*FROM\s+{_FLAGS}(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_COPY = re.compile(r"\s*(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=(\S+)", re.IGNORECASE)
_WORD = re.compile(r"\s*(?:ARG|ENV)\s", re.IGNORECASE)
_PAIR = re.compile(r"([A-Za-z_]\w*)=(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|((?:\\.|[^\s\\\"'])*))")
_BARE = re.compile(r"(?<!\S)[A-Za-z_]\w*(?!\S)")
_OLD_ENV = re.compile(r"\s*ENV\s+([A-Za-z_]\w*)[ \t]+([^\s=][^\r\n]*)", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")
_MASKED = re.compile(r"\\[ \t]*\r?\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """A variable of a Dockerfile that has a value."""

    #: ARG or ENV
    word: str
    name: str
    #: as it stands
    value: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM line."""

    #: its number, or the name behind AS
    name: str
    #: the image or stage that it begins with, as it stands
    base: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """What a Dockerfile says of versions."""

    source: Source
    #: ARGs before the first FROM, the only ones that a FROM line sees
    outer: Mapping[str, Text]
    #: those of them, and those without a default, whose value a build may give
    declared: frozenset[str]
    defaults: tuple[Default, ...]
    stages: tuple[Stage, ...]
    #: images that COPY --from takes files of, as they stand
    copied: tuple[Text, ...]

    def base(self, target: str | None, given: Mapping[str, Text]) -> Text:
        """Follow the stages from ``target`` (else the last) to the image under it.

        ``given`` are build arguments. Raises UsageError: there is no such stage.
        """
        names = [stage.name.lower() for stage in self.stages]
        try:
            at = names.index(target.lower()) if target else len(names) - 1
        except ValueError:
            raise UsageError(
                f"{self.source.path} has no stage {target}",
                hint=f"Its stages: {', '.join(names)}.",
                path=str(self.source.path),
            ) from None
        while True:
            text = self.resolved(self.stages[at].base, given)
            before = names[:at]
            if joined(text).lower() not in before:
                return text
            at = before.index(joined(text).lower())

    def resolved(self, text: Text, given: Mapping[str, Text]) -> Text:
        """Resolve the variables of a FROM line."""
        return interpolated(text, self._lookup(given))

    def _lookup(self, given: Mapping[str, Text]) -> Lookup:
        def look(name: str) -> Text | None:
            if name in self.declared and name in given:
                return given[name]
            default = self.outer.get(name)
            return None if default is None else interpolated(default, nothing_set)

        return look


def read(source: Source) -> Dockerfile:
    """Read a Dockerfile. Raises UsageError: it has no FROM."""
    lines = source.text[source.start :].splitlines(keepends=True)
    parser = DockerfileParser(fileobj=io.BytesIO("".join(_without_heredocs(lines)).encode()))
    offsets = [source.start]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    outer: dict[str, Text] = {}
    declared: set[str] = set()
    defaults: list[Default] = []
    stages: list[Stage] = []
    copied: list[Text] = []
    for one in parser.structure:
        word, first, last = one["instruction"], one["startline"], one["endline"]
        start = offsets[first]
        masked = "".join(_masked(line) for line in lines[first : last + 1])
        if word == "ARG" and not stages and (begin := _WORD.match(masked)):
            declared.update(_BARE.findall(_PAIR.sub(" ", masked[begin.end() :])))
        if word in {"ARG", "ENV"}:
            for name, low, high in _pairs(word, masked):
                value = literal(source, start + low, start + high)
                defaults.append(Default(word=word, name=name, value=value))
                if word == "ARG" and not stages:
                    outer[name] = value
                    declared.add(name)
        elif word == "FROM" and (found := _FROM.match(masked)):
            base = literal(source, start + found.start(1), start + found.end(1))
            stages.append(Stage(name=found[2] or str(len(stages)), base=base))
        elif word in {"COPY", "ADD"} and (found := _COPY.match(masked)):
            names = {stage.name.lower() for stage in stages}
            if found[1].lower() not in names and not found[1].isdigit():
                copied.append(literal(source, start + found.start(1), start + found.end(1)))
    if not stages:
        raise UsageError(
            f"{source.path} is no Dockerfile: it has no FROM line",
            hint="Name compose files, Dockerfiles and .env files only.",
            path=str(source.path),
        )
    return Dockerfile(source=source, outer=outer, declared=frozenset(declared),
                      defaults=tuple(defaults), stages=tuple(stages), copied=tuple(copied))


def _masked(line: str) -> str:
    """Blank out a line that is a comment, and what continues a line; nothing moves."""
    if line.lstrip().startswith("#"):
        return " " * len(line)
    return _MASKED.sub(lambda found: " " * len(found[0]), line)


def _pairs(word: str, masked: str) -> list[tuple[str, int, int]]:
    """Find the names of ARG or ENV, and where their values are."""
    old = _OLD_ENV.match(masked) if word == "ENV" else None
    if old:
        return [(old[1], old.start(2), old.start(2) + len(old[2].rstrip()))]
    begin = _WORD.match(masked)
    found = []
    for pair in _PAIR.finditer(masked, begin.end() if begin else 0):
        group = next(number for number in (2, 3, 4) if pair[number] is not None)
        found.append((pair[1], pair.start(group), pair.end(group)))
    return found


def _without_heredocs(lines: list[str]) -> list[str]:
    """Make comments of the lines of here-documents: they hold anything, SQL's FROM too."""
    kept: list[str] = []
    waiting: list[str] = []
    for line in lines:
        if waiting:
            if line.strip() == waiting[0]:
                waiting.pop(0)
            kept.append("#\n")
            continue
        kept.append(line)
        if re.match(r"\s*(RUN|COPY|ADD)\s", line, re.IGNORECASE):
            waiting = [found[2] for found in _HEREDOC.finditer(line)]
    return kept
