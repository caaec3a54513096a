-- The time of a request's event by the clock of event_log::key_clock, and the state of that clock after the event. They
-- replace the event's own time, which a wrong clock may have given. embedded::log::requests fills them from the events.
DROP INDEX requests_by_age;

DROP TABLE requests;

CREATE TABLE requests (
    request_key BLOB PRIMARY KEY,
    log_offset INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL,
    latest_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_age ON requests (elapsed_ms, log_offset);
