"""Which version the places name, and the change that replaces it.

Only what stands at one of the places is replaced: image tags, build arguments, ARG and ENV
defaults, values of ``.env`` and FROM lines. Images of databases and caches keep their version,
unless OLD was said and no application's image names it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dedupe.errors import UsageError

from .images import bare, family, like, pattern
from .pieces import Text, joined, within
from .project import Place, Project, spans_of
from .source import Source, Span
from .yamlfile import mapping, scalars

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VERSIONED = re.compile(r"(^|_)(VERSION|TAG|RELEASE|IMAGE)(_|$)", re.IGNORECASE)
_COMMENT = re.compile(r"(^|\s)#", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A line that names the version and stays as it is."""

    at: str
    #: comment, or text that is no place of a version
    kind: str
    #: the comment; of other text nothing, because a secret may stand beside it
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A replacement in all places at once."""

    old: str
    new: str
    #: every span that is replaced, with what takes its place
    edits: Mapping[Span, str]
    #: new contents of the files that change, by their real path
    contents: Mapping[Path, bytes]
    #: places that still name the old version afterwards, and why
    left: tuple[tuple[Place, str], ...]
    mentions: tuple[Mention, ...]

    def diff(self, project: Project) -> str:
        """Show the change as a unified diff, without the lines around it: they may hold secrets."""
        lines: list[str] = []
        for real, content in self.contents.items():
            source = project.sources[real]
            lines += difflib.unified_diff(
                source.text.splitlines(keepends=True),
                content.decode("utf-8").splitlines(keepends=True),
                f"{source.path} (old)", f"{source.path} (new)", n=0,
            )
        marked = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
                  for line in lines)
        return "".join(marked)


def versions(project: Project) -> dict[str, list[Place]]:
    """Return every version that an application's image names, with its places."""
    found: dict[str, list[Place]] = {}
    for place in project.places:
        if place.image and place.role == "application" and place.image.version:
            found.setdefault(place.image.version, []).append(place)
    return found


def applications(project: Project) -> dict[str, dict[str, Place]]:
    """Return each application with the versions that its places name, without a leading ``v``.

    A variable counts that is called after the application: ``MASTODON_VERSION``, ``APP_TAG``.
    """
    images = [one for one in project.places if one.image and one.role == "application"]
    names = {one.image.name for one in images if one.image}
    found: dict[str, dict[str, Place]] = {}
    for one in images:
        if one.image and one.image.version:
            named = found.setdefault(family(one.image.name, names), {})
            named.setdefault(bare(one.image.version), one)
    for one in project.places:
        words = one.owner.lower().rpartition("_")
        if not one.image and one.version and words[2] in {"version", "tag"} and words[0] in found:
            found[words[0]].setdefault(bare(one.version), one)
    return found


def shared_version(project: Project) -> str:
    """Return the one version that the application's images share. Raises UsageError: unclear.

    Those that are built here count before those that are only used.
    """
    built = {one.image.version for one in project.services
             if one.built and one.image.role == "application" and one.image.version}
    named = versions(project)
    for candidates in (built, set(named)):
        if len({bare(one) for one in candidates}) == 1:
            return max(candidates)
    if not named:
        raise UsageError(
            "no image of the application names a version",
            hint="Say which version is replaced: --from OLD.",
        )
    told = "; ".join(f"{version} ({places[0].at})" for version, places in sorted(named.items()))
    raise UsageError(
        f"which version is replaced is unclear: {told}",
        hint="Say it: --from OLD, one of these.",
        candidates=tuple(sorted(named)),
    )


def change(project: Project, old: str | None, new: str) -> Change:
    """Plan the replacement. Raises UsageError: nothing to replace, or NEW is no tag.

    Where ``old`` is not said, NEW gets or loses a leading ``v`` as the files have it.
    """
    for name, said in (("--to", new), ("--from", old)):
        if said is not None and not _TAG.fullmatch(said):
            raise UsageError(
                f"{name} {said!r} cannot be the tag of an image",
                hint="A tag is up to 128 letters, digits, dots, dashes and underscores.",
            )
    whose = old
    if old is None:
        old = shared_version(project)
        new = like(old, new)
    if bare(old) == bare(new):
        raise UsageError(f"the old and the new version are the same: {new}",
                         hint="Say another one with --to or --from.")
    wanted = pattern(old, new)
    kept = {span for place in project.places if place.role != "application"
            for text in (place.value, place.unset) for span in spans_of(text)}
    put = bare(new) if old.startswith("v") == new.startswith("v") else new
    edits = _edits(project.places, wanted, put, kept, stores=False)
    images = any(place.image and place.role == "application" and wanted.search(joined(place.value))
                 for place in project.places)
    if not images and whose:
        stores = [place for place in project.places if place.role != "application"]
        edits |= _edits(stores, wanted, put, set(), stores=True)
    if not edits:
        raise UsageError(
            f"no place that may be changed names {old}",
            hint=f"Versions in these files: {', '.join(sorted(_all_versions(project))) or 'none'}.",
            old=old,
        )
    contents = _contents(project, edits)
    return Change(old=old, new=new, edits=edits, contents=contents,
                  left=tuple(_left(project, wanted, edits)),
                  mentions=tuple(_mentions(project, pattern(old), edits)))


def _edits(
    places: Sequence[Place], wanted: re.Pattern[str], new: str, kept: set[Span], *, stores: bool
) -> dict[Span, str]:
    """Find each match that stands in one piece, in the context of the whole value."""
    found: dict[Span, str] = {}
    for place in places:
        if place.role != "application" and not stores:
            continue
        if place.image and place.image.digest:
            continue
        for text in (place.value, place.unset):
            for match in wanted.finditer(joined(text)):
                if place.image and not _in_tag(text, match.start()):
                    continue
                if not place.image and match[0].isdigit() and not _VERSIONED.search(place.owner):
                    # WEB_CONCURRENCY=7 is no version 7.
                    continue
                spans = list(within(text, match.start(), match.end()))
                whole = len(spans) == 1 and spans[0].end - spans[0].start == len(match[0])
                if whole and not any(_inside(spans[0], span) for span in kept):
                    found[spans[0]] = match[1] + new
    return found


def _in_tag(text: Text, at: int) -> bool:
    """Tell whether a position of an image's name is behind the colon of its tag."""
    whole = joined(text)
    colon = whole.rfind(":")
    return whole.rfind("/") < colon < at


def _inside(one: Span, other: Span) -> bool:
    return one.real == other.real and other.start <= one.start and one.end <= other.end


def _contents(project: Project, edits: Mapping[Span, str]) -> dict[Path, bytes]:
    contents = {}
    for real in sorted({span.real for span in edits}):
        text = project.sources[real].text
        for span in sorted((span for span in edits if span.real == real), reverse=True):
            text = text[: span.start] + edits[span] + text[span.end :]
        contents[real] = text.encode("utf-8")
    return contents


def _left(
    project: Project, wanted: re.Pattern[str], edits: Mapping[Span, str]
) -> Iterator[tuple[Place, str]]:
    """Yield the application's places that go on naming the old version, with the reason."""
    for place in project.places:
        if place.role != "application" or not place.image:
            continue
        for match in wanted.finditer(joined(place.value)):
            if place.image.digest:
                yield place, "it is pinned by a digest, which decides before the tag does"
                continue
            if not _in_tag(place.value, match.start()):
                continue
            spans = list(within(place.value, match.start(), match.end()))
            if not spans:
                yield place, "the environment or an escaped text says it, and no file"
            elif len(spans) > 1 or spans[0].end - spans[0].start < len(match[0]):
                yield place, "it is put together from several pieces"
            elif spans[0] not in edits:
                yield place, f"{project.at(spans[0])} says it for a database or a cache too"


def _mentions(
    project: Project, wanted: re.Pattern[str], edits: Mapping[Span, str]
) -> Iterator[Mention]:
    for source in project.sources.values():
        values = _values(source)
        taken = {span.start for span in edits if span.real == source.real}
        for match in wanted.finditer(source.text):
            if match.start() in taken:
                continue
            begin = source.text.rfind("\n", 0, match.start()) + 1
            value = any(low <= match.start() < high for low, high in values)
            comment = None if value else _COMMENT.search(source.text, begin, match.start())
            text = source.text[comment.start() :].partition("\n")[0].strip() if comment else ""
            yield Mention(at=source.at(match.start()), kind="comment" if comment else "text",
                          text=text)


def _values(source: Source) -> list[tuple[int, int]]:
    """Return where values of YAML stand: a # in them begins no comment."""
    if source.kind != "compose":
        return []
    return [(source.start + one.start_mark.index, source.start + one.end_mark.index)
            for one in scalars(mapping(source))]


def _all_versions(project: Project) -> set[str]:
    return {place.image.version for place in project.places
            if place.image and place.image.version}
