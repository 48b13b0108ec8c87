-- The audit's entries as they were written. What queries go by is read out of the entry itself, so that a column can
-- never say anything else than the entry whose hash is checked.
CREATE TABLE entries (
    seq          INTEGER PRIMARY KEY,
    entry        TEXT NOT NULL,
    at           TEXT GENERATED ALWAYS AS (entry ->> '$.at') VIRTUAL,
    id           TEXT GENERATED ALWAYS AS (entry ->> '$.id') VIRTUAL,
    phase        TEXT GENERATED ALWAYS AS (entry ->> '$.phase') VIRTUAL,
    organization TEXT GENERATED ALWAYS AS (entry ->> '$.organization') VIRTUAL,
    user         TEXT GENERATED ALWAYS AS (entry ->> '$.user') VIRTUAL,
    cluster      TEXT GENERATED ALWAYS AS (entry ->> '$.cluster') VIRTUAL,
    verb         TEXT GENERATED ALWAYS AS (entry ->> '$.verb') VIRTUAL,
    decision     TEXT GENERATED ALWAYS AS (entry ->> '$.decision') VIRTUAL
);
CREATE INDEX entries_at ON entries (at);
CREATE INDEX entries_id ON entries (id);
CREATE INDEX entries_user ON entries (user, seq);
CREATE INDEX entries_cluster ON entries (cluster, seq);

-- The last entry that retention removed: what is left follows it.
CREATE TABLE anchor (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    seq        INTEGER NOT NULL,
    hash       TEXT NOT NULL,
    removed_at TEXT NOT NULL
);
