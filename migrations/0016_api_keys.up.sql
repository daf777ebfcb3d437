-- The keys that other services show the gateway. A key itself is stored nowhere: only a keyed hash of it.

CREATE TABLE penstock.api_keys (
    key_id uuid PRIMARY KEY,
    tenant text NOT NULL CHECK (tenant ~ '^[A-Za-z0-9._-]{1,200}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    prefix text NOT NULL CHECK (prefix ~ '^[A-Za-z0-9]{8,32}$'),
    secret_id text NOT NULL CHECK (secret_id ~ '^[A-Za-z0-9._-]{1,50}$'),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- Words of the form noun:verb, and none that stands for several.
    scopes text[] NOT NULL CHECK (array_to_string(scopes, ' ', '*') ~ '^[a-z_]+:[a-z]+( [a-z_]+:[a-z]+)*$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz CHECK (isfinite(expires_at)),
    revoked_at timestamptz CHECK (isfinite(revoked_at)),
    replaced_by uuid REFERENCES penstock.api_keys,
    last_used_at timestamptz,
    CONSTRAINT api_keys_prefix_unique UNIQUE (prefix)
);
COMMENT ON TABLE penstock.api_keys IS 'Keys of the gateway''s callers; see docs/keys.md. A row stays when its key ends.';
COMMENT ON COLUMN penstock.api_keys.prefix IS 'The public part of the key, by which it is found and may be named.';
COMMENT ON COLUMN penstock.api_keys.secret_id IS 'Which of PENSTOCK_API_KEY_SECRET the digest is keyed with.';
COMMENT ON COLUMN penstock.api_keys.digest IS 'HMAC-SHA-256 of the whole key.';
COMMENT ON COLUMN penstock.api_keys.replaced_by IS 'The key that a rotation made in its place; this one ends at expires_at.';
COMMENT ON COLUMN penstock.api_keys.last_used_at IS 'When it was last seen in use, to about a minute.';

-- Gateways log in as workers do. They check keys and say that one was used; they can neither make nor revive one.
GRANT UPDATE (last_used_at) ON penstock.api_keys TO penstock_worker;

-- Who reads for a report checks no key.
REVOKE SELECT ON penstock.api_keys FROM penstock_reader;
GRANT SELECT (
    key_id, tenant, name, prefix, secret_id, scopes, created_at, created_by, expires_at, revoked_at, replaced_by,
    last_used_at
) ON penstock.api_keys TO penstock_reader;
