-- The checksum of a row's other columns; see embedded::log::checksum. Rows that older releases appended have none.
ALTER TABLE events ADD COLUMN checksum INTEGER;

-- From which offset on every row must have a checksum.
CREATE TABLE checksums (
    first_offset INTEGER NOT NULL
) STRICT;

INSERT INTO checksums (first_offset) SELECT coalesce(max(log_offset) + 1, 0) FROM events;
