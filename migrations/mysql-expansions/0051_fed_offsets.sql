-- Up to where the feed of views has everything, in that partition. It is next_offset unless a program that knows no feed has moved the
-- checkpoint since: then the feed has a gap, and a projector makes views anew. NULL where only such programs have written.
ALTER TABLE checkpoints ADD COLUMN fed_offset BIGINT UNSIGNED NULL
