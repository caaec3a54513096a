-- The epoch that an event's number was reserved in; only events that were copied from a log with epochs have one.
ALTER TABLE events ADD COLUMN epoch INTEGER;
