-- The place in the log of the creation, and its time. NULL in what earlier releases wrote.
ALTER TABLE chats
    ADD COLUMN partition_id SMALLINT UNSIGNED NULL,
    ADD COLUMN log_offset BIGINT UNSIGNED NULL,
    ADD COLUMN created_at_ms BIGINT UNSIGNED NULL
