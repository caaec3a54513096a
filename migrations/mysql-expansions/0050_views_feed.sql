-- The events that the feed tells; a part of the projection views. Clustered by the place in the log, so that writes append.
-- kind: 1 an application was created, 2 renamed, 3 a chat was created, 4 a message. chat_number: 0 for an event of the application itself.
-- number: that of a message, or 0. name: for the kinds 1 and 2. text_bytes: of the name, or of the body and the author of the message.
CREATE TABLE feed (
    generation INT UNSIGNED NOT NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    log_offset BIGINT UNSIGNED NOT NULL,
    token BINARY(16) NOT NULL,
    chat_number INT UNSIGNED NOT NULL,
    number INT UNSIGNED NOT NULL,
    kind TINYINT UNSIGNED NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    text_bytes INT UNSIGNED NOT NULL,
    name MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    PRIMARY KEY (generation, partition_id, log_offset),
    KEY feed_by_application (generation, token, partition_id, log_offset),
    KEY feed_by_chat (generation, token, chat_number, partition_id, log_offset)
) ENGINE = InnoDB
