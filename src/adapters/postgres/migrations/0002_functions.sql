-- What has to happen in one step: each function is called by a statement that is a transaction of its own, so no lock
-- is ever held while a process is waited for. Their statements see what was committed before each began, which the
-- read-committed isolation of Rejoin's connections gives.

-- The only clock there is: processes may disagree about the time, the server does not.
CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- Begins a new incarnation of the journal, behind every id of the one before: what was issued before is not continued
-- silently. For operators too, who have restored a backup, or failed over to a standby that lacked something.
CREATE FUNCTION renew_origin() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    renewed bigint;
BEGIN
    SELECT greatest(now_ms(), 1 + max(greatest(last_ms, told_ms))) INTO renewed FROM user_topics;
    INSERT INTO journal AS j (origin_ms, forgotten_ms) VALUES (renewed, renewed)
    ON CONFLICT (is_only) DO UPDATE
        SET origin_ms = greatest(renewed, j.origin_ms + 1, j.forgotten_ms + 1),
            forgotten_ms = greatest(renewed, j.origin_ms + 1, j.forgotten_ms + 1)
    RETURNING origin_ms INTO renewed;
    RETURN renewed;
END $$;

CREATE FUNCTION renew_origin_of_truncated() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM renew_origin();
    RETURN NULL;
END $$;

CREATE TRIGGER truncated BEFORE TRUNCATE ON user_topics FOR EACH STATEMENT EXECUTE FUNCTION renew_origin_of_truncated();

-- Gives a topic that nobody has asked for yet its head row, and so a head that holds also when the clock steps back.
CREATE FUNCTION make_topic_known(of_user text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO user_topics (user_id, last_ms, last_n, before_ms, before_n, appended, told_ms, written)
    SELECT of_user, origin_ms, 0, origin_ms, 0, 0, greatest(now_ms(), origin_ms, forgotten_ms), false FROM journal
    ON CONFLICT (user_id) DO NOTHING
$$;

-- Removes the oldest entries of a topic until so many are left, but no more than so many at once.
CREATE FUNCTION trim_topic(of_user text, total bigint, entries_max bigint, removed_max bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    over bigint;
BEGIN
    SELECT total - entries_max - ordinal + 1 INTO over FROM user_events WHERE user_id = of_user ORDER BY ms, n LIMIT 1;
    IF over > 0 THEN
        DELETE FROM user_events WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM user_events WHERE user_id = of_user ORDER BY ms, n LIMIT least(over, removed_max)
        ));
    END IF;
END $$;

-- Appends a batch. `topic_ids` are distinct and in order, which is the order of all locks; event i is for
-- `user_ids[i] = topic_ids[topics[i]]`, and no two events of a batch have the same topic and key.
CREATE FUNCTION append_events(
    topic_ids text[], user_ids text[], topics integer[], times bigint[], types text[], categories text[], scopes text[],
    payloads text[], keys text[], keyed boolean, entries_max bigint, key_window_ms bigint, channel text, hint text,
    OUT ids_ms bigint[], OUT ids_n bigint[], OUT duplicates boolean[]
) LANGUAGE plpgsql AS $$
DECLARE
    now_at bigint := now_ms();
    origin bigint;
    forgotten bigint;
    known_ms bigint[];
    known_n bigint[];
    places bigint[];
    counts bigint[];
    lasts_ms bigint[];
    lasts_n bigint[];
    befores_ms bigint[];
    befores_n bigint[];
    totals bigint[];
    trim_every bigint := greatest(1, entries_max / 10);
    over record;
BEGIN
    SELECT origin_ms, forgotten_ms INTO STRICT origin, forgotten FROM journal;
    IF keyed THEN
        -- Under the heads' locks nobody else can add a key of these topics, so what is looked up now holds.
        INSERT INTO user_topics (user_id, last_ms, last_n, before_ms, before_n, appended, told_ms, written)
        SELECT t.user_id, origin, 0, origin, 0, 0, greatest(now_at, origin, forgotten), false FROM unnest(topic_ids) AS t(user_id)
        ON CONFLICT (user_id) DO NOTHING;
        PERFORM 1 FROM user_topics WHERE user_id = ANY (topic_ids) ORDER BY user_id FOR UPDATE;
        SELECT array_agg(k.ms ORDER BY e.place), array_agg(k.n ORDER BY e.place) INTO known_ms, known_n
        FROM unnest(user_ids, keys) WITH ORDINALITY AS e(user_id, key, place)
        LEFT JOIN idempotency_keys k ON k.user_id = e.user_id AND k.key = e.key AND k.seen_ms > now_at - key_window_ms;
    END IF;

    -- Each new event's place among those of its topic, and how many there are.
    SELECT array_agg(f.nth ORDER BY f.place) INTO places FROM (
        SELECT e.place, CASE WHEN e.known IS NULL
            THEN row_number() OVER (PARTITION BY e.topic, e.known IS NULL ORDER BY e.place) END AS nth
        FROM unnest(topics, known_ms) WITH ORDINALITY AS e(topic, known, place)
    ) f;
    SELECT array_agg(c.fresh ORDER BY c.topic) INTO counts FROM (
        SELECT e.topic, count(e.nth) AS fresh FROM unnest(topics, places) AS e(topic, nth) GROUP BY e.topic
    ) c;

    -- The next id of a topic is later than its head, and not before now.
    WITH heads AS (
        INSERT INTO user_topics AS t (user_id, last_ms, last_n, before_ms, before_n, appended, told_ms, written)
        SELECT h.user_id, greatest(now_at, origin, forgotten), h.fresh, origin, 0, h.fresh, origin, true
        FROM unnest(topic_ids, counts) AS h(user_id, fresh)
        ON CONFLICT (user_id) DO UPDATE SET
            last_ms = CASE WHEN excluded.appended = 0 THEN t.last_ms ELSE greatest(now_at, origin, t.last_ms, t.told_ms) END,
            last_n = CASE WHEN excluded.appended = 0 OR t.last_ms >= greatest(now_at, origin, t.told_ms) THEN t.last_n ELSE 0 END
                + excluded.appended,
            before_ms = greatest(t.last_ms, origin),
            before_n = CASE WHEN t.last_ms >= origin THEN t.last_n ELSE 0 END,
            appended = t.appended + excluded.appended,
            written = t.written OR excluded.appended > 0
        RETURNING t.*
    )
    SELECT array_agg(last_ms ORDER BY user_id), array_agg(last_n ORDER BY user_id), array_agg(before_ms ORDER BY user_id),
        array_agg(before_n ORDER BY user_id), array_agg(appended ORDER BY user_id)
    INTO lasts_ms, lasts_n, befores_ms, befores_n, totals FROM heads;

    INSERT INTO user_events (user_id, ms, n, prev_ms, prev_n, ordinal, ts, event_type, category, scope, payload)
    SELECT e.user_id, lasts_ms[e.topic], lasts_n[e.topic] - counts[e.topic] + e.nth,
        CASE WHEN e.nth = 1 THEN befores_ms[e.topic] ELSE lasts_ms[e.topic] END,
        CASE WHEN e.nth = 1 THEN befores_n[e.topic] ELSE lasts_n[e.topic] - counts[e.topic] + e.nth - 1 END,
        totals[e.topic] - counts[e.topic] + e.nth, e.ts, e.event_type, e.category, e.scope::json, e.payload::json
    FROM unnest(user_ids, topics, places, times, types, categories, scopes, payloads)
        AS e(user_id, topic, nth, ts, event_type, category, scope, payload)
    WHERE e.nth IS NOT NULL;

    IF keyed THEN
        INSERT INTO idempotency_keys (user_id, key, ms, n, seen_ms)
        SELECT e.user_id, e.key, lasts_ms[e.topic], lasts_n[e.topic] - counts[e.topic] + e.nth, now_at
        FROM unnest(user_ids, topics, places, keys) AS e(user_id, topic, nth, key)
        WHERE e.nth IS NOT NULL AND e.key IS NOT NULL
        ON CONFLICT (user_id, key) DO UPDATE SET ms = excluded.ms, n = excluded.n, seen_ms = excluded.seen_ms;
    END IF;

    FOR over IN
        SELECT t.user_id, t.fresh, t.total FROM unnest(topic_ids, counts, totals) AS t(user_id, fresh, total)
        WHERE t.total > entries_max AND t.total / trim_every <> (t.total - t.fresh) / trim_every
    LOOP
        PERFORM trim_topic(over.user_id, over.total, entries_max, 1000 + over.fresh);
    END LOOP;

    PERFORM pg_notify(channel, hint);
    SELECT array_agg(coalesce(e.ms, lasts_ms[e.topic]) ORDER BY e.place),
        array_agg(coalesce(e.n, lasts_n[e.topic] - counts[e.topic] + e.nth) ORDER BY e.place),
        array_agg(e.nth IS NULL ORDER BY e.place)
    INTO ids_ms, ids_n, duplicates
    FROM unnest(topics, places, known_ms, known_n) WITH ORDINALITY AS e(topic, nth, ms, n, place);
END $$;

CREATE FUNCTION purge_topic(of_user text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM user_topics WHERE user_id = of_user FOR UPDATE;
    DELETE FROM user_events WHERE user_id = of_user;
END $$;

CREATE FUNCTION acquire_lease(of_user text, lease uuid, cap bigint, ttl_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    now_at bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), hashtext(of_user));
    now_at := now_ms();
    DELETE FROM leases WHERE user_id = of_user AND expires_ms <= now_at;
    IF (SELECT count(*) FROM leases WHERE user_id = of_user) >= cap THEN
        RETURN false;
    END IF;
    INSERT INTO leases (user_id, lease_id, expires_ms) VALUES (of_user, lease, now_at + ttl_ms)
    ON CONFLICT (user_id, lease_id) DO UPDATE SET expires_ms = excluded.expires_ms;
    RETURN true;
END $$;

-- Takes one replay: tells how many are left, or in how many milliseconds the next one is free.
CREATE FUNCTION take_replay(of_user text, budget bigint, window_ms bigint, OUT left_over bigint, OUT retry_ms bigint)
LANGUAGE plpgsql AS $$
DECLARE
    now_at bigint;
    recent bigint[];
    used bigint;
BEGIN
    INSERT INTO replay_windows AS w (user_id, granted_ms, ends_ms) VALUES (of_user, '{}', 0)
    ON CONFLICT (user_id) DO UPDATE SET user_id = w.user_id RETURNING granted_ms INTO recent;
    now_at := now_ms();
    -- Grants from the future come from a clock that has stepped back since; to keep them would lock the user out.
    recent := ARRAY(SELECT g FROM unnest(recent) AS g WHERE g <= now_at AND g > now_at - window_ms ORDER BY g);
    used := cardinality(recent);
    IF used < budget THEN
        UPDATE replay_windows SET granted_ms = recent || now_at, ends_ms = now_at + window_ms WHERE user_id = of_user;
        left_over := budget - used - 1;
    ELSE
        -- The grant whose fall from the window brings the number below the budget; the budget may have been lowered.
        retry_ms := greatest(1, coalesce(recent[used - budget + 1], now_at) + window_ms - now_at);
    END IF;
END $$;
