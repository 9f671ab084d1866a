-- Announcements are heard by processes that were cut off when they were made: each process reads on from the last one that it
-- heard. So their numbers go up in the order of their commits, also over a schema that was made anew, and what is kept for
-- those processes is bounded.
ALTER TABLE announcements
    ADD COLUMN bytes bigint NOT NULL DEFAULT 0,
    -- The bytes of all announcements before this one.
    ADD COLUMN bytes_before bigint NOT NULL DEFAULT 0;

-- Announces, and notifies; `false` where events of the last `kept_ms` take too many bytes already.
CREATE FUNCTION announce(
    of_user text, at bigint, of_type text, in_category text, in_scope text, content text, kept_ms bigint, bytes_max bigint, channel text
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
        (announcement_id, announced_ms, user_id, ts, event_type, category, scope, payload, bytes, bytes_before)
    OVERRIDING SYSTEM VALUE
    VALUES (number, now_at, of_user, at, of_type, in_category, in_scope::json, content::json, size, coalesce(total, 0));
    PERFORM pg_notify(channel, 'a' || number);
    RETURN true;
END $$;
