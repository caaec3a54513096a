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

-- gaps: missing numbers below last_number as text, first-last, several joined by commas. log_offset: the chat's last event.
CREATE TABLE chat_counts (
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    created INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    gaps TEXT NOT NULL,
    messages_count INTEGER NOT NULL,
    log_offset INTEGER,
    PRIMARY KEY (token, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE application_counts (
    token BLOB PRIMARY KEY,
    chats_count INTEGER NOT NULL,
    last_chat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
