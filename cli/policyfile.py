"""The rules of a repair: from ``--policy FILE`` and from the command line over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from dedupe import Policy, SoftReference
from dedupe.errors import UsageError

from .config import check_kind, read_toml, unknown

#: Every key of the file, with the types its value may have.
KNOWN: Mapping[str, tuple[type, ...]] = {
    "keep": (str, list),
    "loser": (str,),
    "merge": (dict,),
    "same": (str,),
    "on_collision": (dict,),
    "accept_loss": (list,),
    "drop_self_pairs": (dict,),
    "soft": (list,),
}


def rules(
    file: Path | None,
    *,
    keep: Sequence[str],
    loser: str | None,
    merge: Sequence[str],
    on_collision: Sequence[str],
    accept_loss: Sequence[str],
) -> dict[str, Any]:
    """Return the rules as ``dedupe.plan`` takes them; what was said on the line wins.

    Merges and collisions are joined with the file's, one column and one table at a time.
    Raises UsageError, PolicyError.
    """
    found: dict[str, Any] = {"keep": (), **(_read(file) if file is not None else {})}
    for name, texts, form in (
        ("merge", merge, "COLUMN=FUNCTION"),
        ("on_collision", on_collision, "TABLE=POLICY"),
    ):
        pairs = _pairs(name, texts, form)
        if pairs:
            found[name] = {**found.get(name, {}), **pairs}
    line = {"keep": tuple(keep), "loser": loser, "accept_loss": tuple(accept_loss)}
    found.update({name: value for name, value in line.items() if value})
    if not found["keep"]:
        # Says what can be kept, before any server is asked.
        Policy(keep=())
    return found


def _pairs(name: str, texts: Sequence[str], form: str) -> dict[str, str]:
    """Read the values of an option that is written ``NAME=RULE``."""
    option = f"--{name.replace('_', '-')}"
    pairs: dict[str, str] = {}
    for text in texts:
        left, equals, right = (part.strip() for part in text.partition("="))
        if not (left and equals and right):
            raise UsageError(f"{option} cannot read {text!r}", hint=f"Write {option} {form}.")
        if left in pairs:
            raise UsageError(f"{option} says two things about {left}", hint="Keep one of them.")
        pairs[left] = right
    return pairs


def _read(path: Path) -> dict[str, Any]:
    read = read_toml(
        path,
        "policy file",
        missing="Name another one with --policy.",
        malformed="See docs/output.md, The policy file.",
    )
    for name, value in read.items():
        if name not in KNOWN:
            raise unknown(path, name, list(KNOWN), "key")
        check_kind(path, name, value, KNOWN[name])
        if name in {"merge", "on_collision"}:
            for key, text in value.items():
                check_kind(path, f"{name}.{key}", text, (str,))
        elif name in {"keep", "accept_loss"} and isinstance(value, list):
            _check_texts(path, name, value)
    for table, columns in read.get("drop_self_pairs", {}).items():
        name = f"drop_self_pairs.{table}"
        _check_texts(path, name, columns)
        if len(columns) != 2:
            raise UsageError(f"{path}: {name} must name two columns, not {len(columns)}")
        read["drop_self_pairs"][table] = tuple(columns)
    if "soft" in read:
        read["soft"] = tuple(_soft(path, one) for one in read["soft"])
    return read


def _soft(path: Path, table: object) -> SoftReference:
    """Read one table of ``[[soft]]``."""
    check_kind(path, "soft", table, (dict,))
    known = {each.name: each for each in fields(SoftReference)}
    facts: dict[str, Any] = {}
    for name, value in dict(table).items():  # type: ignore[call-overload]
        if name not in known:
            raise unknown(path, f"soft.{name}", [f"soft.{each}" for each in known], "key")
        if name == "path":
            _check_texts(path, "soft.path", value)
        else:
            check_kind(path, f"soft.{name}", value, (str,))
        facts[name] = tuple(value) if name == "path" else value
    for name, each in known.items():
        if each.default is MISSING and name not in facts:
            raise UsageError(
                f"{path}: a table of [[soft]] lacks {name}",
                hint=f"It takes: {', '.join(known)}.",
            )
    return SoftReference(**facts)


def _check_texts(path: Path, name: str, value: object) -> None:
    if not isinstance(value, list):
        raise UsageError(f"{path}: {name} must be a list, not {value!r}")
    for text in value:
        check_kind(path, name, text, (str,))
