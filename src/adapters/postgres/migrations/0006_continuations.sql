-- Where a user's snapshots were capped, so that their clients may go on from there without paying; the rules are those of
-- `domain::replay_budget::Continuations`. A position may stand here several times.
CREATE TABLE continuations (
    user_id text COLLATE "C" NOT NULL,
    continuation_id bigint GENERATED ALWAYS AS IDENTITY,
    ms bigint NOT NULL,
    n bigint NOT NULL,
    ends_ms bigint NOT NULL,
    PRIMARY KEY (user_id, continuation_id)
);

CREATE INDEX continuations_by_end ON continuations (ends_ms);

-- Gives a user a replay window, and locks it: all that is decided about the user's replays waits for that.
CREATE FUNCTION lock_replays(of_user text) RETURNS bigint[] LANGUAGE sql AS $$
    INSERT INTO replay_windows AS w (user_id, granted_ms, ends_ms) VALUES (of_user, '{}', 0)
    ON CONFLICT (user_id) DO UPDATE SET user_id = w.user_id RETURNING granted_ms
$$;

CREATE FUNCTION allow_continuation(of_user text, cursor_ms bigint, cursor_n bigint, for_ms bigint, most bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    now_at bigint;
BEGIN
    PERFORM lock_replays(of_user);
    now_at := now_ms();
    DELETE FROM continuations WHERE user_id = of_user AND ends_ms <= now_at;
    -- The oldest give way.
    DELETE FROM continuations WHERE user_id = of_user AND continuation_id <= (
        SELECT continuation_id FROM continuations WHERE user_id = of_user ORDER BY continuation_id DESC OFFSET most - 1 LIMIT 1
    );
    INSERT INTO continuations (user_id, ms, n, ends_ms) VALUES (of_user, cursor_ms, cursor_n, now_at + for_ms);
END $$;

-- Takes one replay after a cursor: tells how many are left, or in how many milliseconds the next one is free. The function
-- with fewer parameters serves processes of the version before.
CREATE FUNCTION take_replay(
    of_user text, cursor_ms bigint, cursor_n bigint, budget bigint, window_ms bigint, OUT left_over bigint, OUT retry_ms bigint
) LANGUAGE plpgsql AS $$
DECLARE
    now_at bigint;
    recent bigint[] := lock_replays(of_user);
    used bigint;
BEGIN
    now_at := now_ms();
    -- Grants from the future come from a clock that has stepped back since; to keep them would lock the user out.
    recent := ARRAY(SELECT g FROM unnest(recent) AS g WHERE g <= now_at AND g > now_at - window_ms ORDER BY g);
    used := cardinality(recent);
    DELETE FROM continuations WHERE user_id = of_user AND continuation_id = (
        SELECT continuation_id FROM continuations
        WHERE user_id = of_user AND ms = cursor_ms AND n = cursor_n AND ends_ms > now_at ORDER BY continuation_id LIMIT 1
    );
    IF FOUND THEN
        left_over := greatest(0, budget - used);
    ELSIF used < budget THEN
        UPDATE replay_windows SET granted_ms = recent || now_at, ends_ms = now_at + window_ms WHERE user_id = of_user;
        left_over := budget - used - 1;
    ELSE
        -- The grant whose fall from the window brings the number below the budget; the budget may have been lowered.
        retry_ms := greatest(1, coalesce(recent[used - budget + 1], now_at) + window_ms - now_at);
    END IF;
END $$;
