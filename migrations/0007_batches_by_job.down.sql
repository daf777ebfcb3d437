-- penstock: no transaction
DROP INDEX CONCURRENTLY IF EXISTS penstock.submission_batches_job_idx;
