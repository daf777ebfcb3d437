-- Dead letters, archived from Redis until an operator has decided, and their groups, which are counted as letters
-- come, change and go.

CREATE TABLE penstock.dead_letters (
    dead_id uuid PRIMARY KEY,
    job_id uuid NOT NULL,
    queue text NOT NULL,
    kind text NOT NULL,
    tenant text NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    error text,
    fingerprint text NOT NULL CHECK (fingerprint ~ '^[0-9a-f]{16}$'),
    site text,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'requeued', 'discarded')),
    became text CHECK (became IN ('waiting', 'done', 'died')),
    form_id text,
    platform text,
    account text,
    attempts integer NOT NULL,
    recoveries integer NOT NULL,
    crashes integer NOT NULL,
    postpones integer NOT NULL,
    payload_version integer NOT NULL,
    idempotency_key text,
    enqueued_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    worker text NOT NULL,
    release text NOT NULL,
    trace_id text,
    sentry_id text,
    history jsonb NOT NULL,
    message_bytes integer NOT NULL,
    body bytea NOT NULL,
    encoding text,
    header_ok boolean NOT NULL,
    raw bytea,
    payload jsonb,
    search tsvector NOT NULL,
    resolved_at timestamptz,
    resolved_by text,
    resolution_reason text,
    replay_id uuid,
    edited jsonb,
    CHECK ((state = 'requeued') = (became IS NOT NULL)),
    CHECK ((state = 'open') = (resolved_at IS NULL)),
    CHECK (state = 'open' OR (resolved_by <> '' AND resolution_reason <> ''))
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02
);
COMMENT ON TABLE penstock.dead_letters IS 'One row a death; open ones are never deleted. See docs/dead-letters.md.';
COMMENT ON COLUMN penstock.dead_letters.body IS 'The payload as it was sent, compressed where encoding says so.';
COMMENT ON COLUMN penstock.dead_letters.raw IS 'The whole message, where its envelope could not be read.';
COMMENT ON COLUMN penstock.dead_letters.payload IS
    'What filters look into: the payload, or what is short of one over 32 KiB and its first rows.';
COMMENT ON COLUMN penstock.dead_letters.edited IS 'What an operator changed before requeueing, by path, without values.';

-- Each list is walked in its order, whatever the state; a list of any state merges three walks.
CREATE INDEX dead_letters_state_idx ON penstock.dead_letters (state, died_at DESC, dead_id DESC);
CREATE INDEX dead_letters_kind_idx ON penstock.dead_letters (kind, state, died_at DESC, dead_id DESC);
CREATE INDEX dead_letters_code_idx ON penstock.dead_letters (code, state, died_at DESC, dead_id DESC);
CREATE INDEX dead_letters_queue_idx ON penstock.dead_letters (queue, state, died_at DESC, dead_id DESC);
CREATE INDEX dead_letters_tenant_idx ON penstock.dead_letters (tenant, state, died_at DESC, dead_id DESC);
CREATE INDEX dead_letters_group_idx ON penstock.dead_letters (fingerprint, state, died_at DESC, dead_id DESC);
CREATE INDEX dead_letters_form_idx ON penstock.dead_letters (form_id, state, died_at DESC, dead_id DESC)
    WHERE form_id IS NOT NULL;
CREATE INDEX dead_letters_platform_idx ON penstock.dead_letters (platform, state, died_at DESC, dead_id DESC)
    WHERE platform IS NOT NULL;
CREATE INDEX dead_letters_account_idx ON penstock.dead_letters (account, state, died_at DESC, dead_id DESC)
    WHERE account IS NOT NULL;
CREATE INDEX dead_letters_job_idx ON penstock.dead_letters (job_id, died_at DESC);
CREATE INDEX dead_letters_waiting_idx ON penstock.dead_letters (dead_id) WHERE became = 'waiting';
CREATE INDEX dead_letters_resolved_idx ON penstock.dead_letters (resolved_at) WHERE resolved_at IS NOT NULL;
-- Without fastupdate: a list of pending entries would be read by whoever searches.
CREATE INDEX dead_letters_payload_idx ON penstock.dead_letters USING gin (payload jsonb_path_ops)
    WITH (fastupdate = off);
CREATE INDEX dead_letters_search_idx ON penstock.dead_letters USING gin (search) WITH (fastupdate = off);

CREATE TABLE penstock.dead_letter_groups (
    fingerprint text PRIMARY KEY,
    kind text NOT NULL,
    code text NOT NULL,
    error text,
    sample_message text NOT NULL,
    site text,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    -- No CHECKs: a change arrives as a row to be added, and may take away.
    total bigint NOT NULL,
    open bigint NOT NULL,
    requeued bigint NOT NULL,
    healed bigint NOT NULL,
    discarded bigint NOT NULL,
    first_release text NOT NULL,
    last_release text NOT NULL,
    sentry_id text,
    note text,
    snoozed_until timestamptz,
    snoozed_open bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE penstock.dead_letter_groups IS
    'Dead letters of one fingerprint. The counts are kept by triggers of penstock.dead_letters, in the same transaction.';
COMMENT ON COLUMN penstock.dead_letter_groups.snoozed_open IS
    'Letters that were open when it was put off; with twice as many it is not any more.';
COMMENT ON COLUMN penstock.dead_letter_groups.healed IS 'Of the requeued ones, those whose job is done.';
CREATE INDEX dead_letter_groups_open_idx ON penstock.dead_letter_groups (open DESC, fingerprint DESC);
CREATE INDEX dead_letter_groups_seen_idx ON penstock.dead_letter_groups (last_seen DESC, fingerprint DESC);

CREATE TABLE penstock.dead_letter_group_subjects (
    fingerprint text NOT NULL,
    subject text NOT NULL CHECK (subject IN ('form', 'account', 'platform', 'tenant', 'release')),
    value text NOT NULL,
    total bigint NOT NULL,
    open bigint NOT NULL,
    PRIMARY KEY (fingerprint, subject, value)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE penstock.dead_letter_group_subjects IS 'Who is affected by a group: what its jobs were about, and what ran them.';
CREATE INDEX dead_letter_group_subjects_top_idx
    ON penstock.dead_letter_group_subjects (fingerprint, subject, open DESC, total DESC, value);
CREATE INDEX dead_letter_group_subjects_value_idx
    ON penstock.dead_letter_group_subjects (subject, value, fingerprint);

CREATE TABLE penstock.dead_letter_group_hours (
    fingerprint text NOT NULL,
    hour timestamptz NOT NULL,
    died bigint NOT NULL,
    PRIMARY KEY (fingerprint, hour)
) WITH (fillfactor = 70);

-- Counts what a statement did to letters, as the owner: nobody else may write counts. Groups are locked in the order of
-- their fingerprints, and all else of a group behind its row, so two who count can't wait for each other.
CREATE FUNCTION penstock.count_dead_letters() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- What the statement added (1) and took away (-1); only the tables of this kind of statement exist.
    changes CONSTANT text := CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT 1 AS sign, * FROM added'
        WHEN 'DELETE' THEN 'SELECT -1 AS sign, * FROM removed'
        ELSE 'SELECT 1 AS sign, * FROM added UNION ALL SELECT -1, * FROM removed'
    END;
BEGIN
    EXECUTE format($groups$
        INSERT INTO penstock.dead_letter_groups AS known
               (fingerprint, kind, code, error, sample_message, site, first_seen, last_seen,
                total, open, requeued, healed, discarded, first_release, last_release, sentry_id)
        SELECT fingerprint, min(kind), min(code), min(error), (array_agg(message ORDER BY died_at DESC))[1], min(site),
               min(died_at), max(died_at),
               sum(sign), coalesce(sum(sign) FILTER (WHERE state = 'open'), 0),
               coalesce(sum(sign) FILTER (WHERE state = 'requeued'), 0),
               coalesce(sum(sign) FILTER (WHERE became = 'done'), 0),
               coalesce(sum(sign) FILTER (WHERE state = 'discarded'), 0),
               (array_agg(release ORDER BY died_at))[1], (array_agg(release ORDER BY died_at DESC))[1],
               (array_agg(sentry_id ORDER BY died_at DESC) FILTER (WHERE sentry_id IS NOT NULL))[1]
          FROM (%s) AS changes
         GROUP BY fingerprint
        HAVING sum(sign) <> 0 OR count(*) FILTER (WHERE sign > 0 AND state = 'open')
                                 <> count(*) FILTER (WHERE sign < 0 AND state = 'open')
            OR count(*) FILTER (WHERE sign > 0 AND became = 'done')
               <> count(*) FILTER (WHERE sign < 0 AND became = 'done')
            OR count(*) FILTER (WHERE sign > 0 AND state = 'requeued')
               <> count(*) FILTER (WHERE sign < 0 AND state = 'requeued')
         ORDER BY fingerprint
            ON CONFLICT (fingerprint) DO UPDATE SET
               total = known.total + EXCLUDED.total,
               open = known.open + EXCLUDED.open,
               requeued = known.requeued + EXCLUDED.requeued,
               healed = known.healed + EXCLUDED.healed,
               discarded = known.discarded + EXCLUDED.discarded,
               sample_message = CASE WHEN EXCLUDED.last_seen > known.last_seen
                                     THEN EXCLUDED.sample_message ELSE known.sample_message END,
               first_release = CASE WHEN EXCLUDED.first_seen < known.first_seen
                                    THEN EXCLUDED.first_release ELSE known.first_release END,
               last_release = CASE WHEN EXCLUDED.last_seen > known.last_seen
                                   THEN EXCLUDED.last_release ELSE known.last_release END,
               first_seen = least(known.first_seen, EXCLUDED.first_seen),
               last_seen = greatest(known.last_seen, EXCLUDED.last_seen),
               sentry_id = coalesce(EXCLUDED.sentry_id, known.sentry_id)
    $groups$, changes);
    EXECUTE format($subjects$
        INSERT INTO penstock.dead_letter_group_subjects AS known (fingerprint, subject, value, total, open)
        SELECT fingerprint, subject, value, sum(sign), coalesce(sum(sign) FILTER (WHERE state = 'open'), 0)
          FROM (%s) AS changes,
               LATERAL (VALUES ('form', form_id), ('account', account), ('platform', platform), ('tenant', tenant),
                               ('release', nullif(release, ''))) AS about (subject, value)
         WHERE value IS NOT NULL
         GROUP BY fingerprint, subject, value
        HAVING sum(sign) <> 0 OR coalesce(sum(sign) FILTER (WHERE state = 'open'), 0) <> 0
         ORDER BY fingerprint, subject, value
            ON CONFLICT (fingerprint, subject, value) DO UPDATE SET
               total = known.total + EXCLUDED.total, open = known.open + EXCLUDED.open
    $subjects$, changes);
    IF TG_OP = 'UPDATE' THEN
        RETURN NULL;
    END IF;
    EXECUTE format($hours$
        INSERT INTO penstock.dead_letter_group_hours AS known (fingerprint, hour, died)
        SELECT fingerprint, date_trunc('hour', died_at, 'UTC'), sum(sign)
          FROM (%s) AS changes
         GROUP BY 1, 2
         ORDER BY 1, 2
            ON CONFLICT (fingerprint, hour) DO UPDATE SET died = known.died + EXCLUDED.died
    $hours$, changes);
    IF TG_OP = 'DELETE' THEN
        DELETE FROM penstock.dead_letter_group_hours
         WHERE died = 0 AND fingerprint IN (SELECT fingerprint FROM removed);
        DELETE FROM penstock.dead_letter_group_subjects
         WHERE total = 0 AND fingerprint IN (SELECT fingerprint FROM removed);
        -- A note outlives the letters that it is about.
        DELETE FROM penstock.dead_letter_groups
         WHERE total = 0 AND note IS NULL AND fingerprint IN (SELECT fingerprint FROM removed);
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER dead_letters_count_added
    AFTER INSERT ON penstock.dead_letters
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.count_dead_letters();
CREATE TRIGGER dead_letters_count_changed
    AFTER UPDATE ON penstock.dead_letters
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.count_dead_letters();
CREATE TRIGGER dead_letters_count_removed
    AFTER DELETE ON penstock.dead_letters
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.count_dead_letters();

CREATE FUNCTION penstock.guard_dead_letter() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'the dead letter % is resolved, and stays so', OLD.dead_id
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RAISE EXCEPTION 'penstock.dead_letters takes no % of what nobody has resolved', TG_OP
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Requeue or discard them first.';
END
$function$;

CREATE TRIGGER dead_letters_unresolved_stay
    BEFORE DELETE ON penstock.dead_letters
    FOR EACH ROW WHEN (OLD.state = 'open' OR OLD.became = 'waiting')
    EXECUTE FUNCTION penstock.guard_dead_letter();
CREATE TRIGGER dead_letters_resolved_stay_so
    BEFORE UPDATE ON penstock.dead_letters
    -- But for one whose job was lost before it ran: that is open again.
    FOR EACH ROW WHEN (OLD.state <> 'open' AND NEW.state <> OLD.state
                       AND NOT (OLD.became IS NOT DISTINCT FROM 'waiting' AND NEW.state = 'open'))
    EXECUTE FUNCTION penstock.guard_dead_letter();
CREATE TRIGGER dead_letters_are_not_emptied
    BEFORE TRUNCATE ON penstock.dead_letters
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.guard_dead_letter();
-- For sessions in replica mode too, which skip ordinary triggers.
ALTER TABLE penstock.dead_letters ENABLE ALWAYS TRIGGER dead_letters_unresolved_stay;
ALTER TABLE penstock.dead_letters ENABLE ALWAYS TRIGGER dead_letters_are_not_emptied;

CREATE FUNCTION penstock.delete_resolved_letters(before timestamptz, row_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    deleted integer;
BEGIN
    IF before IS NULL OR before > now() - INTERVAL '1 day' OR row_limit IS NULL OR row_limit < 1 THEN
        RAISE EXCEPTION 'what was resolved within the last day stays'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM penstock.dead_letters
     WHERE dead_id IN (
           SELECT dead_id FROM penstock.dead_letters
            WHERE resolved_at < before AND became IS DISTINCT FROM 'waiting'
            ORDER BY resolved_at
            LIMIT row_limit
              FOR UPDATE SKIP LOCKED
     );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$function$;
COMMENT ON FUNCTION penstock.delete_resolved_letters(timestamptz, integer) IS
    'Deletes letters that were resolved before that instant, so many at the most; returns how many.';

-- What is known of letters without what the jobs held.
CREATE VIEW penstock.dead_letter_facts AS
    SELECT dead_id, job_id, queue, kind, tenant, code, message, error, fingerprint, site, state, became,
           form_id, platform, account, attempts, recoveries, crashes, postpones, payload_version, idempotency_key,
           enqueued_at, died_at, archived_at, worker, release, trace_id, sentry_id, history, message_bytes, encoding,
           header_ok, resolved_at, resolved_by, resolution_reason, replay_id, edited
      FROM penstock.dead_letters;
COMMENT ON VIEW penstock.dead_letter_facts IS 'penstock.dead_letters without payloads and messages.';

REVOKE SELECT ON penstock.dead_letters FROM penstock_reader;
GRANT INSERT ON penstock.dead_letters TO penstock_worker;
GRANT UPDATE (state, became, resolved_at, resolved_by, resolution_reason, replay_id, edited)
    ON penstock.dead_letters TO penstock_worker;
GRANT UPDATE (note, snoozed_until, snoozed_open) ON penstock.dead_letter_groups TO penstock_worker;
GRANT EXECUTE ON FUNCTION penstock.delete_resolved_letters(timestamptz, integer) TO penstock_worker;

-- Who looks for what operators did, looks by one of these.
CREATE INDEX operator_actions_actor_idx ON penstock.operator_actions (actor, at DESC, action_id DESC);
CREATE INDEX operator_actions_action_idx ON penstock.operator_actions (action, at DESC, action_id DESC);
CREATE INDEX operator_actions_target_idx ON penstock.operator_actions (target, at DESC, action_id DESC);
