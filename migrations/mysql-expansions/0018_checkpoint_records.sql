-- The log that a checkpoint is of, and a record before next_offset by which that log is recognised: its last one, unless a program that
-- does not know these columns has moved the checkpoint since. NULL where only such programs have written.
ALTER TABLE checkpoints
    ADD COLUMN record_offset BIGINT UNSIGNED NULL,
    ADD COLUMN record_id BINARY(16) NULL,
    ADD COLUMN log_id BINARY(16) NULL
