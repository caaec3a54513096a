-- The last event that voids the tokens of a user; a part of the projection views.
-- The collation compares all of a name: to utf8mb4_bin, names that differ in spaces at their end are one.
CREATE TABLE voided_users (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    log_offset BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (generation, token, user_id),
    KEY voided_users_by_place (generation, partition_id, log_offset)
) ENGINE = InnoDB
