"""The lab's Mastodon instance: it is damaged as its manifest says, and the check can fail."""

from __future__ import annotations

from typing import Literal

import psycopg
import pytest

from dedupe.errors import LabError
from dedupe.lab.instance import Manifest, check, create_schema, make_instance
from dedupe.recipes import fit_recipe, load_recipe

RELEASES: tuple[Literal["3.5.3", "4.7"], ...] = ("3.5.3", "4.7")
releases = pytest.mark.parametrize("release", RELEASES)
#: steps whose key is no part of either release
ELSEWHERE = {"users.remember-token", "account-identity-proofs", "tags.before-3.4"}


def make(database: str, release: Literal["3.5.3", "4.7"]) -> Manifest:
    return make_instance(database, release, statuses=500, seed=1)


def planted(manifest: Manifest, table: str, scene: str, fate: str = "stays") -> int:
    """Return the id of a planted row of the first copy."""
    for row in manifest.rows:
        if (row.table, row.scene, row.fate) == (table, scene, fate):
            return row.key["id"].of(0)  # type: ignore[union-attr]
    raise AssertionError((table, scene, fate))


@releases
def test_the_schema_is_one_that_the_recipe_is_for(
    database: str, release: Literal["3.5.3", "4.7"]
) -> None:
    """Outcome: every step of the release finds its index sound; the versions that the recipe
    looks at are those up to the release.
    """
    create_schema(database, release)
    recipe = load_recipe("mastodon")
    fit = fit_recipe(database, recipe)
    assert fit.release == release[:3]
    assert {step.step.id: step.state for step in fit.steps if step.state != "sound"} == {}
    left_out = ELSEWHERE | (
        {"webhooks", "software-updates", "accounts.uri"} if release == "3.5.3" else set()
    )
    assert set(fit.skipped) == left_out
    assert fit.missing == ()
    newest = {"3.5.3": 20220429101850, "4.7": 20260812154114}[release]
    named = {int(text) for text in recipe.schema.releases.values()} | {
        int(version)
        for gated in (*recipe.indexes, *recipe.steps, *recipe.soft, *recipe.afterwards)
        for version in (gated.since, gated.before)
        if version is not None
    }
    assert fit.versions is not None
    assert {version for version in named if version <= newest} <= fit.versions
    assert max(fit.versions) == newest


@pytest.mark.parametrize(
    ("release", "accounts", "statuses"), [("3.5.3", 61, 11), ("4.7", 85, 17)]
)
def test_the_schema_has_the_foreign_keys_of_the_release(
    database: str, release: Literal["3.5.3", "4.7"], accounts: int, statuses: int
) -> None:
    create_schema(database, release)
    with psycopg.connect(database) as connection:
        found = dict(
            connection.execute(
                "SELECT confrelid::regclass::text, count(*) FROM pg_constraint"
                " WHERE contype = 'f' GROUP BY 1"
            ).fetchall()
        )
    assert (found["accounts"], found["statuses"]) == (accounts, statuses)


@releases
def test_every_key_of_a_step_is_damaged_and_the_check_says_so(
    database: str, release: Literal["3.5.3", "4.7"]
) -> None:
    """Outcome: groups under the key of each step that counts, and the check names them all;
    nothing else is wrong with an instance that was not repaired but that it was not.
    """
    manifest = make(database, release)
    fit = fit_recipe(database, load_recipe("mastodon"))
    assert {step.step.id for step in fit.steps} == {group.step for group in manifest.groups}
    assert {step.index.name for step in fit.steps if step.index is not None} == {
        group.index for group in manifest.groups
    }
    assert Manifest.from_json(manifest.to_json()) == manifest
    found = check(database, manifest)
    left = {text.split()[2] for text in found if text.startswith("group left: ")}
    assert left == {group.index for group in manifest.groups}
    kinds = {text.partition(":")[0] for text in found}
    # A row that is to be found again in a table of pairs is not there yet.
    assert kinds == {
        "group left", "wrong value", "not merged", "not gone", "too many", "lost",
    }


def test_the_rate_counts(database: str) -> None:
    """Scenario: a fifth of the rows; outcome: as many are in groups, in every scene."""
    manifest = make_instance(database, "4.7", statuses=2000, seed=2, duplicate_rate=0.2)
    copies = {group.scene: group.copies for group in manifest.groups}
    assert copies["twin posts"] == copies["three posts"] == 2000 * 0.2 / 2 / 4
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT sum(n) FROM (SELECT count(*) AS n FROM statuses GROUP BY uri"
            " HAVING count(*) > 1 AND uri IS NOT NULL) g"
        ).fetchone()
    assert row is not None
    assert 0.15 < float(row[0]) / 2000 < 0.5


def test_what_no_instance_can_be_is_refused(database: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        make_instance(database, "4.7", statuses=500, seed=1, duplicate_rate=0.6)
    create_schema(database, "4.7")
    with pytest.raises(LabError, match="cannot be made"):
        make(database, "4.7")


BROKEN = (
    ("DELETE FROM favourites WHERE id = {favourites}", "lost: favourites in twin posts"),
    (
        "UPDATE notifications SET activity_id = 17 WHERE id = {notifications}",
        "dangling: notifications.activity_id (Poll) → polls: 1",
    ),
    (
        "UPDATE reports SET status_ids = '{{17}}' WHERE id = {reports}",
        "dangling: reports.status_ids → statuses: 1",
    ),
    (
        "UPDATE account_warnings SET status_ids = '{{17}}' WHERE id = {account_warnings}",
        "dangling: account_warnings.status_ids → statuses: 1",
    ),
    (
        "SET session_replication_role = replica; DELETE FROM tags WHERE id = 5; RESET ALL",
        "dangling: statuses_tags.tag_id → tags",
    ),
    (
        "UPDATE accounts SET note = 'spam' WHERE id = (SELECT min(id) FROM accounts)",
        "background: sound rows of accounts were changed",
    ),
    ("DELETE FROM follows WHERE id = 1", "background: follows has 149 sound rows instead of 150"),
    (
        "UPDATE account_stats SET followers_count = 9 WHERE id = {account_stats}",
        "counter: account_stats.followers_count is wrong for 1 rows",
    ),
    (
        "DELETE FROM statuses WHERE id = {survivor}",
        "wrong survivor: statuses in an empty post and its twin: 1",
    ),
)


def test_the_check_can_fail(database: str) -> None:
    """Outcome: each thing that is broken by hand is named, and was not named before."""
    manifest = make(database, "3.5.3")
    ids = {
        table: planted(manifest, table, "twin posts")
        for table in ("favourites", "notifications", "reports", "account_warnings")
    }
    ids["account_stats"] = planted(manifest, "account_stats", "local accounts")
    ids["survivor"] = planted(manifest, "statuses", "an empty post and its twin")
    before = check(database, manifest)
    with psycopg.connect(database, autocommit=True) as connection:
        for statement, _ in BROKEN:
            connection.execute(statement.format(**ids))
        connection.execute(
            "UPDATE pg_index SET indisunique = false WHERE indexrelid ="
            " 'index_mentions_on_account_id_and_status_id'::regclass"
        )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO mentions (account_id, status_id, created_at, updated_at)"
            " SELECT account_id, status_id, created_at, updated_at FROM mentions WHERE id = 1"
        )
        connection.execute(
            "UPDATE pg_index SET indisunique = true WHERE indexrelid ="
            " 'index_mentions_on_account_id_and_status_id'::regclass"
        )
    after = check(database, manifest)
    twice = "group left: index_mentions_on_account_id_and_status_id holds 1 keys twice"
    for said in (*(said for _, said in BROKEN), twice):
        assert [text for text in before if text.startswith(said)] == [], said
        assert [text for text in after if text.startswith(said)], said
