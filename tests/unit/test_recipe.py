"""Recipes: what is written is what is meant, and what cannot be meant is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe import load_recipe, recipe_names
from dedupe.errors import RecipeError
from dedupe.recipes.reading import ordered, read_recipe

SMALL = """
format = 1
name = "small"
title = "A small application"

[schema]
tables = ["things"]
version = "schema_migrations.version"
oldest = "1"
releases = { "1.0" = "1", "2.0" = "20" }

[[question]]
id = "what"
asks = "What becomes of them?"
answers = { go = "They go.", stay = "They stay." }
default = "go"

[[choice]]
id = "which"
asks = "Which one stays?"
default = ["newest"]
shows = { "name" = "name" }

[[index]]
name = "things_name"
table = "things"
key = ["lower(name)"]
where = "name IS NOT NULL"

[[step]]
id = "things"
table = "things"
index = "things_name"

[[step.case]]
same = "a.owner = b.owner"
keep = ["updated_at desc", "newest"]
merge = { size = "sum" }

[[step.case]]
answered = { what = "go" }
keep = ["oldest"]

[[step.case]]
answered = { what = "stay" }
keep = ["oldest"]
loser = "rename:name"

[[child]]
table = "parts"
on_collision = "newest; size=sum"

[[soft]]
table = "notes"
column = "thing_id"
type_column = "about"
type_value = "Thing"
parent = "things"
"""


def test_a_recipe_is_read_as_it_is_written() -> None:
    recipe = read_recipe(SMALL, "small.toml")
    (step,) = recipe.steps
    assert [case.loser for case in step.cases] == ["delete", "delete", "rename:name"]
    assert recipe.expected(step)[0].key == ("lower(name)",)
    assert recipe.questions[0].default == "go"
    assert recipe.soft[0].parent_column == "id"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_pgmend_is_sound(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert len(ordered(recipe.steps)) == len(recipe.steps)


@pytest.mark.parametrize(
    ("old", "new", "place", "why"),
    [
        ('title = "A', 'titel = "A', "", "unknown field `titel`"),
        ('title = "A small application"', "", "", "missing required field `title`"),
        ("format = 1", "format = 2", "format", "Invalid enum value 2"),
        ('keep = ["updated_at desc", "newest"]', "keep = 5", "step[0].case[0].keep", "got `int`"),
        ('id = "things"', 'id = "The Things"', "step[0].id", "matching regex"),
        ('id = "things"', 'id = "things"\nafter = ["other"]', "step things", "no other"),
        ('id = "things"', 'id = "things"\nafter = ["things"]', "steps", "wait for one another"),
        ('id = "things"', 'id = "things"\nsince = "9"\nbefore = "3"', "step things", "no version"),
        ('index = "things_name"', 'index = "things_nam"', "step things", "no index things_nam"),
        ('what = "stay"', 'what = "sty"', "case 3, answered what", "did you mean stay"),
        ('answered = { what = "stay" }', "", "step things", "no case is for the answer stay"),
        ('default = "go"', 'default = "leave"', "question what", "there is no leave"),
        ('keep = ["oldest"]', 'keep = ["oldest; DROP TABLE things"]', "case 2", "semicolon"),
        ('size = "sum" }', 'size = "add" }', "case 1", "no such merge for size: add"),
        ('"rename:name"', '"remove"', "case 3", "no such fate of losers: remove"),
        ("newest; size=sum", "newest; size=add", "child parts", "no such merge"),
        ('type_value = "Thing"', "", "soft notes.thing_id", "belong together"),
        ('where = "name IS NOT NULL"', 'where = "name IS ("', "index things_name", "no end"),
        ('"1.0" = "1", "2.0" = "20"', '"2.0" = "20", "1.0" = "1"', "releases", "must come first"),
        ('"schema_migrations.version"', '"schema_migrations"', "schema, version", "TABLE.COLUMN"),
        ("[schema]", '[schema]\nreached = "a.b"', "schema", "one of version and reached"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_place(
    old: str, new: str, place: str, why: str
) -> None:
    """Scenario: one thing of a sound recipe is changed.
    Outcome: one message that names recipe, place and reason.
    """
    assert SMALL.count(old) >= 1
    with pytest.raises(RecipeError) as caught:
        read_recipe(SMALL.replace(old, new, 1), "small.toml")
    assert "small.toml" in caught.value.message
    assert place in caught.value.message
    assert why in caught.value.message
    assert caught.value.hint


def test_steps_that_wait_for_one_another_are_named() -> None:
    step = """
[[step]]
id = "{}"
table = "things"
index = "things_name"
after = ["{}"]
case = [{{ keep = ["oldest"] }}]
"""
    text = SMALL + step.format("first", "second") + step.format("second", "first")
    with pytest.raises(RecipeError, match=r"first after second|second after first"):
        read_recipe(text, "small.toml")


def test_steps_come_in_their_order_but_for_what_they_wait_for() -> None:
    step = """
[[step]]
id = "{}"
table = "things"
index = "things_name"
after = [{}]
case = [{{ keep = ["oldest"] }}]
"""
    text = SMALL + step.format("b", '"c"') + step.format("c", "") + step.format("d", "")
    recipe = read_recipe(text, "small.toml")
    assert [one.id for one in ordered(recipe.steps)] == ["things", "c", "b", "d"]


def test_a_version_that_was_skipped_was_not_reached() -> None:
    """Scenario: the greatest version is there, the one that made the step is not."""
    text = SMALL.replace('id = "things"', 'id = "things"\nsince = "7"')
    (step,) = read_recipe(text, "small.toml").steps
    assert step.counts_at(frozenset({1, 7}))
    assert not step.counts_at(frozenset({1, 20}))
    assert step.counts_at(None)


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe mastodn") as caught:
        load_recipe("mastodn")
    assert "Did you mean mastodon?" in (caught.value.hint or "")
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(str(tmp_path / "own.toml"))
    binary = tmp_path / "own.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(str(binary))
    binary.write_text("format = ")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(binary))
