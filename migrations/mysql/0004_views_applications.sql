-- name_rank: 0 for the name an application was created with, the rename's offset + 1 for any other. The highest holds.
CREATE TABLE applications (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    created_event BINARY(16) NULL,
    name TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    name_rank BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (generation, token)
) ENGINE = InnoDB
