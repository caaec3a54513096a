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

-- A part of a chat's numbers, whose documents have the row ids from first_document on in search_trigrams. An extent's
-- documents follow those of the extent with the next lower id. The extents of a chat have the id of its first one as chat_id.
CREATE TABLE search_extents (
    id INTEGER PRIMARY KEY,
    chat_id INTEGER NOT NULL,
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    first_document INTEGER NOT NULL,
    UNIQUE (token, number, part)
) STRICT;

-- A document is the folded texts of a few messages of a chat, and the trigram of the chat.
CREATE VIRTUAL TABLE search_trigrams USING fts5 (
    folded,
    chat,
    content = '',
    columnsize = 0,
    detail = none,
    tokenize = 'trigram case_sensitive 1'
);

-- Segments are merged after each batch in steps of bounded size, not whenever an insert finds too many.
INSERT INTO search_trigrams (search_trigrams, rank) VALUES ('automerge', 0), ('crisismerge', 1999);
