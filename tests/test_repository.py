"""Rules of the repository: import direction, documentation, the tree of errors."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import dedupe
from cli.commands import MODULES, load
from cli.config import KNOWN
from cli.exits import ExitCode
from cli.root import pgmend
from dedupe import errors
from migrations_check import COMPOSE_RULES, DATABASE_RULES
from migrations_check.server import RULES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])


def imports(package: str) -> Iterator[tuple[Path, str]]:
    """Yield every absolute import in a package's files."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield path, alias.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield path, node.module


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("dedupe", {"cli", "migrations_check", "click", "tqdm", "tests", "benchmarks"}),
        ("migrations_check", {"cli", "click", "tqdm", "tests", "benchmarks"}),
        ("cli", {"tests", "benchmarks"}),
    ],
)
def test_import_direction(package: str, forbidden: set[str]) -> None:
    """The command imports the libraries, the checks may import dedupe, never backwards."""
    wrong = [
        (str(path), name) for path, name in imports(package) if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_the_command_uses_the_public_door() -> None:
    """What the command needs, a user of the library can have too."""
    public = {"dedupe", "dedupe.errors", "dedupe.connect", "dedupe.lab"}
    wrong = [
        (str(path), name)
        for path, name in imports("cli")
        if name.split(".")[0] == "dedupe" and name not in public
    ]
    assert wrong == []


def test_commands_are_short() -> None:
    """Parse, one call of the library, render: more belongs elsewhere."""
    for path in (ROOT / "cli" / "commands").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 100, path


def test_files_are_one_sitting() -> None:
    for package in ("dedupe", "migrations_check", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text("utf-8").splitlines()) <= 400, path


def test_every_public_name_has_a_docstring() -> None:
    """Functions, classes, and their public methods and properties."""
    bare = []
    for name in dedupe.__all__:
        thing = getattr(dedupe, name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if not inspect.getdoc(thing):
            bare.append(name)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for part, value in vars(thing).items():
                if part.startswith("_") or not (
                    inspect.isroutine(value) or isinstance(value, property | classmethod)
                ):
                    continue
                if not inspect.getdoc(value):
                    bare.append(f"{name}.{part}")
    assert bare == []


def test_the_tree_of_errors_is_the_tree_of_classes() -> None:
    lines = (errors.__doc__ or "").split("::\n")[1].splitlines()
    drawn: dict[str, str | None] = {}
    above: list[str] = []
    for line in lines:
        found = re.match(r"^    ((?:│   |    |├── |└── )*)(\w+)", line)
        if found is None:
            if drawn and line.strip():
                break
            continue
        depth = len(found[1]) // 4
        above = [*above[:depth], found[2]]
        drawn[found[2]] = above[depth - 1] if depth else None
    classes = {
        name: (None if thing is errors.DedupeError else thing.__bases__[0].__name__)
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, errors.DedupeError)
    }
    assert drawn == classes


def test_every_error_has_an_exit_code() -> None:
    """Of the branches of the tree only a stop and the known three exist."""
    branches = {kind.__name__ for kind in errors.DedupeError.__subclasses__()}
    assert branches == {"UsageError", "RefusedError", "FailureError", "Stopped"}


def test_docs_list_every_exit_code() -> None:
    page = (ROOT / "docs/output.md").read_text("utf-8")
    codes = [int(code) for code in re.findall(r"^\| (\d) \| ", page, re.MULTILINE)]
    assert codes == sorted(ExitCode)


@pytest.mark.parametrize("name", MODULES)
def test_docs_cover_every_command_and_option(name: str) -> None:
    command = load(name)
    text = "\n".join(path.read_text("utf-8") for path in PAGES)
    assert command.name == name
    assert f"## `pgmend {name}" in (ROOT / "docs/output.md").read_text("utf-8")
    assert command.help
    missing = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and not any(re.search(rf"{re.escape(name)}\b", text) for name in parameter.opts)
    ]
    assert missing == []
    assert pgmend.get_command(click.Context(pgmend), name) is command


def test_docs_have_a_page_for_every_rule() -> None:
    """What breaks, how it is found, what to do, and where it was seen."""
    names = {rule.name for rule in RULES} | set(COMPOSE_RULES) | set(DATABASE_RULES)
    assert len(RULES) <= 25
    assert len(names) == len(RULES) + len(COMPOSE_RULES) + len(DATABASE_RULES)
    pages = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs/rules").glob("*.md")}
    assert set(pages) - {"index"} >= names
    for name in names:
        heads = re.findall(r"^## (.+)$", pages[name], re.MULTILINE)
        assert heads == ["What breaks", "How it is found", "What to do", "Seen"], name
        assert "https://" in pages[name].partition("## Seen")[2], name


def test_docs_cover_every_setting() -> None:
    page = (ROOT / "docs/quickstart.md").read_text("utf-8")
    for table, keys in KNOWN.items():
        assert f"[{table}]" in page
        for key in keys:
            assert re.search(rf"\b{key}\b", page), f"{table}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.is_file(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}
            assert anchor in slugs, f"{page.name}: {target}"


@pytest.mark.parametrize("folder", ["docs", "docs/decisions", "docs/recipes", "docs/rules"])
def test_docs_index_lists_every_page(folder: str) -> None:
    index = (ROOT / folder / "index.md").read_text("utf-8")
    for page in (ROOT / folder).glob("*.md"):
        if page.name != "index.md":
            assert f"({page.name})" in index, page


def test_docs_changelog_names_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[(Unreleased|\d+\.\d+\.\d+)\]", text, re.MULTILINE)
