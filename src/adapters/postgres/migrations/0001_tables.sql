-- What Rejoin keeps. Every connection of Rejoin has this schema as its search_path, so names stand without it.
--
-- Times are milliseconds since the Unix epoch by the server's clock, but for `ts` and `created_at`, which are the
-- publisher's side. An id `<ms>-<n>` is two columns. Texts that are compared are compared byte by byte: COLLATE "C".

-- The journal's present incarnation. One row, made with the schema: a journal that was wiped gets another.
CREATE TABLE journal (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    origin_ms bigint NOT NULL,
    -- No head that was ever told of a topic that has no row any more lies behind this.
    forgotten_ms bigint NOT NULL
);

-- One head row for each topic: what is appended to the topic waits for its lock, so ids become visible in order.
CREATE TABLE user_topics (
    user_id text COLLATE "C" PRIMARY KEY,
    -- The id of the last entry; the origin, with 0, where there never was one.
    last_ms bigint NOT NULL,
    last_n bigint NOT NULL,
    -- What `last` was before the latest append.
    before_ms bigint NOT NULL,
    before_n bigint NOT NULL,
    -- How many entries there ever were.
    appended bigint NOT NULL,
    -- The head that was told before there was an entry: all entries lie behind it.
    told_ms bigint NOT NULL,
    written boolean NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX user_topics_never_written ON user_topics (told_ms) WHERE NOT written;

CREATE TABLE user_events (
    user_id text COLLATE "C" NOT NULL,
    ms bigint NOT NULL,
    n bigint NOT NULL,
    prev_ms bigint NOT NULL,
    prev_n bigint NOT NULL,
    -- The number of the entry among all that its topic ever had, from 1.
    ordinal bigint NOT NULL,
    ts bigint NOT NULL,
    event_type text NOT NULL,
    category text,
    scope json,
    payload json NOT NULL,
    PRIMARY KEY (user_id, ms, n)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);

CREATE INDEX user_events_by_age ON user_events (ms);

-- A repeat of a publish is recognised here.
CREATE TABLE idempotency_keys (
    user_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    ms bigint NOT NULL,
    n bigint NOT NULL,
    seen_ms bigint NOT NULL,
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (seen_ms);

CREATE TABLE messages (
    message_id uuid PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    next_sequence_no integer NOT NULL,
    stop_requested boolean NOT NULL,
    end_type text CHECK (end_type IN ('end', 'error')),
    ended_ms bigint,
    created_ms bigint NOT NULL,
    producer_seen_ms bigint NOT NULL,
    -- The hour of `producer_seen_ms`: what the sweep looks for. A sign of life within the hour touches no index.
    producer_seen_hour integer NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX messages_by_silence ON messages (producer_seen_hour);

CREATE TABLE message_events (
    message_id uuid NOT NULL,
    sequence_no integer NOT NULL,
    event_type text NOT NULL,
    payload json NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (message_id, sequence_no)
);

CREATE TABLE message_keys (
    message_id uuid NOT NULL,
    key text COLLATE "C" NOT NULL,
    sequence_no integer NOT NULL,
    seen_ms bigint NOT NULL,
    PRIMARY KEY (message_id, key)
);

CREATE INDEX message_keys_by_age ON message_keys (seen_ms);

-- What every process is told beside entries: an event for everybody, or (with `user_id`) that a user's connections end.
CREATE TABLE announcements (
    announcement_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    announced_ms bigint NOT NULL,
    user_id text COLLATE "C",
    ts bigint,
    event_type text,
    category text,
    scope json,
    payload json
);

CREATE INDEX announcements_by_age ON announcements (announced_ms);

CREATE TABLE leases (
    user_id text COLLATE "C" NOT NULL,
    lease_id uuid NOT NULL,
    expires_ms bigint NOT NULL,
    PRIMARY KEY (user_id, lease_id)
);

CREATE INDEX leases_by_end ON leases (expires_ms);

CREATE TABLE replay_windows (
    user_id text COLLATE "C" PRIMARY KEY,
    granted_ms bigint[] NOT NULL,
    ends_ms bigint NOT NULL
);

CREATE INDEX replay_windows_by_end ON replay_windows (ends_ms);
