-- From here on a row may be a marker: its stream is empty, its event_type the marker's name, its data {"offset":n} if it is about another
-- record. Earlier releases would take it for a damaged record, so they must not open the log.
SELECT 1;
