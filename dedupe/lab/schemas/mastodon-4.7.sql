-- What Mastodon 4.7 (schema 20260812154114) has made of the tables of mastodon-3.5.3.sql, as far as a repair meets
-- it. To be run after that file.

-- Columns that may no longer be NULL, and one that may.
ALTER TABLE account_domain_blocks ALTER account_id SET NOT NULL, ALTER domain SET NOT NULL;
ALTER TABLE announcement_reactions ALTER account_id SET NOT NULL, ALTER announcement_id SET NOT NULL;
ALTER TABLE polls ALTER account_id SET NOT NULL, ALTER status_id SET NOT NULL;
ALTER TABLE poll_votes ALTER account_id SET NOT NULL, ALTER poll_id SET NOT NULL;
ALTER TABLE mentions ALTER account_id SET NOT NULL, ALTER status_id SET NOT NULL;
ALTER TABLE tombstones ALTER account_id SET NOT NULL;
ALTER TABLE account_pins ALTER account_id SET NOT NULL, ALTER target_account_id SET NOT NULL;
ALTER TABLE account_notes ALTER account_id SET NOT NULL, ALTER target_account_id SET NOT NULL;
ALTER TABLE account_conversations ALTER account_id SET NOT NULL, ALTER conversation_id SET NOT NULL;
ALTER TABLE account_deletion_requests ALTER account_id SET NOT NULL;
ALTER TABLE accounts ALTER uri DROP NOT NULL, ALTER uri DROP DEFAULT;
ALTER TABLE canonical_email_blocks ALTER reference_account_id DROP NOT NULL;

-- Columns.
ALTER TABLE accounts
    ADD attribution_domains varchar[] DEFAULT '{}',
    ADD avatar_description varchar NOT NULL DEFAULT '',
    ADD header_description varchar NOT NULL DEFAULT '',
    ADD collections_url varchar,
    ADD feature_approval_policy integer NOT NULL DEFAULT 0,
    ADD following_url varchar NOT NULL DEFAULT '',
    ADD id_scheme integer DEFAULT 1,
    ADD indexable boolean NOT NULL DEFAULT false,
    ADD requested_deletion_at timestamp(6),
    ADD show_featured boolean NOT NULL DEFAULT true,
    ADD show_media boolean NOT NULL DEFAULT true,
    ADD show_media_replies boolean NOT NULL DEFAULT true,
    DROP devices_url;
ALTER TABLE statuses
    ADD fetched_replies_at timestamp(6),
    ADD quote_approval_policy integer NOT NULL DEFAULT 0;
ALTER TABLE conversations
    ADD parent_status_id bigint,
    ADD parent_account_id bigint;
ALTER TABLE custom_emoji_categories ADD featured_emoji_id bigint;
ALTER TABLE tags ADD display_name varchar;
ALTER TABLE preview_cards
    ADD author_account_id bigint,
    ADD unverified_author_account_id bigint,
    ADD image_description varchar NOT NULL DEFAULT '',
    ADD published_at timestamp(6);
ALTER TABLE preview_cards_statuses ADD url varchar;
ALTER TABLE notifications
    ADD filtered boolean NOT NULL DEFAULT false,
    ADD group_key varchar;
ALTER TABLE list_accounts ADD follow_request_id bigint;
ALTER TABLE follows ADD languages varchar[];
ALTER TABLE follow_requests ADD languages varchar[];
ALTER TABLE featured_tags ADD name varchar;
ALTER TABLE email_domain_blocks ADD allow_with_approval boolean NOT NULL DEFAULT false;
ALTER TABLE status_edits ADD quote_id bigint;
ALTER TABLE status_stats
    ADD quotes_count bigint NOT NULL DEFAULT 0,
    ADD untrusted_favourites_count bigint,
    ADD untrusted_reblogs_count bigint;
ALTER TABLE reports ADD application_id bigint;
ALTER TABLE users
    DROP admin,
    DROP moderator,
    DROP filtered_languages,
    DROP encrypted_otp_secret,
    DROP encrypted_otp_secret_iv,
    DROP encrypted_otp_secret_salt,
    ADD role_id bigint,
    ADD settings text,
    ADD time_zone varchar,
    ADD otp_secret varchar;
ALTER TABLE settings DROP thing_type, DROP thing_id;

-- Tables that are gone.
DROP TABLE encrypted_messages, devices;

-- Tables that have come.
CREATE TABLE user_roles (
    id bigserial PRIMARY KEY,
    name varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE webhooks (
    id bigserial PRIMARY KEY,
    url varchar NOT NULL,
    events varchar[] NOT NULL DEFAULT '{}',
    secret varchar NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    template text
);
CREATE TABLE software_updates (
    id bigserial PRIMARY KEY,
    version varchar NOT NULL,
    urgent boolean NOT NULL DEFAULT false,
    type integer NOT NULL DEFAULT 0,
    release_notes varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE notification_permissions (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    from_account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE SEQUENCE notification_requests_id_seq;
CREATE TABLE notification_requests (
    id bigint PRIMARY KEY DEFAULT timestamp_id('notification_requests'),
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    from_account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    last_status_id bigint REFERENCES statuses ON DELETE SET NULL,
    notifications_count bigint NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE notification_policies (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    for_not_following integer NOT NULL DEFAULT 0
);
CREATE TABLE relationship_severance_events (
    id bigserial PRIMARY KEY,
    type integer NOT NULL,
    target_name varchar NOT NULL,
    purged boolean NOT NULL DEFAULT false,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE severed_relationships (
    id bigserial PRIMARY KEY,
    relationship_severance_event_id bigint NOT NULL REFERENCES relationship_severance_events ON DELETE CASCADE,
    local_account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    remote_account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    direction integer NOT NULL,
    show_reblogs boolean,
    notify boolean,
    languages varchar[],
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE account_relationship_severance_events (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    relationship_severance_event_id bigint NOT NULL REFERENCES relationship_severance_events ON DELETE CASCADE,
    followers_count integer NOT NULL DEFAULT 0,
    following_count integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE tag_follows (
    id bigserial PRIMARY KEY,
    tag_id bigint NOT NULL REFERENCES tags ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE tag_trends (
    id bigserial PRIMARY KEY,
    tag_id bigint NOT NULL REFERENCES tags ON DELETE CASCADE,
    score double precision NOT NULL DEFAULT 0,
    rank integer NOT NULL DEFAULT 0,
    allowed boolean NOT NULL DEFAULT false,
    language varchar NOT NULL DEFAULT ''
);
CREATE TABLE status_trends (
    id bigserial PRIMARY KEY,
    status_id bigint NOT NULL REFERENCES statuses ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    score double precision NOT NULL DEFAULT 0,
    rank integer NOT NULL DEFAULT 0,
    allowed boolean NOT NULL DEFAULT false,
    language varchar
);
CREATE TABLE preview_card_trends (
    id bigserial PRIMARY KEY,
    preview_card_id bigint NOT NULL REFERENCES preview_cards ON DELETE CASCADE,
    score double precision NOT NULL DEFAULT 0,
    rank integer NOT NULL DEFAULT 0,
    allowed boolean NOT NULL DEFAULT false,
    language varchar
);
CREATE TABLE custom_filter_statuses (
    id bigserial PRIMARY KEY,
    custom_filter_id bigint NOT NULL REFERENCES custom_filters ON DELETE CASCADE,
    status_id bigint NOT NULL REFERENCES statuses ON DELETE CASCADE,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE bulk_imports (
    id bigserial PRIMARY KEY,
    type integer NOT NULL,
    state integer NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE SEQUENCE quotes_id_seq;
CREATE TABLE quotes (
    id bigint PRIMARY KEY DEFAULT timestamp_id('quotes'),
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    status_id bigint NOT NULL REFERENCES statuses ON DELETE CASCADE,
    quoted_status_id bigint REFERENCES statuses ON DELETE SET NULL,
    quoted_account_id bigint REFERENCES accounts ON DELETE SET NULL,
    state integer NOT NULL DEFAULT 0,
    approval_uri varchar,
    activity_uri varchar,
    legacy boolean NOT NULL DEFAULT false,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE SEQUENCE collections_id_seq;
CREATE TABLE collections (
    id bigint PRIMARY KEY DEFAULT timestamp_id('collections'),
    account_id bigint NOT NULL REFERENCES accounts,
    tag_id bigint REFERENCES tags,
    name varchar NOT NULL,
    uri varchar,
    local boolean NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE SEQUENCE collection_items_id_seq;
CREATE TABLE collection_items (
    id bigint PRIMARY KEY DEFAULT timestamp_id('collection_items'),
    collection_id bigint NOT NULL REFERENCES collections ON DELETE CASCADE,
    account_id bigint REFERENCES accounts,
    position integer NOT NULL DEFAULT 1,
    uri varchar,
    approval_uri varchar,
    state integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE keypairs (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    uri varchar NOT NULL,
    local_fragment varchar,
    type integer NOT NULL DEFAULT 0,
    public_key text NOT NULL,
    private_key text,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE tagged_objects (
    id bigserial PRIMARY KEY,
    status_id bigint NOT NULL REFERENCES statuses ON DELETE CASCADE,
    object_type varchar,
    object_id bigint,
    uri varchar,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE follow_recommendation_mutes (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    target_account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE fasp_follow_recommendations (
    id bigserial PRIMARY KEY,
    requesting_account_id bigint NOT NULL REFERENCES accounts,
    recommended_account_id bigint NOT NULL REFERENCES accounts,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE generated_annual_reports (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    year integer NOT NULL,
    data jsonb NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE annual_report_statuses_per_account_counts (
    id bigserial PRIMARY KEY,
    year integer NOT NULL,
    account_id bigint NOT NULL,
    statuses_count bigint NOT NULL
);
CREATE TABLE global_follow_recommendations (
    account_id bigint PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    rank numeric,
    reason text[]
);
CREATE TABLE account_summaries (
    account_id bigint PRIMARY KEY,
    language varchar,
    sensitive boolean
);
CREATE TABLE email_subscriptions (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    email varchar NOT NULL,
    locale varchar NOT NULL,
    confirmation_token varchar,
    confirmed_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE instance_moderation_notes (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    content text,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE ip_blocks (
    id bigserial PRIMARY KEY,
    ip inet NOT NULL DEFAULT '0.0.0.0',
    severity integer NOT NULL DEFAULT 0,
    expires_at timestamp(6),
    comment text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE username_blocks (
    id bigserial PRIMARY KEY,
    username varchar NOT NULL,
    exact boolean NOT NULL DEFAULT false,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);

-- Foreign keys whose action has changed, and new ones.
ALTER TABLE account_moderation_notes
    DROP CONSTRAINT account_moderation_notes_account_id_fkey,
    DROP CONSTRAINT account_moderation_notes_target_account_id_fkey,
    ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE,
    ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE webauthn_credentials
    DROP CONSTRAINT webauthn_credentials_user_id_fkey,
    ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE custom_emoji_categories ADD FOREIGN KEY (featured_emoji_id) REFERENCES custom_emojis ON DELETE SET NULL;
ALTER TABLE preview_cards
    ADD FOREIGN KEY (author_account_id) REFERENCES accounts ON DELETE SET NULL,
    ADD FOREIGN KEY (unverified_author_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE list_accounts ADD FOREIGN KEY (follow_request_id) REFERENCES follow_requests ON DELETE CASCADE;
ALTER TABLE users ADD FOREIGN KEY (role_id) REFERENCES user_roles ON DELETE SET NULL;

-- Unique keys.
DROP INDEX index_accounts_on_uri;
CREATE UNIQUE INDEX index_accounts_on_uri ON accounts (uri);
CREATE UNIQUE INDEX index_conversations_on_parent_status_id ON conversations (parent_status_id)
    WHERE parent_status_id IS NOT NULL;
DROP INDEX index_preview_cards_statuses_on_status_id_and_preview_card_id;
ALTER TABLE preview_cards_statuses ADD PRIMARY KEY (status_id, preview_card_id);
DROP INDEX index_statuses_tags_on_tag_id_and_status_id;
ALTER TABLE statuses_tags ADD PRIMARY KEY (tag_id, status_id);
DROP INDEX index_accounts_tags_on_tag_id_and_account_id;
ALTER TABLE accounts_tags ADD PRIMARY KEY (tag_id, account_id);
CREATE UNIQUE INDEX index_featured_tags_on_account_id_and_tag_id ON featured_tags (account_id, tag_id);
DROP INDEX index_featured_tags_on_account_id;
CREATE UNIQUE INDEX index_webauthn_credentials_on_user_id_and_nickname ON webauthn_credentials (user_id, nickname);
CREATE UNIQUE INDEX index_settings_on_var ON settings (var);
CREATE UNIQUE INDEX index_account_aliases_on_account_id_and_uri ON account_aliases (account_id, uri);
CREATE UNIQUE INDEX index_identities_on_uid_and_provider ON identities (uid, provider);
CREATE UNIQUE INDEX index_webhooks_on_url ON webhooks (url);
CREATE UNIQUE INDEX index_software_updates_on_version ON software_updates (version);
CREATE UNIQUE INDEX index_notification_requests_on_account_id_and_from_account_id
    ON notification_requests (account_id, from_account_id);
CREATE UNIQUE INDEX index_notification_policies_on_account_id ON notification_policies (account_id);
CREATE UNIQUE INDEX index_severed_relationships_on_local_account_and_event
    ON severed_relationships (relationship_severance_event_id, local_account_id, direction, remote_account_id);
CREATE UNIQUE INDEX idx_on_account_id_relationship_severance_event_id_7bd82bf20e
    ON account_relationship_severance_events (account_id, relationship_severance_event_id);
CREATE UNIQUE INDEX index_tag_follows_on_account_id_and_tag_id ON tag_follows (account_id, tag_id);
CREATE UNIQUE INDEX index_tag_trends_on_tag_id_and_language ON tag_trends (tag_id, language);
CREATE UNIQUE INDEX index_status_trends_on_status_id ON status_trends (status_id);
CREATE UNIQUE INDEX index_preview_card_trends_on_preview_card_id ON preview_card_trends (preview_card_id);
CREATE UNIQUE INDEX index_custom_filter_statuses_on_status_id_and_custom_filter_id
    ON custom_filter_statuses (status_id, custom_filter_id);
CREATE UNIQUE INDEX index_quotes_on_status_id ON quotes (status_id);
CREATE UNIQUE INDEX index_quotes_on_activity_uri ON quotes (activity_uri) WHERE activity_uri IS NOT NULL;
CREATE UNIQUE INDEX index_collections_on_uri ON collections (uri) WHERE uri IS NOT NULL;
CREATE UNIQUE INDEX index_collection_items_on_account_id_and_collection_id
    ON collection_items (account_id, collection_id);
CREATE UNIQUE INDEX index_collection_items_on_uri ON collection_items (uri) WHERE uri IS NOT NULL;
CREATE UNIQUE INDEX index_collection_items_on_approval_uri ON collection_items (approval_uri)
    WHERE approval_uri IS NOT NULL;
CREATE UNIQUE INDEX index_keypairs_on_uri ON keypairs (uri);
CREATE UNIQUE INDEX index_keypairs_on_account_id_and_local_fragment ON keypairs (account_id, local_fragment);
CREATE UNIQUE INDEX index_tagged_objects_on_status_id_and_uri ON tagged_objects (status_id, uri)
    WHERE uri IS NOT NULL;
CREATE UNIQUE INDEX index_tagged_objects_on_status_id_and_object
    ON tagged_objects (status_id, object_type, object_id) WHERE object_type IS NOT NULL AND object_id IS NOT NULL;
CREATE UNIQUE INDEX idx_on_year_account_id_ff3e167cef
    ON annual_report_statuses_per_account_counts (year, account_id);
CREATE UNIQUE INDEX index_email_subscriptions_on_account_id_and_email ON email_subscriptions (account_id, email);
CREATE UNIQUE INDEX index_email_subscriptions_on_confirmation_token ON email_subscriptions (confirmation_token)
    WHERE confirmation_token IS NOT NULL;
CREATE UNIQUE INDEX index_ip_blocks_on_ip ON ip_blocks (ip);
CREATE UNIQUE INDEX index_username_blocks_on_username_lower_btree ON username_blocks (lower(username));

-- Other indexes.
CREATE INDEX index_accounts_on_domain_and_id ON accounts (domain, id);
CREATE INDEX index_statuses_on_conversation_id ON statuses (conversation_id);
CREATE INDEX index_follows_on_target_account_id_and_account_id ON follows (target_account_id, account_id);
CREATE INDEX index_follow_requests_on_target_account_id_and_account_id
    ON follow_requests (target_account_id, account_id);
CREATE INDEX index_users_on_unconfirmed_email ON users (unconfirmed_email) WHERE unconfirmed_email IS NOT NULL;
CREATE INDEX index_users_on_role_id ON users (role_id) WHERE role_id IS NOT NULL;
CREATE INDEX index_users_on_invite_id ON users (invite_id) WHERE invite_id IS NOT NULL;
CREATE INDEX index_backups_on_user_id ON backups (user_id);
CREATE INDEX index_imports_on_account_id ON imports (account_id);
CREATE INDEX index_notification_permissions_on_account_id ON notification_permissions (account_id);
CREATE INDEX index_notification_permissions_on_from_account_id ON notification_permissions (from_account_id);
CREATE INDEX index_notification_requests_on_from_account_id ON notification_requests (from_account_id);
CREATE INDEX index_notification_requests_on_last_status_id ON notification_requests (last_status_id);
CREATE INDEX index_severed_relationships_on_local_account_id ON severed_relationships (local_account_id);
CREATE INDEX index_severed_relationships_on_remote_account_id ON severed_relationships (remote_account_id);
CREATE INDEX idx_on_relationship_severance_event_id_403f53e707
    ON account_relationship_severance_events (relationship_severance_event_id);
CREATE INDEX index_tag_follows_on_tag_id ON tag_follows (tag_id);
CREATE INDEX index_status_trends_on_account_id ON status_trends (account_id);
CREATE INDEX index_custom_filter_statuses_on_custom_filter_id ON custom_filter_statuses (custom_filter_id);
CREATE INDEX index_bulk_imports_on_account_id ON bulk_imports (account_id);
CREATE INDEX index_quotes_on_account_id ON quotes (account_id);
CREATE INDEX index_quotes_on_quoted_status_id ON quotes (quoted_status_id);
CREATE INDEX index_quotes_on_quoted_account_id ON quotes (quoted_account_id);
CREATE INDEX index_collections_on_account_id ON collections (account_id);
CREATE INDEX index_collections_on_tag_id ON collections (tag_id);
CREATE INDEX index_collection_items_on_collection_id ON collection_items (collection_id);
CREATE INDEX index_follow_recommendation_mutes_on_account_id ON follow_recommendation_mutes (account_id);
CREATE INDEX index_follow_recommendation_mutes_on_target_account_id
    ON follow_recommendation_mutes (target_account_id);
CREATE INDEX index_fasp_follow_recommendations_on_requesting_account_id
    ON fasp_follow_recommendations (requesting_account_id);
CREATE INDEX index_fasp_follow_recommendations_on_recommended_account_id
    ON fasp_follow_recommendations (recommended_account_id);
CREATE INDEX index_generated_annual_reports_on_account_id ON generated_annual_reports (account_id);
CREATE INDEX index_preview_cards_on_author_account_id ON preview_cards (author_account_id)
    WHERE author_account_id IS NOT NULL;
CREATE INDEX index_preview_cards_on_unverified_author_account_id
    ON preview_cards (unverified_author_account_id) WHERE unverified_author_account_id IS NOT NULL;
CREATE INDEX index_list_accounts_on_follow_request_id ON list_accounts (follow_request_id)
    WHERE follow_request_id IS NOT NULL;
DROP INDEX index_statuses_public_20200119;
CREATE INDEX index_statuses_public_20250129 ON statuses (id, language, account_id)
    WHERE deleted_at IS NULL AND visibility = 0 AND reblog_of_id IS NULL
    AND (NOT reply OR in_reply_to_account_id = account_id);

INSERT INTO schema_migrations VALUES
    ('20221104133904'),
    ('20221206114142'),
    ('20230907150100'),
    ('20241007071624'),
    ('20250627132728'),
    ('20251023210145'),
    ('20260611150940'),
    ('20260720104058'),
    ('20260812154114');
