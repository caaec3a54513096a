-- What each generation of a projection has applied: everything before next_offset; epoch is the highest that started there.
CREATE TABLE checkpoints (
    projection VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    generation INT UNSIGNED NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    next_offset BIGINT UNSIGNED NOT NULL,
    epoch BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (projection, generation, partition_id)
) ENGINE = InnoDB
