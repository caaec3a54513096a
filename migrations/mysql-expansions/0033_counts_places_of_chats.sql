-- The place of the chat's last event in the partition of the chat, when the row counted placed_count messages. An earlier release
-- counts further messages without it: then placed_count differs from messages_count, and the place is not that of the count.
ALTER TABLE chat_counts
    ADD COLUMN log_offset BIGINT UNSIGNED NULL,
    ADD COLUMN placed_count INT UNSIGNED NULL
