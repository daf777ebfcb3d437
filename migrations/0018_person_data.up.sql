-- One person's data: requests to export or erase it, the marks by which what still waits is kept from bringing it back,
-- and the only ways by which a worker takes it out of tables that it may otherwise only add to. See docs/compliance.md.

CREATE TABLE penstock.person_data_requests (
    request_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('export', 'erase')),
    tenant text NOT NULL CHECK (tenant ~ '^[A-Za-z0-9._-]{1,200}$'),
    subject_kind text NOT NULL CHECK (subject_kind IN ('submission', 'email', 'question', 'owner')),
    form_id text,
    question_id text,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    key_id text NOT NULL,
    subject_ciphertext bytea,
    asked_by text NOT NULL CHECK (asked_by <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    asked_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done')),
    progress jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(progress) = 'object'),
    receipt jsonb,
    started_at timestamptz,
    ended_at timestamptz,
    CHECK ((state = 'done') = (ended_at IS NOT NULL)),
    -- What names the person is there as long as somebody has to look for it, and no longer.
    CHECK ((ended_at IS NULL) = (subject_ciphertext IS NOT NULL))
);
COMMENT ON TABLE penstock.person_data_requests IS 'Exports and erasures of one person''s data; see docs/compliance.md.';
COMMENT ON COLUMN penstock.person_data_requests.digest IS 'HMAC-SHA-256 of what names the person; never the value.';
COMMENT ON COLUMN penstock.person_data_requests.key_id IS 'The key of the digest and of the ciphertext.';
COMMENT ON COLUMN penstock.person_data_requests.asked_at IS 'What was enqueued before it is erased; later is new.';
COMMENT ON COLUMN penstock.person_data_requests.progress IS 'How far the job has come, with counts and ids, no values.';

CREATE INDEX person_data_requests_asked_idx ON penstock.person_data_requests (tenant, asked_at DESC, request_id DESC);

CREATE TABLE penstock.erased_subjects (
    tenant text NOT NULL,
    key_id text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    before timestamptz NOT NULL,
    request_id uuid NOT NULL,
    PRIMARY KEY (tenant, digest)
);
COMMENT ON TABLE penstock.erased_subjects IS
    'Rows of these people that were enqueued before are dropped by whoever is about to store them.';

-- One row a tenant, read with each batch's claim in the same statement: nearly always it is not there.
CREATE TABLE penstock.erasure_marks (
    tenant text PRIMARY KEY,
    newest timestamptz NOT NULL,
    running integer NOT NULL CHECK (running >= 0)
);
COMMENT ON TABLE penstock.erasure_marks IS
    'Of each tenant the instant of its newest erasure, and how many erasures have not ended.';

-- Not validated, or all the ledger would be read under its lock; what is there has the default.
ALTER TABLE penstock.submission_batches
    ADD COLUMN erased integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT submission_batches_erased_check CHECK (erased >= 0) NOT VALID;
COMMENT ON COLUMN penstock.submission_batches.erased IS
    'Rows of people whose data was erased: never stored, or taken out of stored and rejected since.';

-- The tenant of an erasure that has not ended. Nothing is taken out for any other reason.
CREATE FUNCTION penstock.tenant_of_erasure(request uuid) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found_tenant text;
BEGIN
    SELECT r.tenant INTO found_tenant FROM penstock.person_data_requests r
     WHERE r.request_id = request AND r.kind = 'erase' AND r.ended_at IS NULL;
    IF found_tenant IS NULL THEN
        RAISE EXCEPTION 'no erasure % is going on', coalesce(request::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN found_tenant;
END
$function$;

CREATE FUNCTION penstock.erase_submissions(
    request uuid, form_keys integer[], submission_ids uuid[], instants timestamptz[]
) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    of_tenant CONSTANT text := penstock.tenant_of_erasure(request);
    one record;
    of_batch text;
    erased_rows integer := 0;
BEGIN
    -- In one order, as those who write rows. One by one, so that each looks into the one partition of its month.
    FOR one IN
        SELECT given.form_key, given.submission_id, given.submitted_at
          FROM unnest(form_keys, submission_ids, instants) AS given (form_key, submission_id, submitted_at)
          JOIN penstock.forms f ON f.form_key = given.form_key AND f.tenant = of_tenant
         ORDER BY given.submitted_at, given.submission_id
    LOOP
        DELETE FROM penstock.submissions s
         WHERE s.form_key = one.form_key AND s.submission_id = one.submission_id AND s.submitted_at = one.submitted_at
        RETURNING s.batch_id INTO of_batch;
        IF FOUND THEN
            erased_rows := erased_rows + 1;
            UPDATE penstock.submission_batches b SET stored = greatest(0, b.stored - 1), erased = b.erased + 1
             WHERE b.tenant = of_tenant AND b.batch_id = of_batch;
        END IF;
    END LOOP;
    RETURN erased_rows;
END
$function$;
COMMENT ON FUNCTION penstock.erase_submissions(uuid, integer[], uuid[], timestamptz[]) IS
    'Deletes these rows of the tenant whose erasure this is, and moves them in their batches'' counts; returns how many.';

CREATE FUNCTION penstock.erase_rejections(request uuid, batch_ids text[], positions integer[]) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    of_tenant CONSTANT text := penstock.tenant_of_erasure(request);
    erased_rows integer;
BEGIN
    WITH gone AS (
        DELETE FROM penstock.submission_rejections r
         USING unnest(batch_ids, positions) AS given (batch_id, place)
         WHERE r.tenant = of_tenant AND r.batch_id = given.batch_id AND r.position = given.place
        RETURNING r.batch_id
    ), by_batch AS (
        SELECT gone.batch_id, count(*) AS rows FROM gone GROUP BY gone.batch_id
    ), counted AS (
        UPDATE penstock.submission_batches b
           SET rejected = greatest(0, b.rejected - by_batch.rows), erased = b.erased + by_batch.rows
          FROM by_batch WHERE b.tenant = of_tenant AND b.batch_id = by_batch.batch_id
    )
    SELECT count(*) INTO erased_rows FROM gone;
    RETURN erased_rows;
END
$function$;
COMMENT ON FUNCTION penstock.erase_rejections(uuid, text[], integer[]) IS
    'Deletes these rejected rows of the tenant whose erasure this is; returns how many.';

-- What is decided of a letter stays as it is, and so do its group's counts: only what the job held changes.
CREATE FUNCTION penstock.erase_in_letter(
    request uuid, letter uuid, new_body bytea, new_encoding text, new_raw bytea, new_payload jsonb
) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    of_tenant CONSTANT text := penstock.tenant_of_erasure(request);
BEGIN
    UPDATE penstock.dead_letters l
       SET body = new_body, encoding = new_encoding, raw = new_raw, payload = new_payload,
           message_bytes = octet_length(coalesce(new_raw, new_body))
     WHERE l.dead_id = letter AND l.tenant = of_tenant;
    RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION penstock.erase_in_letter(uuid, uuid, bytea, text, bytea, jsonb) IS
    'Gives a dead letter of the tenant whose erasure this is a payload without the person.';

-- The digest stays: what the producer sends again is what it sent before.
CREATE FUNCTION penstock.erase_in_outbox(request uuid, outbox_id bigint, new_payload bytea) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    of_tenant CONSTANT text := penstock.tenant_of_erasure(request);
BEGIN
    UPDATE penstock.outbox o SET payload = new_payload WHERE o.id = outbox_id AND o.tenant = of_tenant;
    RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION penstock.erase_in_outbox(uuid, bigint, bytea) IS
    'Gives a job of the outbox of the tenant whose erasure this is a payload without the person.';

CREATE FUNCTION penstock.erase_in_replay(request uuid, replay uuid, new_selection jsonb) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM penstock.tenant_of_erasure(request);
    -- One that goes on still selects by it.
    UPDATE penstock.replays r SET selection = new_selection WHERE r.replay_id = replay AND r.ended_at IS NOT NULL;
    RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION penstock.erase_in_replay(uuid, uuid, jsonb) IS
    'Gives a replay that has ended a selection without the person.';

-- A post stays as an empty one that ended: were it deleted, the job that brought it could bring it again. One that is
-- on its way to its platform right now is left alone; it is asked about again.
CREATE FUNCTION penstock.erase_posts(request uuid, of_owner text, row_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    of_tenant CONSTANT text := penstock.tenant_of_erasure(request);
    erased_ids uuid[];
BEGIN
    WITH chosen AS (
        SELECT p.post_id FROM penstock.scheduled_posts p
         WHERE p.tenant = of_tenant AND p.owner = of_owner AND p.state NOT IN ('claimed', 'publishing')
         ORDER BY p.post_id LIMIT row_limit FOR UPDATE
    ), emptied AS (
        UPDATE penstock.scheduled_posts p
           SET owner = 'erased', content = '{}', handle = NULL, step = '{}', external_id = NULL, url = NULL,
               idempotency_key = NULL, parked_at = NULL, version = p.version + 1, updated_at = now(),
               state = CASE WHEN p.state IN ('scheduled', 'held') THEN 'cancelled' ELSE p.state END
          FROM chosen WHERE p.post_id = chosen.post_id
        RETURNING p.post_id
    )
    SELECT array_agg(emptied.post_id) INTO erased_ids FROM emptied;
    UPDATE penstock.publish_attempts a SET request = '{}', detail = NULL WHERE a.post_id = ANY(erased_ids);
    RETURN coalesce(cardinality(erased_ids), 0);
END
$function$;
COMMENT ON FUNCTION penstock.erase_posts(uuid, text, integer) IS
    'Empties posts of an owner of the tenant whose erasure this is, and cancels what was to come; returns how many.';

CREATE FUNCTION penstock.end_person_data_request(request uuid, told jsonb) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    ended record;
BEGIN
    UPDATE penstock.person_data_requests r
       SET state = 'done', ended_at = now(), receipt = told, subject_ciphertext = NULL
     WHERE r.request_id = request AND r.ended_at IS NULL
    RETURNING r.kind, r.tenant INTO ended;
    IF ended.kind = 'erase' THEN
        UPDATE penstock.erasure_marks m SET running = m.running - 1 WHERE m.tenant = ended.tenant;
    END IF;
    RETURN ended.kind IS NOT NULL;
END
$function$;
COMMENT ON FUNCTION penstock.end_person_data_request(uuid, jsonb) IS
    'Ends a request with its receipt and forgets whom it named; false where it had ended before.';

GRANT UPDATE (state, progress, started_at) ON penstock.person_data_requests TO penstock_worker;
GRANT UPDATE (erased, rejected) ON penstock.submission_batches TO penstock_worker;
GRANT EXECUTE ON FUNCTION
    penstock.erase_submissions(uuid, integer[], uuid[], timestamptz[]),
    penstock.erase_rejections(uuid, text[], integer[]),
    penstock.erase_in_letter(uuid, uuid, bytea, text, bytea, jsonb),
    penstock.erase_in_outbox(uuid, bigint, bytea),
    penstock.erase_in_replay(uuid, uuid, jsonb),
    penstock.erase_posts(uuid, text, integer),
    penstock.end_person_data_request(uuid, jsonb)
    TO penstock_worker;

-- Who reads for a report needs neither what names a person nor what could be tried against it.
REVOKE SELECT ON penstock.person_data_requests, penstock.erased_subjects FROM penstock_reader;
GRANT SELECT (
    request_id, kind, tenant, subject_kind, form_id, question_id, key_id, asked_by, reason, asked_at, state, progress,
    receipt, started_at, ended_at
) ON penstock.person_data_requests TO penstock_reader;
