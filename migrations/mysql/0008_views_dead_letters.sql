CREATE TABLE dead_letters (
    generation INT UNSIGNED NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    log_offset BIGINT UNSIGNED NOT NULL,
    event_id BINARY(16) NOT NULL,
    reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (generation, partition_id, log_offset)
) ENGINE = InnoDB
