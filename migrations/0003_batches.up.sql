-- Batches of submissions: how a file was cut, the ledger of what was written, and the rows that were rejected.
-- No foreign keys to forms: each batch would lock its form's row, and nobody but the owner can delete a form.

CREATE TABLE penstock.base_batches (
    tenant text NOT NULL,
    base_batch_id text NOT NULL,
    form_key integer NOT NULL,
    batch_size integer CHECK (batch_size >= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, base_batch_id)
);
COMMENT ON TABLE penstock.base_batches IS
    'How a file was cut. Ids of rows derive from their place, so another batch_size would store the rows twice.';

CREATE TABLE penstock.submission_batches (
    tenant text NOT NULL,
    batch_id text NOT NULL,
    form_key integer NOT NULL,
    form_id text NOT NULL,
    form_version integer NOT NULL CHECK (form_version >= 1),
    base_batch_id text NOT NULL,
    first_position bigint NOT NULL CHECK (first_position >= 0),
    digest bytea NOT NULL,
    status text NOT NULL DEFAULT 'done' CHECK (status IN ('done')),
    stored integer NOT NULL CHECK (stored >= 0),
    rejected integer NOT NULL CHECK (rejected >= 0),
    duplicates integer NOT NULL CHECK (duplicates >= 0),
    job_id uuid NOT NULL,
    replays text,
    received_at timestamptz NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, batch_id)
);
COMMENT ON TABLE penstock.submission_batches IS
    'The ledger: a row is written in the transaction that writes the batch''s rows, and in no other.';
COMMENT ON COLUMN penstock.submission_batches.digest IS 'Of the producer''s content alone; tells a resend from a conflict.';
COMMENT ON COLUMN penstock.submission_batches.replays IS 'The batch whose rejected rows this one sends again.';

CREATE INDEX submission_batches_base_idx ON penstock.submission_batches (tenant, base_batch_id);
CREATE INDEX submission_batches_form_idx ON penstock.submission_batches (form_key, committed_at DESC);

CREATE TABLE penstock.submission_rejections (
    tenant text NOT NULL,
    batch_id text NOT NULL,
    form_id text NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    external_id text,
    -- As sent: it may be what is wrong with the row.
    submitted_at text,
    -- json, not jsonb: that can't hold U+0000 and unpaired surrogates. Bytes where it is not even JSON.
    content json,
    content_bytes bytea,
    faults jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    resolved_by text,
    resolved_at timestamptz,
    PRIMARY KEY (tenant, batch_id, position),
    CHECK (num_nonnulls(content, content_bytes) = 1)
);

GRANT INSERT ON penstock.base_batches, penstock.submission_batches, penstock.submission_rejections TO penstock_worker;
GRANT UPDATE (stored, duplicates) ON penstock.submission_batches TO penstock_worker;
GRANT UPDATE (resolved_by, resolved_at) ON penstock.submission_rejections TO penstock_worker;
