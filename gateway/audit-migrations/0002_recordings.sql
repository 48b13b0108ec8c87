-- Recordings of terminal sessions are found by the entries that say how they ended.
ALTER TABLE entries ADD COLUMN recording TEXT GENERATED ALWAYS AS (entry ->> '$.recording.sha256') VIRTUAL;
CREATE INDEX entries_recording ON entries (seq) WHERE recording IS NOT NULL;
