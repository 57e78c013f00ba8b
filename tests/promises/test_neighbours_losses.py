"""What other tools lost when they removed duplicates; each loss is a scenario here."""

from __future__ import annotations

import pytest

from dedupe import SoftReference
from dedupe.errors import RefusedError

from .repaired import copies
from .shop import Shop


def test_a_cascade_does_not_eat_history(shop: Shop) -> None:
    """Scenario: Home Assistant's statistics hang on their metadata by ON DELETE CASCADE, and
    two metadata rows of one sensor have histories of their own, some hours in both.
    Outcome: every hour is there, under the row that stays; the plan names the cascade.
    """
    shop.make(
        "CREATE TABLE statistics_meta (id int8 PRIMARY KEY, statistic_id text NOT NULL);"
        "CREATE UNIQUE INDEX ix_statistic_id ON statistics_meta (statistic_id);"
        "INSERT INTO statistics_meta VALUES (1, 'sensor.power'), (2, 'sensor.heat')",
        "ix_statistic_id",
        "INSERT INTO statistics_meta VALUES (3, 'sensor.power')",
        then="CREATE TABLE statistics (id int8 PRIMARY KEY, start_ts float8, sum float8,"
        " metadata_id int8 REFERENCES statistics_meta ON DELETE CASCADE);"
        "CREATE UNIQUE INDEX ix_statistics ON statistics (metadata_id, start_ts);"
        "CREATE TABLE statistics_short_term (LIKE statistics INCLUDING ALL, FOREIGN KEY"
        " (metadata_id) REFERENCES statistics_meta ON DELETE CASCADE);"
        "INSERT INTO statistics SELECT n, n, n, 1 FROM generate_series(1, 100) n;"
        "INSERT INTO statistics SELECT 500 + n, n, -n, 3 FROM generate_series(91, 200) n;"
        "INSERT INTO statistics SELECT 900 + n, n, n, 2 FROM generate_series(1, 7) n;"
        "INSERT INTO statistics_short_term SELECT * FROM statistics",
    )
    made = shop.planned("ix_statistic_id")
    assert {(one.child, one.on_delete, one.handling) for one in made.references} == {
        ("public.statistics", "CASCADE", "re-point"),
        ("public.statistics_short_term", "CASCADE", "re-point"),
    }
    shop.repaired(made)
    for table in ("statistics", "statistics_short_term"):
        assert shop.rows(f"SELECT start_ts::int FROM {table} WHERE metadata_id = 1 ORDER BY 1") == [
            *range(1, 201)
        ]
        kept = shop.rows(f"SELECT id FROM {table} WHERE metadata_id = 1 AND start_ts <= 100")
        assert sorted(kept) == [*range(1, 101)], "of two rows for an hour, the survivor's stays"
        assert shop.rows(f"SELECT count(*) FROM {table} WHERE metadata_id = 2") == [7]
    shop.undone(made)


def test_a_conversation_moves_and_the_account_does_not(shop: Shop) -> None:
    """Scenario: Mastodon's merge of conversations wrote a conversation's id into account_id.
    Outcome: statuses change their conversation, and no other column.
    """
    shop.make(
        "CREATE TABLE accounts (id int8 PRIMARY KEY);"
        "CREATE TABLE conversations (id int8 PRIMARY KEY, uri text);"
        "CREATE UNIQUE INDEX conversations_uri ON conversations (uri);"
        "INSERT INTO accounts SELECT generate_series(1, 9);"
        "INSERT INTO conversations SELECT n, 'tag:' || n FROM generate_series(1, 6) n",
        "conversations_uri",
        "INSERT INTO conversations SELECT n + 6, 'tag:' || n FROM generate_series(1, 3) n",
        then="CREATE TABLE statuses (id int8 PRIMARY KEY,"
        " account_id int8 NOT NULL REFERENCES accounts ON DELETE CASCADE,"
        " conversation_id int8 REFERENCES conversations ON DELETE SET NULL);"
        "INSERT INTO statuses SELECT n, 1 + n % 9, 1 + n * 7 % 9 FROM generate_series(1, 90) n",
    )
    made = shop.planned("conversations_uri", keep="newest")
    shop.repaired(made)
    wrong = shop.rows(
        "SELECT id FROM statuses WHERE account_id <> 1 + id % 9 OR conversation_id IS DISTINCT FROM"
        " CASE WHEN 1 + id * 7 % 9 <= 3 THEN 7 + id * 7 % 9 ELSE 1 + id * 7 % 9 END"
    )
    assert wrong == []
    assert shop.rows("SELECT count(*) FROM accounts") == [9]
    shop.undone(made)


def test_what_hangs_on_a_status_follows_it(shop: Shop) -> None:
    """Scenario: a duplicate status of Mastodon with edits, media, tags, answers, a report that
    holds its id in an array, and a notification that names it by type and id.
    Outcome: all of it is there and leads to the status that stays.
    """
    shop.make(
        "CREATE TABLE statuses (id int8 PRIMARY KEY, uri text, in_reply_to_id int8"
        " REFERENCES statuses ON DELETE SET NULL);"
        "CREATE UNIQUE INDEX statuses_uri ON statuses (uri);"
        "INSERT INTO statuses VALUES (1, 'a', NULL), (2, 'b', 1)",
        "statuses_uri",
        "INSERT INTO statuses VALUES (3, 'a', NULL), (4, 'c', 3), (5, 'a', 3)",
        then="CREATE TABLE status_edits (id int8 PRIMARY KEY, text text,"
        " status_id int8 NOT NULL REFERENCES statuses ON DELETE CASCADE);"
        "CREATE TABLE media_attachments (id int8 PRIMARY KEY,"
        " status_id int8 REFERENCES statuses ON DELETE SET NULL);"
        "CREATE TABLE statuses_tags (status_id int8 REFERENCES statuses ON DELETE CASCADE,"
        " tag_id int8, PRIMARY KEY (tag_id, status_id));"
        "CREATE TABLE reports (id int8 PRIMARY KEY, status_ids int8[] NOT NULL);"
        "CREATE TABLE notifications (id int8 PRIMARY KEY, activity_type text, activity_id int8);"
        "INSERT INTO status_edits VALUES (1, 'x', 1), (2, 'y', 3), (3, 'z', 5);"
        "INSERT INTO media_attachments VALUES (1, 3), (2, 5), (3, NULL), (4, 2);"
        "INSERT INTO statuses_tags VALUES (1, 7), (3, 7), (3, 8), (5, 8), (5, 9), (2, 9);"
        "INSERT INTO reports VALUES (1, '{3,2}'), (2, '{1,3,5}'), (3, '{}'), (4, '{4}');"
        "INSERT INTO notifications VALUES (1, 'Status', 3), (2, 'Account', 3), (3, 'Status', 2)",
    )
    status = {"parent": "public.statuses", "parent_column": "id"}
    soft = [
        SoftReference(table="public.reports", column="status_ids", kind="array", **status),
        SoftReference(
            **{"table": "public.notifications", "column": "activity_id", **status},
            type_column="activity_type",
            type_value="Status",
        ),
    ]
    made = shop.planned("statuses_uri", soft=soft)
    shop.repaired(made)
    assert shop.rows("SELECT * FROM statuses ORDER BY id") == [
        (1, "a", None),
        (2, "b", 1),
        (4, "c", 1),
    ]
    assert shop.rows("SELECT id, status_id FROM status_edits ORDER BY 1") == [
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    media = shop.rows("SELECT id, status_id FROM media_attachments ORDER BY 1")
    assert media == [(1, 1), (2, 1), (3, None), (4, 2)]
    tags = shop.rows("SELECT status_id, tag_id FROM statuses_tags ORDER BY 1, 2")
    assert tags == [(1, 7), (1, 8), (1, 9), (2, 9)]
    reports = shop.rows("SELECT status_ids FROM reports ORDER BY id")
    assert reports == [[1, 2], [1], [], [4]]
    notes = shop.rows("SELECT activity_id FROM notifications ORDER BY id")
    assert notes == [1, 3, 2]
    shop.undone(made)


@pytest.mark.parametrize("primary", [True, False], ids=["numbered", "no primary key"])
def test_not_every_copy_goes(shop: Shop, primary: bool) -> None:
    """Scenario: SQL for Sentry and TeslaMate deleted every row that has a twin; here are groups
    of two to thirty rows, in a table with a primary key and in one of rows equal in all.
    Outcome: exactly one row of each group stays.
    """
    number = "id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY, " if primary else ""
    shop.make(
        f"CREATE TABLE positions ({number}car int4, at int4, note text);"
        "CREATE UNIQUE INDEX positions_key ON positions (car, at);"
        "INSERT INTO positions (car, at, note) SELECT n, n, 'same' FROM generate_series(1, 40) n",
        "positions_key",
        "INSERT INTO positions (car, at, note) SELECT n, n, 'same'"
        " FROM generate_series(1, 29) n, generate_series(1, n)",
    )
    made = shop.planned("positions_key", keep="note")
    assert (made.groups, made.losers) == (29, 29 * 30 // 2)
    shop.repaired(made)
    rows = shop.rows("SELECT car, at, note FROM positions ORDER BY car")
    assert rows == [(number, number, "same") for number in range(1, 41)]
    shop.undone(made)


def test_an_array_holds_nothing_twice(shop: Shop) -> None:
    """Scenario: GitLab's repair left arrays as {5,5}.
    Outcome: an id that was already there is not written a second time; order stays.
    """
    shop.make(
        "CREATE TABLE topics (id int8 PRIMARY KEY, name text);"
        "CREATE UNIQUE INDEX topics_name ON topics (name);"
        "INSERT INTO topics VALUES (5, 'a'), (6, 'b')",
        "topics_name",
        "INSERT INTO topics VALUES (7, 'a'), (8, 'a'), (9, 'b')",
        then="CREATE TABLE boards (id int8 PRIMARY KEY, topic_ids int8[]);"
        "INSERT INTO boards VALUES (1, '{5,7}'), (2, '{7,8}'), (3, '{9,7,5,6}'), (4, '{7}'),"
        " (5, NULL), (6, '{}'), (7, '{40,NULL,8}'), (8, '{5,6}')",
    )
    soft = SoftReference(
        table="public.boards",
        column="topic_ids",
        parent="public.topics",
        parent_column="id",
        kind="array",
    )
    made = shop.planned("topics_name", soft=[soft])
    shop.repaired(made)
    assert shop.rows("SELECT topic_ids FROM boards ORDER BY id") == [
        [5],
        [5],
        [6, 5],
        [5],
        None,
        [],
        [40, None, 5],
        [5, 6],
    ]
    shop.undone(made)


@pytest.mark.parametrize("reference", ["none", "NO ACTION", "CASCADE"])
def test_the_same_primary_key_twice(shop: Shop, reference: str) -> None:
    """Scenario: Mastodon could not repair rows that share their id; where others reference
    the id, deleting a row takes or forbids what belongs to its twin.
    Outcome: one row stays, by the rules, and every child; or it is refused, nothing changed.
    """
    then = ""
    if reference != "none":
        delete = "CASCADE" if reference == "CASCADE" else "NO ACTION"
        then = (
            "CREATE TABLE children (id int8 PRIMARY KEY, parent int8 REFERENCES accounts"
            f" ON DELETE {delete} ON UPDATE {reference});"
            "INSERT INTO children SELECT n, 1 + n % 5 FROM generate_series(1, 50) n"
        )
    shop.make(
        "CREATE TABLE accounts (id int8 PRIMARY KEY, stamp int4, note text);"
        "INSERT INTO accounts SELECT n, n, 'old' FROM generate_series(1, 5) n",
        "accounts_pkey",
        "INSERT INTO accounts SELECT n, 10 + n, 'new' FROM generate_series(1, 3) n",
        then=then,
    )
    try:
        made = shop.planned("accounts_pkey", keep="stamp desc")
        shop.repaired(made)
    except RefusedError as refusal:
        if reference == "none":
            raise
        print(f"refused: {refusal} {refusal.hint}")
        assert copies(shop.server) == shop.before
        return
    assert shop.rows("SELECT * FROM accounts ORDER BY id") == [
        (1, 11, "new"),
        (2, 12, "new"),
        (3, 13, "new"),
        (4, 4, "old"),
        (5, 5, "old"),
    ]
    if reference == "none":
        shop.undone(made, "accounts_pkey")
    else:
        assert copies(shop.server)["children"] == shop.before["children"]
