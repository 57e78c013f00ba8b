"""The pages about recipes say what the recipes say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dedupe import Recipe, load_recipe, recipe_names
from dedupe.recipes import recipe as structs
from dedupe.recipes.recipe import Case

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
#: recipe to the tool that it takes the place of, with which its page compares it step by step
TOOLS = {"mastodon": "tootctl"}


def rows(recipe: Recipe) -> Iterator[str]:
    """Write the table of a recipe's steps, row by row."""
    tool = TOOLS.get(recipe.name)
    headings = ["Step", "Key", "Who stays, what becomes of the others"]
    if tool is not None:
        headings += [tool, "Where it differs"]
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    for step in recipe.steps:
        key = recipe.expected(step)[-1]
        where = f" where `{key.where}`" if key.where else ""
        said = [
            f"`{step.id}`",
            f"`{step.table}` ({', '.join(f'`{part}`' for part in key.key)}){where}: `{key.name}`",
            "; ".join(map(outcome, step.cases)),
        ]
        if tool is not None:
            said += [step.replaces or "does not look at it", step.differs or ""]
        yield "| " + " | ".join(text.replace("|", "\\|") for text in said) + " |"


def outcome(case: Case) -> str:
    """Say who stays in a case, what becomes of the others, and why."""
    stays = f"the answer to `{case.choice}`" if case.choice else ""
    stays += ", ".join(f"`{keep}`" for keep in case.keep)
    answers = "".join(f" (answer {answer})" for answer in case.answered.values())
    why = f", {case.because}" if case.because else ""
    return f"{stays}: {case.loser}{answers}{why}"


def test_recipes_that_replace_a_tool_name_it() -> None:
    replacing = {n for n in recipe_names() if any(s.replaces for s in load_recipe(n).steps)}
    assert replacing == set(TOOLS)


@pytest.mark.parametrize("name", recipe_names())
def test_the_page_has_every_step(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text("utf-8")
    assert "\n".join(rows(load_recipe(name))) in page


def test_the_format_is_documented() -> None:
    """Every table and every key of a recipe stands on the page about the format."""
    page = (PAGES / "format.md").read_text("utf-8")
    kinds = [
        kind
        for kind in vars(structs).values()
        if isinstance(kind, type) and issubclass(kind, structs.Gated | structs.Recipe)
    ]
    assert len(kinds) > 10
    missing = {
        f"{kind.__name__}.{field.encode_name}"
        for kind in kinds
        for field in msgspec.structs.fields(kind)
        if field.encode_name not in page
    }
    assert missing == set()


if __name__ == "__main__":
    print("\n".join(rows(load_recipe(sys.argv[1]))))
