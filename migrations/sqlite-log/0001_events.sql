-- Which log this is: projections remember it, so that those of another log are never mistaken for its own.
CREATE TABLE identity (
    log_id BLOB NOT NULL
) STRICT;

-- The truth. Rows are never changed and never deleted.
CREATE TABLE events (
    log_offset INTEGER PRIMARY KEY,
    event_id BLOB NOT NULL,
    event_type TEXT NOT NULL,
    version INTEGER NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    stream TEXT NOT NULL,
    number INTEGER,
    data BLOB NOT NULL
) STRICT;

-- The highest number in the log for each parent that exists; moved in the transaction that appends the events.
-- The parent of chats is a token, that of messages token:number.
CREATE TABLE counters (
    parent TEXT PRIMARY KEY,
    last_number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
