-- The events that the feed tells, in the order of their places. place = the partition << 47 | the offset in the log.
-- application: its ordinal. chat: its ordinal; NULL for an event of the application itself. number: that of a message; NULL otherwise.
-- The text of a message is in its own row.
CREATE TABLE feed (
    place INTEGER PRIMARY KEY,
    application INTEGER NOT NULL,
    chat INTEGER,
    number INTEGER
) STRICT;

-- In which blocks of 256 places a stream has events: block = place >> 8. An index with an entry for each event would be larger than the
-- table. stream: the ordinal of a chat; -2 * the ordinal of an application for all of its events, and one less for its own alone.
CREATE TABLE feed_blocks (
    stream INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (stream, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE feed_applications (
    ordinal INTEGER PRIMARY KEY,
    token BLOB NOT NULL UNIQUE
) STRICT;

-- The names that applications were given. is_creation: 1 for the name of the creation, 0 for a rename.
CREATE TABLE feed_names (
    place INTEGER PRIMARY KEY,
    is_creation INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    name TEXT NOT NULL
) STRICT;

-- The version of all rows. Those of an earlier release have no feed; tally makes them anew beside this database.
CREATE TABLE views_version (
    version INTEGER NOT NULL
) STRICT;

INSERT INTO views_version (version) SELECT CASE WHEN EXISTS (SELECT 1 FROM checkpoints) THEN 2 ELSE 3 END;
