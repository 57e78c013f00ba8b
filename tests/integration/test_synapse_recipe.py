"""The recipe for Synapse, over its real tables: shown, done, proved by the heap, and taken back."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from dedupe import fit_recipe, journal_runs, load_recipe, undo
from dedupe.errors import UndoRefused
from dedupe.lab import Damage, damage
from dedupe.recipes import decide, run_recipe, undo_recipe, verify_recipe

from ..scanning import Connection

SCHEMA = Path(__file__).parents[2] / "dedupe" / "lab" / "schemas" / "synapse-94.sql"
SOUND = """
INSERT INTO rooms VALUES ('!a:x', true, '@anna:x', '10', true),
    ('!b:x', false, '@anna:x', '10', true);
INSERT INTO users (name, password_hash, creation_ts) VALUES ('@anna:x', 'first', 1),
    ('@bert:x', 'b', 5);
INSERT INTO per_user_experimental_features VALUES ('@anna:x', 'msc1', true);
INSERT INTO destinations VALUES ('y', 0, 0, NULL, 12);
INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier, sender,
    stream_ordering) VALUES (1, '$create', 'm.room.create', '!a:x', true, false, '@anna:x', 10),
    (2, '$join', 'm.room.member', '!a:x', true, false, '@anna:x', 11),
    (3, '$talk', 'm.room.message', '!a:x', true, false, '@anna:x', 12),
    (4, '$late', 'm.room.message', '!a:x', true, false, '@anna:x', 14);
INSERT INTO event_json
    SELECT event_id, room_id, '{}', '{"content":{"body":"x"},"sender":"@anna:x"}', 3 FROM events;
INSERT INTO room_memberships (event_id, user_id, sender, room_id, membership, event_stream_ordering)
    VALUES ('$join', '@anna:x', '@anna:x', '!a:x', 'join', 11);
INSERT INTO local_current_membership VALUES ('!a:x', '@anna:x', '$join', 'join', 11);
INSERT INTO current_state_events VALUES ('$create', '!a:x', 'm.room.create', '', NULL, 10),
    ('$join', '!a:x', 'm.room.member', '@anna:x', 'join', 11);
INSERT INTO event_edges VALUES ('$talk', '$join'), ('$late', '$talk');
INSERT INTO event_forward_extremities VALUES ('$late', '!a:x');
INSERT INTO event_to_state_groups VALUES ('$talk', 7);
INSERT INTO threads VALUES ('!a:x', '$create', '$talk', 3, 12);
INSERT INTO receipts_linearized VALUES
    (40, '!a:x', 'm.read', '@anna:x', '$join', '{"ts":1}', 'master', 11, NULL);
INSERT INTO receipts_graph VALUES ('!a:x', 'm.read', '@anna:x', '["$join"]', '{"ts":1000}', NULL);
INSERT INTO destination_rooms VALUES ('y', '!a:x', 12);
INSERT INTO devices VALUES ('@anna:x', 'PHONE', 'my phone', 1, NULL, NULL, false);
INSERT INTO event_txn_id_device_id VALUES ('$talk', '!a:x', '@anna:x', 'PHONE', 't1', 1);
INSERT INTO device_lists_remote_extremeties VALUES ('@carl:y', '9');
INSERT INTO account_data VALUES ('@anna:x', 'breadcrumbs', 5, '{"old":1}', 'master');
INSERT INTO user_threepids VALUES ('@anna:x', 'email', 'anna@x', 1, 1);
INSERT INTO refresh_tokens VALUES (1, '@anna:x', 'PHONE', 'r1', NULL, NULL, NULL);
INSERT INTO access_tokens VALUES (1, '@anna:x', 'PHONE', 'a1', NULL, NULL, 1, 1, false);
INSERT INTO pushers (id, user_name, access_token, profile_tag, kind, app_id, app_display_name,
    device_display_name, pushkey, ts, last_stream_ordering)
    VALUES (1, '@anna:x', 1, '', 'http', 'app', 'app', 'phone', 'key', 1, 11);
INSERT INTO pusher_throttle VALUES (1, '!a:x', 100, 1);
INSERT INTO e2e_room_keys VALUES ('@anna:x', '!a:x', 's', 1, 9, 0, false, 'worse');
INSERT INTO remote_media_cache (media_origin, media_id, filesystem_id, last_access_ts)
    VALUES ('y', 'm', 'one', 9);
INSERT INTO server_keys_json VALUES ('y', 'k', 'y', 1, 10, 'old');
INSERT INTO user_directory VALUES ('@anna:x', NULL, 'Anna', NULL);
INSERT INTO room_aliases VALUES ('#r:x', '!a:x', '@anna:x');
INSERT INTO sessions VALUES ('ui', 's1', '{}', 1);
"""
#: the indexes that lie, how they came to, and the rows that they missed
LIES: list[tuple[str, Damage, str]] = [
    ("events_event_id_key", Damage.LOST_ENTRIES,
     ("INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier,"
     " sender, stream_ordering) VALUES (3, '$talk', 'm.room.message', '!a:x', true, true,"
     " '@anna:x', 20), (2, '$join', 'm.room.member', '!a:x', true, false, '@anna:x', 21)")),
    ("event_json_event_id_key", Damage.LOST_ENTRIES,
     ("INSERT INTO event_json"
      " VALUES ('$talk', '!a:x', '{\"outlier\":true}', '{\"content\":{}}', 3)")),
    ("current_state_events_room_id_type_state_key_key", Damage.INDEXED_TWICE,
     ("INSERT INTO current_state_events VALUES"
     " ('$late', '!a:x', 'm.room.member', '@anna:x', 'leave', 14)")),
    ("room_memberships_event_id_key", Damage.INDEXED_TWICE,
     ("INSERT INTO room_memberships (event_id, user_id, sender, room_id, membership, forgotten,"
     " event_stream_ordering) VALUES ('$join', '@anna:x', '@anna:x', '!a:x', 'join', 1, 21)")),
    ("local_current_membership_idx", Damage.LOST_ENTRIES,
     "INSERT INTO local_current_membership VALUES ('!a:x', '@anna:x', '$join', 'join', 21)"),
    ("event_edges_event_id_prev_event_id_idx", Damage.INDEXED_TWICE,
     "INSERT INTO event_edges VALUES ('$talk', '$join')"),
    ("event_forward_extremities_event_id_room_id_key", Damage.INDEXED_TWICE,
     "INSERT INTO event_forward_extremities VALUES ('$late', '!a:x'), ('$late', '!a:x')"),
    ("event_to_state_groups_event_id_key", Damage.INDEXED_TWICE,
     "INSERT INTO event_to_state_groups VALUES ('$talk', 9)"),
    ("receipts_linearized_unique_index", Damage.LOST_ENTRIES,
     ("INSERT INTO receipts_linearized VALUES"
     " (41, '!a:x', 'm.read', '@anna:x', '$talk', '{\"ts\":2}', 'master', 20, NULL)")),
    ("receipts_graph_unique_index", Damage.INDEXED_TWICE,
     ("INSERT INTO receipts_graph VALUES"
     " ('!a:x', 'm.read', '@anna:x', '[\"$talk\"]', '{\"ts\":999}', NULL)")),
    ("destinations_pkey", Damage.INDEXED_TWICE,
     "INSERT INTO destinations VALUES ('y', 1, 1, 1, 8)"),
    ("rooms_pkey", Damage.INDEXED_TWICE,
     "INSERT INTO rooms VALUES ('!a:x', false, '@anna:x', NULL, NULL)"),
    ("room_aliases_room_alias_key", Damage.INDEXED_TWICE,
     "INSERT INTO room_aliases VALUES ('#r:x', '!b:x', '@anna:x')"),
    ("users_name_key", Damage.LOST_ENTRIES,
     ("INSERT INTO users (name, password_hash, creation_ts, deactivated)"
     " VALUES ('@anna:x', 'second', 9, 1)")),
    ("medium_address", Damage.INDEXED_TWICE,
     "INSERT INTO user_threepids VALUES ('@bert:x', 'email', 'anna@x', 2, 2)"),
    ("device_uniqueness", Damage.INDEXED_TWICE,
     "INSERT INTO devices VALUES ('@anna:x', 'PHONE', NULL, 8, NULL, NULL, false)"),
    ("device_lists_remote_extremeties_unique_idx", Damage.INDEXED_TWICE,
     "INSERT INTO device_lists_remote_extremeties VALUES ('@carl:y', '10')"),
    ("account_data_uniqueness", Damage.INDEXED_TWICE,
     "INSERT INTO account_data VALUES ('@anna:x', 'breadcrumbs', 6, '{\"new\":1}', 'master')"),
    ("access_tokens_token_key", Damage.INDEXED_TWICE,
     "INSERT INTO access_tokens VALUES (2, '@anna:x', 'PHONE', 'a1', NULL, NULL, 5, 2, false)"),
    ("refresh_tokens_token_key", Damage.INDEXED_TWICE,
     ("INSERT INTO refresh_tokens VALUES (2, '@anna:x', 'PHONE', 'r1', 3, NULL, NULL),"
     " (3, '@anna:x', 'PHONE', 'r3', NULL, NULL, NULL)")),
    ("pushers2_app_id_pushkey_user_name_key", Damage.INDEXED_TWICE,
     ("INSERT INTO pushers (id, user_name, access_token, profile_tag, kind, app_id,"
     " app_display_name, device_display_name, pushkey, ts, last_stream_ordering)"
     " VALUES (2, '@anna:x', 1, '', 'http', 'app', 'app', 'phone', 'key', 2, 14)")),
    ("e2e_room_keys_with_version_idx", Damage.INDEXED_TWICE,
     "INSERT INTO e2e_room_keys VALUES ('@anna:x', '!a:x', 's', 1, 2, 0, false, 'better')"),
    ("remote_media_cache_media_origin_media_id_key", Damage.INDEXED_TWICE,
     ("INSERT INTO remote_media_cache (media_origin, media_id, filesystem_id, last_access_ts,"
     " quarantined_by) VALUES ('y', 'm', 'two', 3, '@admin:x')")),
    ("server_keys_json_uniqueness", Damage.INDEXED_TWICE,
     "INSERT INTO server_keys_json VALUES ('y', 'k', 'y', 2, 20, 'new')"),
    ("user_directory_user_idx", Damage.INDEXED_TWICE,
     "INSERT INTO user_directory VALUES ('@anna:x', NULL, 'Anna', NULL)"),
    ("sessions_session_type_session_id_key", Damage.INDEXED_TWICE,
     "INSERT INTO sessions VALUES ('ui', 's1', '{}', 2)"),
]  # fmt: skip
#: what lies behind a lie: rows that point at one of the twins by its place in the stream
BEHIND = """
INSERT INTO event_push_actions (room_id, event_id, user_id, actions, topological_ordering,
    stream_ordering, notif) VALUES ('!a:x', '$talk', '@bert:x', '[]', 3, 20, 1);
INSERT INTO sticky_events VALUES (1, 'master', '$talk', '!a:x', 20, '@anna:x', 1);
INSERT INTO pusher_throttle VALUES (2, '!a:x', 200, 1);
UPDATE destination_rooms SET stream_ordering = 20;
UPDATE threads SET stream_ordering = 20;
"""
#: what is left of each table where it tells which row stayed
STAYS: dict[str, list[tuple[object, ...]]] = {
    "events": [(10,), (11,), (12,), (14,)],
    "event_json": [("$create", True), ("$join", True), ("$late", True), ("$talk", False)],
    "current_state_events": [("$create", 10), ("$late", 14)],
    "room_memberships": [(1, 11)],
    "users": [("@anna:x", "first", 1), ("@bert:x", "b", 0)],
    "user_threepids": [("@anna:x",)],
    "rooms": [("!a:x", "10", False), ("!b:x", "10", False)],
    "receipts_linearized": [(41, 12)],
    "receipts_graph": [('["$join"]',)],
    "devices": [("my phone", 8)],
    "device_lists_remote_extremeties": [("9",)],
    "pushers": [(2, 2)],
    "pusher_throttle": [(2, 200)],
    "access_tokens": [(2, 2)],
    "refresh_tokens": [(2, 3), (3, None)],
    "e2e_room_keys": [("better",)],
    "remote_media_cache": [("two",)],
    "server_keys_json": [("new",)],
    "account_data": [(6,)],
}
#: each place of an event in the stream that a table of the schema names
PLACES = [
    ("current_state_events", "event_stream_ordering"),
    ("local_current_membership", "event_stream_ordering"),
    ("room_memberships", "event_stream_ordering"),
    ("receipts_linearized", "event_stream_ordering"),
    ("sticky_events", "event_stream_ordering"),
    ("event_push_actions", "stream_ordering"),
    ("destination_rooms", "stream_ordering"),
    ("threads", "stream_ordering"),
]


#: the lies of the quick test, whose tables are the only ones that it has
FEW = {
    "events_event_id_key", "event_json_event_id_key", "room_memberships_event_id_key",
    "current_state_events_room_id_type_state_key_key", "receipts_linearized_unique_index",
    "receipts_graph_unique_index", "rooms_pkey", "users_name_key", "medium_address",
    "access_tokens_token_key", "refresh_tokens_token_key",
    "pushers2_app_id_pushkey_user_name_key", "sessions_session_type_session_id_key",
}  # fmt: skip
#: tables that the test needs beside those
NEEDED = {
    "event_push_actions", "event_edges", "sticky_events", "destination_rooms", "threads",
    "local_current_membership", "pusher_throttle",
}  # fmt: skip
Lies = list[tuple[str, Damage, str]]


def prepare(db: Connection, dsn: str, lies: Lies, *, whole: bool) -> None:
    """Make Synapse's tables, with twins under these unique indexes; if not ``whole``, few tables.

    A recipe leaves out what the schema does not have, and each table takes its time.
    """
    db.execute(SCHEMA.read_bytes())
    db.execute(SOUND)
    if not whole:
        named = [index for index, _, _ in lies]
        found = db.execute(
            "SELECT indrelid::regclass::text FROM pg_index"
            " WHERE indexrelid = ANY (%s::regclass[])", [named],
        ).fetchall()
        needed = NEEDED.union(load_recipe("synapse").schema.tables, (table for (table,) in found))
        tables = state(db).keys() - needed
        db.execute(f"DROP TABLE {', '.join(tables)} CASCADE")
    for index, kind, rows in lies:
        damage(dsn, index, kind, ["SET session_replication_role = replica", rows])


def state(db: Connection) -> dict[str, list[str]]:
    """Return the rows of every table, sorted."""
    tables = [
        name
        for (name,) in db.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
    ]
    return {
        table: sorted(text for (text,) in db.execute(f"SELECT t::text FROM {table} t").fetchall())
        for table in tables
    }


def duplicates(dsn: str) -> dict[str, int]:
    """Count, by the heaps alone, the groups of duplicates under every unique index."""
    found = {}
    with psycopg.connect(dsn, autocommit=True) as db:
        for way in ("indexscan", "indexonlyscan", "bitmapscan"):
            db.execute(f"SET enable_{way} = off")
        indexes = db.execute(
            "SELECT indexrelid::regclass::text, indrelid::regclass::text,"
            " (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
            "  WHERE attrelid = indrelid AND attnum = ANY (indkey::int2[])),"
            " (SELECT string_agg(quote_ident(attname) || ' IS NOT NULL', ' AND ') FROM pg_attribute"
            "  WHERE attrelid = indrelid AND attnum = ANY (indkey::int2[])),"
            " coalesce(pg_get_expr(indpred, indrelid), 'true') FROM pg_index"
            " WHERE indisunique AND indrelid IN"
            " (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)"
        ).fetchall()
        assert len(indexes) >= len(FEW)
        for index, table, columns, whole, where in indexes:
            row = db.execute(
                f"SELECT count(*) FROM (SELECT FROM {table} WHERE {where} AND {whole}"
                f" GROUP BY {columns} HAVING count(*) > 1) g"
            ).fetchone()
            if row is not None and row[0]:
                found[index] = row[0]
    return found


def take_back(dsn: str, db: Connection) -> list[str]:
    """Undo every step, the last one first; whatever constraint stands in the way may go.

    Returns what was refused.
    """
    constraints = [name for (name,) in db.execute("SELECT DISTINCT conname FROM pg_constraint")]
    refused = []
    for run in reversed(journal_runs(dsn)):
        if run.state != "undone":
            done = undo(run.id, db=dsn, execute=True, drop_constraints=constraints)
            refused += [str(one) for one in done.refused]
    return refused


def test_the_schema_is_what_the_recipe_is_for(db: Connection, database: str) -> None:
    """Outcome: every index that the recipe describes for this version is there and sound."""
    db.execute(SCHEMA.read_bytes())
    fit = fit_recipe(database, load_recipe("synapse"))
    assert fit.release == "1.151"
    assert {one.step.id for one in fit.steps if one.state != "sound"} == set()
    assert fit.missing == ()
    assert fit.absent == ()
    assert set(fit.skipped.values()) <= {"it is for other versions of the schema"}


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_synapse_is_repaired_and_taken_back(
    database: str, db: Connection, place: Path, *, whole: bool
) -> None:
    """Outcome: no twins under any unique index, what named a loser's place names the survivor's,
    and undo brings every row of every table back.
    """
    recipe = load_recipe("synapse")
    lies = [lie for lie in LIES if whole or lie[0] in FEW]
    prepare(db, database, lies, whole=whole)
    with db.transaction():
        db.execute("SET LOCAL session_replication_role = replica")
        db.execute(BEHIND)
    before = state(db)
    assert set(duplicates(database)) == {index for index, _, _ in lies}
    shown = run_recipe(recipe, place, database, live=True)
    assert shown.status == "shown"
    assert {text.partition(" ")[0] for text in shown.open} == {"users", "threepids"}
    assert len([step for step in shown.steps if step.groups]) == len(lies)
    assert state(db) == before
    done = run_recipe(
        recipe, place, database, live=True, defaults=True, execute=True, reason="a test"
    )
    assert done.status == "repaired", [step for step in done.steps if step.status == "left"]
    assert any("collation C" in text or "LC_COLLATE" in text for text in done.tell)
    assert duplicates(database) == {}
    assert all(one.verification.clean for one in verify_recipe(place, database))
    with psycopg.connect(database) as other:
        for table, column in PLACES:
            if table not in before:
                continue
            lost = other.execute(
                f"SELECT * FROM {table} t WHERE {column} IS NOT NULL AND NOT EXISTS"
                f" (SELECT FROM events e WHERE e.stream_ordering = t.{column})"
            ).fetchall()
            assert lost == [], table
        stays = {
            table: other.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
            for table, columns in (
                ("events", "stream_ordering"),
                ("event_json", "event_id, json ~ 'body'"),
                ("current_state_events", "event_id, event_stream_ordering"),
                ("room_memberships", "forgotten, event_stream_ordering"),
                ("users", "name, password_hash, deactivated"),
                ("user_threepids", "user_id"),
                ("rooms", "room_id, room_version, is_public"),
                ("receipts_linearized", "stream_id, event_stream_ordering"),
                ("receipts_graph", "event_ids"),
                ("devices", "display_name, last_seen"),
                ("device_lists_remote_extremeties", "stream_id"),
                ("pushers", "id, access_token"),
                ("pusher_throttle", "pusher, last_sent_ts"),
                ("access_tokens", "id, refresh_token_id"),
                ("refresh_tokens", "id, next_token_id"),
                ("e2e_room_keys", "session_data"),
                ("remote_media_cache", "filesystem_id"),
                ("server_keys_json", "convert_from(key_json, 'utf8')"),
                ("account_data", "stream_id"),
            )
            if table in before
        }
    assert stays == {table: rows for table, rows in STAYS.items() if table in before}
    with pytest.raises(UndoRefused, match="unique constraint"):
        undo_recipe(place, database, execute=True)
    # Synapse's own trigger refuses a row whose event is there twice, as it was before.
    refused = take_back(database, db)
    assert refused
    assert all("Incorrect event_stream_ordering" in text for text in refused), refused
    for table in ("current_state_events", "local_current_membership", "room_memberships"):
        db.execute(f"ALTER TABLE {table} DISABLE TRIGGER check_event_stream_ordering")
    assert take_back(database, db) == []
    assert state(db) == before


def test_whose_account_it_is_can_be_answered(
    database: str, db: Connection, place: Path
) -> None:
    """Scenario: the last registration counts, and the last one who added an address."""
    recipe = load_recipe("synapse")
    lies = [lie for lie in LIES if lie[0] in {"users_name_key", "medium_address"}]
    prepare(db, database, lies, whole=False)
    run_recipe(
        recipe, place, database, decisions=decide(recipe, ["users=last", "threepids=last"]),
        live=True, execute=True, reason="a test",
    )  # fmt: skip
    anna = db.execute("SELECT password_hash FROM users WHERE name ~ 'anna'").fetchall()
    assert anna == [("second",)]
    assert db.execute("SELECT user_id FROM user_threepids").fetchall() == [("@bert:x",)]
