-- Submissions, one partition a month of submitted_at (UTC), and the functions that make partitions.
-- No foreign keys and no checks beyond NOT NULL: this is the table that is written fast.

CREATE TABLE penstock.submissions (
    submitted_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    submission_id uuid NOT NULL,
    form_key integer NOT NULL,
    batch_id text NOT NULL,
    form_id text NOT NULL,
    external_id text,
    answers jsonb NOT NULL,
    PRIMARY KEY (form_key, submission_id, submitted_at)
) PARTITION BY RANGE (submitted_at);

CREATE INDEX submissions_form_idx ON penstock.submissions (form_id, submitted_at DESC);

-- Catches rows of months without a partition. It should be empty; rows in it are an alarm.
CREATE TABLE penstock.submissions_default PARTITION OF penstock.submissions DEFAULT;

GRANT INSERT ON penstock.submissions TO penstock_worker;

-- Locks: SHARE UPDATE EXCLUSIVE on the parent, which writers do not notice and which keeps other makers of partitions
-- out; then, once the table is made and indexed by itself, ACCESS EXCLUSIVE on the default partition, as ATTACH needs.
-- Whoever holds a row of the default partition uncommitted is waited for until lock_timeout; then this fails with
-- 55P03, and the caller tries again later.
CREATE FUNCTION penstock.ensure_submissions_partition(month date) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
    SET lock_timeout = '2s'
AS $function$
DECLARE
    this_month CONSTANT date := date_trunc('month', now());
    first_day date;
    next_month date;
    partition_name text;
    within_month text;
BEGIN
    IF month IS NULL OR month < DATE '1970-01-01' OR month >= this_month + INTERVAL '14 months' THEN
        RAISE EXCEPTION 'no partition for %: it must lie between 1970-01 and 13 months ahead',
            coalesce(month::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    first_day := date_trunc('month', month);
    next_month := first_day + INTERVAL '1 month';
    partition_name := format('penstock.submissions_y%sm%s', to_char(first_day, 'YYYY'), to_char(first_day, 'MM'));

    -- Twice: most callers find the partition and need no lock; the others look again once they have it. The functions
    -- look into the catalogue as it is now, where a query would see it as of the caller's snapshot; and taking a lock
    -- on a table is what makes PostgreSQL notice tables that others made (an advisory lock does not).
    IF pg_partition_root(to_regclass(partition_name)) = 'penstock.submissions'::regclass THEN
        RETURN false;
    END IF;
    -- ONLY: the lock is not for the partitions.
    LOCK TABLE ONLY penstock.submissions IN SHARE UPDATE EXCLUSIVE MODE;
    IF pg_partition_root(to_regclass(partition_name)) = 'penstock.submissions'::regclass THEN
        RETURN false;
    END IF;
    IF to_regclass(partition_name) IS NOT NULL THEN
        -- Somebody detached it, and knows why. Rows of the month go to the default partition.
        RAISE WARNING '% exists and is no partition of penstock.submissions', partition_name
            USING HINT = 'Attach it, or drop it.';
        RETURN false;
    END IF;

    within_month := format(
        'submitted_at >= TIMESTAMPTZ %L AND submitted_at < TIMESTAMPTZ %L',
        first_day || ' 00:00:00+00', next_month || ' 00:00:00+00'
    );
    EXECUTE format(
        'CREATE TABLE %s (LIKE penstock.submissions INCLUDING ALL, CONSTRAINT within_month CHECK (%s))',
        partition_name, within_month
    );
    LOCK TABLE ONLY penstock.submissions_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM penstock.submissions_default WHERE %s RETURNING *)'
        ' INSERT INTO %s SELECT * FROM moved',
        within_month, partition_name
    );
    EXECUTE format(
        'ALTER TABLE penstock.submissions ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
        partition_name, first_day || ' 00:00:00+00', next_month || ' 00:00:00+00'
    );
    -- It spared ATTACH a scan; from here on routing does its work, and writing need not pay for it.
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT within_month', partition_name);
    RETURN true;
END
$function$;
COMMENT ON FUNCTION penstock.ensure_submissions_partition(date) IS
    'Makes the partition of that month unless it is there; true if it made one. 55P03: try again.';

CREATE FUNCTION penstock.ensure_submissions_partitions(months_ahead integer DEFAULT 3) RETURNS integer
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
    -- From the month before: late rows are common in the first days of a month.
    FOR distance IN -1..months_ahead LOOP
        IF penstock.ensure_submissions_partition((this_month + make_interval(months => distance))::date) THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$function$;
COMMENT ON FUNCTION penstock.ensure_submissions_partitions(integer) IS
    'Sees to the partitions of the month before, this month and months_ahead more; returns how many it made.';

GRANT EXECUTE ON FUNCTION
    penstock.ensure_submissions_partition(date), penstock.ensure_submissions_partitions(integer)
    TO penstock_worker;
