"""The sound rows of an instance, made from their numbers by the server itself.

Row ``n`` of a table is a function of ``n`` and of the sizes, so that a row can name others
without a look at them; pairs are enumerated, so that none comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..planted import EPOCH, STEP, id_sql
from .manifest import Release

_WORDS = (
    "the quick brown fox wrote a long post about gardens and rivers and the people who tend "
    "them every morning before the city wakes and the first trams go down to the harbour "
)
_TIME = f"timestamp '1970-01-01' + ({EPOCH} + n * {STEP}) * interval '1 millisecond'"
_STAMPS = "created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many there are of what others point at."""

    statuses: int
    accounts: int
    conversations: int
    media: int
    cards: int
    tags: int
    polls: int
    emojis: int = 200

    @classmethod
    def of(cls, statuses: int) -> Sizes:
        """Return the sizes that go with a number of posts."""
        return cls(
            statuses=statuses, accounts=max(20, statuses // 20),
            conversations=max(10, statuses // 5), media=max(10, statuses // 5),
            cards=max(10, statuses // 20), tags=max(10, statuses // 50),
            polls=max(5, statuses // 100),
        )


def _host(number: str) -> str:
    return f"'instance' || lpad((({number}) % 997)::text, 3, '0') || '.example'"


def _account(number: str) -> str:
    return id_sql(f"1 + ({number}) % {{accounts}}")


def _status(number: str) -> str:
    return id_sql(f"1 + ({number}) % {{statuses}}")


def _pair(left: str, right: str, factor: int) -> tuple[str, str]:
    """Enumerate pairs: the left one goes round, the right one moves on with every round."""
    first = f"1 + n % {{{left}}}"
    return first, f"1 + (n % {{{left}}} * {factor} + n / {{{left}}}) % {{{right}}}"


def _local(number: str) -> str:
    """Write whether an account, by its number, is of the instance itself."""
    return f"({number}) % 20 = 0"


_MENTIONED = _pair("statuses", "accounts", 7)
_LIKED = _pair("statuses", "accounts", 11)
_TAGGED = _pair("statuses", "tags", 3)
_MARKED = _pair("statuses", "accounts", 13)


def _author(number: str) -> str:
    return f"1 + (({number}) * 48271) % {{accounts}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    name: str
    #: how many, as a share of the posts, or an attribute of the sizes
    rows: float | str
    columns: str
    values: str


def _tables(release: Release) -> Iterator[_Table]:
    new = release == "4.7"
    uri = f"'https://' || {_host('n')} || '/users/user' || n"
    nothing = "NULL" if new else "''"
    yield _Table(
        name="accounts", rows="accounts",
        columns=f"id, username, domain, display_name, note, uri, url, public_key, {_STAMPS}",
        values=f"{id_sql('n')}, 'user' || n, CASE WHEN NOT {_local('n')} THEN {_host('n')} END,"
        f" 'Account ' || n, left('{_WORDS}', 20 + (n % 100)::int),"
        f" CASE WHEN {_local('n')} THEN {nothing} ELSE {uri} END,"
        f" CASE WHEN NOT {_local('n')} THEN {uri} END, repeat(md5(n::text), 8), {_TIME}, {_TIME}",
    )
    yield _Table(
        name="users", rows=0.05 / 20,
        columns=f"id, email, account_id, encrypted_password, confirmation_token, {_STAMPS}",
        values=f"n, 'user' || n || '@mail.example', {_account('n * 20 - 1')}, md5(n::text),"
        f" CASE WHEN n % 4 = 0 THEN md5(n || 'confirm') END, {_TIME}, {_TIME}",
    )
    yield _Table(
        name="account_stats", rows="accounts",
        columns=f"id, account_id, statuses_count, {_STAMPS}",
        values=f"n, {id_sql('n')}, n % 50, {_TIME}, {_TIME}",
    )
    yield _Table(
        name="conversations", rows="conversations", columns=f"id, uri, {_STAMPS}",
        values=f"n, CASE WHEN n % 3 > 0 THEN 'tag:' || {_host('n')} || ',2024-05-01:objectId='"
        f" || n || ':objectType=Conversation' END, {_TIME}, {_TIME}",
    )
    replies = "n % 5 = 0 AND n > 5"
    yield _Table(
        name="statuses", rows="statuses",
        columns="id, account_id, conversation_id, in_reply_to_id, in_reply_to_account_id,"
        " reblog_of_id, reply, visibility, local, uri, language, text,"
        f" ordered_media_attachment_ids, poll_id, {_STAMPS}",
        values=f"{id_sql('n')}, {id_sql(_author('n'))}, 1 + n * 69621 % {{conversations}},"
        f" CASE WHEN {replies} THEN {id_sql('n - 5')} END,"
        f" CASE WHEN {replies} THEN {id_sql(_author('n - 5'))} END,"
        f" CASE WHEN n % 11 = 0 AND n % 5 > 0 THEN {id_sql('n - 9')} END, {replies},"
        f" (n % 4)::int, {_local(_author('n'))},"
        f" CASE WHEN NOT {_local(_author('n'))} THEN 'https://' || {_host(_author('n'))}"
        f" || '/users/user' || {_author('n')} || '/statuses/' || {id_sql('n')} END, 'en',"
        f" '<p>' || substr('{_WORDS}', 1 + (n % 60)::int, 40 + (n % 89)::int) || '</p>',"
        f" CASE WHEN n <= {{media}} THEN ARRAY[{id_sql('n')}] END,"
        f" CASE WHEN n <= {{polls}} THEN n END, {_TIME}, {_TIME}",
    )
    yield _Table(
        name="media_attachments", rows="media",
        columns=f"id, status_id, account_id, remote_url, shortcode, {_STAMPS}",
        values=f"{id_sql('n')}, {id_sql('n')}, {id_sql(_author('n'))}, 'https://'"
        f" || {_host('n')} || '/media/' || n, CASE WHEN n % 10 = 0 THEN md5(n || 'code') END,"
        f" {_TIME}, {_TIME}",
    )
    yield _Table(
        name="polls", rows="polls", columns=f"id, account_id, status_id, options, {_STAMPS}",
        values=f"n, {id_sql(_author('n'))}, {id_sql('n')}, ARRAY['a', 'b'], {_TIME}, {_TIME}",
    )
    yield _Table(
        name="poll_votes", rows=0.02, columns=f"id, account_id, poll_id, choice, {_STAMPS}",
        values=f"n, {_account('n')}, 1 + n % {{polls}}, 1, {_TIME}, {_TIME}",
    )
    for name, rows, (status, account) in (
        ("mentions", 0.4, _MENTIONED), ("favourites", 0.5, _LIKED), ("bookmarks", 0.02, _MARKED),
    ):
        yield _Table(
            name=name, rows=rows, columns=f"id, status_id, account_id, {_STAMPS}",
            values=f"n, {id_sql(status)}, {id_sql(account)}, {_TIME}, {_TIME}",
        )
    yield _Table(
        name="status_stats", rows=0.4, columns=f"id, status_id, favourites_count, {_STAMPS}",
        values=f"n, {id_sql('n')}, n % 7, {_TIME}, {_TIME}",
    )
    follower = "1 + n % {accounts}"
    followed = "1 + (n % {accounts} + 1 + n / {accounts}) % {accounts}"
    yield _Table(
        name="follows", rows=0.3, columns=f"id, account_id, target_account_id, {_STAMPS}",
        values=f"n, {id_sql(follower)}, {id_sql(followed)}, {_TIME}, {_TIME}",
    )
    yield _Table(
        name="preview_cards", rows="cards", columns=f"id, url, title, {_STAMPS}",
        values=f"n, 'https://news' || n % 97 || '.example/article/' || n || '/' || md5(n::text),"
        f" 'Article ' || n, {_TIME}, {_TIME}",
    )
    yield _Table(
        name="preview_cards_statuses", rows=0.1, columns="status_id, preview_card_id",
        values=f"{id_sql('n')}, 1 + n % {{cards}}",
    )
    yield _Table(
        name="tags", rows="tags", columns=f"id, name, {_STAMPS}",
        values=f"n, 'Tag' || n, {_TIME}, {_TIME}",
    )
    yield _Table(
        name="statuses_tags", rows=0.15, columns="status_id, tag_id",
        values=f"{id_sql(_TAGGED[0])}, {_TAGGED[1]}",
    )
    yield from _rest()
    if new:
        yield _Table(
            name="quotes", rows=0.01,
            columns=f"id, account_id, status_id, quoted_status_id, quoted_account_id, {_STAMPS}",
            values=f"{id_sql('n')}, {id_sql(_author('n + 1'))}, {id_sql('n + 1')},"
            f" {id_sql('n')}, {id_sql(_author('n'))}, {_TIME}, {_TIME}",
        )
        yield _Table(
            name="keypairs", rows=0.02, columns=f"id, account_id, uri, public_key, {_STAMPS}",
            values=f"n, {_account('n')}, 'https://key.example/' || n, md5(n::text),"
            f" {_TIME}, {_TIME}",
        )


def _rest() -> Iterator[_Table]:
    """Yield the tables whose size does not matter."""
    liked = "1 + n % {statuses} * 11 % {accounts}"
    yield _Table(
        name="notifications", rows=0.15,
        columns=f"id, activity_id, activity_type, type, account_id, from_account_id, {_STAMPS}",
        values=f"n, n, 'Favourite', 'favourite', {_account('n')}, {id_sql(liked)},"
        f" {_TIME}, {_TIME}",
    )
    yield _Table(
        name="status_edits", rows=0.02, columns=f"id, status_id, account_id, text, {_STAMPS}",
        values=f"n, {_status('n')}, {id_sql(_author('1 + n % {statuses}'))}, 'before',"
        f" {_TIME}, {_TIME}",
    )
    yield _Table(
        name="account_conversations", rows=0.01,
        columns="id, account_id, conversation_id, participant_account_ids, status_ids,"
        " last_status_id",
        values=f"n, {_account('n')}, 1 + n % {{conversations}}, ARRAY[{_account('n + 1')}],"
        f" ARRAY[{_status('n')}], {_status('n')}",
    )
    yield _Table(
        name="conversation_mutes", rows=0.005, columns="id, account_id, conversation_id",
        values=f"n, {_account('n')}, 1 + n % {{conversations}}",
    )
    yield _Table(
        name="reports", rows=0.001,
        columns=f"id, account_id, target_account_id, status_ids, {_STAMPS}",
        values=f"n, {_account('n')}, {id_sql(_author('n'))}, ARRAY[{id_sql('n')}],"
        f" {_TIME}, {_TIME}",
    )
    yield _Table(
        name="custom_emojis", rows="emojis", columns=f"id, shortcode, domain, {_STAMPS}",
        values=f"n, 'emoji' || n, CASE WHEN n % 2 = 0 THEN {_host('n')} END, {_TIME}, {_TIME}",
    )
    for name in ("domain_blocks", "email_domain_blocks", "domain_allows", "unavailable_domains"):
        yield _Table(
            name=name, rows="emojis", columns=f"id, domain, {_STAMPS}",
            values=f"n, 'bad' || n || '.example', {_TIME}, {_TIME}",
        )
    yield _Table(
        name="tombstones", rows=0.01, columns=f"id, account_id, uri, {_STAMPS}",
        values=f"n, {_account('n')}, 'https://gone.example/' || n, {_TIME}, {_TIME}",
    )


def filling(release: Release, statuses: int) -> Iterator[tuple[str, int, str]]:
    """Yield table, number of rows and the statement that makes them.

    The statement's first and last are the numbers of the rows to make.
    """
    sizes = Sizes.of(statuses)
    by_name: Mapping[str, int] = {
        name: getattr(sizes, name) for name in Sizes.__dataclass_fields__
    }
    for table in _tables(release):
        rows = (
            by_name[table.rows] if isinstance(table.rows, str)
            else max(1, int(table.rows * statuses))
        )
        yield table.name, rows, (
            f"INSERT INTO {table.name} ({table.columns}) SELECT"
            f" {table.values.format(**by_name).replace('%', '%%')}"
            " FROM generate_series(%(first)s::bigint, %(last)s::bigint) n"
        )
