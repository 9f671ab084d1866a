-- What an event carries may be a text, or nothing, and any event may be a message's last: `attributes` says so where it is not
-- as the type and the payload say. A message's id may be any text; the text of one that is no UUID stands beside it.
--
-- The functions of the same names with fewer arguments stay for processes of the version before, which may run beside this
-- one.
ALTER TABLE user_events ADD COLUMN attributes json;
ALTER TABLE message_events ADD COLUMN attributes json;
ALTER TABLE announcements ADD COLUMN attributes json;
ALTER TABLE messages ADD COLUMN id_text text COLLATE "C";

-- Appends a batch. `topic_ids` are distinct and in order, which is the order of all locks; event i is for
-- `user_ids[i] = topic_ids[topics[i]]`, and no two events of a batch have the same topic and key.
CREATE FUNCTION append_events(
    topic_ids text[], user_ids text[], topics integer[], times bigint[], types text[], categories text[], scopes text[],
    payloads text[], attributes text[], keys text[], keyed boolean, entries_max bigint, key_window_ms bigint, channel text, hint text,
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

    INSERT INTO user_events (user_id, ms, n, prev_ms, prev_n, ordinal, ts, event_type, category, scope, payload, attributes)
    SELECT e.user_id, lasts_ms[e.topic], lasts_n[e.topic] - counts[e.topic] + e.nth,
        CASE WHEN e.nth = 1 THEN befores_ms[e.topic] ELSE lasts_ms[e.topic] END,
        CASE WHEN e.nth = 1 THEN befores_n[e.topic] ELSE lasts_n[e.topic] - counts[e.topic] + e.nth - 1 END,
        totals[e.topic] - counts[e.topic] + e.nth, e.ts, e.event_type, e.category, e.scope::json, e.payload::json, e.attributes::json
    FROM unnest(user_ids, topics, places, times, types, categories, scopes, payloads, attributes)
        AS e(user_id, topic, nth, ts, event_type, category, scope, payload, attributes)
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

-- Announces, and notifies; `false` where events of the last `kept_ms` take too many bytes already.
CREATE FUNCTION announce(
    of_user text, at bigint, of_type text, in_category text, in_scope text, content text,
    with_attributes text, kept_ms bigint, bytes_max bigint, channel text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    now_at bigint;
    number bigint;
    total bigint;
    before_kept bigint;
    size bigint := coalesce(octet_length(content), 0) + coalesce(octet_length(in_scope), 0);
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rejoin announcements'), hashtext(current_schema()));
    now_at := now_ms();
    SELECT announcement_id, bytes_before + bytes INTO number, total FROM announcements ORDER BY announcement_id DESC LIMIT 1;
    SELECT bytes_before INTO before_kept FROM announcements
    WHERE announced_ms >= now_at - kept_ms ORDER BY announced_ms, announcement_id LIMIT 1;
    IF of_user IS NULL AND total - before_kept + size > bytes_max THEN
        RETURN false;
    END IF;
    number := greatest(now_at * 1000, 1 + coalesce(number, 0));
    INSERT INTO announcements
        (announcement_id, announced_ms, user_id, ts, event_type, category, scope, payload, attributes, bytes, bytes_before)
    OVERRIDING SYSTEM VALUE
    VALUES (number, now_at, of_user, at, of_type, in_category, in_scope::json, content::json, with_attributes::json, size, coalesce(total, 0));
    PERFORM pg_notify(channel, 'a' || number);
    RETURN true;
END $$;
