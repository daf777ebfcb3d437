-- Posts and where each stands, and every attempt to publish one, a partition a month of its instant (UTC).

CREATE TABLE penstock.scheduled_posts (
    post_id uuid PRIMARY KEY,
    tenant text NOT NULL CHECK (tenant ~ '^[A-Za-z0-9._-]{1,200}$'),
    owner text NOT NULL CHECK (owner ~ '^[A-Za-z0-9._-]{1,200}$'),
    account_id uuid NOT NULL REFERENCES penstock.social_accounts,
    platform text NOT NULL,
    content jsonb NOT NULL CHECK (jsonb_typeof(content) = 'object'),
    state text NOT NULL DEFAULT 'scheduled' CHECK (state IN (
        'scheduled', 'held', 'claimed', 'publishing', 'published', 'dead', 'cancelled', 'unknown_outcome', 'expired'
    )),
    due_at timestamptz NOT NULL CHECK (isfinite(due_at)),
    lateness_policy text NOT NULL DEFAULT 'run' CHECK (lateness_policy IN ('run', 'expire', 'hold')),
    grace interval NOT NULL CHECK (grace >= INTERVAL '0'),
    idempotency_key text CHECK (idempotency_key ~ '^[A-Za-z0-9._-]{1,200}$'),
    digest bytea NOT NULL,
    version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    claimed_by uuid,
    claimed_at timestamptz,
    parked_at timestamptz,
    handle text,
    step jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(step) = 'object'),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    armed_at timestamptz,
    attempt_began_at timestamptz,
    attempt_ends_by timestamptz,
    external_id text,
    url text,
    published_at timestamptz,
    last_code text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (state <> 'published' OR published_at IS NOT NULL),
    CHECK (state NOT IN ('claimed', 'publishing') OR claimed_by IS NOT NULL),
    CHECK (state <> 'publishing' OR (attempts >= 1 AND attempt_ends_by IS NOT NULL)),
    CHECK (parked_at IS NULL OR state = 'scheduled')
) WITH (
    -- A post changes some five times in its life, and most of a table of a year do nothing.
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02
);
COMMENT ON TABLE penstock.scheduled_posts IS 'One row a post, and where it stands; see docs/posts.md.';
COMMENT ON COLUMN penstock.scheduled_posts.post_id IS 'The id of the job that scheduled it.';
COMMENT ON COLUMN penstock.scheduled_posts.digest IS 'SHA-256 of what was asked for; tells a resend from a conflict.';
COMMENT ON COLUMN penstock.scheduled_posts.version IS
    'Counts what was decided of the post: a job that was made for an older version has nothing to do.';
COMMENT ON COLUMN penstock.scheduled_posts.claimed_by IS 'The job that publishes it, or did.';
COMMENT ON COLUMN penstock.scheduled_posts.parked_at IS
    'Since when it is due and waits for its account to be authorised anew; NULL: it does not.';
COMMENT ON COLUMN penstock.scheduled_posts.handle IS 'The platform''s name for what is prepared, before it is visible.';
COMMENT ON COLUMN penstock.scheduled_posts.step IS 'What else the platform''s steps need to be taken up again.';
COMMENT ON COLUMN penstock.scheduled_posts.attempts IS 'Visible steps that were begun.';
COMMENT ON COLUMN penstock.scheduled_posts.armed_at IS
    'When the first visible step of this version was begun: what is older on the platform is another post.';
COMMENT ON COLUMN penstock.scheduled_posts.external_id IS 'NULL, though published: the platform did not tell it.';
COMMENT ON COLUMN penstock.scheduled_posts.attempt_ends_by IS
    'The visible step that was begun is over by then, whatever became of its worker.';

-- What is to be claimed: the one index that is walked each second.
CREATE INDEX scheduled_posts_due_idx ON penstock.scheduled_posts (due_at, post_id)
    WHERE state = 'scheduled' AND parked_at IS NULL;
CREATE INDEX scheduled_posts_parked_idx ON penstock.scheduled_posts (account_id) WHERE parked_at IS NOT NULL;
-- What may be stuck.
CREATE INDEX scheduled_posts_claimed_idx ON penstock.scheduled_posts (claimed_at)
    WHERE state IN ('claimed', 'publishing');
-- Lists, by due instant: of a tenant, an owner, an account, a platform; of one state or of all.
CREATE INDEX scheduled_posts_tenant_idx ON penstock.scheduled_posts (tenant, due_at, post_id);
CREATE INDEX scheduled_posts_state_idx ON penstock.scheduled_posts (tenant, state, due_at, post_id);
CREATE INDEX scheduled_posts_owner_idx ON penstock.scheduled_posts (tenant, owner, state, due_at, post_id);
CREATE INDEX scheduled_posts_account_idx ON penstock.scheduled_posts (account_id, state, due_at, post_id);
CREATE INDEX scheduled_posts_platform_idx ON penstock.scheduled_posts (platform, state, due_at, post_id);

GRANT INSERT ON penstock.scheduled_posts TO penstock_worker;
GRANT UPDATE (
    state, due_at, version, claimed_by, claimed_at, parked_at, handle, step, attempts, armed_at,
    attempt_began_at, attempt_ends_by, external_id, url, published_at, last_code, updated_at
) ON penstock.scheduled_posts TO penstock_worker;

-- No foreign key and no check beyond NOT NULL: rows are evidence, and are added even where a post is gone.
CREATE TABLE penstock.publish_attempts (
    at timestamptz NOT NULL,
    attempt_id uuid NOT NULL,
    post_id uuid NOT NULL,
    tenant text NOT NULL,
    account_id uuid NOT NULL,
    platform text NOT NULL,
    attempt integer NOT NULL,
    phase text NOT NULL,
    request jsonb NOT NULL,
    answer_class text NOT NULL,
    code text,
    platform_code text,
    trace_id text,
    detail text,
    seconds double precision NOT NULL,
    worker text NOT NULL,
    release text NOT NULL,
    PRIMARY KEY (attempt_id, at)
) PARTITION BY RANGE (at);
COMMENT ON TABLE penstock.publish_attempts IS 'Each call to a platform for a post: what was asked, redacted, and the answer.';
COMMENT ON COLUMN penstock.publish_attempts.attempt IS 'Visible steps that were begun by then, this one included; 0: none.';
COMMENT ON COLUMN penstock.publish_attempts.request IS 'Method, path and names of parameters; no texts and no tokens.';

CREATE INDEX publish_attempts_post_idx ON penstock.publish_attempts (post_id, at);

-- Catches rows of months without a partition. It should be empty; rows in it are an alarm.
CREATE TABLE penstock.publish_attempts_default PARTITION OF penstock.publish_attempts DEFAULT;

GRANT INSERT ON penstock.publish_attempts TO penstock_worker;

-- Locks as penstock.ensure_submissions_partition does: SHARE UPDATE EXCLUSIVE on the parent, which writers do not notice,
-- then for a moment ACCESS EXCLUSIVE on the default partition. 55P03: somebody holds a row of it; try again.
CREATE FUNCTION penstock.ensure_publish_attempts_partition(month date) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
    SET lock_timeout = '2s'
AS $function$
DECLARE
    first_day CONSTANT date := date_trunc('month', month);
    next_month CONSTANT date := first_day + INTERVAL '1 month';
    partition_name CONSTANT text := format('penstock.publish_attempts_y%sm%s', to_char(first_day, 'YYYY'),
                                           to_char(first_day, 'MM'));
    within_month CONSTANT text := format('at >= TIMESTAMPTZ %L AND at < TIMESTAMPTZ %L',
                                         first_day || ' 00:00:00+00', next_month || ' 00:00:00+00');
BEGIN
    IF month IS NULL OR month < DATE '2020-01-01' OR month >= date_trunc('month', now()) + INTERVAL '14 months' THEN
        RAISE EXCEPTION 'no partition for %: it must lie between 2020-01 and 13 months ahead',
            coalesce(month::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Twice: most callers need no lock; the others look again once they have it.
    IF pg_partition_root(to_regclass(partition_name)) = 'penstock.publish_attempts'::regclass THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY penstock.publish_attempts IN SHARE UPDATE EXCLUSIVE MODE;
    IF pg_partition_root(to_regclass(partition_name)) = 'penstock.publish_attempts'::regclass THEN
        RETURN false;
    END IF;
    IF to_regclass(partition_name) IS NOT NULL THEN
        RAISE WARNING '% exists and is no partition of penstock.publish_attempts', partition_name
            USING HINT = 'Attach it, or drop it.';
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE %s (LIKE penstock.publish_attempts INCLUDING ALL, CONSTRAINT within_month CHECK (%s))',
        partition_name, within_month
    );
    LOCK TABLE ONLY penstock.publish_attempts_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM penstock.publish_attempts_default WHERE %s RETURNING *)'
        ' INSERT INTO %s SELECT * FROM moved',
        within_month, partition_name
    );
    EXECUTE format(
        'ALTER TABLE penstock.publish_attempts ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
        partition_name, first_day || ' 00:00:00+00', next_month || ' 00:00:00+00'
    );
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT within_month', partition_name);
    RETURN true;
END
$function$;
COMMENT ON FUNCTION penstock.ensure_publish_attempts_partition(date) IS
    'Makes the partition of that month unless it is there; true if it made one. 55P03: try again.';

CREATE FUNCTION penstock.ensure_publish_attempts_partitions(months_ahead integer DEFAULT 3) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $function$
DECLARE
    this_month CONSTANT date := date_trunc('month', now());
    made integer := 0;
BEGIN
    IF months_ahead IS NULL OR months_ahead NOT BETWEEN 0 AND 13 THEN
        RAISE EXCEPTION 'months_ahead must lie between 0 and 13' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Attempts are stamped as they are made, so no earlier month can be needed but around midnight.
    FOR distance IN -1..months_ahead LOOP
        IF penstock.ensure_publish_attempts_partition((this_month + make_interval(months => distance))::date) THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$function$;
COMMENT ON FUNCTION penstock.ensure_publish_attempts_partitions(integer) IS
    'Sees to the partitions of the month before, this month and months_ahead more; returns how many it made.';

CREATE FUNCTION penstock.drop_publish_attempts_partitions(keep_months integer DEFAULT 24) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET lock_timeout = '2s'
AS $function$
DECLARE
    oldest CONSTANT text := to_char(date_trunc('month', now()) - make_interval(months => keep_months), 'YYYY"m"MM');
    partition_name text;
    dropped integer := 0;
BEGIN
    -- A worker may call this: it can't be made to drop what an inquiry into last year would want.
    IF keep_months IS NULL OR keep_months < 12 THEN
        RAISE EXCEPTION 'keep_months must be at least 12' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR partition_name IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
         WHERE inhparent = 'penstock.publish_attempts'::regclass AND relname ~ '^publish_attempts_y[0-9]{4}m[0-9]{2}$'
           AND substr(relname, length('publish_attempts_y') + 1) < oldest
         ORDER BY relname
    LOOP
        EXECUTE format('DROP TABLE penstock.%I', partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$function$;
COMMENT ON FUNCTION penstock.drop_publish_attempts_partitions(integer) IS
    'Drops the partitions of months that ended over keep_months months ago; returns how many. 55P03: try again.';

GRANT EXECUTE ON FUNCTION
    penstock.ensure_publish_attempts_partition(date), penstock.ensure_publish_attempts_partitions(integer),
    penstock.drop_publish_attempts_partitions(integer)
    TO penstock_worker;

SELECT penstock.ensure_publish_attempts_partitions();
