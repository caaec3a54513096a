-- Keys of applications. partition and log_offset are the place of the event that issued the key.
-- hash, name and scopes are NULL where the event cannot be read: its number is taken, and nobody can use the key.
-- listed_number: the number of a key that can be read and is not revoked. revoked_offset: the first revocation.
CREATE TABLE access_keys (
    token BLOB NOT NULL,
    number INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    partition INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    hash BLOB,
    scopes TEXT,
    request_values BLOB,
    listed_number INTEGER,
    revoked_offset INTEGER,
    name TEXT,
    PRIMARY KEY (token, number)
) STRICT, WITHOUT ROWID;

-- Not unique: should two events have one hash, as in a log that somebody has forged, the first key has it.
CREATE INDEX access_keys_by_hash ON access_keys (hash) WHERE hash IS NOT NULL;
CREATE INDEX access_keys_by_event ON access_keys (token, event_id);
CREATE INDEX access_keys_listed ON access_keys (token, listed_number) WHERE listed_number IS NOT NULL;
CREATE INDEX access_keys_by_revocation ON access_keys (partition, revoked_offset) WHERE revoked_offset IS NOT NULL;

-- The last event that voids the tokens of a user.
CREATE TABLE voided_users (
    token BLOB NOT NULL,
    user_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    PRIMARY KEY (token, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX voided_users_by_place ON voided_users (partition, log_offset);
