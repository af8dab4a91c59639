-- Keys by which callers of the API prove who they are. Few rows, which stay
-- when they are revoked.

CREATE TABLE api_keys (
    id         TEXT NOT NULL PRIMARY KEY,
    -- For people; among those that are valid, each is there once.
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    -- SHA-256 of the whole key, which is kept nowhere.
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    created_at INTEGER NOT NULL,
    -- Null: never.
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_keys_name_idx ON api_keys (name) WHERE revoked_at IS NULL;
