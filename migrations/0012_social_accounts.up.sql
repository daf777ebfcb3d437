-- The accounts that posts are published to, with their tokens, encrypted, and who refreshes them right now.

CREATE TABLE penstock.social_accounts (
    account_id uuid PRIMARY KEY,
    tenant text NOT NULL CHECK (tenant ~ '^[A-Za-z0-9._-]{1,200}$'),
    owner text NOT NULL CHECK (owner ~ '^[A-Za-z0-9._-]{1,200}$'),
    platform text NOT NULL CHECK (platform ~ '^[a-z][a-z0-9_]{0,49}$'),
    external_id text NOT NULL CHECK (length(external_id) BETWEEN 1 AND 200),
    name text NOT NULL CHECK (length(name) <= 200),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'reauthorize', 'disabled')),
    state_code text,
    state_changed_at timestamptz NOT NULL DEFAULT now(),
    token_ciphertext bytea NOT NULL,
    refresh_token_ciphertext bytea,
    key_id text NOT NULL,
    tokens_version bigint NOT NULL DEFAULT 1,
    token_expires_at timestamptz,
    refresh_due_at timestamptz,
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    refresh_lease_until timestamptz,
    refresh_lease_by text,
    refresh_fence bigint NOT NULL DEFAULT 0,
    refresh_code text,
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT social_accounts_unique UNIQUE (tenant, platform, external_id)
);
COMMENT ON TABLE penstock.social_accounts IS 'Accounts on platforms; see docs/posts.md.';
COMMENT ON COLUMN penstock.social_accounts.state_code IS 'Why the account is not active; NULL while it is.';
COMMENT ON COLUMN penstock.social_accounts.key_id IS 'The key that both ciphertexts are encrypted with.';
COMMENT ON COLUMN penstock.social_accounts.tokens_version IS
    'Counts new tokens, and not their encryption anew: who was refused with an older version reads again.';
COMMENT ON COLUMN penstock.social_accounts.token_expires_at IS 'NULL: the platform names no end.';
COMMENT ON COLUMN penstock.social_accounts.refresh_due_at IS
    'When the calendar has the token refreshed; NULL: when it is needed, or never.';
COMMENT ON COLUMN penstock.social_accounts.refreshed_at IS 'When the platform gave the token, or an operator did.';
COMMENT ON COLUMN penstock.social_accounts.refresh_fence IS
    'Counts leases and new tokens: what a holder of an older lease brings is refused.';
COMMENT ON COLUMN penstock.social_accounts.refresh_code IS 'Why the last refresh failed; NULL: it did not.';

CREATE INDEX social_accounts_owner_idx ON penstock.social_accounts (tenant, owner, platform, account_id);
CREATE INDEX social_accounts_refresh_idx ON penstock.social_accounts (refresh_due_at, account_id)
    WHERE state = 'active' AND refresh_due_at IS NOT NULL;
CREATE INDEX social_accounts_expiry_idx ON penstock.social_accounts (token_expires_at)
    WHERE state = 'active' AND token_expires_at IS NOT NULL;
CREATE INDEX social_accounts_platform_idx ON penstock.social_accounts (platform, state);
CREATE INDEX social_accounts_key_idx ON penstock.social_accounts (key_id, account_id);

GRANT INSERT ON penstock.social_accounts TO penstock_worker;
GRANT UPDATE (
    owner, name, state, state_code, state_changed_at, token_ciphertext, refresh_token_ciphertext, key_id,
    tokens_version, token_expires_at, refresh_due_at, refreshed_at, refresh_lease_until, refresh_lease_by,
    refresh_fence, refresh_code, metadata, updated_at
) ON penstock.social_accounts TO penstock_worker;

-- Who reads for a report needs no token, not even encrypted.
REVOKE SELECT ON penstock.social_accounts FROM penstock_reader;
GRANT SELECT (
    account_id, tenant, owner, platform, external_id, name, state, state_code, state_changed_at, key_id,
    tokens_version, token_expires_at, refresh_due_at, refreshed_at, refresh_lease_until, refresh_lease_by,
    refresh_fence, refresh_code, metadata, created_at, updated_at
) ON penstock.social_accounts TO penstock_reader;
