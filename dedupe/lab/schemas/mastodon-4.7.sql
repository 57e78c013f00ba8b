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
    ('20220527114923'), ('20220606044941'), ('20220611210335'), ('20220611212541'), ('20220613110628'),
    ('20220613110711'), ('20220613110802'), ('20220613110834'), ('20220613110903'), ('20220617202502'),
    ('20220704024901'), ('20220710102457'), ('20220714171049'), ('20220729171123'), ('20220808101323'),
    ('20220824164433'), ('20220824164532'), ('20220824233535'), ('20220827195229'), ('20220829192633'),
    ('20220829192658'), ('20221006061337'), ('20221012181003'), ('20221021055441'), ('20221025171544'),
    ('20221101190723'), ('20221104133904'), ('20221206114142'), ('20230129023109'), ('20230215074327'),
    ('20230215074423'), ('20230330135507'), ('20230330140036'), ('20230330155710'), ('20230524190515'),
    ('20230524192812'), ('20230524194155'), ('20230531153942'), ('20230531154811'), ('20230605085710'),
    ('20230605085711'), ('20230630145300'), ('20230702131023'), ('20230702151753'), ('20230724160715'),
    ('20230725213448'), ('20230803082451'), ('20230803112520'), ('20230811103651'), ('20230814223300'),
    ('20230818141056'), ('20230818142253'), ('20230822081029'), ('20230904134623'), ('20230907150100'),
    ('20231006183200'), ('20231018192110'), ('20231018193209'), ('20231018193355'), ('20231018193659'),
    ('20231210154528'), ('20231211234923'), ('20231212073317'), ('20231222100226'), ('20240109103012'),
    ('20240111033014'), ('20240217171534'), ('20240221195424'), ('20240221195828'), ('20240221211359'),
    ('20240222193403'), ('20240222203722'), ('20240227191620'), ('20240304090449'), ('20240307180905'),
    ('20240310123453'), ('20240312100644'), ('20240312105620'), ('20240320140159'), ('20240320163441'),
    ('20240321160706'), ('20240322125607'), ('20240322130318'), ('20240322161611'), ('20240510192043'),
    ('20240513095755'), ('20240513123807'), ('20240522041528'), ('20240603195202'), ('20240607093446'),
    ('20240607093954'), ('20240607094603'), ('20240607094856'), ('20240712064044'), ('20240713171841'),
    ('20240713171909'), ('20240720140205'), ('20240724181224'), ('20240808114841'), ('20240808124338'),
    ('20240808124339'), ('20240808125420'), ('20240909014637'), ('20240916190140'), ('20240918233930'),
    ('20241007071624'), ('20241014010506'), ('20241022214312'), ('20241104082851'), ('20241111141355'),
    ('20241123160722'), ('20241123224956'), ('20241205103523'), ('20241205135901'), ('20241205135925'),
    ('20241205162640'), ('20241205163118'), ('20241206131513'), ('20241210140838'), ('20241212152158'),
    ('20241212152618'), ('20241212152734'), ('20241212152910'), ('20241212153054'), ('20241212153202'),
    ('20241212153254'), ('20241212154231'), ('20241212154346'), ('20241213130230'), ('20241213170027'),
    ('20241213170036'), ('20241213170043'), ('20241213170053'), ('20241216223425'), ('20241216223433'),
    ('20241216223446'), ('20241216223452'), ('20241216223852'), ('20241216223859'), ('20241216224211'),
    ('20241216224218'), ('20241216224229'), ('20241216224237'), ('20241216224507'), ('20241216224514'),
    ('20241216224520'), ('20241216224530'), ('20241216224813'), ('20241216224825'), ('20250103131909'),
    ('20250108111200'), ('20250129144440'), ('20250129144813'), ('20250221143646'), ('20250224144617'),
    ('20250305074104'), ('20250313123400'), ('20250328153843'), ('20250410144908'), ('20250411094808'),
    ('20250411095859'), ('20250422083912'), ('20250422084214'), ('20250422085027'), ('20250422085303'),
    ('20250425134308'), ('20250428095029'), ('20250428104538'), ('20250520192024'), ('20250520204643'),
    ('20250605110215'), ('20250627132728'), ('20250717003848'), ('20250805075010'), ('20250819100545'),
    ('20250820084312'), ('20250828222741'), ('20250902221600'), ('20250909100506'), ('20250911163952'),
    ('20250912082651'), ('20250924170259'), ('20251002140103'), ('20251007100627'), ('20251007100813'),
    ('20251007142305'), ('20251023210145'), ('20251117023614'), ('20251118115657'), ('20251119093332'),
    ('20251201154910'), ('20251201155054'), ('20251202140424'), ('20251209093813'), ('20251217091936'),
    ('20260115153219'), ('20260119153538'), ('20260127141459'), ('20260127141820'), ('20260209142402'),
    ('20260209143308'), ('20260211132603'), ('20260212113020'), ('20260212131934'), ('20260217154542'),
    ('20260303144409'), ('20260310095021'), ('20260311152331'), ('20260311212130'), ('20260318144837'),
    ('20260319142348'), ('20260323105645'), ('20260325151755'), ('20260326112324'), ('20260410083500'),
    ('20260415133505'), ('20260420124030'), ('20260423141611'), ('20260425144553'), ('20260505155103'),
    ('20260611150940'), ('20260618114230'), ('20260629124918'), ('20260629125635'), ('20260629125939'),
    ('20260630070531'), ('20260630070600'), ('20260701160541'), ('20260701161457'), ('20260701161826'),
    ('20260702144128'), ('20260706122112'), ('20260706143100'), ('20260720090737'), ('20260720092724'),
    ('20260720100326'), ('20260720103819'), ('20260720104058'), ('20260720113713'), ('20260720124731'),
    ('20260728124057'), ('20260728145403'), ('20260728145507'), ('20260803140751'), ('20260803172525'),
    ('20260804081821'), ('20260805130216'), ('20260812154114');
