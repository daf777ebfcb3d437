-- Jobs that were enqueued in somebody's own transaction, until the scheduler has seen their effect.

CREATE TABLE penstock.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL CONSTRAINT outbox_job_unique UNIQUE,
    kind text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$' AND length(kind) <= 200),
    queue text,
    tenant text NOT NULL CHECK (tenant ~ '^[A-Za-z0-9._-]{1,200}$'),
    payload_version integer NOT NULL CHECK (payload_version >= 1),
    -- No more than PENSTOCK_MESSAGE_BYTES_LIMIT can ever allow.
    payload bytea NOT NULL CHECK (octet_length(payload) <= 268435456),
    idempotency_key text CHECK (idempotency_key ~ '^[A-Za-z0-9._-]{1,200}$'),
    digest text NOT NULL,
    run_at timestamptz CHECK (isfinite(run_at)),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'relayed', 'dead', 'conflict')),
    created_at timestamptz NOT NULL DEFAULT now(),
    relayed_at timestamptz,
    checked_at timestamptz,
    times_relayed integer NOT NULL DEFAULT 0,
    last_code text
) WITH (
    -- Rows come and go: what is dead must not wait for a fifth of the table.
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000
);
COMMENT ON TABLE penstock.outbox IS
    'Written in the producer''s transaction, removed when the job''s effect is committed; see docs/outbox.md.';
COMMENT ON COLUMN penstock.outbox.id IS 'The order in which jobs go to their queue.';
COMMENT ON COLUMN penstock.outbox.queue IS 'NULL: the one that the kind names, which the scheduler knows.';
COMMENT ON COLUMN penstock.outbox.payload IS 'The JSON text in UTF-8, byte for byte what the job''s message will hold.';
COMMENT ON COLUMN penstock.outbox.digest IS 'SHA-256 of the payload in hexadecimal; tells a resend from a conflict.';
COMMENT ON COLUMN penstock.outbox.run_at IS 'NULL: at once.';
COMMENT ON COLUMN penstock.outbox.checked_at IS
    'When it was last asked what became of the job, or why it can''t be relayed; NULL: not looked at yet.';

-- Three ways in: what is to be relayed at once, what is to be relayed when its time comes, and what is to be asked
-- about again. A row that can't be relayed now (checked_at is set) is in the way of no other.
CREATE INDEX outbox_waiting_idx ON penstock.outbox (id)
    WHERE state = 'waiting' AND checked_at IS NULL AND run_at IS NULL;
CREATE INDEX outbox_later_idx ON penstock.outbox (run_at, id)
    WHERE state = 'waiting' AND checked_at IS NULL AND run_at IS NOT NULL;
CREATE INDEX outbox_checked_idx ON penstock.outbox (state, checked_at) WHERE checked_at IS NOT NULL;

GRANT UPDATE (state, relayed_at, checked_at, times_relayed, last_code), DELETE ON penstock.outbox TO penstock_worker;

-- The first 16 bytes of SHA-256 of the root of all ids and the name, as a UUID of version 8 (RFC 9562, section 5.8).
CREATE FUNCTION penstock.job_id(tenant text, kind text, idempotency_key text) RETURNS uuid
    LANGUAGE sql
    IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT encode(
               set_byte(
                   set_byte(substring(digest FROM 1 FOR 16), 6, get_byte(digest, 6) & 15 | 128),
                   8, get_byte(digest, 8) & 63 | 128
               ),
               'hex'
           )::uuid
      FROM sha256(
               decode('8d0f9b0e6c1b5f0a9a532f7a0b8f4c11', 'hex')
               || convert_to('job/' || tenant || '/' || kind || '/' || idempotency_key, 'UTF8')
           ) AS digest
$function$;
COMMENT ON FUNCTION penstock.job_id(text, text, text) IS
    'The id of the job that an idempotency key names; the clients derive the same.';

CREATE FUNCTION penstock.require_enqueueable(kind text, tenant text, idempotency_key text, run_at timestamptz)
    RETURNS void
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF kind IS NULL OR kind !~ '^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$' OR length(kind) > 200 THEN
        RAISE EXCEPTION 'JOB_UNKNOWN_KIND: % can''t be a job kind', coalesce(quote_literal(left(kind, 80)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Kinds look like submission_batch.write.';
    END IF;
    IF tenant IS NULL OR tenant !~ '^[A-Za-z0-9._-]{1,200}$' THEN
        RAISE EXCEPTION 'REQUEST_TENANT_INVALID: % can''t be a tenant',
            coalesce(quote_literal(left(tenant, 80)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 200 of A-Z a-z 0-9 . _ -';
    END IF;
    IF idempotency_key !~ '^[A-Za-z0-9._-]{1,200}$' THEN
        RAISE EXCEPTION 'REQUEST_USAGE: % can''t be an idempotency key', quote_literal(left(idempotency_key, 80))
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 200 of A-Z a-z 0-9 . _ -';
    END IF;
    IF NOT isfinite(run_at) THEN
        RAISE EXCEPTION 'REQUEST_USAGE: run_at must be an instant, and not %', run_at
            USING ERRCODE = 'invalid_parameter_value', HINT = 'NULL, or an instant that has passed, means at once.';
    END IF;
END
$function$;

-- Two transactions with the same key: the INSERT of the second waits until the first has ended.
CREATE FUNCTION penstock.enqueue_bytes(
    kind text,
    payload bytea,
    run_at timestamptz DEFAULT now(),
    idempotency_key text DEFAULT NULL,
    tenant text DEFAULT 'default',
    queue text DEFAULT NULL,
    payload_version integer DEFAULT 1
) RETURNS uuid
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    identity CONSTANT uuid := coalesce(penstock.job_id(tenant, kind, idempotency_key), gen_random_uuid());
    content CONSTANT text := encode(sha256(payload), 'hex');
    -- While rows wait, the relay goes on by itself. Transactions that notify commit one after the other, in the whole
    -- cluster, so under load they had better not. What the relay misses so, it finds within a second.
    relay_is_busy CONSTANT boolean := EXISTS (
        SELECT FROM penstock.outbox o WHERE o.state = 'waiting' AND o.checked_at IS NULL AND o.run_at IS NULL
    );
    known record;
BEGIN
    PERFORM penstock.require_enqueueable(kind, tenant, idempotency_key, run_at);
    LOOP
        INSERT INTO penstock.outbox
               (job_id, kind, queue, tenant, payload_version, payload, idempotency_key, digest, run_at)
        VALUES (identity, enqueue_bytes.kind, enqueue_bytes.queue, enqueue_bytes.tenant, enqueue_bytes.payload_version,
                enqueue_bytes.payload, enqueue_bytes.idempotency_key, content,
                CASE WHEN enqueue_bytes.run_at > now() THEN enqueue_bytes.run_at END)
            ON CONFLICT ON CONSTRAINT outbox_job_unique DO NOTHING;
        IF FOUND THEN
            IF NOT relay_is_busy THEN
                PERFORM pg_notify('penstock_outbox', '');
            END IF;
            RETURN identity;
        END IF;
        SELECT o.digest, o.state INTO known FROM penstock.outbox o WHERE o.job_id = identity;
        -- Otherwise it was removed between the two statements: its job is done.
        EXIT WHEN FOUND;
    END LOOP;
    IF known.digest <> content OR known.state = 'conflict' THEN
        RAISE EXCEPTION 'JOB_CONFLICT: the idempotency key % of the kind % is known with another payload',
            quote_literal(idempotency_key), kind
            USING ERRCODE = 'unique_violation', HINT = 'Send the payload that was sent first, or use a new key.';
    END IF;
    RETURN identity;
END
$function$;
COMMENT ON FUNCTION penstock.enqueue_bytes(text, bytea, timestamptz, text, text, text, integer) IS
    'As penstock.enqueue, for a payload that is encoded already and goes to the queue byte for byte.';

CREATE FUNCTION penstock.enqueue(
    kind text,
    payload jsonb,
    run_at timestamptz DEFAULT now(),
    idempotency_key text DEFAULT NULL,
    tenant text DEFAULT 'default'
) RETURNS uuid
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    encoded bytea;
BEGIN
    IF payload IS NULL OR jsonb_typeof(payload) <> 'object' THEN
        RAISE EXCEPTION 'JOB_PAYLOAD_INVALID: a payload is a JSON object, and not %',
            coalesce(jsonb_typeof(payload), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    encoded := convert_to(payload::text, 'UTF8');
    IF octet_length(encoded) > 16 * 1024 * 1024 THEN
        RAISE EXCEPTION 'BATCH_TOO_LARGE: the payload has % bytes; the limit is %',
            octet_length(encoded), 16 * 1024 * 1024
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Cut it into several jobs.';
    END IF;
    RETURN penstock.enqueue_bytes(kind, encoded, run_at, idempotency_key, tenant);
END
$function$;
COMMENT ON FUNCTION penstock.enqueue(text, jsonb, timestamptz, text, text) IS
    'Enqueues a job in the caller''s transaction: it runs if that commits, and not at all if it does not.'
    ' Returns the job''s id; a key that is known with the same payload gives the same id and adds nothing.';

GRANT EXECUTE ON FUNCTION penstock.enqueue(text, jsonb, timestamptz, text, text)
    TO penstock_producer, penstock_worker;
GRANT EXECUTE ON FUNCTION penstock.enqueue_bytes(text, bytea, timestamptz, text, text, text, integer)
    TO penstock_worker;
GRANT EXECUTE ON FUNCTION penstock.job_id(text, text, text) TO penstock_worker, penstock_reader;
