-- The place of the event in the partition of the chat, and its time. NULL in what earlier releases wrote. No event has an author yet.
ALTER TABLE messages
    ADD COLUMN log_offset BIGINT UNSIGNED NULL,
    ADD COLUMN created_at_ms BIGINT UNSIGNED NULL,
    ADD COLUMN author VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL
