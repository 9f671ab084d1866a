-- A head row tells what there was: without it a cursor into a topic whose entries are gone would go on as if nothing were
-- missing. Who deletes the row of a topic that was ever written to removes the topic's entries, and the row stays.
CREATE FUNCTION keep_head() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM user_events WHERE user_id = OLD.user_id;
    RETURN NULL;
END $$;

CREATE TRIGGER stays BEFORE DELETE ON user_topics FOR EACH ROW WHEN (OLD.written) EXECUTE FUNCTION keep_head();
