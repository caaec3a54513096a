-- Which log these projections were made from.
CREATE TABLE source (
    log_id BLOB NOT NULL
) STRICT;

-- What each projection has applied: everything before next_offset.
CREATE TABLE checkpoints (
    projection TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (projection, partition)
) STRICT, WITHOUT ROWID;

-- Projection views ---------------------------------------------------------------------------------------------------

-- name_rank: 0 for the name an application was created with, the rename's offset + 1 for any other. The highest holds.
CREATE TABLE applications (
    token BLOB PRIMARY KEY,
    created_event BLOB,
    name TEXT NOT NULL,
    name_rank INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Renames that were applied, so that one that comes twice does not bring an old name back.
CREATE TABLE renames (
    token BLOB NOT NULL,
    event_id BLOB NOT NULL,
    PRIMARY KEY (token, event_id)
) STRICT, WITHOUT ROWID;

-- created_event is NULL for a chat whose messages came although its creation did not; such a chat is not shown.
CREATE TABLE chats (
    ordinal INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    created_event BLOB,
    UNIQUE (token, number)
) STRICT;

-- id = the chat's ordinal << 32 | the message's number, so that the messages of a chat lie together, in order.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    event_id BLOB NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE dead_letters (
    partition INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (partition, log_offset)
) STRICT, WITHOUT ROWID;

-- Projection counts --------------------------------------------------------------------------------------------------

-- gaps: missing numbers below last_number as text, first-last, several joined by commas.
CREATE TABLE chat_counts (
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    created INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    gaps TEXT NOT NULL,
    messages_count INTEGER NOT NULL,
    PRIMARY KEY (token, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE application_counts (
    token BLOB PRIMARY KEY,
    chats_count INTEGER NOT NULL,
    last_chat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Projection search --------------------------------------------------------------------------------------------------

CREATE TABLE search_chats (
    ordinal INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    UNIQUE (token, number)
) STRICT;

-- id as in messages, with this projection's own ordinals.
CREATE TABLE search_messages (
    id INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    folded TEXT NOT NULL
) STRICT;

-- Contentless: the trigrams of search_messages.folded and nothing else. Folding is done before, hence case_sensitive.
CREATE VIRTUAL TABLE search_trigrams USING fts5 (
    folded,
    content = '',
    columnsize = 0,
    tokenize = 'trigram case_sensitive 1'
);
