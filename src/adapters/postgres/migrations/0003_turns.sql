-- Whose turn it is to do what one process does for all, until when. A process that hangs loses it.
CREATE TABLE turns (
    task text COLLATE "C" PRIMARY KEY,
    holder uuid NOT NULL,
    ends_ms bigint NOT NULL
);
