-- Where a projection cannot go on because a newer version has written there, for the readiness of readers in other processes.
-- A row holds only as long as the checkpoint stays there.
CREATE TABLE stops (
    projection VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    generation INT UNSIGNED NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    stopped_at BIGINT UNSIGNED NOT NULL,
    reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (projection, generation, partition_id)
) ENGINE = InnoDB
