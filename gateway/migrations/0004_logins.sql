-- How people log in. Times are Unix seconds.

CREATE TABLE passwords (
    user_id     TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- argon2id, as a PHC string.
    hash        TEXT NOT NULL,
    -- 1: made by an administrator, good for one login that sets another one.
    must_change INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE totp (
    user_id      TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- Encrypted with the key in login.key, for this user's id.
    secret       BLOB NOT NULL,
    -- NULL: the user has not shown a code yet, and none is asked for.
    confirmed_at INTEGER,
    -- Step of the last code that was taken; no code of it or before it is taken again.
    last_step    INTEGER NOT NULL DEFAULT -1
) STRICT;

-- Codes that are left; one that is used is deleted.
CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES totp (user_id) ON DELETE CASCADE,
    -- SHA-256.
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, hash)
) STRICT, WITHOUT ROWID;

-- Users who come from an OpenID Connect provider.
CREATE TABLE external_identities (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    TEXT NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;

-- Sessions that came from there, for asking again who the person is and in which groups.
CREATE TABLE provider_sessions (
    token_id      TEXT PRIMARY KEY REFERENCES api_tokens (id) ON DELETE CASCADE,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    -- The provider's own name of its session (sid).
    session       TEXT,
    -- Encrypted with the key in login.key, for this token's id. NULL: the provider gave none.
    refresh_token BLOB,
    checked_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX provider_sessions_by_user ON provider_sessions (user_id);
CREATE INDEX provider_sessions_by_check ON provider_sessions (checked_at) WHERE refresh_token IS NOT NULL;
