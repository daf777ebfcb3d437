-- penstock: no transaction
-- So that penstock.effects finds a batch by its job: there may be millions.
CREATE INDEX CONCURRENTLY IF NOT EXISTS submission_batches_job_idx ON penstock.submission_batches (job_id);
