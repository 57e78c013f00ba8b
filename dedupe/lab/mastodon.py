"""The shape of Mastodon's tables: definitions, and rows made from their numbers.

In every SELECT, ``n`` is a row's number and ``k`` that of the row whose key it
has, NULL for a row without one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .planted import EPOCH, STEP, id_sql

_WORDS = (
    "the quick brown fox wrote a long post about gardens and rivers and the people who tend "
    "them every morning before the city wakes and the first trams go down to the harbour where "
    "boats wait for the tide and gulls wait for the boats and nobody waits for anything else "
)
_TIME = (
    f"timestamp '1970-01-01' + ({EPOCH} + n * {STEP}) * interval '1 millisecond'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A table whose unique index gets damaged."""

    name: str
    columns: str
    #: the values of ``columns``, with {seed}, {accounts} and {conversations}
    values: str
    index: str
    #: what follows ON <table> in the index's definition
    on: str
    #: whether rows without a key exist
    nullable: bool
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A table of pairs that points at others; its own unique index is sound."""

    name: str
    columns: str
    #: with {first}, a row number of ``of``, {second} (another one) and n
    values: str
    #: the table that {first} and {second} number
    of: tuple[str, str | None]
    unique: str
    references: tuple[str, ...]


def _hash(number: str) -> str:
    return f"md5((({number}) + {{seed}} * 1000003)::text)"


def _host(number: str) -> str:
    return f"'instance' || lpad((({number}) % 997)::text, 3, '0') || '.example'"


def _cased(text: str) -> str:
    """Write every second surplus copy in capitals: the key does not mind."""
    return f"CASE WHEN n <> k AND n % 2 = 0 THEN upper({text}) ELSE {text} END"


_CASCADE = "ON DELETE CASCADE"

ACCOUNTS = Keyed(
    name="accounts",
    columns="id bigint NOT NULL, username varchar NOT NULL DEFAULT '', domain varchar,"
    " display_name varchar NOT NULL DEFAULT '', note text NOT NULL DEFAULT '',"
    " uri varchar NOT NULL DEFAULT '', created_at timestamp NOT NULL,"
    " updated_at timestamp NOT NULL",
    values=f"{id_sql('n')}, {_cased('substr(' + _hash('k') + ', 1, 6) || k')},"
    # Accounts of the instance itself have no domain; '' is the same key.
    f" CASE WHEN k % 20 = 0 THEN CASE WHEN n <> k AND n % 2 = 0 THEN '' END"
    f" ELSE {_cased(_host('k'))} END,"
    f" 'Account ' || n, left('{_WORDS}', 20 + (n % 100)::int),"
    f" 'https://' || {_host('k')} || '/users/' || n, {_TIME}, {_TIME}",
    index="index_accounts_on_username_and_domain_lower",
    on="(lower(username::text), coalesce(lower(domain::text), ''))",
    nullable=False,
)
CONVERSATIONS = Keyed(
    name="conversations",
    columns="id bigint NOT NULL, uri varchar, created_at timestamp NOT NULL,"
    " updated_at timestamp NOT NULL",
    values=f"{id_sql('n')}, 'tag:' || {_host('k')} || ',2024-05-01:objectId=' || k"
    f" || ':objectType=Conversation', {_TIME}, {_TIME}",
    index="index_conversations_on_uri",
    on="(uri text_pattern_ops) WHERE uri IS NOT NULL",
    nullable=True,
)
STATUSES = Keyed(
    name="statuses",
    columns="id bigint NOT NULL, account_id bigint NOT NULL, conversation_id bigint,"
    " in_reply_to_id bigint, reblog_of_id bigint, created_at timestamp NOT NULL,"
    " updated_at timestamp NOT NULL, visibility int NOT NULL DEFAULT 0,"
    " sensitive bool NOT NULL DEFAULT false, reply bool NOT NULL DEFAULT false, local bool,"
    " uri varchar, language varchar, text text NOT NULL DEFAULT ''",
    values=f"{id_sql('n')}, {id_sql('1 + n * 48271 % {accounts}')},"
    f" {id_sql('1 + n * 69621 % {conversations}')}, NULL, NULL, {_TIME}, {_TIME}, (n % 4)::int,"
    f" n % 50 = 0, n % 3 = 0, k IS NULL, 'https://' || {_host('k')} || '/users/'"
    f" || substr({_hash('k')}, 1, 10) || '/statuses/' || {id_sql('k')},"
    f" 'en', '<p>' || substr('{_WORDS}', 1 + (n % 60)::int, 40 + (n % 89)::int) || '</p>'",
    index="index_statuses_on_uri",
    on="(uri text_pattern_ops) WHERE uri IS NOT NULL",
    nullable=True,
    references=(
        f"(account_id) REFERENCES accounts {_CASCADE}",
        "(conversation_id) REFERENCES conversations ON DELETE SET NULL",
    ),
)
KEYED = (ACCOUNTS, CONVERSATIONS, STATUSES)

CHILDREN = (
    Child(
        name="mentions",
        columns="id bigint NOT NULL, status_id bigint NOT NULL, account_id bigint NOT NULL,"
        " silent bool NOT NULL DEFAULT false, created_at timestamp NOT NULL",
        values=f"n, {{first}}, {{second}}, n % 10 = 0, {_TIME}",
        of=("statuses", "accounts"),
        unique="account_id, status_id",
        references=(
            f"(status_id) REFERENCES statuses {_CASCADE}",
            f"(account_id) REFERENCES accounts {_CASCADE}",
        ),
    ),
    Child(
        name="favourites",
        columns="id bigint NOT NULL, status_id bigint NOT NULL, account_id bigint NOT NULL,"
        " created_at timestamp NOT NULL, updated_at timestamp NOT NULL",
        values=f"n, {{first}}, {{second}}, {_TIME}, {_TIME}",
        of=("statuses", "accounts"),
        unique="account_id, status_id",
        references=(
            f"(status_id) REFERENCES statuses {_CASCADE}",
            f"(account_id) REFERENCES accounts {_CASCADE}",
        ),
    ),
    Child(
        name="follows",
        columns="id bigint NOT NULL, account_id bigint NOT NULL,"
        " target_account_id bigint NOT NULL, created_at timestamp NOT NULL,"
        " updated_at timestamp NOT NULL",
        values=f"n, {{first}}, {{second}}, {_TIME}, {_TIME}",
        of=("accounts", "accounts"),
        unique="account_id, target_account_id",
        references=(
            f"(account_id) REFERENCES accounts {_CASCADE}",
            f"(target_account_id) REFERENCES accounts {_CASCADE}",
        ),
    ),
    Child(
        name="status_stats",
        columns="id bigint NOT NULL, status_id bigint NOT NULL,"
        " replies_count bigint NOT NULL DEFAULT 0, favourites_count bigint NOT NULL DEFAULT 0",
        values="n, {first}, n % 7, n % 11",
        of=("statuses", None),
        unique="status_id",
        references=(f"(status_id) REFERENCES statuses {_CASCADE}",),
    ),
)
