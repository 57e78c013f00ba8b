"""Groups that wait for a person: which they are, what their rows say, and what decides them."""

from __future__ import annotations

import time
import tomllib
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from dedupe import WaitingGroup, lab, load_recipe, run_recipe, waiting_choices
from dedupe.errors import NotReady, RecipeDoesNotFit, RecipeError, RunMismatch
from dedupe.recipes import Decisions, Recipe, RecipeResult, decide, read_recipe
from dedupe.recipes.choosing import MOST_CHARACTERS
from dedupe.recipes.undecided import MOST_ROWS

from ..scanning import Connection

TEXT = r"""
format = 1
name = "club"
title = "A club"

[schema]
tables = ["people", "letters"]

[[question]]
id = "strangers.of-one-name"
asks = "What becomes of strangers?"
answers = { merge = "They are merged.", rename = "They get another name." }
default = "rename"

[[choice]]
id = "members"
asks = "Members have one name. Which one keeps it?"
default = ["newest"]

[choice.shows]
"id" = "id"
"name" = "name"
"shouted" = "upper(name) -- as they call it"
"age" = "age"
"letters" = "letters.person"
"visits" = "visits.person"
"by text" = "notes.about"
"gone" = "nowhere.person"
"lost" = "vanished"

[[index]]
name = "people_name"
table = "people"
key = ["lower(name)"]

[[step]]
id = "people"
table = "people"
index = "people_name"

[[step.case]]
same = "a.member AND b.member"
choice = "members"
loser = "rename:name"

[[step.case]]
answered = { "strangers.of-one-name" = "merge" }
keep = ["newest"]

[[step.case]]
answered = { "strangers.of-one-name" = "rename" }
keep = ["newest"]
loser = "rename:name"
"""
QUESTION = "strangers.of-one-name"


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe that asks about every group of members, and once about strangers."""
    return read_recipe(TEXT, "club.toml")


@pytest.fixture
def club(db: Connection) -> Connection:
    """Give three groups of members, one of strangers, and children with and without an index."""
    db.execute(
        """
        CREATE TABLE people (id int8 PRIMARY KEY, name text, age int, member bool);
        CREATE TABLE letters (id int8 PRIMARY KEY, person int4);
        CREATE TABLE visits (id int8 PRIMARY KEY, person int8);
        CREATE TABLE notes (id int8 PRIMARY KEY, about varchar COLLATE "C");
        INSERT INTO people VALUES (1, 'Anna', 30, true), (2, 'anna', NULL, true),
            (3, 'Bert', 40, true), (4, 'bert', 41, true), (5, 'BERT', 42, true),
            (6, 'Carl', 50, true), (7, 'carl', 51, true),
            (8, 'Dora', 60, false), (9, 'dora', 61, false), (10, 'Emil', 70, true);
        INSERT INTO letters SELECT n, 1 + n % 2 FROM generate_series(1, 11) n;
        INSERT INTO visits SELECT n, 3 FROM generate_series(1, 7) n;
        INSERT INTO notes VALUES (1, '5'), (2, '5'), (3, '99'), (4, 'five');
        CREATE INDEX letters_person ON letters (person);
        CREATE INDEX people_name ON people (lower(name));
        UPDATE pg_index SET indisunique = true WHERE indexrelid = 'people_name'::regclass
        """
    )
    return db


def look(
    recipe: Recipe, place: Path, database: str, decisions: Decisions | None = None
) -> tuple[RecipeResult, list[WaitingGroup]]:
    result = run_recipe(recipe, place, database, live=True, decisions=decisions)
    return result, list(waiting_choices(result.fit, place, database, decisions=decisions))


def keys(groups: list[WaitingGroup]) -> list[list[str | None]]:
    return sorted([row.key for row in group.rows] for group in groups)  # type: ignore[type-var]


@pytest.mark.usefixtures("club")
def test_the_groups_that_wait_are_shown(database: str, recipe: Recipe, place: Path) -> None:
    """Outcome: the default comes first, children are counted, and what is not there is left out."""
    result, groups = look(recipe, place, database)
    assert [(one.id, one.groups, one.choice) for one in result.undecided] == [
        (QUESTION, 1, False), ("members", 3, True),
    ]
    assert result.open[1] == (
        "members is not decided for 3 groups: Members have one name. Which one keeps it?"
    )
    assert {"choice members, shows gone: nowhere.person"} <= set(result.fit.absent)
    assert not result.begun
    assert keys(groups) == [["2", "1"], ["5", "4", "3"], ["7", "6"]]
    assert {(one.choice, one.step, one.table) for one in groups} == {
        ("members", "people", "public.people")
    }
    assert [[row.default for row in one.rows] for one in groups if one.size == 3] == [
        [True, False, False]
    ]
    shown = {row.key: row.shown for one in groups for row in one.rows}
    assert shown["1"] == {
        "id": "1", "name": "Anna", "shouted": "ANNA", "age": "30",
        "letters": "5", "visits": "0", "by text": "0",
    }
    assert shown["2"]["age"] is None
    assert shown["2"]["letters"] == "6"
    assert shown["3"]["visits"] == "7"
    assert shown["5"]["by text"] == "2"


def test_each_group_is_decided_by_itself(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: one group is decided, then all. Outcome: only what is open stands in the way."""
    some = decide(recipe, [f"{QUESTION}=rename", "members=3"])
    result, groups = look(recipe, place, database, some)
    assert [(one.id, one.groups) for one in result.undecided] == [("members", 2)]
    assert keys(groups) == [["2", "1"], ["7", "6"]]
    with pytest.raises(NotReady, match="members is not decided for 2 groups"):
        run_recipe(
            recipe, place, database, live=True, decisions=some, execute=True, reason="a test"
        )
    every = some.with_chosen("members", "1").with_chosen("members", "7")
    done = run_recipe(
        recipe, place, database, live=True, decisions=every, execute=True, reason="a test"
    )
    assert (done.status, done.begun) == ("repaired", True)
    kept = club.execute("SELECT id FROM people WHERE name ~ '^[A-Za-z]+$' ORDER BY 1").fetchall()
    assert kept == [(1,), (3,), (7,), (9,), (10,)]
    result, groups = look(recipe, place, database, every)
    assert (result.begun, result.undecided, groups) == (True, (), [])


def test_a_row_that_is_in_no_group_is_not_chosen_in_silence(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: an id is misspelt, and one is that of a member whose name nobody else has.
    Outcome: an error that names them; the same directory takes the right one.
    """
    people = "SELECT * FROM people ORDER BY id"
    before = club.execute(people).fetchall()
    for execute in (False, True):
        with pytest.raises(RecipeError, match="members: no row with the primary key 33, 9 is"):
            run_recipe(
                recipe, place, database, live=True, defaults=True, execute=execute, reason="x",
                decisions=decide(recipe, ["members=3", "members=33", "members=9"]),
            )
    assert club.execute(people).fetchall() == before
    done = run_recipe(
        recipe, place, database, live=True, defaults=True, execute=True, reason="x",
        decisions=decide(recipe, ["members=3"]),
    )
    assert done.status == "repaired"


def test_defaults_decide_what_is_left(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    run_recipe(
        recipe, place, database, live=True, decisions=decide(recipe, ["members=3"]),
        defaults=True, execute=True, reason="a test",
    )
    kept = club.execute("SELECT id FROM people WHERE name ~ '^[A-Za-z]+$' ORDER BY 1").fetchall()
    assert kept == [(2,), (3,), (7,), (9,), (10,)]


@pytest.mark.usefixtures("club")
def test_a_question_waits_for_its_own_groups_only(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: there are no strangers of one name. Outcome: nobody has to answer for them."""
    club.execute("DELETE FROM people WHERE NOT member")
    result, _ = look(recipe, place, database)
    assert [one.id for one in result.undecided] == ["members"]


def test_a_row_that_was_changed_says_so(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: between plan and look a row is changed, and one is deleted."""
    result, _ = look(recipe, place, database)
    club.execute("UPDATE people SET age = 31 WHERE id = 1")
    club.execute("DELETE FROM people WHERE id = 4")
    groups = list(waiting_choices(result.fit, place, database))
    rows = {row.key: row for one in groups for row in one.rows}
    assert {key for key, row in rows.items() if row.changed} == {"1", "4"}
    assert rows["1"].shown == {}
    assert rows["2"].shown["letters"] == "6"


def test_the_first_of_two_chosen_rows_stays(
    database: str, club: Connection, recipe: Recipe, place: Path, tmp_path: Path
) -> None:
    """Scenario: the command line, a file and what was kept name rows of one group.

    Outcome: the command line wins over the file, and that over what was kept.
    """
    file, kept = tmp_path / "file.toml", tmp_path / "kept.toml"
    file.write_text(f'members = [1, "6"]\n"{QUESTION}" = "merge"\n')
    Decisions(answers={QUESTION: "rename"}, chosen={"members": ("5", "7", "2")}).write(kept)
    decisions = decide(recipe, ["members=3"], file, kept)
    assert decisions.chosen == {"members": ("3", "1", "6", "5", "7", "2")}
    assert decisions.answers == {QUESTION: "merge"}
    run_recipe(
        recipe, place, database, live=True, decisions=decisions, execute=True, reason="a test"
    )
    kept_names = club.execute(
        "SELECT id FROM people WHERE name ~ '^[A-Za-z]+$' ORDER BY 1"
    ).fetchall()
    assert kept_names == [(1,), (3,), (6,), (9,), (10,)]


def test_decisions_are_written_as_they_are_read(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "kept.toml"
    hostile = 'a "quoted" \\ \x7f \x1b[31m\n=\u202e 日本'
    decisions = Decisions(answers={QUESTION: "merge"}, chosen={"members": ("1", hostile)})
    decisions.write(path)
    assert decide(recipe, kept=path) == decide(recipe, file=path) == decisions
    assert tomllib.loads(path.read_text("utf-8"))["members"] == ["1", hostile]
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RecipeError, match="no text of Unicode"):
        decisions.with_chosen("members", "\udcff").write(path)
    assert decide(recipe, kept=path) == decisions
    assert decide(recipe, kept=tmp_path / "none.toml") == Decisions()


def test_many_groups_come_in_batches(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: two thousand groups, one of which is too large to be shown, with long values."""
    club.execute(
        """
        UPDATE pg_index SET indisunique = false WHERE indexrelid = 'people_name'::regclass;
        INSERT INTO people SELECT 1000 + n, 'name ' || n % 2000, n, true
            FROM generate_series(1, 4000) n;
        INSERT INTO people SELECT 10000 + n, 'crowd', n, true FROM generate_series(1, 150) n;
        INSERT INTO people SELECT 20000 + n, repeat('long ', 10000), n, true
            FROM generate_series(1, 2) n;
        INSERT INTO visits SELECT 100 + n, 1000 + n FROM generate_series(1, 4000) n;
        UPDATE pg_index SET indisunique = true WHERE indexrelid = 'people_name'::regclass
        """
    )
    result, groups = look(recipe, place, database)
    assert [one.groups for one in result.undecided] == [1, 2005]
    assert len(groups) == len({one.group for one in groups}) == 2005
    (crowd,) = (one for one in groups if one.size > 3)
    assert (crowd.size, len(crowd.rows), crowd.rows[0].key) == (150, MOST_ROWS, "10150")
    (lengthy,) = (one for one in groups if one.rows[0].key == "20002")
    assert len(lengthy.rows[0].shown["name"] or "") == MOST_CHARACTERS
    few = [one for one in groups if one.size == 2 and "1000" < (one.rows[0].key or "") < "6000"]
    assert {row.shown["visits"] for one in few for row in one.rows[:2]} >= {"1"}
    # Nobody can see the last row of the crowd, but it can be named.
    decisions = decide(recipe, ["members=10001"])
    assert [one.groups for one in look(recipe, place, database, decisions)[0].undecided] == [
        1, 2004,
    ]


def test_children_are_counted_once_a_batch(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Outcome: an index that finds the child is used; a child without one is read once."""
    club.execute("VACUUM ANALYZE letters, visits")
    result = run_recipe(recipe, place, database, live=True)

    def scans() -> dict[str, tuple[int, int]]:
        found = club.execute(
            "SELECT relname, seq_scan, coalesce(idx_scan, 0) FROM pg_stat_user_tables"
            " WHERE relname IN ('letters', 'visits')"
        )
        return {name: (heap, index) for name, heap, index in found.fetchall()}

    # What this session did itself is told at the end of a statement, a second later at most.
    time.sleep(1.1)
    scans()
    time.sleep(1.1)
    before = scans()
    assert len(list(waiting_choices(result.fit, place, database))) == 3
    end = time.monotonic() + 30
    # A backend tells its numbers as it ends.
    while (after := scans())["visits"] == before["visits"] and time.monotonic() < end:
        time.sleep(0.1)
    assert after["visits"] == (before["visits"][0] + 1, before["visits"][1])
    assert after["letters"][0] == before["letters"][0]
    assert after["letters"][1] > before["letters"][1]


@pytest.mark.usefixtures("club")
def test_what_cannot_be_shown_is_told(database: str, place: Path) -> None:
    wrong = read_recipe(TEXT.replace('"upper(name) -- as', '"upper(name, 1) -- as'), "club.toml")
    with pytest.raises(RecipeDoesNotFit, match="choice members cannot show shouted"):
        look(wrong, place, database)


def test_a_table_without_a_primary_key_takes_the_default(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    club.execute("ALTER TABLE people DROP CONSTRAINT people_pkey")
    text = TEXT.replace('default = ["newest"]', 'default = ["age desc"]')
    text = text.replace('keep = ["newest"]', 'keep = ["age"]')
    recipe = read_recipe(text, "club.toml")
    result, groups = look(recipe, place, database)
    assert {row.key for one in groups for row in one.rows} == {None}
    assert "letters" not in groups[0].rows[0].shown
    with pytest.raises(RecipeError, match="no primary key"):
        look(recipe, place, database, decide(recipe, ["members=1"]))
    assert result.undecided[1].groups == 3


def test_a_plan_of_another_schema_is_refused(
    database: str, club: Connection, place: Path
) -> None:
    """Scenario: a case counts only while a table is there, which goes after the plan.
    Outcome: another look plans anew; once it has begun, the plan is not read by other cases.
    """
    text = TEXT.replace('choice = "members"\n', 'choice = "members"\nneeds = ["visits"]\n')
    gated = read_recipe(text, "club.toml")
    shown, begun = place / "shown", place / "begun"
    assert len(look(gated, shown, database)[1]) == 3
    run_recipe(gated, begun, database, live=True, defaults=True, execute=True, reason="x")
    (begun / "finished").unlink()
    club.execute("DROP TABLE visits")
    assert look(gated, shown, database)[1] == []
    with pytest.raises(RunMismatch, match="was made for 2 cases, and 1 count"):
        look(gated, begun, database)


def test_local_accounts_of_mastodon(database: str, db: Connection, place: Path) -> None:
    """Scenario: the step of the accounts alone, on Mastodon's own tables.

    Outcome: everything that the recipe shows is there, and the older account keeps its name.
    """
    db.execute(resources.files(lab).joinpath("schemas/mastodon-3.5.3.sql").read_text("utf-8"))
    db.execute(
        """
        DROP INDEX index_accounts_on_username_and_domain_lower;
        -- Threads are not what this is about.
        DROP TABLE account_conversations;
        INSERT INTO accounts (id, username, display_name, created_at, updated_at) VALUES
            (101, 'alice', 'Alice', '2018-04-01', '2023-02-03'),
            (202, 'Alice', 'Alice anew', '2023-01-01 12:30', '2023-01-02'),
            (303, 'bob', '', '2019-01-01', '2019-01-01');
        INSERT INTO statuses (id, text, account_id, created_at, updated_at)
            SELECT n, 'post', 101, now(), now() FROM generate_series(1, 1234) n;
        INSERT INTO follows (account_id, target_account_id, created_at, updated_at)
            VALUES (303, 101, now(), now());
        INSERT INTO users (email, account_id, created_at, updated_at)
            VALUES ('alice@example.org', 101, now(), now());
        CREATE INDEX index_accounts_on_username_and_domain_lower
            ON accounts (lower(username), COALESCE(lower(domain), ''));
        UPDATE pg_index SET indisunique = true
            WHERE indexrelid = 'index_accounts_on_username_and_domain_lower'::regclass
        """
    )
    whole = load_recipe("mastodon")
    (accounts,) = (step for step in whole.steps if step.id == "accounts")
    recipe = msgspec.structs.replace(
        whole,
        steps=(msgspec.structs.replace(accounts, after=()),),
        indexes=whole.expected(accounts),
        afterwards=(),
        rebuild=(),
    )
    result, (group,) = look(recipe, place, database)
    assert [(one.id, one.groups) for one in result.undecided] == [("local-accounts", 1)]
    assert [dict(row.shown) for row in group.rows] == [
        {
            "id": "202", "name": "Alice", "display name": "Alice anew",
            "since": "2023-01-01 12:30:00", "changed": "2023-01-02 00:00:00",
            "posts": "0", "follows": "0", "followers": "0", "user": "0",
        },
        {
            "id": "101", "name": "alice", "display name": "Alice",
            "since": "2018-04-01 00:00:00", "changed": "2023-02-03 00:00:00",
            "posts": "1234", "follows": "0", "followers": "1", "user": "1",
        },
    ]
