"""The pages about recipes say what the recipes say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dedupe import Recipe, load_recipe, recipe_names
from dedupe.recipes import recipe as structs

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
#: recipes that take the place of a tool, whose page compares the two step by step
REPLACING = [name for name in recipe_names() if any(s.replaces for s in load_recipe(name).steps)]


def rows(recipe: Recipe) -> Iterator[str]:
    """Write the table of a recipe's steps, row by row."""
    yield "| Step | Key | Who stays, what becomes of the others | tootctl | Where it differs |"
    yield "|---|---|---|---|---|"
    for step in recipe.steps:
        key = recipe.expected(step)[-1]
        where = f" where `{key.where}`" if key.where else ""
        cases = "; ".join(
            f"{'the answer to `' + case.choice + '`' if case.choice else ''}"
            f"{', '.join(f'`{keep}`' for keep in case.keep)}: {case.loser}"
            + "".join(f" (answer {answer})" for answer in case.answered.values())
            + (f", {case.because}" if case.because else "")
            for case in step.cases
        )
        said = (
            f"`{step.id}`",
            f"`{step.table}` ({', '.join(f'`{part}`' for part in key.key)}){where}",
            cases,
            step.replaces or "does not look at it",
            step.differs or "",
        )
        yield "| " + " | ".join(text.replace("|", "\\|") for text in said) + " |"


@pytest.mark.parametrize("name", REPLACING)
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
    print("\n".join(rows(load_recipe("mastodon"))))
