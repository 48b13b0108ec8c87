-- Organisations, people and what they may do. Times are Unix seconds.
--
-- Tables that change their keys are rebuilt, each together with those that refer to it: dropping a table deletes its rows, and
-- that would take the rows that refer to them along.

CREATE TABLE organizations (
    id           TEXT PRIMARY KEY,
    -- Of its people; also in the group that the cluster's API server sees.
    name         TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

INSERT INTO organizations (id, name, display_name, created_at)
VALUES ('o-default', 'default', 'Default', coalesce((SELECT min(created_at) FROM users), unixepoch()));

CREATE TABLE new_users (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('person', 'service')),
    display_name    TEXT NOT NULL,
    -- JSON list of the names of the groups that the user is in.
    member_of       TEXT NOT NULL DEFAULT '[]',
    created_at      INTEGER NOT NULL,
    disabled_at     INTEGER
) STRICT;

INSERT INTO new_users (id, organization_id, name, kind, display_name, created_at)
SELECT id, 'o-default', name, 'person', name, created_at FROM users;

CREATE TABLE new_api_tokens (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES new_users (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL CHECK (kind IN ('personal', 'service', 'session')),
    name         TEXT NOT NULL,
    secret_hash  BLOB NOT NULL CHECK (length(secret_hash) = 32),
    -- JSON; what of the user's rights the token has. NULL: all.
    scope        TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    -- Behind by about a minute.
    last_used_at INTEGER
) STRICT;

INSERT INTO new_api_tokens (id, user_id, kind, name, secret_hash, created_at, expires_at)
SELECT id, user_id, 'personal', name, secret_hash, created_at, expires_at FROM api_tokens;

CREATE TABLE new_clusters (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name            TEXT NOT NULL,
    display_name    TEXT NOT NULL,
    profile         TEXT NOT NULL CHECK (profile IN ('observe', 'operate', 'admin')),
    -- JSON object of texts; what selectors of bindings look at.
    labels          TEXT NOT NULL DEFAULT '{}',
    created_at      INTEGER NOT NULL,
    revoked_at      INTEGER,
    -- 1 while a tunnel stands. Found as 1 at start, it says that the gateway ended without a farewell.
    connected       INTEGER NOT NULL DEFAULT 0,
    -- When the agent was last known to be there; behind by at most a minute while connected.
    last_seen       INTEGER,
    -- What the agent said of itself at its last connect, as JSON.
    agent           TEXT,
    UNIQUE (organization_id, name)
) STRICT;

INSERT INTO new_clusters
    (id, organization_id, name, display_name, profile, created_at, revoked_at, connected, last_seen, agent)
SELECT id, 'o-default', name, display_name, profile, created_at, revoked_at, connected, last_seen, agent FROM clusters;

CREATE TABLE new_enrollment_tokens (
    id          TEXT PRIMARY KEY,
    cluster_id  TEXT NOT NULL REFERENCES new_clusters (id) ON DELETE CASCADE,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    -- The key that used it, so that a repeat with the same key gets the same answer.
    used_by_key TEXT
) STRICT;

INSERT INTO new_enrollment_tokens (id, cluster_id, secret_hash, created_at, expires_at, used_by_key)
SELECT id, cluster_id, secret_hash, created_at, expires_at, used_by_key FROM enrollment_tokens;

CREATE TABLE new_inventories (
    cluster_id TEXT PRIMARY KEY REFERENCES new_clusters (id) ON DELETE CASCADE,
    -- What the agent is asked to go on from: the last state that was complete.
    epoch      TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    -- Grows with every snapshot; records of an earlier one are gone once a snapshot is complete.
    generation INTEGER NOT NULL,
    -- 0: complete. 1: within a snapshot. 2: within a change of several parts. Left so by a broken stream, the agent is asked
    -- for a snapshot.
    partial    INTEGER NOT NULL,
    -- When the last complete state was stored.
    updated_at INTEGER NOT NULL,
    -- When it was last known to be true; behind by at most a minute while the agent is followed.
    seen_at    INTEGER NOT NULL
) STRICT;

INSERT INTO new_inventories (cluster_id, epoch, revision, generation, partial, updated_at, seen_at)
SELECT cluster_id, epoch, revision, generation, partial, updated_at, seen_at FROM inventories;

CREATE TABLE bindings (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    -- Either a user or the name of a group.
    user_id         TEXT REFERENCES new_users (id) ON DELETE CASCADE,
    group_name      TEXT,
    role            TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin', 'auditor')),
    scope_kind      TEXT NOT NULL CHECK (scope_kind IN ('organization', 'cluster', 'selector')),
    cluster_id      TEXT REFERENCES new_clusters (id) ON DELETE CASCADE,
    selector        TEXT,
    -- JSON list. NULL: all namespaces, and what is in none.
    namespaces      TEXT,
    created_at      INTEGER NOT NULL,
    CHECK ((user_id IS NULL) <> (group_name IS NULL)),
    CHECK ((cluster_id IS NOT NULL) = (scope_kind = 'cluster')),
    CHECK ((selector IS NOT NULL) = (scope_kind = 'selector'))
) STRICT;

-- The roles that users had were for everything.
INSERT INTO bindings (id, organization_id, user_id, role, scope_kind, created_at)
SELECT 'b-' || lower(hex(randomblob(6))), 'o-default', id, role, 'organization', created_at FROM users;

-- Who may act as whom (`kubectl --as`).
CREATE TABLE impersonators (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id         TEXT NOT NULL REFERENCES new_users (id) ON DELETE CASCADE,
    -- NULL: everybody in the organisation.
    target_id       TEXT REFERENCES new_users (id) ON DELETE CASCADE,
    created_at      INTEGER NOT NULL
) STRICT;

DROP TABLE api_tokens;
DROP TABLE enrollment_tokens;
DROP TABLE inventories;
DROP TABLE users;
DROP TABLE clusters;

-- Renaming renames in the tables that refer to them as well.
ALTER TABLE new_users RENAME TO users;
ALTER TABLE new_api_tokens RENAME TO api_tokens;
ALTER TABLE new_clusters RENAME TO clusters;
ALTER TABLE new_enrollment_tokens RENAME TO enrollment_tokens;
ALTER TABLE new_inventories RENAME TO inventories;

-- Names that differ in case only would be taken for one another.
CREATE UNIQUE INDEX users_by_name ON users (organization_id, name COLLATE NOCASE);
CREATE INDEX api_tokens_by_user ON api_tokens (user_id);
CREATE INDEX enrollment_tokens_by_cluster ON enrollment_tokens (cluster_id);
-- For deletes of what they refer to, and one row for each pair.
CREATE INDEX bindings_by_user ON bindings (user_id);
CREATE INDEX bindings_by_cluster ON bindings (cluster_id);
CREATE UNIQUE INDEX impersonators_by_user ON impersonators (user_id, coalesce(target_id, ''));
CREATE INDEX impersonators_by_target ON impersonators (target_id);
