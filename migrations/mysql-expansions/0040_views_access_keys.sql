-- Keys of applications; a part of the projection views. partition_id and log_offset are the place of the event that issued the key.
-- hash, name and scopes are NULL where the event cannot be read: its number is taken, and nobody can use the key.
-- listed_number: the number of a key that can be read and is not revoked. revoked_offset: the first revocation, in the same partition.
-- The key by hash is not unique: should two events have one hash, as in a log that somebody has forged, the first key has it.
CREATE TABLE access_keys (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    number INT UNSIGNED NOT NULL,
    event_id BINARY(16) NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    log_offset BIGINT UNSIGNED NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    expires_at_ms BIGINT UNSIGNED NULL,
    hash BINARY(32) NULL,
    scopes VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NULL,
    request_values BINARY(32) NULL,
    listed_number INT UNSIGNED NULL,
    revoked_offset BIGINT UNSIGNED NULL,
    name MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    PRIMARY KEY (generation, token, number),
    KEY access_keys_by_hash (generation, hash),
    KEY access_keys_by_event (generation, token, event_id),
    KEY access_keys_listed (generation, token, listed_number),
    KEY access_keys_by_revocation (generation, partition_id, revoked_offset)
) ENGINE = InnoDB
