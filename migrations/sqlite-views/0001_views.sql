-- Which log this projection was made from.
CREATE TABLE source (
    log_id BLOB NOT NULL
) STRICT;

-- What was applied: everything before next_offset. epoch is the highest that started there; 0 if the log knows none.
-- record_offset, record_id: the last record that was applied and has an identity, by which the log is recognised.
CREATE TABLE checkpoints (
    partition INTEGER PRIMARY KEY,
    next_offset INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    record_offset INTEGER,
    record_id BLOB
) STRICT;

-- partition and log_offset are the place of a row's event in the log; created_at_ms is the event's time. A message lies in the
-- partition of its chat.

-- name_rank: 0 for the name an application was created with, the rename's offset + 1 for any other. The highest holds.
-- log_offset: the last event that changed the row. created_event and created_at_ms are NULL until the creation has come.
CREATE TABLE applications (
    token BLOB PRIMARY KEY,
    created_event BLOB,
    name TEXT NOT NULL,
    name_rank INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    created_at_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Renames that were applied, so that one that comes twice does not bring an old name back.
CREATE TABLE renames (
    token BLOB NOT NULL,
    event_id BLOB NOT NULL,
    PRIMARY KEY (token, event_id)
) STRICT, WITHOUT ROWID;

-- created_event, log_offset and created_at_ms are NULL for a chat whose messages came although its creation did not; such a chat is
-- not shown.
CREATE TABLE chats (
    ordinal INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    created_event BLOB,
    partition INTEGER NOT NULL,
    log_offset INTEGER,
    created_at_ms INTEGER,
    UNIQUE (token, number)
) STRICT;

-- id = the chat's ordinal << 32 | the message's number, so that the messages of a chat lie together, in order.
-- No event has an author yet. The body comes last, so that a long one is not read for the sake of the others.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    event_id BLOB NOT NULL,
    log_offset INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    author TEXT,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE dead_letters (
    partition INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    reason TEXT NOT NULL,
    -- 1 once an operator has discarded it.
    discarded INTEGER,
    PRIMARY KEY (partition, log_offset)
) STRICT, WITHOUT ROWID;
