-- When a generation of views is last known to have had everything that the log had in a partition: microseconds since 1970, by the
-- server's clock.
CREATE TABLE log_ends (
    generation INT UNSIGNED NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    reached_at_us BIGINT NOT NULL,
    PRIMARY KEY (generation, partition_id)
) ENGINE = InnoDB
