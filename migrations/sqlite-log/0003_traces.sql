-- The header traceparent of the request that gave the event, if it had one.
ALTER TABLE events ADD COLUMN traceparent TEXT;
