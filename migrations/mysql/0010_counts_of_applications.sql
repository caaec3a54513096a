CREATE TABLE application_counts (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    created BOOLEAN NOT NULL,
    chats_count INT UNSIGNED NOT NULL,
    last_chat INT UNSIGNED NOT NULL,
    PRIMARY KEY (generation, token)
) ENGINE = InnoDB
