-- The time of a request's event by the clock of event_log::key_clock in its partition, and the state of that clock after it.
ALTER TABLE answered_requests
    ADD COLUMN elapsed_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    ADD COLUMN latest_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    DROP KEY answered_requests_by_age,
    ADD KEY answered_requests_by_clock (generation, partition_id, elapsed_ms, log_offset)
