DROP FUNCTION penstock.enqueue(text, jsonb, timestamptz, text, text);
DROP FUNCTION penstock.enqueue_bytes(text, bytea, timestamptz, text, text, text, integer);
DROP FUNCTION penstock.require_enqueueable(text, text, text, timestamptz);
DROP FUNCTION penstock.job_id(text, text, text);
DROP TABLE penstock.outbox;
