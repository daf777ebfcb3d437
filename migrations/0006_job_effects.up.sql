-- The ledger of job kinds that have none of their own, and one place to ask whether a job's effect is committed.

CREATE TABLE penstock.job_effects (
    job_id uuid PRIMARY KEY,
    kind text NOT NULL,
    tenant text NOT NULL,
    result jsonb,
    committed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE penstock.job_effects IS
    'A row is written in the transaction that writes the job''s effect, and in no other.';

GRANT INSERT ON penstock.job_effects TO penstock_worker;

CREATE VIEW penstock.effects AS
    SELECT job_id, committed_at FROM penstock.job_effects
    UNION ALL
    SELECT job_id, committed_at FROM penstock.submission_batches;
COMMENT ON VIEW penstock.effects IS 'Which jobs'' effects are committed, whichever ledger says so.';
