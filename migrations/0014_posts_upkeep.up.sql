-- What the scheduler's loops for posts need: word of posts that are due soon, many jobs at once for the outbox, and a
-- way to delete posts that ended long ago.

-- A loop sleeps until the next instant that it has seen, some seconds at the most, so it need not hear of a post that
-- is due later than that. The condition is asked before the function is called: a year's posts in one transaction cost
-- nothing here. Of many notices in one transaction PostgreSQL sends one.
-- No search_path of its own: to set one for each row would take longer than all else here.
CREATE FUNCTION penstock.tell_of_due_post() RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_catalog.pg_notify('penstock_posts', '');
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION penstock.tell_of_due_post() IS 'Wakes schedulers: a post that is due within a minute waits now.';

CREATE TRIGGER scheduled_posts_due_when_added AFTER INSERT ON penstock.scheduled_posts
    FOR EACH ROW
    WHEN (NEW.state = 'scheduled' AND NEW.parked_at IS NULL AND NEW.due_at < now() + INTERVAL '1 minute')
    EXECUTE FUNCTION penstock.tell_of_due_post();
CREATE TRIGGER scheduled_posts_due_when_changed AFTER UPDATE OF state, due_at, parked_at ON penstock.scheduled_posts
    FOR EACH ROW
    WHEN (NEW.state = 'scheduled' AND NEW.parked_at IS NULL AND NEW.due_at < now() + INTERVAL '1 minute')
    EXECUTE FUNCTION penstock.tell_of_due_post();

-- As penstock.enqueue_bytes for each job in turn, in one statement: the same checks, the same ids, the same answer to a
-- key that is known.
CREATE FUNCTION penstock.enqueue_many_bytes(
    kinds text[],
    payloads bytea[],
    run_ats timestamptz[],
    idempotency_keys text[],
    tenants text[],
    queues text[],
    payload_versions integer[]
) RETURNS uuid[]
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    wanted CONSTANT integer := cardinality(kinds);
    identities uuid[];
    contents text[];
    -- As in penstock.enqueue_bytes: a relay that is at work needs no notice.
    relay_is_busy CONSTANT boolean := EXISTS (
        SELECT FROM penstock.outbox o WHERE o.state = 'waiting' AND o.checked_at IS NULL AND o.run_at IS NULL
    );
    added integer;
    known record;
BEGIN
    IF wanted IS NULL OR EXISTS (
        SELECT FROM unnest(ARRAY[
            cardinality(payloads), cardinality(run_ats), cardinality(idempotency_keys), cardinality(tenants),
            cardinality(queues), cardinality(payload_versions)
        ]) AS given WHERE given IS DISTINCT FROM wanted
    ) THEN
        RAISE EXCEPTION 'REQUEST_USAGE: each array needs an element for each job'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM penstock.require_enqueueable(job.kind, job.tenant, job.idempotency_key, job.run_at)
       FROM unnest(kinds, tenants, idempotency_keys, run_ats) AS job (kind, tenant, idempotency_key, run_at);
    SELECT coalesce(array_agg(
               coalesce(penstock.job_id(job.tenant, job.kind, job.idempotency_key), gen_random_uuid()) ORDER BY place
           ), '{}'),
           coalesce(array_agg(encode(sha256(job.payload), 'hex') ORDER BY place), '{}')
      INTO identities, contents
      FROM unnest(tenants, kinds, idempotency_keys, payloads)
           WITH ORDINALITY AS job (tenant, kind, idempotency_key, payload, place);
    LOOP
        -- In their order, which is the order in which they go to their queues.
        INSERT INTO penstock.outbox
               (job_id, kind, queue, tenant, payload_version, payload, idempotency_key, digest, run_at)
        SELECT job.job_id, job.kind, job.queue, job.tenant, job.payload_version, job.payload, job.idempotency_key,
               job.digest, CASE WHEN job.run_at > now() THEN job.run_at END
          FROM unnest(identities, kinds, queues, tenants, payload_versions, payloads, idempotency_keys, contents, run_ats)
               WITH ORDINALITY AS job (job_id, kind, queue, tenant, payload_version, payload, idempotency_key, digest,
                                       run_at, place)
         ORDER BY job.place
            ON CONFLICT ON CONSTRAINT outbox_job_unique DO NOTHING;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added > 0 AND NOT relay_is_busy THEN
            PERFORM pg_notify('penstock_outbox', '');
        END IF;
        EXIT WHEN added = wanted;
        SELECT job.place, job.kind, job.idempotency_key INTO known
          FROM unnest(identities, contents, kinds, idempotency_keys)
               WITH ORDINALITY AS job (job_id, digest, kind, idempotency_key, place)
          JOIN penstock.outbox o USING (job_id)
         WHERE o.digest <> job.digest OR o.state = 'conflict'
         ORDER BY job.place
         LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'JOB_CONFLICT: the idempotency key % of the kind % is known with another payload',
                quote_literal(known.idempotency_key), known.kind
                USING ERRCODE = 'unique_violation', DETAIL = known.place,
                      HINT = 'Send the payload that was sent first, or use a new key.';
        END IF;
        -- One that is not there was removed between the two statements: its job is done.
        EXIT WHEN NOT EXISTS (
            SELECT FROM unnest(identities) AS job (job_id)
             WHERE NOT EXISTS (SELECT FROM penstock.outbox o WHERE o.job_id = job.job_id)
        );
    END LOOP;
    RETURN identities;
END
$function$;
COMMENT ON FUNCTION penstock.enqueue_many_bytes(
    text[], bytea[], timestamptz[], text[], text[], text[], integer[]
) IS
    'Enqueues many jobs as penstock.enqueue_bytes does each; returns their ids, in order. All of them, or none where it'
    ' raises; the detail of JOB_CONFLICT is the place of the first job in conflict, from 1.';

GRANT EXECUTE ON FUNCTION penstock.enqueue_many_bytes(
    text[], bytea[], timestamptz[], text[], text[], text[], integer[]
) TO penstock_worker;

-- What may be deleted one day. Built within the transaction: the table came with the migration before, so it is small.
CREATE INDEX scheduled_posts_ended_idx ON penstock.scheduled_posts (updated_at)
    WHERE state IN ('published', 'dead', 'cancelled', 'expired');

CREATE FUNCTION penstock.delete_ended_posts(before timestamptz, row_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    deleted integer;
BEGIN
    IF before IS NULL OR before > now() - INTERVAL '30 days' OR row_limit IS NULL OR row_limit < 1 THEN
        RAISE EXCEPTION 'posts that ended within the last 30 days stay'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM penstock.scheduled_posts
     WHERE post_id IN (
           SELECT post.post_id FROM penstock.scheduled_posts post
            WHERE post.state IN ('published', 'dead', 'cancelled', 'expired') AND post.updated_at < before
              -- No letter of any of its jobs waits for a person or for an outcome: the one that took it in, and one for
              -- each version that was claimed.
              AND NOT EXISTS (
                  SELECT FROM penstock.dead_letters letter
                   WHERE (letter.state = 'open' OR letter.became = 'waiting')
                     AND letter.job_id IN (
                         SELECT post.post_id
                          UNION ALL
                         SELECT penstock.job_id(post.tenant, 'scheduled_post.publish', post.post_id || '.' || number)
                           FROM generate_series(1, post.version) AS number
                     )
              )
            ORDER BY post.updated_at
            LIMIT row_limit
              FOR UPDATE OF post SKIP LOCKED
     );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$function$;
COMMENT ON FUNCTION penstock.delete_ended_posts(timestamptz, integer) IS
    'Deletes posts that ended before that instant and of which nothing is open, so many at the most; returns how many.';

GRANT EXECUTE ON FUNCTION penstock.delete_ended_posts(timestamptz, integer) TO penstock_worker;
