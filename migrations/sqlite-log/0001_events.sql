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
    -- The request that gave the event, if its client may send it again: hash of route and key, hash of the values.
    request_key BLOB,
    request_values BLOB,
    data BLOB NOT NULL
) STRICT;

-- The highest number in the log for each parent that exists; moved in the transaction that appends the events.
-- The parent of chats is a token, that of messages token:number.
CREATE TABLE counters (
    parent TEXT PRIMARY KEY,
    last_number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where the events of requests with a key lie; written with them, forgotten a day after them.
CREATE TABLE requests (
    request_key BLOB PRIMARY KEY,
    log_offset INTEGER NOT NULL,
    occurred_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_age ON requests (occurred_at_ms);
