-- Keys by which callers of the API prove who they are. Few rows, which stay
-- when they are revoked.

CREATE TABLE api_keys (
    id         text COLLATE "C" PRIMARY KEY,
    -- For people; among those that are valid, each is there once.
    name       text  NOT NULL,
    role       text  NOT NULL,
    -- SHA-256 of the whole key, which is kept nowhere.
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL,
    -- Null: never.
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_name_idx ON api_keys (name) WHERE revoked_at IS NULL;
