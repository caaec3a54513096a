-- The index of trigrams is made anew, in a smaller form; see embedded::projections::search. It reads messages for their texts.
DROP TABLE search_trigrams;
DROP TABLE search_messages;
DROP TABLE search_chats;
DELETE FROM checkpoints WHERE projection = 'search';

-- A part of a chat's numbers, whose documents have the row ids from first_document on in search_trigrams. An extent's
-- documents follow those of the extent with the next lower id.
CREATE TABLE search_extents (
    id INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    first_document INTEGER NOT NULL,
    UNIQUE (token, number, part)
) STRICT;

-- A document is the folded texts of a few messages of a chat, and the trigram of their extent.
CREATE VIRTUAL TABLE search_trigrams USING fts5 (
    folded,
    extent,
    content = '',
    columnsize = 0,
    detail = none,
    tokenize = 'trigram case_sensitive 1'
);

-- Segments are merged after each batch in steps of bounded size, not whenever an insert finds too many.
INSERT INTO search_trigrams (search_trigrams, rank) VALUES ('automerge', 0), ('crisismerge', 1999);
