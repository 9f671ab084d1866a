-- Whether the server takes writes: a server that takes none may have been replaced by another one, and lack what was
-- acknowledged there since. Statements that only read call this; those that write are refused anyway.
CREATE FUNCTION require_writable() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'the server takes no writes, so that what it has may be old' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN true;
END $$;

-- One row, which is written to see whether the server takes writes.
CREATE TABLE probes (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    probed_ms bigint NOT NULL
);

INSERT INTO probes (probed_ms) VALUES (now_ms());
