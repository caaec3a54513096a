-- Who made the request that gave the event: root, key:3, user:alice. The checksum covers it where it is not NULL.
ALTER TABLE events ADD COLUMN actor TEXT;
