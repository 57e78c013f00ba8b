"""The references of Mastodon that no foreign key keeps; told here apart from any recipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

Form = Literal["id", "array", "texts"]


class Soft(NamedTuple):
    """A column whose values are ids of rows of ``parent``."""

    table: str
    column: str
    parent: str
    form: Form = "id"
    #: the column, and its value, that say what the id is of
    type_column: str | None = None
    type_value: str | None = None

    @property
    def name(self) -> str:
        """Name it for people."""
        kind = f" ({self.type_value})" if self.type_value else ""
        return f"{self.table}.{self.column}{kind}"


_PLAIN = {
    "statuses.conversation_id": "conversations",
    "statuses.poll_id": "polls",
    "statuses.application_id": "oauth_applications",
    "account_conversations.last_status_id": "statuses",
    "accounts_tags.account_id": "accounts",
    "accounts_tags.tag_id": "tags",
    "preview_cards_statuses.preview_card_id": "preview_cards",
    "preview_cards_statuses.status_id": "statuses",
    "custom_emojis.category_id": "custom_emoji_categories",
    "conversations.parent_status_id": "statuses",
    "conversations.parent_account_id": "accounts",
    "status_edits.quote_id": "quotes",
    "annual_report_statuses_per_account_counts.account_id": "accounts",
}
_ARRAYS = {
    "statuses.ordered_media_attachment_ids": "media_attachments",
    "status_edits.ordered_media_attachment_ids": "media_attachments",
    "account_conversations.participant_account_ids": "accounts",
    "account_conversations.status_ids": "statuses",
    "reports.status_ids": "statuses",
    "announcements.status_ids": "statuses",
}
_NOTICES = {
    "Status": "statuses", "Mention": "mentions", "Favourite": "favourites", "Follow": "follows",
    "FollowRequest": "follow_requests", "Poll": "polls", "Quote": "quotes",
}
_TARGETS = {
    "Account": "accounts", "Status": "statuses", "CustomEmoji": "custom_emojis",
    "DomainBlock": "domain_blocks", "EmailDomainBlock": "email_domain_blocks",
}


def _all() -> Iterator[Soft]:
    for name, parent in _PLAIN.items():
        table, _, column = name.partition(".")
        yield Soft(table, column, parent)
    for name, parent in _ARRAYS.items():
        table, _, column = name.partition(".")
        yield Soft(table, column, parent, "array")
    yield Soft("account_warnings", "status_ids", "statuses", "texts")
    for kind, parent in _NOTICES.items():
        yield Soft("notifications", "activity_id", parent, "id", "activity_type", kind)
    for kind, parent in _TARGETS.items():
        yield Soft("admin_action_logs", "target_id", parent, "id", "target_type", kind)
    for kind in ("Account", "Status"):
        yield Soft("tagged_objects", "object_id", _TARGETS[kind], "id", "object_type", kind)


#: a position in a timeline (markers.last_read_id) is none: it need not be anybody's id
SOFT = tuple(_all())
