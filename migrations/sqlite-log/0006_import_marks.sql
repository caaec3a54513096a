-- The marks of imports, in their order: each import of an export begins and ends with one. log_offset is the end of the log when
-- the mark was written; the digests say which log was exported, and from where to where.
CREATE TABLE import_marks (
    mark INTEGER PRIMARY KEY,
    phase TEXT NOT NULL,
    before_digest BLOB NOT NULL,
    through_digest BLOB NOT NULL,
    log_offset INTEGER NOT NULL
) STRICT;
