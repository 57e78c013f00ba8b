-- The tables of Mastodon 3.5.3 (schema 20220429101850) that a repair meets, with every unique index and
-- foreign key of theirs; tables that nothing of it points at are left out. For rehearsals and tests.

CREATE FUNCTION timestamp_id(table_name text) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint << 16)
        | (nextval(table_name || '_id_seq') & 65535)
$$;
CREATE SEQUENCE media_attachments_id_seq;
CREATE SEQUENCE statuses_id_seq;
CREATE SEQUENCE accounts_id_seq;
CREATE TABLE schema_migrations (version varchar PRIMARY KEY);

CREATE TABLE users (
    id bigserial PRIMARY KEY,
    email varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    encrypted_password varchar NOT NULL DEFAULT '',
    reset_password_token varchar,
    reset_password_sent_at timestamp(6),
    sign_in_count integer NOT NULL DEFAULT 0,
    current_sign_in_at timestamp(6),
    last_sign_in_at timestamp(6),
    admin boolean NOT NULL DEFAULT false,
    confirmation_token varchar,
    confirmed_at timestamp(6),
    confirmation_sent_at timestamp(6),
    unconfirmed_email varchar,
    locale varchar,
    encrypted_otp_secret varchar,
    encrypted_otp_secret_iv varchar,
    encrypted_otp_secret_salt varchar,
    consumed_timestep integer,
    otp_required_for_login boolean NOT NULL DEFAULT false,
    last_emailed_at timestamp(6),
    otp_backup_codes varchar[],
    filtered_languages varchar[] NOT NULL DEFAULT '{}',
    account_id bigint NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    moderator boolean NOT NULL DEFAULT false,
    invite_id bigint,
    chosen_languages varchar[],
    created_by_application_id bigint,
    approved boolean NOT NULL DEFAULT true,
    sign_in_token varchar,
    sign_in_token_sent_at timestamp(6),
    webauthn_id varchar,
    sign_up_ip inet,
    skip_sign_in_token boolean
);
CREATE TABLE account_domain_blocks (
    id bigserial PRIMARY KEY,
    domain varchar,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint
);
CREATE TABLE announcement_reactions (
    id bigserial PRIMARY KEY,
    account_id bigint,
    announcement_id bigint,
    name varchar NOT NULL DEFAULT '',
    custom_emoji_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE conversations (
    id bigserial PRIMARY KEY,
    uri varchar,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE custom_emojis (
    id bigserial PRIMARY KEY,
    shortcode varchar NOT NULL DEFAULT '',
    domain varchar,
    image_file_name varchar,
    image_content_type varchar,
    image_file_size integer,
    image_updated_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    uri varchar,
    image_remote_url varchar,
    visible_in_picker boolean NOT NULL DEFAULT true,
    category_id bigint,
    image_storage_schema_version integer
);
CREATE TABLE custom_emoji_categories (
    id bigserial PRIMARY KEY,
    name varchar,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE domain_allows (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE domain_blocks (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    severity integer DEFAULT 0,
    reject_media boolean NOT NULL DEFAULT false,
    reject_reports boolean NOT NULL DEFAULT false,
    private_comment text,
    public_comment text,
    obfuscate boolean NOT NULL DEFAULT false
);
CREATE TABLE unavailable_domains (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE email_domain_blocks (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    parent_id bigint
);
CREATE TABLE media_attachments (
    id bigint PRIMARY KEY DEFAULT timestamp_id('media_attachments'),
    status_id bigint,
    file_file_name varchar,
    file_content_type varchar,
    file_file_size integer,
    file_updated_at timestamp(6),
    remote_url varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    shortcode varchar,
    type integer NOT NULL DEFAULT 0,
    file_meta json,
    account_id bigint,
    description text,
    scheduled_status_id bigint,
    blurhash varchar,
    processing integer,
    file_storage_schema_version integer,
    thumbnail_file_name varchar,
    thumbnail_content_type varchar,
    thumbnail_file_size integer,
    thumbnail_updated_at timestamp(6),
    thumbnail_remote_url varchar
);
CREATE TABLE preview_cards (
    id bigserial PRIMARY KEY,
    url varchar NOT NULL DEFAULT '',
    title varchar NOT NULL DEFAULT '',
    description varchar NOT NULL DEFAULT '',
    image_file_name varchar,
    image_content_type varchar,
    image_file_size integer,
    image_updated_at timestamp(6),
    type integer NOT NULL DEFAULT 0,
    html text NOT NULL DEFAULT '',
    author_name varchar NOT NULL DEFAULT '',
    author_url varchar NOT NULL DEFAULT '',
    provider_name varchar NOT NULL DEFAULT '',
    provider_url varchar NOT NULL DEFAULT '',
    width integer NOT NULL DEFAULT 0,
    height integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    embed_url varchar NOT NULL DEFAULT '',
    image_storage_schema_version integer,
    blurhash varchar,
    language varchar,
    max_score double precision,
    max_score_at timestamp(6),
    trendable boolean,
    link_type integer
);
CREATE TABLE statuses (
    id bigint PRIMARY KEY DEFAULT timestamp_id('statuses'),
    uri varchar,
    text text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    in_reply_to_id bigint,
    reblog_of_id bigint,
    url varchar,
    sensitive boolean NOT NULL DEFAULT false,
    visibility integer NOT NULL DEFAULT 0,
    spoiler_text text NOT NULL DEFAULT '',
    reply boolean NOT NULL DEFAULT false,
    language varchar,
    conversation_id bigint,
    local boolean,
    account_id bigint NOT NULL,
    application_id bigint,
    in_reply_to_account_id bigint,
    poll_id bigint,
    deleted_at timestamp(6),
    edited_at timestamp(6),
    trendable boolean,
    ordered_media_attachment_ids bigint[]
);
CREATE TABLE accounts (
    id bigint PRIMARY KEY DEFAULT timestamp_id('accounts'),
    username varchar NOT NULL DEFAULT '',
    domain varchar,
    private_key text,
    public_key text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    note text NOT NULL DEFAULT '',
    display_name varchar NOT NULL DEFAULT '',
    uri varchar NOT NULL DEFAULT '',
    url varchar,
    avatar_file_name varchar,
    avatar_content_type varchar,
    avatar_file_size integer,
    avatar_updated_at timestamp(6),
    header_file_name varchar,
    header_content_type varchar,
    header_file_size integer,
    header_updated_at timestamp(6),
    avatar_remote_url varchar,
    locked boolean NOT NULL DEFAULT false,
    header_remote_url varchar NOT NULL DEFAULT '',
    last_webfingered_at timestamp(6),
    inbox_url varchar NOT NULL DEFAULT '',
    outbox_url varchar NOT NULL DEFAULT '',
    shared_inbox_url varchar NOT NULL DEFAULT '',
    followers_url varchar NOT NULL DEFAULT '',
    protocol integer NOT NULL DEFAULT 0,
    memorial boolean NOT NULL DEFAULT false,
    moved_to_account_id bigint,
    featured_collection_url varchar,
    fields jsonb,
    actor_type varchar,
    discoverable boolean,
    also_known_as varchar[],
    silenced_at timestamp(6),
    suspended_at timestamp(6),
    hide_collections boolean,
    avatar_storage_schema_version integer,
    header_storage_schema_version integer,
    devices_url varchar,
    suspension_origin integer,
    sensitized_at timestamp(6),
    trendable boolean,
    reviewed_at timestamp(6),
    requested_review_at timestamp(6)
);
CREATE TABLE tags (
    id bigserial PRIMARY KEY,
    name varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    usable boolean,
    trendable boolean,
    listable boolean,
    reviewed_at timestamp(6),
    requested_review_at timestamp(6),
    last_status_at timestamp(6),
    max_score double precision,
    max_score_at timestamp(6)
);
CREATE TABLE webauthn_credentials (
    id bigserial PRIMARY KEY,
    external_id varchar NOT NULL,
    public_key varchar NOT NULL,
    nickname varchar NOT NULL,
    sign_count bigint NOT NULL DEFAULT 0,
    user_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE status_pins (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    status_id bigint NOT NULL,
    created_at timestamp(6) NOT NULL DEFAULT now(),
    updated_at timestamp(6) NOT NULL DEFAULT now()
);
CREATE TABLE polls (
    id bigserial PRIMARY KEY,
    account_id bigint,
    status_id bigint,
    expires_at timestamp(6),
    options varchar[] NOT NULL DEFAULT '{}',
    cached_tallies bigint[] NOT NULL DEFAULT '{}',
    multiple boolean NOT NULL DEFAULT false,
    hide_totals boolean NOT NULL DEFAULT false,
    votes_count bigint NOT NULL DEFAULT 0,
    last_fetched_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    lock_version integer NOT NULL DEFAULT 0,
    voters_count bigint
);
CREATE TABLE reports (
    id bigserial PRIMARY KEY,
    status_ids bigint[] NOT NULL DEFAULT '{}',
    comment text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    action_taken_by_account_id bigint,
    target_account_id bigint NOT NULL,
    assigned_account_id bigint,
    uri varchar,
    forwarded boolean,
    category integer NOT NULL DEFAULT 0,
    action_taken_at timestamp(6),
    rule_ids bigint[]
);
CREATE TABLE tombstones (
    id bigserial PRIMARY KEY,
    account_id bigint,
    uri varchar NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    by_moderator boolean
);
CREATE TABLE favourites (
    id bigserial PRIMARY KEY,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    status_id bigint NOT NULL
);
CREATE TABLE follows (
    id bigserial PRIMARY KEY,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    target_account_id bigint NOT NULL,
    show_reblogs boolean NOT NULL DEFAULT true,
    uri varchar,
    notify boolean NOT NULL DEFAULT false
);
CREATE TABLE follow_requests (
    id bigserial PRIMARY KEY,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    target_account_id bigint NOT NULL,
    show_reblogs boolean NOT NULL DEFAULT true,
    uri varchar,
    notify boolean NOT NULL DEFAULT false
);
CREATE TABLE blocks (
    id bigserial PRIMARY KEY,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    target_account_id bigint NOT NULL,
    uri varchar
);
CREATE TABLE mutes (
    id bigserial PRIMARY KEY,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    hide_notifications boolean NOT NULL DEFAULT true,
    account_id bigint NOT NULL,
    target_account_id bigint NOT NULL,
    expires_at timestamp(6)
);
CREATE TABLE account_moderation_notes (
    id bigserial PRIMARY KEY,
    content text NOT NULL,
    account_id bigint NOT NULL,
    target_account_id bigint NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE account_pins (
    id bigserial PRIMARY KEY,
    account_id bigint,
    target_account_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE account_stats (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    statuses_count bigint NOT NULL DEFAULT 0,
    following_count bigint NOT NULL DEFAULT 0,
    followers_count bigint NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    last_status_at timestamp(6)
);
CREATE TABLE list_accounts (
    id bigserial PRIMARY KEY,
    list_id bigint NOT NULL,
    account_id bigint NOT NULL,
    follow_id bigint
);
CREATE TABLE poll_votes (
    id bigserial PRIMARY KEY,
    account_id bigint,
    poll_id bigint,
    choice integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    uri varchar
);
CREATE TABLE mentions (
    id bigserial PRIMARY KEY,
    status_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint,
    silent boolean NOT NULL DEFAULT false
);
CREATE TABLE account_deletion_requests (
    id bigserial PRIMARY KEY,
    account_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE account_notes (
    id bigserial PRIMARY KEY,
    account_id bigint,
    target_account_id bigint,
    comment text NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE follow_recommendation_suppressions (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE appeals (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    account_warning_id bigint NOT NULL,
    text text NOT NULL DEFAULT '',
    approved_at timestamp(6),
    approved_by_account_id bigint,
    rejected_at timestamp(6),
    rejected_by_account_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE canonical_email_blocks (
    id bigserial PRIMARY KEY,
    canonical_email_hash varchar NOT NULL DEFAULT '',
    reference_account_id bigint NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE conversation_mutes (
    id bigserial PRIMARY KEY,
    conversation_id bigint NOT NULL,
    account_id bigint NOT NULL
);
CREATE TABLE account_conversations (
    id bigserial PRIMARY KEY,
    account_id bigint,
    conversation_id bigint,
    participant_account_ids bigint[] NOT NULL DEFAULT '{}',
    status_ids bigint[] NOT NULL DEFAULT '{}',
    last_status_id bigint,
    lock_version integer NOT NULL DEFAULT 0,
    unread boolean NOT NULL DEFAULT false
);
CREATE TABLE bookmarks (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    status_id bigint NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE featured_tags (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    tag_id bigint NOT NULL,
    statuses_count bigint NOT NULL DEFAULT 0,
    last_status_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE statuses_tags (
    status_id bigint NOT NULL,
    tag_id bigint NOT NULL
);
CREATE TABLE accounts_tags (
    account_id bigint NOT NULL,
    tag_id bigint NOT NULL
);
CREATE TABLE preview_cards_statuses (
    preview_card_id bigint NOT NULL,
    status_id bigint NOT NULL
);
CREATE TABLE status_edits (
    id bigserial PRIMARY KEY,
    status_id bigint NOT NULL,
    account_id bigint,
    text text NOT NULL DEFAULT '',
    spoiler_text text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    ordered_media_attachment_ids bigint[],
    media_descriptions text[],
    poll_options varchar[],
    sensitive boolean
);
CREATE TABLE status_stats (
    id bigserial PRIMARY KEY,
    status_id bigint NOT NULL,
    replies_count bigint NOT NULL DEFAULT 0,
    reblogs_count bigint NOT NULL DEFAULT 0,
    favourites_count bigint NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE notifications (
    id bigserial PRIMARY KEY,
    activity_id bigint NOT NULL,
    activity_type varchar NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    from_account_id bigint NOT NULL,
    type varchar
);
CREATE TABLE account_warnings (
    id bigserial PRIMARY KEY,
    account_id bigint,
    target_account_id bigint,
    action integer NOT NULL DEFAULT 0,
    text text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    report_id bigint,
    status_ids varchar[],
    overruled_at timestamp(6)
);
CREATE TABLE invites (
    id bigserial PRIMARY KEY,
    user_id bigint NOT NULL,
    code varchar NOT NULL DEFAULT '',
    expires_at timestamp(6),
    max_uses integer,
    uses integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    autofollow boolean NOT NULL DEFAULT false,
    comment text
);
CREATE TABLE oauth_applications (
    id bigserial PRIMARY KEY,
    name varchar NOT NULL,
    uid varchar NOT NULL,
    secret varchar NOT NULL,
    redirect_uri text NOT NULL,
    scopes varchar NOT NULL DEFAULT '',
    created_at timestamp(6),
    updated_at timestamp(6),
    superapp boolean NOT NULL DEFAULT false,
    website varchar,
    owner_type varchar,
    owner_id bigint,
    confidential boolean NOT NULL DEFAULT true
);
CREATE TABLE oauth_access_grants (
    id bigserial PRIMARY KEY,
    token varchar NOT NULL,
    expires_in integer NOT NULL,
    redirect_uri text NOT NULL,
    created_at timestamp(6) NOT NULL,
    revoked_at timestamp(6),
    scopes varchar,
    application_id bigint NOT NULL,
    resource_owner_id bigint NOT NULL
);
CREATE TABLE oauth_access_tokens (
    id bigserial PRIMARY KEY,
    token varchar NOT NULL,
    refresh_token varchar,
    expires_in integer,
    revoked_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    scopes varchar,
    application_id bigint,
    resource_owner_id bigint,
    last_used_at timestamp(6)
);
CREATE TABLE session_activations (
    id bigserial PRIMARY KEY,
    session_id varchar NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    user_agent varchar NOT NULL DEFAULT '',
    ip inet,
    access_token_id bigint,
    user_id bigint NOT NULL,
    web_push_subscription_id bigint
);
CREATE TABLE web_push_subscriptions (
    id bigserial PRIMARY KEY,
    endpoint varchar NOT NULL,
    key_p256dh varchar NOT NULL,
    key_auth varchar NOT NULL,
    data json,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    access_token_id bigint,
    user_id bigint
);
CREATE TABLE web_settings (
    id bigserial PRIMARY KEY,
    data json,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    user_id bigint NOT NULL
);
CREATE TABLE markers (
    id bigserial PRIMARY KEY,
    user_id bigint,
    timeline varchar NOT NULL DEFAULT '',
    last_read_id bigint NOT NULL DEFAULT 0,
    lock_version integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE identities (
    id bigserial PRIMARY KEY,
    provider varchar NOT NULL DEFAULT '',
    uid varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    user_id bigint
);
CREATE TABLE login_activities (
    id bigserial PRIMARY KEY,
    user_id bigint NOT NULL,
    authentication_method varchar,
    provider varchar,
    success boolean,
    failure_reason varchar,
    ip inet,
    user_agent varchar,
    created_at timestamp(6)
);
CREATE TABLE backups (
    id bigserial PRIMARY KEY,
    user_id bigint,
    dump_file_name varchar,
    processed boolean NOT NULL DEFAULT false,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE user_invite_requests (
    id bigserial PRIMARY KEY,
    user_id bigint,
    text text,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE lists (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    title varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    replies_policy integer NOT NULL DEFAULT 0
);
CREATE TABLE custom_filters (
    id bigserial PRIMARY KEY,
    account_id bigint,
    expires_at timestamp(6),
    phrase text NOT NULL DEFAULT '',
    context varchar[] NOT NULL DEFAULT '{}',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    action integer NOT NULL DEFAULT 0
);
CREATE TABLE account_aliases (
    id bigserial PRIMARY KEY,
    account_id bigint,
    acct varchar NOT NULL DEFAULT '',
    uri varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE account_migrations (
    id bigserial PRIMARY KEY,
    account_id bigint,
    acct varchar NOT NULL DEFAULT '',
    followers_count bigint NOT NULL DEFAULT 0,
    target_account_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE account_statuses_cleanup_policies (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    min_status_age integer NOT NULL DEFAULT 1209600,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE admin_action_logs (
    id bigserial PRIMARY KEY,
    account_id bigint,
    action varchar NOT NULL DEFAULT '',
    target_type varchar,
    target_id bigint,
    recorded_changes text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE announcements (
    id bigserial PRIMARY KEY,
    text text NOT NULL DEFAULT '',
    published boolean NOT NULL DEFAULT false,
    all_day boolean NOT NULL DEFAULT false,
    scheduled_at timestamp(6),
    starts_at timestamp(6),
    ends_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    published_at timestamp(6),
    status_ids bigint[]
);
CREATE TABLE announcement_mutes (
    id bigserial PRIMARY KEY,
    account_id bigint,
    announcement_id bigint,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE devices (
    id bigserial PRIMARY KEY,
    access_token_id bigint,
    account_id bigint,
    device_id varchar NOT NULL DEFAULT '',
    name varchar NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE encrypted_messages (
    id bigserial PRIMARY KEY,
    device_id bigint,
    from_account_id bigint,
    from_device_id varchar NOT NULL DEFAULT '',
    type integer NOT NULL DEFAULT 0,
    body text NOT NULL DEFAULT '',
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE imports (
    id bigserial PRIMARY KEY,
    type integer NOT NULL,
    approved boolean NOT NULL DEFAULT false,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    account_id bigint NOT NULL,
    overwrite boolean NOT NULL DEFAULT false
);
CREATE TABLE report_notes (
    id bigserial PRIMARY KEY,
    content text NOT NULL,
    report_id bigint NOT NULL,
    account_id bigint NOT NULL,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE scheduled_statuses (
    id bigserial PRIMARY KEY,
    account_id bigint,
    scheduled_at timestamp(6),
    params jsonb
);
CREATE TABLE preview_card_providers (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL DEFAULT '',
    trendable boolean,
    reviewed_at timestamp(6),
    requested_review_at timestamp(6),
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE TABLE settings (
    id bigserial PRIMARY KEY,
    var varchar NOT NULL,
    value text,
    thing_type varchar,
    created_at timestamp(6),
    updated_at timestamp(6),
    thing_id bigint
);
CREATE TABLE site_uploads (
    id bigserial PRIMARY KEY,
    var varchar NOT NULL DEFAULT '',
    file_file_name varchar,
    meta json,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);

CREATE UNIQUE INDEX index_users_on_confirmation_token ON users (confirmation_token);
CREATE UNIQUE INDEX index_users_on_email ON users (email);
CREATE UNIQUE INDEX index_users_on_reset_password_token ON users (reset_password_token text_pattern_ops)
    WHERE reset_password_token IS NOT NULL;
CREATE INDEX index_users_on_account_id ON users (account_id);
CREATE INDEX index_users_on_created_by_application_id ON users (created_by_application_id)
    WHERE created_by_application_id IS NOT NULL;
CREATE UNIQUE INDEX index_account_domain_blocks_on_account_id_and_domain
    ON account_domain_blocks (account_id, domain);
CREATE UNIQUE INDEX index_announcement_reactions_on_account_id_and_announcement_id
    ON announcement_reactions (account_id, announcement_id, name);
CREATE INDEX index_announcement_reactions_on_announcement_id
    ON announcement_reactions (announcement_id);
CREATE INDEX index_announcement_reactions_on_custom_emoji_id ON announcement_reactions (custom_emoji_id)
    WHERE custom_emoji_id IS NOT NULL;
CREATE UNIQUE INDEX index_conversations_on_uri ON conversations (uri text_pattern_ops)
    WHERE uri IS NOT NULL;
CREATE UNIQUE INDEX index_custom_emojis_on_shortcode_and_domain ON custom_emojis (shortcode, domain);
CREATE UNIQUE INDEX index_custom_emoji_categories_on_name ON custom_emoji_categories (name);
CREATE UNIQUE INDEX index_domain_allows_on_domain ON domain_allows (domain);
CREATE UNIQUE INDEX index_domain_blocks_on_domain ON domain_blocks (domain);
CREATE UNIQUE INDEX index_unavailable_domains_on_domain ON unavailable_domains (domain);
CREATE UNIQUE INDEX index_email_domain_blocks_on_domain ON email_domain_blocks (domain);
CREATE UNIQUE INDEX index_media_attachments_on_shortcode ON media_attachments (shortcode text_pattern_ops)
    WHERE shortcode IS NOT NULL;
CREATE INDEX index_media_attachments_on_account_id_and_status_id
    ON media_attachments (account_id, status_id);
CREATE INDEX index_media_attachments_on_scheduled_status_id ON media_attachments (scheduled_status_id)
    WHERE scheduled_status_id IS NOT NULL;
CREATE INDEX index_media_attachments_on_status_id ON media_attachments (status_id);
CREATE UNIQUE INDEX index_preview_cards_on_url ON preview_cards (url);
CREATE UNIQUE INDEX index_statuses_on_uri ON statuses (uri text_pattern_ops) WHERE uri IS NOT NULL;
CREATE INDEX index_statuses_20190820 ON statuses (account_id, id, visibility, updated_at)
    WHERE deleted_at IS NULL;
CREATE INDEX index_statuses_on_account_id ON statuses (account_id);
CREATE INDEX index_statuses_on_deleted_at ON statuses (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX index_statuses_local_20190824 ON statuses (id, account_id) WHERE (local OR uri IS NULL)
    AND deleted_at IS NULL AND visibility = 0 AND reblog_of_id IS NULL
    AND (NOT reply OR in_reply_to_account_id = account_id);
CREATE INDEX index_statuses_public_20200119 ON statuses (id, account_id) WHERE deleted_at IS NULL AND visibility = 0 AND reblog_of_id IS NULL
    AND (NOT reply OR in_reply_to_account_id = account_id);
CREATE INDEX index_statuses_on_in_reply_to_account_id ON statuses (in_reply_to_account_id)
    WHERE in_reply_to_account_id IS NOT NULL;
CREATE INDEX index_statuses_on_in_reply_to_id ON statuses (in_reply_to_id)
    WHERE in_reply_to_id IS NOT NULL;
CREATE INDEX index_statuses_on_reblog_of_id_and_account_id ON statuses (reblog_of_id, account_id);
CREATE UNIQUE INDEX index_accounts_on_username_and_domain_lower
    ON accounts (lower(username), COALESCE(lower(domain), ''));
CREATE INDEX search_index ON accounts USING gin ((setweight(to_tsvector('simple', display_name), 'A')
    || setweight(to_tsvector('simple', username), 'B')
    || setweight(to_tsvector('simple', COALESCE(domain, '')), 'C')));
CREATE INDEX index_accounts_on_moved_to_account_id ON accounts (moved_to_account_id)
    WHERE moved_to_account_id IS NOT NULL;
CREATE INDEX index_accounts_on_uri ON accounts (uri);
CREATE INDEX index_accounts_on_url ON accounts (url text_pattern_ops) WHERE url IS NOT NULL;
CREATE UNIQUE INDEX index_tags_on_name_lower_btree ON tags (lower(name) text_pattern_ops);
CREATE UNIQUE INDEX index_webauthn_credentials_on_external_id ON webauthn_credentials (external_id);
CREATE INDEX index_webauthn_credentials_on_user_id ON webauthn_credentials (user_id);
CREATE UNIQUE INDEX index_status_pins_on_account_id_and_status_id
    ON status_pins (account_id, status_id);
CREATE INDEX index_status_pins_on_status_id ON status_pins (status_id);
CREATE INDEX index_polls_on_account_id ON polls (account_id);
CREATE INDEX index_polls_on_status_id ON polls (status_id);
CREATE INDEX index_reports_on_account_id ON reports (account_id);
CREATE INDEX index_reports_on_action_taken_by_account_id ON reports (action_taken_by_account_id)
    WHERE action_taken_by_account_id IS NOT NULL;
CREATE INDEX index_reports_on_assigned_account_id ON reports (assigned_account_id)
    WHERE assigned_account_id IS NOT NULL;
CREATE INDEX index_reports_on_target_account_id ON reports (target_account_id);
CREATE INDEX index_tombstones_on_account_id ON tombstones (account_id);
CREATE INDEX index_tombstones_on_uri ON tombstones (uri);
CREATE UNIQUE INDEX index_favourites_on_account_id_and_status_id
    ON favourites (account_id, status_id);
CREATE INDEX index_favourites_on_account_id_and_id ON favourites (account_id, id);
CREATE INDEX index_favourites_on_status_id ON favourites (status_id);
CREATE UNIQUE INDEX index_follows_on_account_id_and_target_account_id
    ON follows (account_id, target_account_id);
CREATE INDEX index_follows_on_target_account_id ON follows (target_account_id);
CREATE UNIQUE INDEX index_follow_requests_on_account_id_and_target_account_id
    ON follow_requests (account_id, target_account_id);
CREATE UNIQUE INDEX index_blocks_on_account_id_and_target_account_id
    ON blocks (account_id, target_account_id);
CREATE INDEX index_blocks_on_target_account_id ON blocks (target_account_id);
CREATE UNIQUE INDEX index_mutes_on_account_id_and_target_account_id
    ON mutes (account_id, target_account_id);
CREATE INDEX index_mutes_on_target_account_id ON mutes (target_account_id);
CREATE INDEX index_account_moderation_notes_on_account_id ON account_moderation_notes (account_id);
CREATE INDEX index_account_moderation_notes_on_target_account_id
    ON account_moderation_notes (target_account_id);
CREATE UNIQUE INDEX index_account_pins_on_account_id_and_target_account_id
    ON account_pins (account_id, target_account_id);
CREATE INDEX index_account_pins_on_target_account_id ON account_pins (target_account_id);
CREATE UNIQUE INDEX index_account_stats_on_account_id ON account_stats (account_id);
CREATE UNIQUE INDEX index_list_accounts_on_account_id_and_list_id
    ON list_accounts (account_id, list_id);
CREATE INDEX index_list_accounts_on_follow_id ON list_accounts (follow_id)
    WHERE follow_id IS NOT NULL;
CREATE INDEX index_list_accounts_on_list_id_and_account_id ON list_accounts (list_id, account_id);
CREATE INDEX index_poll_votes_on_account_id ON poll_votes (account_id);
CREATE INDEX index_poll_votes_on_poll_id ON poll_votes (poll_id);
CREATE UNIQUE INDEX index_mentions_on_account_id_and_status_id ON mentions (account_id, status_id);
CREATE INDEX index_mentions_on_status_id ON mentions (status_id);
CREATE INDEX index_account_deletion_requests_on_account_id ON account_deletion_requests (account_id);
CREATE UNIQUE INDEX index_account_notes_on_account_id_and_target_account_id
    ON account_notes (account_id, target_account_id);
CREATE INDEX index_account_notes_on_target_account_id ON account_notes (target_account_id);
CREATE UNIQUE INDEX index_follow_recommendation_suppressions_on_account_id
    ON follow_recommendation_suppressions (account_id);
CREATE UNIQUE INDEX index_appeals_on_account_warning_id ON appeals (account_warning_id);
CREATE INDEX index_appeals_on_account_id ON appeals (account_id);
CREATE INDEX index_appeals_on_approved_by_account_id ON appeals (approved_by_account_id)
    WHERE approved_by_account_id IS NOT NULL;
CREATE INDEX index_appeals_on_rejected_by_account_id ON appeals (rejected_by_account_id)
    WHERE rejected_by_account_id IS NOT NULL;
CREATE UNIQUE INDEX index_canonical_email_blocks_on_canonical_email_hash
    ON canonical_email_blocks (canonical_email_hash);
CREATE INDEX index_canonical_email_blocks_on_reference_account_id
    ON canonical_email_blocks (reference_account_id);
CREATE UNIQUE INDEX index_conversation_mutes_on_account_id_and_conversation_id
    ON conversation_mutes (account_id, conversation_id);
CREATE UNIQUE INDEX index_unique_conversations
    ON account_conversations (account_id, conversation_id, participant_account_ids);
CREATE INDEX index_account_conversations_on_conversation_id
    ON account_conversations (conversation_id);
CREATE UNIQUE INDEX index_bookmarks_on_account_id_and_status_id ON bookmarks (account_id, status_id);
CREATE INDEX index_bookmarks_on_status_id ON bookmarks (status_id);
CREATE INDEX index_featured_tags_on_account_id ON featured_tags (account_id);
CREATE INDEX index_featured_tags_on_tag_id ON featured_tags (tag_id);
CREATE UNIQUE INDEX index_statuses_tags_on_tag_id_and_status_id ON statuses_tags (tag_id, status_id);
CREATE INDEX index_statuses_tags_on_status_id ON statuses_tags (status_id);
CREATE UNIQUE INDEX index_accounts_tags_on_tag_id_and_account_id
    ON accounts_tags (tag_id, account_id);
CREATE INDEX index_accounts_tags_on_account_id_and_tag_id ON accounts_tags (account_id, tag_id);
CREATE INDEX index_preview_cards_statuses_on_status_id_and_preview_card_id
    ON preview_cards_statuses (status_id, preview_card_id);
CREATE INDEX index_status_edits_on_account_id ON status_edits (account_id);
CREATE INDEX index_status_edits_on_status_id ON status_edits (status_id);
CREATE UNIQUE INDEX index_status_stats_on_status_id ON status_stats (status_id);
CREATE INDEX index_notifications_on_account_id_and_id_and_type
    ON notifications (account_id, id, type);
CREATE INDEX index_notifications_on_activity_id_and_activity_type
    ON notifications (activity_id, activity_type);
CREATE INDEX index_notifications_on_from_account_id ON notifications (from_account_id);
CREATE INDEX index_account_warnings_on_account_id ON account_warnings (account_id);
CREATE INDEX index_account_warnings_on_target_account_id ON account_warnings (target_account_id);
CREATE UNIQUE INDEX index_invites_on_code ON invites (code);
CREATE UNIQUE INDEX index_oauth_applications_on_uid ON oauth_applications (uid);
CREATE UNIQUE INDEX index_oauth_access_grants_on_token ON oauth_access_grants (token);
CREATE UNIQUE INDEX index_oauth_access_tokens_on_refresh_token ON oauth_access_tokens (refresh_token text_pattern_ops)
    WHERE refresh_token IS NOT NULL;
CREATE UNIQUE INDEX index_oauth_access_tokens_on_token ON oauth_access_tokens (token);
CREATE UNIQUE INDEX index_session_activations_on_session_id ON session_activations (session_id);
CREATE UNIQUE INDEX index_web_settings_on_user_id ON web_settings (user_id);
CREATE UNIQUE INDEX index_markers_on_user_id_and_timeline ON markers (user_id, timeline);
CREATE UNIQUE INDEX index_preview_card_providers_on_domain ON preview_card_providers (domain);
CREATE UNIQUE INDEX index_settings_on_thing_type_and_thing_id_and_var
    ON settings (thing_type, thing_id, var);
CREATE UNIQUE INDEX index_site_uploads_on_var ON site_uploads (var);
CREATE UNIQUE INDEX index_announcement_mutes_on_account_id_and_announcement_id
    ON announcement_mutes (account_id, announcement_id);
CREATE INDEX index_invites_on_user_id ON invites (user_id);
CREATE INDEX index_oauth_applications_on_owner_id ON oauth_applications (owner_id);
CREATE INDEX index_oauth_access_grants_on_application_id ON oauth_access_grants (application_id);
CREATE INDEX index_oauth_access_grants_on_resource_owner_id ON oauth_access_grants (resource_owner_id);
CREATE INDEX index_oauth_access_tokens_on_application_id ON oauth_access_tokens (application_id);
CREATE INDEX index_oauth_access_tokens_on_resource_owner_id ON oauth_access_tokens (resource_owner_id);
CREATE INDEX index_session_activations_on_access_token_id ON session_activations (access_token_id);
CREATE INDEX index_session_activations_on_user_id ON session_activations (user_id);
CREATE INDEX index_web_push_subscriptions_on_access_token_id ON web_push_subscriptions (access_token_id);
CREATE INDEX index_web_push_subscriptions_on_user_id ON web_push_subscriptions (user_id);
CREATE INDEX index_identities_on_user_id ON identities (user_id);
CREATE INDEX index_login_activities_on_user_id ON login_activities (user_id);
CREATE INDEX index_user_invite_requests_on_user_id ON user_invite_requests (user_id);
CREATE INDEX index_lists_on_account_id ON lists (account_id);
CREATE INDEX index_custom_filters_on_account_id ON custom_filters (account_id);
CREATE INDEX index_account_aliases_on_account_id ON account_aliases (account_id);
CREATE INDEX index_account_migrations_on_account_id ON account_migrations (account_id);
CREATE INDEX index_account_migrations_on_target_account_id ON account_migrations (target_account_id);
CREATE INDEX index_account_statuses_cleanup_policies_on_account_id ON account_statuses_cleanup_policies (account_id);
CREATE INDEX index_admin_action_logs_on_account_id ON admin_action_logs (account_id);
CREATE INDEX index_announcement_mutes_on_announcement_id ON announcement_mutes (announcement_id);
CREATE INDEX index_devices_on_access_token_id ON devices (access_token_id);
CREATE INDEX index_devices_on_account_id ON devices (account_id);
CREATE INDEX index_encrypted_messages_on_device_id ON encrypted_messages (device_id);
CREATE INDEX index_encrypted_messages_on_from_account_id ON encrypted_messages (from_account_id);
CREATE INDEX index_report_notes_on_report_id ON report_notes (report_id);
CREATE INDEX index_report_notes_on_account_id ON report_notes (account_id);
CREATE INDEX index_scheduled_statuses_on_account_id ON scheduled_statuses (account_id);

ALTER TABLE users ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE users ADD FOREIGN KEY (invite_id) REFERENCES invites ON DELETE SET NULL;
ALTER TABLE users ADD FOREIGN KEY (created_by_application_id) REFERENCES oauth_applications ON DELETE SET NULL;
ALTER TABLE account_domain_blocks ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE announcement_reactions ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE announcement_reactions ADD FOREIGN KEY (announcement_id) REFERENCES announcements ON DELETE CASCADE;
ALTER TABLE announcement_reactions ADD FOREIGN KEY (custom_emoji_id) REFERENCES custom_emojis ON DELETE CASCADE;
ALTER TABLE email_domain_blocks ADD FOREIGN KEY (parent_id) REFERENCES email_domain_blocks ON DELETE CASCADE;
ALTER TABLE media_attachments ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE media_attachments ADD FOREIGN KEY (scheduled_status_id) REFERENCES scheduled_statuses ON DELETE SET NULL;
ALTER TABLE media_attachments ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE SET NULL;
ALTER TABLE statuses ADD FOREIGN KEY (in_reply_to_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE statuses ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE statuses ADD FOREIGN KEY (in_reply_to_id) REFERENCES statuses ON DELETE SET NULL;
ALTER TABLE statuses ADD FOREIGN KEY (reblog_of_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE accounts ADD FOREIGN KEY (moved_to_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE webauthn_credentials ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE status_pins ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE status_pins ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE polls ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE polls ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE reports ADD FOREIGN KEY (action_taken_by_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE reports ADD FOREIGN KEY (assigned_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE reports ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE reports ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE tombstones ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE favourites ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE favourites ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE follows ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE follows ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE follow_requests ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE follow_requests ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE blocks ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE blocks ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE mutes ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE mutes ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_moderation_notes ADD FOREIGN KEY (account_id) REFERENCES accounts;
ALTER TABLE account_moderation_notes ADD FOREIGN KEY (target_account_id) REFERENCES accounts;
ALTER TABLE account_pins ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_pins ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_stats ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE list_accounts ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE list_accounts ADD FOREIGN KEY (follow_id) REFERENCES follows ON DELETE CASCADE;
ALTER TABLE list_accounts ADD FOREIGN KEY (list_id) REFERENCES lists ON DELETE CASCADE;
ALTER TABLE poll_votes ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE poll_votes ADD FOREIGN KEY (poll_id) REFERENCES polls ON DELETE CASCADE;
ALTER TABLE mentions ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE mentions ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE account_deletion_requests ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_notes ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_notes ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE follow_recommendation_suppressions ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE appeals ADD FOREIGN KEY (account_warning_id) REFERENCES account_warnings ON DELETE CASCADE;
ALTER TABLE appeals ADD FOREIGN KEY (approved_by_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE appeals ADD FOREIGN KEY (rejected_by_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE appeals ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE canonical_email_blocks ADD FOREIGN KEY (reference_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE conversation_mutes ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE conversation_mutes ADD FOREIGN KEY (conversation_id) REFERENCES conversations ON DELETE CASCADE;
ALTER TABLE account_conversations ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_conversations ADD FOREIGN KEY (conversation_id) REFERENCES conversations ON DELETE CASCADE;
ALTER TABLE bookmarks ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE bookmarks ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE featured_tags ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE featured_tags ADD FOREIGN KEY (tag_id) REFERENCES tags ON DELETE CASCADE;
ALTER TABLE statuses_tags ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE statuses_tags ADD FOREIGN KEY (tag_id) REFERENCES tags ON DELETE CASCADE;
ALTER TABLE status_edits ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE status_edits ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE status_stats ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE;
ALTER TABLE notifications ADD FOREIGN KEY (from_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE notifications ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_warnings ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_warnings ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE account_warnings ADD FOREIGN KEY (report_id) REFERENCES reports ON DELETE CASCADE;
ALTER TABLE invites ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE oauth_applications ADD FOREIGN KEY (owner_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE oauth_access_grants ADD FOREIGN KEY (application_id) REFERENCES oauth_applications ON DELETE CASCADE;
ALTER TABLE oauth_access_grants ADD FOREIGN KEY (resource_owner_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE oauth_access_tokens ADD FOREIGN KEY (application_id) REFERENCES oauth_applications ON DELETE CASCADE;
ALTER TABLE oauth_access_tokens ADD FOREIGN KEY (resource_owner_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE session_activations ADD FOREIGN KEY (access_token_id) REFERENCES oauth_access_tokens ON DELETE CASCADE;
ALTER TABLE session_activations ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE web_push_subscriptions ADD FOREIGN KEY (access_token_id) REFERENCES oauth_access_tokens ON DELETE CASCADE;
ALTER TABLE web_push_subscriptions ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE web_settings ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE markers ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE identities ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE login_activities ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE backups ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE SET NULL;
ALTER TABLE user_invite_requests ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE lists ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE custom_filters ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_aliases ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_migrations ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE account_migrations ADD FOREIGN KEY (target_account_id) REFERENCES accounts ON DELETE SET NULL;
ALTER TABLE account_statuses_cleanup_policies ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE admin_action_logs ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE announcement_mutes ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE announcement_mutes ADD FOREIGN KEY (announcement_id) REFERENCES announcements ON DELETE CASCADE;
ALTER TABLE devices ADD FOREIGN KEY (access_token_id) REFERENCES oauth_access_tokens ON DELETE CASCADE;
ALTER TABLE devices ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE encrypted_messages ADD FOREIGN KEY (device_id) REFERENCES devices ON DELETE CASCADE;
ALTER TABLE encrypted_messages ADD FOREIGN KEY (from_account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE imports ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE report_notes ADD FOREIGN KEY (report_id) REFERENCES reports ON DELETE CASCADE;
ALTER TABLE report_notes ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE scheduled_statuses ADD FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;

CREATE MATERIALIZED VIEW instances AS
    WITH accounts_by_domain AS (SELECT domain, count(*) AS accounts_count FROM accounts
        WHERE domain IS NOT NULL GROUP BY domain)
    SELECT domain, accounts_count FROM accounts_by_domain
    UNION SELECT b.domain, COALESCE(c.accounts_count, 0) FROM domain_blocks b LEFT JOIN accounts_by_domain c USING (domain)
    UNION SELECT a.domain, COALESCE(c.accounts_count, 0) FROM domain_allows a LEFT JOIN accounts_by_domain c USING (domain);
CREATE UNIQUE INDEX index_instances_on_domain ON instances (domain);

INSERT INTO schema_migrations VALUES
    ('20160220174730'), ('20160220211917'), ('20160221003140'), ('20160221003621'), ('20160222122600'),
    ('20160222143943'), ('20160223162837'), ('20160223164502'), ('20160223165723'), ('20160223165855'),
    ('20160223171800'), ('20160224223247'), ('20160227230233'), ('20160305115639'), ('20160306172223'),
    ('20160312193225'), ('20160314164231'), ('20160316103650'), ('20160322193748'), ('20160325130944'),
    ('20160826155805'), ('20160905150353'), ('20160919221059'), ('20160920003904'), ('20160926213048'),
    ('20161003142332'), ('20161003145426'), ('20161006213403'), ('20161009120834'), ('20161027172456'),
    ('20161104173623'), ('20161105130633'), ('20161116162355'), ('20161119211120'), ('20161122163057'),
    ('20161123093447'), ('20161128103007'), ('20161130142058'), ('20161130185319'), ('20161202132159'),
    ('20161203164520'), ('20161205214545'), ('20161221152630'), ('20161222201034'), ('20161222204147'),
    ('20170105224407'), ('20170109120109'), ('20170112154826'), ('20170114194937'), ('20170114203041'),
    ('20170119214911'), ('20170123162658'), ('20170123203248'), ('20170125145934'), ('20170127165745'),
    ('20170205175257'), ('20170209184350'), ('20170214110202'), ('20170217012631'), ('20170301222600'),
    ('20170303212857'), ('20170304202101'), ('20170317193015'), ('20170318214217'), ('20170322021028'),
    ('20170322143850'), ('20170322162804'), ('20170330021336'), ('20170330163835'), ('20170330164118'),
    ('20170403172249'), ('20170405112956'), ('20170406215816'), ('20170409170753'), ('20170414080609'),
    ('20170414132105'), ('20170418160728'), ('20170423005413'), ('20170424003227'), ('20170424112722'),
    ('20170425131920'), ('20170425202925'), ('20170427011934'), ('20170506235850'), ('20170507000211'),
    ('20170507141759'), ('20170508230434'), ('20170516072309'), ('20170520145338'), ('20170601210557'),
    ('20170604144747'), ('20170606113804'), ('20170609145826'), ('20170610000000'), ('20170623152212'),
    ('20170624134742'), ('20170625140443'), ('20170711225116'), ('20170713112503'), ('20170713175513'),
    ('20170713190709'), ('20170714184731'), ('20170716191202'), ('20170718211102'), ('20170720000000'),
    ('20170823162448'), ('20170824103029'), ('20170829215220'), ('20170901141119'), ('20170901142658'),
    ('20170905044538'), ('20170905165803'), ('20170913000752'), ('20170917153509'), ('20170918125918'),
    ('20170920024819'), ('20170920032311'), ('20170924022025'), ('20170927215609'), ('20170928082043'),
    ('20171005102658'), ('20171005171936'), ('20171006142024'), ('20171010023049'), ('20171010025614'),
    ('20171020084748'), ('20171028221157'), ('20171107143332'), ('20171107143624'), ('20171109012327'),
    ('20171114080328'), ('20171114231651'), ('20171116161857'), ('20171118012443'), ('20171119172437'),
    ('20171122120436'), ('20171125024930'), ('20171125031751'), ('20171125185353'), ('20171125190735'),
    ('20171129172043'), ('20171130000000'), ('20171201000000'), ('20171212195226'), ('20171226094803'),
    ('20180106000232'), ('20180109143959'), ('20180204034416'), ('20180206000000'), ('20180211015820'),
    ('20180304013859'), ('20180310000000'), ('20180402031200'), ('20180402040909'), ('20180410204633'),
    ('20180416210259'), ('20180506221944'), ('20180510214435'), ('20180510230049'), ('20180514130000'),
    ('20180514140000'), ('20180528141303'), ('20180608213548'), ('20180609104432'), ('20180615122121'),
    ('20180616192031'), ('20180617162849'), ('20180628181026'), ('20180707154237'), ('20180711152640'),
    ('20180808175627'), ('20180812123222'), ('20180812162710'), ('20180812173710'), ('20180813113448'),
    ('20180814171349'), ('20180820232245'), ('20180831171112'), ('20180929222014'), ('20181007025445'),
    ('20181010141500'), ('20181017170937'), ('20181018205649'), ('20181024224956'), ('20181026034033'),
    ('20181116165755'), ('20181116173541'), ('20181116184611'), ('20181127130500'), ('20181127165847'),
    ('20181203003808'), ('20181203021853'), ('20181204193439'), ('20181204215309'), ('20181207011115'),
    ('20181213184704'), ('20181213185533'), ('20181219235220'), ('20181226021420'), ('20190103124649'),
    ('20190103124754'), ('20190117114553'), ('20190201012802'), ('20190203180359'), ('20190225031541'),
    ('20190225031625'), ('20190226003449'), ('20190304152020'), ('20190306145741'), ('20190307234537'),
    ('20190314181829'), ('20190316190352'), ('20190317135723'), ('20190403141604'), ('20190409054914'),
    ('20190420025523'), ('20190509164208'), ('20190511134027'), ('20190511152737'), ('20190519130537'),
    ('20190529143559'), ('20190627222225'), ('20190627222826'), ('20190701022101'), ('20190705002136'),
    ('20190706233204'), ('20190715031050'), ('20190715164535'), ('20190726175042'), ('20190729185330'),
    ('20190805123746'), ('20190807135426'), ('20190815225426'), ('20190819134503'), ('20190820003045'),
    ('20190823221802'), ('20190901035623'), ('20190901040524'), ('20190904222339'), ('20190914202517'),
    ('20190915194355'), ('20190917213523'), ('20190927124642'), ('20190927232842'), ('20191001213028'),
    ('20191007013357'), ('20191031163205'), ('20191212003415'), ('20191212163405'), ('20191218153258'),
    ('20200113125135'), ('20200114113335'), ('20200119112504'), ('20200126203551'), ('20200306035625'),
    ('20200309150742'), ('20200312144258'), ('20200312162302'), ('20200312185443'), ('20200317021758'),
    ('20200407201300'), ('20200407202420'), ('20200417125749'), ('20200508212852'), ('20200510110808'),
    ('20200510181721'), ('20200516180352'), ('20200516183822'), ('20200518083523'), ('20200521180606'),
    ('20200529214050'), ('20200601222558'), ('20200605155027'), ('20200608113046'), ('20200614002136'),
    ('20200620164023'), ('20200622213645'), ('20200627125810'), ('20200628133322'), ('20200630190240'),
    ('20200630190544'), ('20200908193330'), ('20200917192924'), ('20200917193034'), ('20200917193528'),
    ('20200917222316'), ('20200917222734'), ('20201008202037'), ('20201008220312'), ('20201017233919'),
    ('20201017234926'), ('20201206004238'), ('20201218054746'), ('20210221045109'), ('20210306164523'),
    ('20210308133107'), ('20210322164601'), ('20210323114347'), ('20210324171613'), ('20210416200740'),
    ('20210421121431'), ('20210425135952'), ('20210502233513'), ('20210505174616'), ('20210507001928'),
    ('20210526193025'), ('20210609202149'), ('20210616214135'), ('20210616214526'), ('20210621221010'),
    ('20210630000137'), ('20210722120340'), ('20210808071221'), ('20210904215403'), ('20210908220918'),
    ('20211031031021'), ('20211112011713'), ('20211115032527'), ('20211123212714'), ('20211126000907'),
    ('20211213040746'), ('20211231080958'), ('20220105163928'), ('20220109213908'), ('20220115125126'),
    ('20220115125341'), ('20220116202951'), ('20220118183010'), ('20220118183123'), ('20220124141035'),
    ('20220202200743'), ('20220202200926'), ('20220202201015'), ('20220210153119'), ('20220224010024'),
    ('20220227041951'), ('20220302232632'), ('20220303000827'), ('20220303203437'), ('20220304195405'),
    ('20220307083603'), ('20220307094650'), ('20220309213005'), ('20220310060545'), ('20220310060556'),
    ('20220310060614'), ('20220310060626'), ('20220310060641'), ('20220310060653'), ('20220310060706'),
    ('20220310060722'), ('20220310060740'), ('20220310060750'), ('20220310060809'), ('20220310060833'),
    ('20220310060854'), ('20220310060913'), ('20220310060926'), ('20220310060939'), ('20220310060959'),
    ('20220316233212'), ('20220428112511'), ('20220428112727'), ('20220428114454'), ('20220428114902'),
    ('20220429101025'), ('20220429101850');
