-- The function as it was in 0010_revive.
CREATE OR REPLACE FUNCTION penstock.revive_letters(dead_ids uuid[], payloads bytea[], payload_versions integer[]) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    revived integer;
BEGIN
    INSERT INTO penstock.outbox AS known
           (job_id, kind, queue, tenant, payload_version, payload, idempotency_key, digest, revives)
    SELECT letter.job_id, letter.kind, letter.queue, letter.tenant, given.payload_version, given.payload,
           CASE WHEN letter.idempotency_key ~ '^[A-Za-z0-9._-]{1,200}$' THEN letter.idempotency_key END, encode(sha256(given.payload), 'hex'), letter.died_at
      FROM unnest(dead_ids, payloads, payload_versions) AS given (dead_id, payload, payload_version)
      JOIN penstock.dead_letters letter USING (dead_id)
     WHERE letter.state = 'requeued' AND letter.became = 'waiting' AND letter.header_ok
     ORDER BY letter.job_id
        ON CONFLICT ON CONSTRAINT outbox_job_unique DO UPDATE SET
           queue = EXCLUDED.queue, payload_version = EXCLUDED.payload_version, payload = EXCLUDED.payload,
           digest = EXCLUDED.digest, revives = EXCLUDED.revives, run_at = NULL, state = 'waiting',
           created_at = now(), relayed_at = NULL, checked_at = NULL, last_code = NULL;
    GET DIAGNOSTICS revived = ROW_COUNT;
    IF revived > 0 THEN
        PERFORM pg_notify('penstock_outbox', '');
    END IF;
    RETURN revived;
END
$function$;

ALTER TABLE penstock.scheduled_posts DROP COLUMN trace;
ALTER TABLE penstock.dead_letters DROP COLUMN trace;
ALTER TABLE penstock.outbox DROP COLUMN follows, DROP COLUMN request_id, DROP COLUMN trace;
