CREATE TABLE chats (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    number INT UNSIGNED NOT NULL,
    created_event BINARY(16) NOT NULL,
    PRIMARY KEY (generation, token, number)
) ENGINE = InnoDB
