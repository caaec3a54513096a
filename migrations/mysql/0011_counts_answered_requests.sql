-- What requests with an Idempotency-Key were given; forgotten some days later by the times of the events themselves.
CREATE TABLE answered_requests (
    generation INT UNSIGNED NOT NULL,
    request_key BINARY(32) NOT NULL,
    event_id BINARY(16) NOT NULL,
    request_values BINARY(32) NOT NULL,
    stream VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number INT UNSIGNED NULL,
    partition_id SMALLINT UNSIGNED NOT NULL,
    log_offset BIGINT UNSIGNED NOT NULL,
    occurred_at_ms BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (generation, request_key, event_id),
    KEY answered_requests_by_age (generation, partition_id, occurred_at_ms)
) ENGINE = InnoDB
