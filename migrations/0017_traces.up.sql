-- Whose doing jobs and posts are. A row of the outbox takes its trace and its request from the settings `penstock.trace`
-- and `penstock.request_id` of the transaction that writes it. What is not of its form is left out: no job dies of what
-- only serves to find it.

ALTER TABLE penstock.outbox ADD COLUMN trace text, ADD COLUMN request_id text, ADD COLUMN follows text;
ALTER TABLE penstock.outbox
    ALTER COLUMN trace SET DEFAULT substring(
        current_setting('penstock.trace', true) FROM '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
    ),
    ALTER COLUMN request_id SET DEFAULT substring(
        current_setting('penstock.request_id', true) FROM '^[A-Za-z0-9._:/+=-]{1,128}$'
    );
COMMENT ON COLUMN penstock.outbox.trace IS 'W3C traceparent of what the job was enqueued for; see docs/tracing.md.';
COMMENT ON COLUMN penstock.outbox.request_id IS 'The request that the job was enqueued for.';
COMMENT ON COLUMN penstock.outbox.follows IS 'W3C traceparent of the life of the job that ended before this one.';

ALTER TABLE penstock.dead_letters ADD COLUMN trace text;
COMMENT ON COLUMN penstock.dead_letters.trace IS 'W3C traceparent of what the job was enqueued for; trace_id is of it.';

ALTER TABLE penstock.scheduled_posts ADD COLUMN trace text;
COMMENT ON COLUMN penstock.scheduled_posts.trace IS 'W3C traceparent of what the post was scheduled by.';

-- As before, and each job follows the life that its letter was the end of.
CREATE OR REPLACE FUNCTION penstock.revive_letters(dead_ids uuid[], payloads bytea[], payload_versions integer[])
    RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    revived integer;
BEGIN
    INSERT INTO penstock.outbox AS known
           (job_id, kind, queue, tenant, payload_version, payload, idempotency_key, digest, revives, follows)
    SELECT letter.job_id, letter.kind, letter.queue, letter.tenant, given.payload_version, given.payload,
           CASE WHEN letter.idempotency_key ~ '^[A-Za-z0-9._-]{1,200}$' THEN letter.idempotency_key END,
           encode(sha256(given.payload), 'hex'), letter.died_at, letter.trace
      FROM unnest(dead_ids, payloads, payload_versions) AS given (dead_id, payload, payload_version)
      JOIN penstock.dead_letters letter USING (dead_id)
     WHERE letter.state = 'requeued' AND letter.became = 'waiting' AND letter.header_ok
     ORDER BY letter.job_id
        ON CONFLICT ON CONSTRAINT outbox_job_unique DO UPDATE SET
           queue = EXCLUDED.queue, payload_version = EXCLUDED.payload_version, payload = EXCLUDED.payload,
           digest = EXCLUDED.digest, revives = EXCLUDED.revives, run_at = NULL, state = 'waiting',
           created_at = now(), relayed_at = NULL, checked_at = NULL, last_code = NULL,
           trace = EXCLUDED.trace, request_id = EXCLUDED.request_id, follows = EXCLUDED.follows;
    GET DIAGNOSTICS revived = ROW_COUNT;
    IF revived > 0 THEN
        PERFORM pg_notify('penstock_outbox', '');
    END IF;
    RETURN revived;
END
$function$;
