-- What runs of `penstock verify --smoke` stored is removed by whoever ran them: of the probe form alone, and by no other
-- way, since a worker's login deletes nothing of people's answers.

-- Locks: the rows that it deletes, a few of the probe form's. Each is found by the form's key or id.
CREATE FUNCTION penstock.forget_probe(base text, known_for interval) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    run CONSTANT text := '^probe-[0-9a-f]{32}$';
    -- Of any tenant: the key that a gateway was asked with says whose it was.
    keys CONSTANT integer[] := ARRAY(SELECT form_key FROM penstock.forms WHERE form_id = 'penstock-probe');
    deleted integer;
BEGIN
    IF base IS NULL OR base !~ run OR known_for IS NULL OR known_for < INTERVAL '1 hour' THEN
        RAISE EXCEPTION 'a run of the probe is named probe- and 32 hexadecimal digits, and known for an hour or longer'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The rows of this run, and of those that ended badly an hour ago or longer: no other one is under way for so long.
    DELETE FROM penstock.submissions
     WHERE form_id = 'penstock-probe' AND form_key = ANY (keys)
       AND batch_id IN (
           SELECT batch_id FROM penstock.submission_batches
            WHERE form_key = ANY (keys) AND base_batch_id ~ run
              AND (base_batch_id = base OR committed_at < now() - INTERVAL '1 hour')
       );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    -- The ledger as long as Redis knows the job, which would be done without an effect.
    DELETE FROM penstock.submission_batches
     WHERE form_key = ANY (keys) AND base_batch_id ~ run AND committed_at < now() - known_for;
    DELETE FROM penstock.base_batches
     WHERE form_key = ANY (keys) AND base_batch_id ~ run AND created_at < now() - known_for;
    RETURN deleted;
END
$function$;
COMMENT ON FUNCTION penstock.forget_probe(text, interval) IS
    'Removes the rows that a run of penstock verify --smoke stored, and what is old of former ones; returns how many.';
GRANT EXECUTE ON FUNCTION penstock.forget_probe(text, interval) TO penstock_worker;
