-- Clustered, so that the messages of a chat lie together, in order. They may be there before their chat is.
CREATE TABLE messages (
    generation INT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    chat_number INT UNSIGNED NOT NULL,
    number INT UNSIGNED NOT NULL,
    event_id BINARY(16) NOT NULL,
    body MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (generation, token, chat_number, number)
) ENGINE = InnoDB
