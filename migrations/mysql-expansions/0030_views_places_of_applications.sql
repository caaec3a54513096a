-- The place in the log of the last event that changed the row, and the time of the creation. NULL in what earlier releases wrote.
ALTER TABLE applications
    ADD COLUMN partition_id SMALLINT UNSIGNED NULL,
    ADD COLUMN log_offset BIGINT UNSIGNED NULL,
    ADD COLUMN created_at_ms BIGINT UNSIGNED NULL
