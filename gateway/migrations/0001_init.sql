-- Times are Unix seconds. Tables are STRICT, so that a wrong type is an error and not a surprise later.

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE users (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_tokens (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER
) STRICT;

CREATE TABLE clusters (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    profile      TEXT NOT NULL CHECK (profile IN ('observe', 'operate', 'admin')),
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    -- 1 while a tunnel stands. Found as 1 at start, it says that the gateway ended without a farewell.
    connected    INTEGER NOT NULL DEFAULT 0,
    -- When the agent was last known to be there; behind by at most a minute while connected.
    last_seen    INTEGER,
    -- What the agent said of itself at its last connect, as JSON.
    agent        TEXT
) STRICT;

CREATE TABLE enrollment_tokens (
    id          TEXT PRIMARY KEY,
    cluster_id  TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    -- The key that used it, so that a repeat with the same key gets the same answer.
    used_by_key TEXT
) STRICT;

-- Keys outlive their cluster: an agent of a deleted cluster is told that it was revoked, not that it is unknown.
CREATE TABLE agent_keys (
    id          TEXT PRIMARY KEY,
    cluster_id  TEXT NOT NULL,
    public_key  BLOB NOT NULL CHECK (length(public_key) = 32),
    cluster_uid TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;

CREATE INDEX api_tokens_by_user ON api_tokens (user_id);
CREATE INDEX enrollment_tokens_by_cluster ON enrollment_tokens (cluster_id);
CREATE INDEX agent_keys_by_cluster ON agent_keys (cluster_id);
