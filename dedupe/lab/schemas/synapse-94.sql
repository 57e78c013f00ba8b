-- The tables of Matrix Synapse at schema 94 (Synapse 1.151) that its recipe meets, with every unique index and foreign
-- key of theirs, those that its background updates make included. For rehearsals and tests; what a repair does not
-- look at (most other indexes, sequences, tables without a unique key) is left out.

CREATE TABLE schema_version (
    lock char(1) NOT NULL DEFAULT 'X', version integer NOT NULL, upgraded boolean NOT NULL,
    CONSTRAINT schema_version_lock_key UNIQUE (lock)
);
CREATE TABLE applied_schema_deltas (
    version integer NOT NULL, file text NOT NULL,
    CONSTRAINT applied_schema_deltas_version_file_key UNIQUE (version, file)
);
CREATE TABLE current_state_events (
    event_id text NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL,
    membership text, event_stream_ordering bigint,
    CONSTRAINT current_state_events_event_id_key UNIQUE (event_id),
    CONSTRAINT current_state_events_room_id_type_state_key_key UNIQUE (room_id, type, state_key)
);
CREATE TABLE local_current_membership (
    room_id text NOT NULL, user_id text NOT NULL, event_id text NOT NULL, membership text NOT NULL,
    event_stream_ordering bigint
);
CREATE UNIQUE INDEX local_current_membership_idx ON local_current_membership (user_id, room_id);
CREATE TABLE room_memberships (
    event_id text NOT NULL, user_id text NOT NULL, sender text NOT NULL, room_id text NOT NULL,
    membership text NOT NULL, forgotten integer DEFAULT 0, display_name text, avatar_url text,
    event_stream_ordering bigint, participant boolean DEFAULT false,
    CONSTRAINT room_memberships_event_id_key UNIQUE (event_id)
);
CREATE TABLE state_events (
    event_id text NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL,
    prev_state text, CONSTRAINT state_events_event_id_key UNIQUE (event_id)
);
CREATE TABLE event_json (
    event_id text NOT NULL, room_id text NOT NULL, internal_metadata text NOT NULL, json text NOT NULL,
    format_version integer, CONSTRAINT event_json_event_id_key UNIQUE (event_id)
);
CREATE TABLE event_to_state_groups (
    event_id text NOT NULL, state_group bigint NOT NULL,
    CONSTRAINT event_to_state_groups_event_id_key UNIQUE (event_id)
);
CREATE TABLE event_edges (
    event_id text NOT NULL, prev_event_id text NOT NULL, room_id text, is_state boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX event_edges_event_id_prev_event_id_idx ON event_edges (event_id, prev_event_id);
CREATE TABLE event_forward_extremities (
    event_id text NOT NULL, room_id text NOT NULL,
    CONSTRAINT event_forward_extremities_event_id_room_id_key UNIQUE (event_id, room_id)
);
CREATE TABLE event_backward_extremities (
    event_id text NOT NULL, room_id text NOT NULL,
    CONSTRAINT event_backward_extremities_event_id_room_id_key UNIQUE (event_id, room_id)
);
CREATE TABLE event_auth_chains (
    event_id text NOT NULL, chain_id bigint NOT NULL, sequence_number bigint NOT NULL,
    CONSTRAINT event_auth_chains_pkey PRIMARY KEY (event_id)
);
CREATE UNIQUE INDEX event_auth_chains_c_seq_index ON event_auth_chains (chain_id, sequence_number);
CREATE TABLE event_auth_chain_to_calculate (
    event_id text NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL,
    CONSTRAINT event_auth_chain_to_calculate_pkey PRIMARY KEY (event_id)
);
CREATE TABLE event_relations (
    event_id text NOT NULL, relates_to_id text NOT NULL, relation_type text NOT NULL, aggregation_key text
);
CREATE UNIQUE INDEX event_relations_id ON event_relations (event_id);
CREATE TABLE event_labels (
    event_id text NOT NULL, label text NOT NULL, room_id text NOT NULL, topological_ordering bigint NOT NULL,
    CONSTRAINT event_labels_pkey PRIMARY KEY (event_id, label)
);
CREATE TABLE event_search (
    event_id text, room_id text, sender text, key text, vector tsvector, origin_server_ts bigint,
    stream_ordering bigint
);
CREATE UNIQUE INDEX event_search_event_id_idx ON event_search (event_id);
CREATE TABLE event_expiry (
    event_id text NOT NULL, expiry_ts bigint NOT NULL, CONSTRAINT event_expiry_pkey PRIMARY KEY (event_id)
);
CREATE TABLE redactions (
    event_id text NOT NULL, redacts text NOT NULL, have_censored boolean NOT NULL DEFAULT false,
    received_ts bigint, recheck boolean NOT NULL DEFAULT true,
    CONSTRAINT redactions_event_id_key UNIQUE (event_id)
);
CREATE TABLE rejections (
    event_id text NOT NULL, reason text NOT NULL, last_check text NOT NULL,
    CONSTRAINT rejections_event_id_key UNIQUE (event_id)
);
CREATE TABLE event_txn_id_device_id (
    event_id text NOT NULL, room_id text NOT NULL, user_id text NOT NULL, device_id text NOT NULL,
    txn_id text NOT NULL, inserted_ts bigint NOT NULL
);
CREATE UNIQUE INDEX event_txn_id_device_id_event_id ON event_txn_id_device_id (event_id);
CREATE UNIQUE INDEX event_txn_id_device_id_txn_id2
    ON event_txn_id_device_id (user_id, device_id, room_id, txn_id);
CREATE TABLE event_push_summary (
    user_id text NOT NULL, room_id text NOT NULL, notif_count bigint NOT NULL, stream_ordering bigint NOT NULL,
    unread_count bigint, last_receipt_stream_ordering bigint, thread_id text
);
CREATE UNIQUE INDEX event_push_summary_unique_index2 ON event_push_summary (user_id, room_id, thread_id);
CREATE TABLE threads (
    room_id text NOT NULL, thread_id text NOT NULL, latest_event_id text NOT NULL,
    topological_ordering bigint NOT NULL, stream_ordering bigint NOT NULL,
    CONSTRAINT threads_uniqueness UNIQUE (room_id, thread_id)
);
CREATE TABLE sliding_sync_joined_rooms (
    room_id text NOT NULL, event_stream_ordering bigint NOT NULL, bump_stamp bigint, room_type text,
    room_name text, is_encrypted boolean NOT NULL DEFAULT false, tombstone_successor_room_id text,
    CONSTRAINT sliding_sync_joined_rooms_pkey PRIMARY KEY (room_id)
);
CREATE UNIQUE INDEX sliding_sync_joined_rooms_event_stream_ordering
    ON sliding_sync_joined_rooms (event_stream_ordering);
CREATE TABLE sliding_sync_membership_snapshots (
    room_id text NOT NULL, user_id text NOT NULL, sender text NOT NULL, membership_event_id text NOT NULL,
    membership text NOT NULL, forgotten integer NOT NULL DEFAULT 0, event_stream_ordering bigint NOT NULL,
    event_instance_name text NOT NULL, has_known_state boolean NOT NULL DEFAULT false, room_type text,
    room_name text, is_encrypted boolean NOT NULL DEFAULT false, tombstone_successor_room_id text,
    CONSTRAINT sliding_sync_membership_snapshots_pkey PRIMARY KEY (room_id, user_id)
);
CREATE UNIQUE INDEX sliding_sync_membership_snapshots_event_stream_ordering
    ON sliding_sync_membership_snapshots (event_stream_ordering);
CREATE TABLE thread_subscriptions (
    stream_id integer NOT NULL, instance_name text NOT NULL, room_id text NOT NULL, event_id text NOT NULL,
    user_id text NOT NULL, subscribed boolean NOT NULL, automatic boolean NOT NULL,
    unsubscribed_at_stream_ordering bigint, unsubscribed_at_topological_ordering bigint,
    CONSTRAINT thread_subscriptions_pkey PRIMARY KEY (stream_id),
    CONSTRAINT thread_subscriptions_room_id_event_id_user_id_key UNIQUE (room_id, event_id, user_id)
);
CREATE TABLE receipts_linearized (
    stream_id bigint NOT NULL, room_id text NOT NULL, receipt_type text NOT NULL, user_id text NOT NULL,
    event_id text NOT NULL, data text NOT NULL, instance_name text, event_stream_ordering bigint,
    thread_id text,
    CONSTRAINT receipts_linearized_uniqueness_thread UNIQUE (room_id, receipt_type, user_id, thread_id)
);
CREATE UNIQUE INDEX receipts_linearized_unique_index
    ON receipts_linearized (room_id, receipt_type, user_id) WHERE (thread_id IS NULL);
CREATE TABLE receipts_graph (
    room_id text NOT NULL, receipt_type text NOT NULL, user_id text NOT NULL, event_ids text NOT NULL,
    data text NOT NULL, thread_id text,
    CONSTRAINT receipts_graph_uniqueness_thread UNIQUE (room_id, receipt_type, user_id, thread_id)
);
CREATE UNIQUE INDEX receipts_graph_unique_index
    ON receipts_graph (room_id, receipt_type, user_id) WHERE (thread_id IS NULL);
CREATE TABLE destination_rooms (
    destination text NOT NULL, room_id text NOT NULL, stream_ordering bigint NOT NULL,
    CONSTRAINT destination_rooms_pkey PRIMARY KEY (destination, room_id)
);
CREATE TABLE events (
    topological_ordering bigint NOT NULL, event_id text NOT NULL, type text NOT NULL, room_id text NOT NULL,
    content text, unrecognized_keys text, processed boolean NOT NULL, outlier boolean NOT NULL,
    depth bigint NOT NULL DEFAULT 0, origin_server_ts bigint, received_ts bigint, sender text,
    contains_url boolean, instance_name text, stream_ordering bigint, state_key text, rejection_reason text,
    CONSTRAINT events_event_id_key UNIQUE (event_id)
);
CREATE UNIQUE INDEX events_stream_ordering ON events (stream_ordering);
CREATE TABLE rooms (
    room_id text NOT NULL, is_public boolean, creator text, room_version text, has_auth_chain_index boolean,
    CONSTRAINT rooms_pkey PRIMARY KEY (room_id)
);
CREATE TABLE room_aliases (
    room_alias text NOT NULL, room_id text NOT NULL, creator text,
    CONSTRAINT room_aliases_room_alias_key UNIQUE (room_alias)
);
CREATE TABLE room_depth (
    room_id text NOT NULL, min_depth bigint, CONSTRAINT room_depth_room_id_key UNIQUE (room_id)
);
CREATE TABLE room_retention (
    room_id text NOT NULL, event_id text NOT NULL, min_lifetime bigint, max_lifetime bigint,
    CONSTRAINT room_retention_pkey PRIMARY KEY (room_id, event_id)
);
CREATE TABLE room_stats_state (
    room_id text NOT NULL, name text, canonical_alias text, join_rules text, history_visibility text,
    encryption text, avatar text, guest_access text, is_federatable boolean, topic text, room_type text
);
CREATE UNIQUE INDEX room_stats_state_room ON room_stats_state (room_id);
CREATE TABLE room_stats_current (
    room_id text NOT NULL, current_state_events integer NOT NULL, joined_members integer NOT NULL,
    invited_members integer NOT NULL, left_members integer NOT NULL, banned_members integer NOT NULL,
    local_users_in_room integer NOT NULL, completed_delta_stream_id bigint NOT NULL, knocked_members integer,
    CONSTRAINT room_stats_current_pkey PRIMARY KEY (room_id)
);
CREATE TABLE room_stats_earliest_token (
    room_id text NOT NULL, token bigint NOT NULL
);
CREATE UNIQUE INDEX room_stats_earliest_token_idx ON room_stats_earliest_token (room_id);
CREATE TABLE blocked_rooms (
    room_id text NOT NULL, user_id text NOT NULL
);
CREATE UNIQUE INDEX blocked_rooms_idx ON blocked_rooms (room_id);
CREATE TABLE partial_state_rooms (
    room_id text NOT NULL, device_lists_stream_id bigint NOT NULL DEFAULT 0, join_event_id text,
    joined_via text, CONSTRAINT partial_state_rooms_pkey PRIMARY KEY (room_id)
);
CREATE TABLE partial_state_events (
    room_id text NOT NULL, event_id text NOT NULL,
    CONSTRAINT partial_state_events_event_id_key UNIQUE (event_id)
);
CREATE TABLE partial_state_rooms_servers (
    room_id text NOT NULL, server_name text NOT NULL,
    CONSTRAINT partial_state_rooms_servers_room_id_server_name_key UNIQUE (room_id, server_name)
);
CREATE TABLE users (
    name text, password_hash text, creation_ts bigint, admin smallint NOT NULL DEFAULT 0, upgrade_ts bigint,
    is_guest smallint NOT NULL DEFAULT 0, appservice_id text, consent_version text,
    consent_server_notice_sent text, user_type text, deactivated smallint NOT NULL DEFAULT 0,
    shadow_banned boolean, consent_ts bigint, approved boolean, locked boolean NOT NULL DEFAULT false,
    suspended boolean NOT NULL DEFAULT false, CONSTRAINT users_name_key UNIQUE (name)
);
CREATE TABLE profiles (
    user_id text NOT NULL, displayname text, avatar_url text, full_user_id text, fields jsonb,
    CONSTRAINT profiles_user_id_key UNIQUE (user_id)
);
CREATE TABLE user_external_ids (
    auth_provider text NOT NULL, external_id text NOT NULL, user_id text NOT NULL,
    CONSTRAINT user_external_ids_auth_provider_external_id_key UNIQUE (auth_provider, external_id)
);
CREATE TABLE user_threepids (
    user_id text NOT NULL, medium text NOT NULL, address text NOT NULL, validated_at bigint NOT NULL,
    added_at bigint NOT NULL, CONSTRAINT medium_address UNIQUE (medium, address)
);
CREATE TABLE user_threepid_id_server (
    user_id text NOT NULL, medium text NOT NULL, address text NOT NULL, id_server text NOT NULL
);
CREATE UNIQUE INDEX user_threepid_id_server_idx
    ON user_threepid_id_server (user_id, medium, address, id_server);
CREATE TABLE pushers (
    id bigint NOT NULL, user_name text NOT NULL, access_token bigint, profile_tag text NOT NULL,
    kind text NOT NULL, app_id text NOT NULL, app_display_name text NOT NULL,
    device_display_name text NOT NULL, pushkey text NOT NULL, ts bigint NOT NULL, lang text, data text,
    last_stream_ordering bigint, last_success bigint, failing_since bigint, enabled boolean, device_id text,
    instance_name text, CONSTRAINT pushers2_pkey PRIMARY KEY (id),
    CONSTRAINT pushers2_app_id_pushkey_user_name_key UNIQUE (app_id, pushkey, user_name)
);
CREATE TABLE access_tokens (
    id bigint NOT NULL, user_id text NOT NULL, device_id text, token text NOT NULL, valid_until_ms bigint,
    puppets_user_id text, last_validated bigint, refresh_token_id bigint, used boolean,
    CONSTRAINT access_tokens_pkey PRIMARY KEY (id), CONSTRAINT access_tokens_token_key UNIQUE (token)
);
CREATE TABLE refresh_tokens (
    id bigint NOT NULL, user_id text NOT NULL, device_id text NOT NULL, token text NOT NULL,
    next_token_id bigint, expiry_ts bigint, ultimate_session_expiry_ts bigint,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id), CONSTRAINT refresh_tokens_token_key UNIQUE (token)
);
CREATE TABLE registration_tokens (
    token text NOT NULL, uses_allowed integer, pending integer NOT NULL, completed integer NOT NULL,
    expiry_time bigint, CONSTRAINT registration_tokens_token_key UNIQUE (token)
);
CREATE TABLE user_ips (
    user_id text NOT NULL, access_token text NOT NULL, device_id text, ip text NOT NULL,
    user_agent text NOT NULL, last_seen bigint NOT NULL
);
CREATE UNIQUE INDEX user_ips_user_token_ip_unique_index ON user_ips (user_id, access_token, ip);
CREATE TABLE user_filters (
    user_id text NOT NULL, filter_id bigint NOT NULL, filter_json bytea NOT NULL, full_user_id text
);
CREATE UNIQUE INDEX full_users_unique_idx ON user_filters (full_user_id, filter_id);
CREATE UNIQUE INDEX user_filters_unique ON user_filters (user_id, filter_id);
CREATE TABLE monthly_active_users (
    user_id text NOT NULL, "timestamp" bigint NOT NULL
);
CREATE UNIQUE INDEX monthly_active_users_users ON monthly_active_users (user_id);
CREATE TABLE erased_users (
    user_id text NOT NULL
);
CREATE UNIQUE INDEX erased_users_user ON erased_users (user_id);
CREATE TABLE ignored_users (
    ignorer_user_id text NOT NULL, ignored_user_id text NOT NULL
);
CREATE UNIQUE INDEX ignored_users_uniqueness ON ignored_users (ignorer_user_id, ignored_user_id);
CREATE TABLE account_data (
    user_id text NOT NULL, account_data_type text NOT NULL, stream_id bigint NOT NULL, content text NOT NULL,
    instance_name text, CONSTRAINT account_data_uniqueness UNIQUE (user_id, account_data_type)
);
CREATE TABLE room_account_data (
    user_id text NOT NULL, room_id text NOT NULL, account_data_type text NOT NULL, stream_id bigint NOT NULL,
    content text NOT NULL, instance_name text,
    CONSTRAINT room_account_data_uniqueness UNIQUE (user_id, room_id, account_data_type)
);
CREATE TABLE room_tags (
    user_id text NOT NULL, room_id text NOT NULL, tag text NOT NULL, content text NOT NULL,
    CONSTRAINT room_tag_uniqueness UNIQUE (user_id, room_id, tag)
);
CREATE TABLE room_tags_revisions (
    user_id text NOT NULL, room_id text NOT NULL, stream_id bigint NOT NULL, instance_name text,
    CONSTRAINT room_tag_revisions_uniqueness UNIQUE (user_id, room_id)
);
CREATE TABLE push_rules (
    id bigint NOT NULL, user_name text NOT NULL, rule_id text NOT NULL, priority_class smallint NOT NULL,
    priority integer NOT NULL DEFAULT 0, conditions text NOT NULL, actions text NOT NULL,
    CONSTRAINT push_rules_pkey PRIMARY KEY (id),
    CONSTRAINT push_rules_user_name_rule_id_key UNIQUE (user_name, rule_id)
);
CREATE TABLE push_rules_enable (
    id bigint NOT NULL, user_name text NOT NULL, rule_id text NOT NULL, enabled smallint,
    CONSTRAINT push_rules_enable_pkey PRIMARY KEY (id),
    CONSTRAINT push_rules_enable_user_name_rule_id_key UNIQUE (user_name, rule_id)
);
CREATE TABLE devices (
    user_id text NOT NULL, device_id text NOT NULL, display_name text, last_seen bigint, ip text,
    user_agent text, hidden boolean DEFAULT false, CONSTRAINT device_uniqueness UNIQUE (user_id, device_id)
);
CREATE TABLE device_lists_remote_cache (
    user_id text NOT NULL, device_id text NOT NULL, content text NOT NULL
);
CREATE UNIQUE INDEX device_lists_remote_cache_unique_id ON device_lists_remote_cache (user_id, device_id);
CREATE TABLE device_lists_remote_extremeties (
    user_id text NOT NULL, stream_id text NOT NULL
);
CREATE UNIQUE INDEX device_lists_remote_extremeties_unique_idx ON device_lists_remote_extremeties (user_id);
CREATE TABLE device_lists_remote_resync (
    user_id text NOT NULL, added_ts bigint NOT NULL
);
CREATE UNIQUE INDEX device_lists_remote_resync_idx ON device_lists_remote_resync (user_id);
CREATE TABLE device_lists_remote_pending (
    stream_id bigint NOT NULL, user_id text NOT NULL, device_id text NOT NULL, instance_name text,
    CONSTRAINT device_lists_remote_pending_pkey PRIMARY KEY (stream_id)
);
CREATE UNIQUE INDEX device_lists_remote_pending_user_device_id
    ON device_lists_remote_pending (user_id, device_id);
CREATE TABLE device_lists_outbound_last_success (
    destination text NOT NULL, user_id text NOT NULL, stream_id bigint NOT NULL
);
CREATE UNIQUE INDEX device_lists_outbound_last_success_unique_idx
    ON device_lists_outbound_last_success (destination, user_id);
CREATE TABLE device_lists_changes_in_room (
    user_id text NOT NULL, device_id text NOT NULL, room_id text NOT NULL, stream_id bigint NOT NULL,
    converted_to_destinations boolean NOT NULL, opentracing_context text, instance_name text,
    inserted_ts bigint
);
CREATE UNIQUE INDEX device_lists_changes_in_stream_id ON device_lists_changes_in_room (stream_id, room_id);
CREATE TABLE e2e_device_keys_json (
    user_id text NOT NULL, device_id text NOT NULL, ts_added_ms bigint NOT NULL, key_json text NOT NULL,
    CONSTRAINT e2e_device_keys_json_uniqueness UNIQUE (user_id, device_id)
);
CREATE TABLE e2e_one_time_keys_json (
    user_id text NOT NULL, device_id text NOT NULL, algorithm text NOT NULL, key_id text NOT NULL,
    ts_added_ms bigint NOT NULL, key_json text NOT NULL,
    CONSTRAINT e2e_one_time_keys_json_uniqueness UNIQUE (user_id, device_id, algorithm, key_id)
);
CREATE TABLE e2e_fallback_keys_json (
    user_id text NOT NULL, device_id text NOT NULL, algorithm text NOT NULL, key_id text NOT NULL,
    key_json text NOT NULL, used boolean NOT NULL DEFAULT false,
    CONSTRAINT e2e_fallback_keys_json_uniqueness UNIQUE (user_id, device_id, algorithm)
);
CREATE TABLE e2e_cross_signing_keys (
    user_id text NOT NULL, keytype text NOT NULL, keydata text NOT NULL, stream_id bigint NOT NULL,
    updatable_without_uia_before_ms bigint, instance_name text
);
CREATE UNIQUE INDEX e2e_cross_signing_keys_idx ON e2e_cross_signing_keys (user_id, keytype, stream_id);
CREATE UNIQUE INDEX e2e_cross_signing_keys_stream_idx ON e2e_cross_signing_keys (stream_id);
CREATE TABLE e2e_room_keys (
    user_id text NOT NULL, room_id text NOT NULL, session_id text NOT NULL, version bigint NOT NULL,
    first_message_index integer, forwarded_count integer, is_verified boolean, session_data text NOT NULL
);
CREATE UNIQUE INDEX e2e_room_keys_with_version_idx ON e2e_room_keys (user_id, version, room_id, session_id);
CREATE TABLE e2e_room_keys_versions (
    user_id text NOT NULL, version bigint NOT NULL, algorithm text NOT NULL, auth_data text NOT NULL,
    deleted smallint NOT NULL DEFAULT 0, etag bigint
);
CREATE UNIQUE INDEX e2e_room_keys_versions_idx ON e2e_room_keys_versions (user_id, version);
CREATE TABLE dehydrated_devices (
    user_id text NOT NULL, device_id text NOT NULL, device_data text NOT NULL,
    CONSTRAINT dehydrated_devices_pkey PRIMARY KEY (user_id)
);
CREATE TABLE local_media_repository (
    media_id text, media_type text, media_length integer, created_ts bigint, upload_name text, user_id text,
    quarantined_by text, url_cache text, last_access_ts bigint,
    safe_from_quarantine boolean NOT NULL DEFAULT false, authenticated boolean NOT NULL DEFAULT false,
    sha256 text, CONSTRAINT local_media_repository_media_id_key UNIQUE (media_id)
);
CREATE TABLE local_media_repository_thumbnails (
    media_id text, thumbnail_width integer, thumbnail_height integer, thumbnail_type text,
    thumbnail_method text, thumbnail_length integer
);
CREATE UNIQUE INDEX local_media_repository_thumbn_media_id_width_height_method_key
    ON local_media_repository_thumbnails (media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method);
CREATE TABLE remote_media_cache (
    media_origin text, media_id text, media_type text, created_ts bigint, upload_name text,
    media_length integer, filesystem_id text, last_access_ts bigint, quarantined_by text,
    authenticated boolean NOT NULL DEFAULT false, sha256 text,
    CONSTRAINT remote_media_cache_media_origin_media_id_key UNIQUE (media_origin, media_id)
);
CREATE TABLE remote_media_cache_thumbnails (
    media_origin text, media_id text, thumbnail_width integer, thumbnail_height integer, thumbnail_method text,
    thumbnail_type text, thumbnail_length integer, filesystem_id text
);
CREATE UNIQUE INDEX remote_media_repository_thumbn_media_origin_id_width_height_met
    ON remote_media_cache_thumbnails (media_origin, media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method);
CREATE TABLE destinations (
    destination text NOT NULL, retry_last_ts bigint, retry_interval bigint, failure_ts bigint,
    last_successful_stream_ordering bigint, CONSTRAINT destinations_pkey PRIMARY KEY (destination)
);
CREATE TABLE server_keys_json (
    server_name text NOT NULL, key_id text NOT NULL, from_server text NOT NULL, ts_added_ms bigint NOT NULL,
    ts_valid_until_ms bigint NOT NULL, key_json bytea NOT NULL,
    CONSTRAINT server_keys_json_uniqueness UNIQUE (server_name, key_id, from_server)
);
CREATE TABLE server_signature_keys (
    server_name text, key_id text, from_server text, ts_added_ms bigint, verify_key bytea,
    ts_valid_until_ms bigint,
    CONSTRAINT server_signature_keys_server_name_key_id_key UNIQUE (server_name, key_id)
);
CREATE TABLE federation_inbound_events_staging (
    origin text NOT NULL, room_id text NOT NULL, event_id text NOT NULL, received_ts bigint NOT NULL,
    event_json text NOT NULL, internal_metadata text NOT NULL
);
CREATE UNIQUE INDEX federation_inbound_events_staging_instance_event
    ON federation_inbound_events_staging (origin, event_id);
CREATE TABLE received_transactions (
    transaction_id text, origin text, ts bigint, response_code integer, response_json bytea,
    has_been_referenced smallint DEFAULT 0,
    CONSTRAINT received_transactions_transaction_id_origin_key UNIQUE (transaction_id, origin)
);
CREATE TABLE event_failed_pull_attempts (
    room_id text NOT NULL, event_id text NOT NULL, num_attempts integer NOT NULL,
    last_attempt_ts bigint NOT NULL, last_cause text NOT NULL,
    CONSTRAINT event_failed_pull_attempts_pkey PRIMARY KEY (room_id, event_id)
);
CREATE TABLE federation_stream_position (
    type text NOT NULL, stream_id bigint NOT NULL, instance_name text NOT NULL DEFAULT 'master'
);
CREATE UNIQUE INDEX federation_stream_position_instance ON federation_stream_position (type, instance_name);
CREATE TABLE stream_positions (
    stream_name text NOT NULL, instance_name text NOT NULL, stream_id bigint NOT NULL
);
CREATE UNIQUE INDEX stream_positions_idx ON stream_positions (stream_name, instance_name);
CREATE TABLE application_services_state (
    as_id text NOT NULL, state varchar(5), read_receipt_stream_id bigint, presence_stream_id bigint,
    to_device_stream_id bigint, device_list_stream_id bigint,
    CONSTRAINT application_services_state_pkey PRIMARY KEY (as_id)
);
CREATE TABLE application_services_txns (
    as_id text NOT NULL, txn_id bigint NOT NULL, event_ids text NOT NULL,
    CONSTRAINT application_services_txns_as_id_txn_id_key UNIQUE (as_id, txn_id)
);
CREATE TABLE appservice_room_list (
    appservice_id text NOT NULL, network_id text NOT NULL, room_id text NOT NULL
);
CREATE UNIQUE INDEX appservice_room_list_idx ON appservice_room_list (appservice_id, network_id, room_id);
CREATE TABLE user_directory (
    user_id text NOT NULL, room_id text, display_name text, avatar_url text
);
CREATE UNIQUE INDEX user_directory_user_idx ON user_directory (user_id);
CREATE TABLE user_directory_search (
    user_id text NOT NULL, vector tsvector
);
CREATE UNIQUE INDEX user_directory_search_user_idx ON user_directory_search (user_id);
CREATE TABLE users_in_public_rooms (
    user_id text NOT NULL, room_id text NOT NULL
);
CREATE UNIQUE INDEX users_in_public_rooms_u_idx ON users_in_public_rooms (user_id, room_id);
CREATE TABLE users_who_share_private_rooms (
    user_id text NOT NULL, other_user_id text NOT NULL, room_id text NOT NULL
);
CREATE UNIQUE INDEX users_who_share_private_rooms_u_idx
    ON users_who_share_private_rooms (user_id, other_user_id, room_id);
CREATE TABLE user_stats_current (
    user_id text NOT NULL, joined_rooms bigint NOT NULL, completed_delta_stream_id bigint NOT NULL,
    CONSTRAINT user_stats_current_pkey PRIMARY KEY (user_id)
);
CREATE TABLE account_validity (
    user_id text NOT NULL, expiration_ts_ms bigint NOT NULL, email_sent boolean NOT NULL, renewal_token text,
    token_used_ts_ms bigint, CONSTRAINT account_validity_pkey PRIMARY KEY (user_id)
);
CREATE TABLE background_updates (
    update_name text NOT NULL, progress_json text NOT NULL, depends_on text,
    ordering integer NOT NULL DEFAULT 0, CONSTRAINT background_updates_uniqueness UNIQUE (update_name)
);
CREATE TABLE instance_map (
    instance_id integer NOT NULL, instance_name text NOT NULL,
    CONSTRAINT instance_map_pkey PRIMARY KEY (instance_id)
);
CREATE UNIQUE INDEX instance_map_idx ON instance_map (instance_name);
CREATE TABLE login_tokens (
    token text NOT NULL, user_id text NOT NULL, expiry_ts bigint NOT NULL, used_ts bigint,
    auth_provider_id text, auth_provider_session_id text, CONSTRAINT login_tokens_pkey PRIMARY KEY (token)
);
CREATE TABLE open_id_tokens (
    token text NOT NULL, ts_valid_until_ms bigint NOT NULL, user_id text NOT NULL,
    CONSTRAINT open_id_tokens_pkey PRIMARY KEY (token)
);
CREATE TABLE per_user_experimental_features (
    user_id text NOT NULL, feature text NOT NULL, enabled boolean DEFAULT false,
    CONSTRAINT per_user_experimental_features_pkey PRIMARY KEY (user_id, feature)
);
CREATE TABLE ratelimit_override (
    user_id text NOT NULL, messages_per_second bigint, burst_count bigint
);
CREATE UNIQUE INDEX ratelimit_override_idx ON ratelimit_override (user_id);
CREATE TABLE room_ban_redactions (
    room_id text NOT NULL, user_id text NOT NULL, redacting_event_id text NOT NULL, redact_end_ordering bigint,
    CONSTRAINT room_ban_redaction_uniqueness UNIQUE (room_id, user_id)
);
CREATE TABLE scheduled_tasks (
    id text NOT NULL, action text NOT NULL, status text NOT NULL, "timestamp" bigint NOT NULL,
    resource_id text, params text, result text, error text, CONSTRAINT scheduled_tasks_pkey PRIMARY KEY (id)
);
CREATE TABLE sessions (
    session_type text NOT NULL, session_id text NOT NULL, value text NOT NULL, expiry_time_ms bigint NOT NULL,
    CONSTRAINT sessions_session_type_session_id_key UNIQUE (session_type, session_id)
);
CREATE TABLE threepid_guest_access_tokens (
    medium text, address text, guest_access_token text, first_inviter text
);
CREATE UNIQUE INDEX threepid_guest_access_tokens_index ON threepid_guest_access_tokens (medium, address);
CREATE TABLE threepid_validation_session (
    session_id text NOT NULL, medium text NOT NULL, address text NOT NULL, client_secret text NOT NULL,
    last_send_attempt bigint NOT NULL, validated_at bigint,
    CONSTRAINT threepid_validation_session_pkey PRIMARY KEY (session_id)
);
CREATE TABLE threepid_validation_token (
    token text NOT NULL, session_id text NOT NULL, next_link text, expires bigint NOT NULL,
    CONSTRAINT threepid_validation_token_pkey PRIMARY KEY (token)
);
CREATE TABLE ui_auth_sessions (
    session_id text NOT NULL, creation_time bigint NOT NULL, serverdict text NOT NULL,
    clientdict text NOT NULL, uri text NOT NULL, method text NOT NULL, description text NOT NULL,
    CONSTRAINT ui_auth_sessions_session_id_key UNIQUE (session_id)
);
CREATE TABLE ui_auth_sessions_credentials (
    session_id text NOT NULL, stage_type text NOT NULL, result text NOT NULL,
    CONSTRAINT ui_auth_sessions_credentials_session_id_stage_type_key UNIQUE (session_id, stage_type)
);
CREATE TABLE ui_auth_sessions_ips (
    session_id text NOT NULL, ip text NOT NULL, user_agent text NOT NULL,
    CONSTRAINT ui_auth_sessions_ips_session_id_ip_user_agent_key UNIQUE (session_id, ip, user_agent)
);
CREATE TABLE un_partial_stated_event_stream (
    stream_id bigint NOT NULL, instance_name text NOT NULL, event_id text NOT NULL,
    rejection_status_changed boolean NOT NULL,
    CONSTRAINT un_partial_stated_event_stream_pkey PRIMARY KEY (stream_id)
);
CREATE UNIQUE INDEX un_partial_stated_event_stream_room_id ON un_partial_stated_event_stream (event_id);
CREATE TABLE user_directory_stale_remote_users (
    user_id text NOT NULL, user_server_name text NOT NULL, next_try_at_ts bigint NOT NULL,
    retry_counter integer NOT NULL, CONSTRAINT user_directory_stale_remote_users_pkey PRIMARY KEY (user_id)
);
CREATE TABLE users_to_send_full_presence_to (
    user_id text NOT NULL, presence_stream_id bigint,
    CONSTRAINT users_to_send_full_presence_to_pkey PRIMARY KEY (user_id)
);
CREATE TABLE event_push_actions (
    room_id text NOT NULL, event_id text NOT NULL, user_id text NOT NULL, profile_tag varchar(32),
    actions text NOT NULL, topological_ordering bigint, stream_ordering bigint, notif smallint,
    highlight smallint, unread smallint, thread_id text,
    CONSTRAINT event_id_user_id_profile_tag_uniqueness UNIQUE (room_id, event_id, user_id, profile_tag)
);
CREATE TABLE sticky_events (
    stream_id integer NOT NULL, instance_name text NOT NULL, event_id text NOT NULL, room_id text NOT NULL,
    event_stream_ordering integer NOT NULL, sender text NOT NULL, expires_at bigint NOT NULL,
    CONSTRAINT sticky_events_pkey PRIMARY KEY (stream_id),
    CONSTRAINT sticky_events_event_stream_ordering_key UNIQUE (event_stream_ordering)
);
CREATE TABLE pusher_throttle (
    pusher bigint NOT NULL, room_id text NOT NULL, last_sent_ts bigint, throttle_ms bigint,
    CONSTRAINT pusher_throttle_pkey PRIMARY KEY (pusher, room_id)
);
CREATE TABLE un_partial_stated_room_stream (
    stream_id bigint NOT NULL, instance_name text NOT NULL, room_id text NOT NULL,
    CONSTRAINT un_partial_stated_room_stream_pkey PRIMARY KEY (stream_id)
);
CREATE TABLE sliding_sync_joined_rooms_to_recalculate (
    room_id text NOT NULL, CONSTRAINT sliding_sync_joined_rooms_to_recalculate_pkey PRIMARY KEY (room_id)
);
CREATE TABLE msc4242_state_dag_forward_extremities (
    room_id text NOT NULL, event_id text NOT NULL,
    CONSTRAINT msc4242_state_dag_forward_extremities_event_id_key UNIQUE (event_id)
);
CREATE TABLE msc4242_state_dag_edges (
    room_id text NOT NULL, event_id text NOT NULL, prev_state_event_id text
);
CREATE UNIQUE INDEX msc4242_state_dag_edges_key
    ON msc4242_state_dag_edges (room_id, event_id, prev_state_event_id);

-- Foreign keys, all that there are among these tables.
ALTER TABLE current_state_events ADD CONSTRAINT event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events(stream_ordering) NOT VALID;
ALTER TABLE local_current_membership ADD CONSTRAINT event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events(stream_ordering) NOT VALID;
ALTER TABLE room_memberships ADD CONSTRAINT event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events(stream_ordering) NOT VALID;
ALTER TABLE event_edges ADD CONSTRAINT event_edges_event_id_fkey
    FOREIGN KEY (event_id) REFERENCES events(event_id);
ALTER TABLE event_forward_extremities ADD CONSTRAINT event_forward_extremities_event_id
    FOREIGN KEY (event_id) REFERENCES events(event_id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE event_txn_id_device_id ADD CONSTRAINT event_txn_id_device_id_event_id_fkey
    FOREIGN KEY (event_id) REFERENCES events(event_id) ON DELETE CASCADE;
ALTER TABLE event_txn_id_device_id ADD CONSTRAINT event_txn_id_device_id_user_id_device_id_fkey
    FOREIGN KEY (user_id, device_id) REFERENCES devices(user_id, device_id) ON DELETE CASCADE;
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT sliding_sync_joined_rooms_event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events(stream_ordering);
ALTER TABLE sliding_sync_joined_rooms ADD CONSTRAINT sliding_sync_joined_rooms_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id);
ALTER TABLE sliding_sync_membership_snapshots ADD CONSTRAINT sliding_sync_membership_snapshots_event_stream_ordering_fkey
    FOREIGN KEY (event_stream_ordering) REFERENCES events(stream_ordering);
ALTER TABLE sliding_sync_membership_snapshots ADD CONSTRAINT sliding_sync_membership_snapshots_membership_event_id_fkey
    FOREIGN KEY (membership_event_id) REFERENCES events(event_id);
ALTER TABLE sliding_sync_membership_snapshots ADD CONSTRAINT sliding_sync_membership_snapshots_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id);
ALTER TABLE thread_subscriptions ADD CONSTRAINT thread_subscriptions_fk_events
    FOREIGN KEY (event_id) REFERENCES events(event_id) ON DELETE CASCADE;
ALTER TABLE thread_subscriptions ADD CONSTRAINT thread_subscriptions_fk_rooms
    FOREIGN KEY (room_id) REFERENCES rooms(room_id) ON DELETE CASCADE;
ALTER TABLE thread_subscriptions ADD CONSTRAINT thread_subscriptions_fk_users
    FOREIGN KEY (user_id) REFERENCES users(name);
ALTER TABLE destination_rooms ADD CONSTRAINT destination_rooms_destination_fkey
    FOREIGN KEY (destination) REFERENCES destinations(destination);
ALTER TABLE destination_rooms ADD CONSTRAINT destination_rooms_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id);
ALTER TABLE partial_state_rooms ADD CONSTRAINT partial_state_rooms_join_event_id_fkey
    FOREIGN KEY (join_event_id) REFERENCES events(event_id);
ALTER TABLE partial_state_rooms ADD CONSTRAINT partial_state_rooms_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id);
ALTER TABLE partial_state_events ADD CONSTRAINT partial_state_events_event_id_fkey
    FOREIGN KEY (event_id) REFERENCES events(event_id);
ALTER TABLE partial_state_events ADD CONSTRAINT partial_state_events_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES partial_state_rooms(room_id);
ALTER TABLE partial_state_rooms_servers ADD CONSTRAINT partial_state_rooms_servers_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES partial_state_rooms(room_id);
ALTER TABLE access_tokens ADD CONSTRAINT access_tokens_refresh_token_id_fkey
    FOREIGN KEY (refresh_token_id) REFERENCES refresh_tokens(id) ON DELETE CASCADE;
ALTER TABLE refresh_tokens ADD CONSTRAINT refresh_tokens_next_token_id_fkey
    FOREIGN KEY (next_token_id) REFERENCES refresh_tokens(id) ON DELETE CASCADE;
ALTER TABLE event_failed_pull_attempts ADD CONSTRAINT event_failed_pull_attempts_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id);
ALTER TABLE per_user_experimental_features ADD CONSTRAINT per_user_experimental_features_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES users(name);
ALTER TABLE ui_auth_sessions_credentials ADD CONSTRAINT ui_auth_sessions_credentials_session_id_fkey
    FOREIGN KEY (session_id) REFERENCES ui_auth_sessions(session_id);
ALTER TABLE ui_auth_sessions_ips ADD CONSTRAINT ui_auth_sessions_ips_session_id_fkey
    FOREIGN KEY (session_id) REFERENCES ui_auth_sessions(session_id);
ALTER TABLE un_partial_stated_event_stream ADD CONSTRAINT un_partial_stated_event_stream_event_id_fkey
    FOREIGN KEY (event_id) REFERENCES events(event_id) ON DELETE CASCADE;
ALTER TABLE users_to_send_full_presence_to ADD CONSTRAINT users_to_send_full_presence_to_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES users(name);
ALTER TABLE un_partial_stated_room_stream ADD CONSTRAINT un_partial_stated_room_stream_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id) ON DELETE CASCADE;
ALTER TABLE sliding_sync_joined_rooms_to_recalculate ADD CONSTRAINT sliding_sync_joined_rooms_to_recalculate_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id);
ALTER TABLE msc4242_state_dag_forward_extremities ADD CONSTRAINT msc4242_state_dag_forward_extremities_event_id_fkey
    FOREIGN KEY (event_id) REFERENCES events(event_id) ON DELETE CASCADE;
ALTER TABLE msc4242_state_dag_forward_extremities ADD CONSTRAINT msc4242_state_dag_forward_extremities_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id) ON DELETE CASCADE;
ALTER TABLE msc4242_state_dag_edges ADD CONSTRAINT msc4242_state_dag_edges_event_id_fkey
    FOREIGN KEY (event_id) REFERENCES events(event_id);
ALTER TABLE msc4242_state_dag_edges ADD CONSTRAINT msc4242_state_dag_edges_prev_state_event_id_fkey
    FOREIGN KEY (prev_state_event_id) REFERENCES events(event_id);
ALTER TABLE msc4242_state_dag_edges ADD CONSTRAINT msc4242_state_dag_edges_room_id_fkey
    FOREIGN KEY (room_id) REFERENCES rooms(room_id) ON DELETE CASCADE;

-- Synapse refuses a row whose place in the stream is not that of its event; so a repair that re-points one before the
-- loser is gone would be refused, too.
CREATE FUNCTION check_event_stream_ordering() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    elsewhere bigint;
BEGIN
    SELECT count(*) INTO elsewhere FROM events e
        WHERE e.event_id = NEW.event_id AND e.stream_ordering <> NEW.event_stream_ordering;
    IF elsewhere > 0 THEN
        RAISE EXCEPTION 'Incorrect event_stream_ordering';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON current_state_events
    FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering();
CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON local_current_membership
    FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering();
CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON room_memberships
    FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering();

-- Plain indexes over columns that a repair changes: with them, a changed row meets every unique index of its table.
CREATE INDEX current_state_events_stream_ordering_idx ON current_state_events (event_stream_ordering);
CREATE INDEX local_current_membership_stream_ordering_idx ON local_current_membership (event_stream_ordering);
CREATE INDEX room_memberships_stream_ordering_idx ON room_memberships (event_stream_ordering);
CREATE INDEX event_push_actions_stream_ordering ON event_push_actions (stream_ordering, user_id);
CREATE INDEX threads_ordering_idx ON threads (room_id, topological_ordering, stream_ordering);

INSERT INTO schema_version VALUES ('X', 94, true);
INSERT INTO applied_schema_deltas VALUES (93, '93/02_sliding_sync_members.sql'), (94, '94/01_redactions_recheck.sql');
