"""YAML as a tree of nodes that know where they stand.

Source: https://yaml.readthedocs.io/en/latest/
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dedupe.errors import UsageError

from .pieces import Piece, Text
from .source import Source, Span


def mapping(source: Source) -> MappingNode:
    """Read a file whose top is a mapping. Raises UsageError: no YAML, or something else."""
    try:
        with warnings.catch_warnings():
            # An anchor may be defined again; the last one before an alias counts.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            top = YAML(pure=True).compose(source.body)
    except (YAMLError, RecursionError, ValueError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        where = f"{source.path}:{mark.line + 1}" if mark else str(source.path)
        reason = getattr(error, "problem", None) or type(error).__name__
        raise UsageError(
            f"{where} is no valid YAML: {reason}",
            hint="See what `docker compose config` says of it.",
            path=str(source.path),
        ) from error
    if not isinstance(top, MappingNode):
        raise UsageError(
            f"{source.path} is no compose file: no mapping of services in it",
            hint="Name compose files, Dockerfiles and .env files only.",
            path=str(source.path),
        )
    return top


def entries(node: Node | None, seen: frozenset[int] = frozenset()) -> dict[str, Node]:
    """Return the keys of a mapping with their values, ``<<`` merged in; of others nothing."""
    if not isinstance(node, MappingNode) or id(node) in seen:
        return {}
    found: dict[str, Node] = {}
    merged: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value == "<<":
            several = value.value if isinstance(value, SequenceNode) else [value]
            for one in several:
                merged = {**entries(one, seen | {id(node)}), **merged}
        elif str(value.tag) != "!reset":
            found[key.value] = value
    return {**merged, **found}


def items(node: Node | None) -> list[Node]:
    """Return the members of a sequence; of others nothing."""
    return list(node.value) if isinstance(node, SequenceNode) else []


def text_of(source: Source, node: Node | None) -> Text | None:
    """Return a scalar as a value that knows where it stands, None for anything else."""
    if not isinstance(node, ScalarNode):
        return None
    start = source.start + node.start_mark.index
    raw = source.text[start : source.start + node.end_mark.index]
    # An anchor or a tag stands before the value, at most a quote behind it.
    offset = raw.rfind(node.value)
    if offset < 0 or not node.value:
        return (Piece(text=node.value, span=None),)
    begin = start + offset
    span = Span(real=source.real, start=begin, end=begin + len(node.value))
    return (Piece(text=node.value, span=span),)


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Yield every scalar of a tree once, keys too."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, ScalarNode):
            yield one
        elif isinstance(one, MappingNode):
            for key, value in one.value:
                waiting.extend((key, value))
        elif isinstance(one, SequenceNode):
            waiting.extend(one.value)
