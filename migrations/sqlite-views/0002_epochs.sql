-- The highest epoch that started before next_offset; 0 as long as the log knows none.
ALTER TABLE checkpoints ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
