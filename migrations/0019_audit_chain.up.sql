-- The audit as a chain: each seal covers actions by their digests, and the seal before it by its own. And what lets old
-- rows go: sealed actions, ended replays, partitions that are archived first. See docs/audit.md.

CREATE TABLE penstock.audit_seals (
    number bigint PRIMARY KEY CHECK (number >= 1),
    sealed_at timestamptz NOT NULL,
    actions integer NOT NULL CHECK (actions >= 0),
    first_action uuid,
    last_action uuid,
    content bytea NOT NULL CHECK (octet_length(content) = 32),
    previous bytea NOT NULL CHECK (octet_length(previous) = 32),
    key_id text NOT NULL CHECK (key_id ~ '^[A-Za-z0-9._-]{0,50}$'),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    left_at timestamptz
);
COMMENT ON TABLE penstock.audit_seals IS 'The chain over penstock.operator_actions; see docs/audit.md.';
COMMENT ON COLUMN penstock.audit_seals.content IS 'SHA-256 over the digests of its actions, in their order.';
COMMENT ON COLUMN penstock.audit_seals.previous IS 'The digest of the seal before; 32 zero bytes for the first.';
COMMENT ON COLUMN penstock.audit_seals.key_id IS 'The key of PENSTOCK_AUDIT_KEYS that digest is made with; empty: none.';
COMMENT ON COLUMN penstock.audit_seals.left_at IS 'When its actions left by retention. Only the oldest seal may have it.';

CREATE TABLE penstock.audit_sealed_actions (
    seal bigint NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    action_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (seal, position),
    CONSTRAINT audit_sealed_actions_once UNIQUE (action_id)
);
COMMENT ON TABLE penstock.audit_sealed_actions IS 'Which seal covers an action, at which place, and the action''s SHA-256.';

-- An action is here from its own transaction on until that of its seal, in whatever order transactions commit.
CREATE TABLE penstock.audit_unsealed (
    action_id uuid PRIMARY KEY,
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE penstock.audit_unsealed IS 'Actions that wait for their seal.';
CREATE INDEX audit_unsealed_added_idx ON penstock.audit_unsealed (added_at, action_id);

CREATE FUNCTION penstock.note_unsealed_actions() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO penstock.audit_unsealed (action_id) SELECT action_id FROM added;
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION penstock.note_unsealed_actions() IS 'Has new actions wait for their seal.';

CREATE TRIGGER operator_actions_wait_for_their_seal
    AFTER INSERT ON penstock.operator_actions
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.note_unsealed_actions();
ALTER TABLE penstock.operator_actions ENABLE ALWAYS TRIGGER operator_actions_wait_for_their_seal;

-- The trigger's lock is held until this commits, so no action is missed and none is noted twice.
INSERT INTO penstock.audit_unsealed (action_id) SELECT action_id FROM penstock.operator_actions;

-- As before, and for the chain too. Who may delete could drop the trigger as well: the chain is what tells.
CREATE OR REPLACE FUNCTION penstock.refuse_operator_action_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF current_setting('penstock.audit_retention', true) = 'on' AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'what operators did is recorded for ever: penstock.% takes no %', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$function$;

CREATE TRIGGER audit_seals_are_for_ever
    BEFORE UPDATE OR DELETE OR TRUNCATE ON penstock.audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.refuse_operator_action_change();
ALTER TABLE penstock.audit_seals ENABLE ALWAYS TRIGGER audit_seals_are_for_ever;
CREATE TRIGGER audit_sealed_actions_are_for_ever
    BEFORE UPDATE OR DELETE OR TRUNCATE ON penstock.audit_sealed_actions
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.refuse_operator_action_change();
ALTER TABLE penstock.audit_sealed_actions ENABLE ALWAYS TRIGGER audit_sealed_actions_are_for_ever;

GRANT INSERT ON penstock.audit_seals, penstock.audit_sealed_actions TO penstock_worker;
GRANT DELETE ON penstock.audit_unsealed TO penstock_worker;

CREATE FUNCTION penstock.drop_sealed_actions(through bigint, before timestamptz) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    dropped integer;
BEGIN
    -- A worker may call this: it can't be made to drop what an inquiry into last year would want.
    IF through IS NULL OR before IS NULL OR before > now() - INTERVAL '365 days' THEN
        RAISE EXCEPTION 'what was sealed within the last 365 days stays' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM penstock.audit_seals WHERE number <= through AND sealed_at >= before)
       OR NOT EXISTS (SELECT FROM penstock.audit_seals WHERE number > through)
       OR NOT EXISTS (SELECT FROM penstock.audit_seals WHERE number = through) THEN
        RAISE EXCEPTION 'the seal % or one before it is not old enough, or is the last one', through
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM set_config('penstock.audit_retention', 'on', true);
    DELETE FROM penstock.operator_actions WHERE action_id IN (
        SELECT action_id FROM penstock.audit_sealed_actions WHERE seal <= through
    );
    GET DIAGNOSTICS dropped = ROW_COUNT;
    DELETE FROM penstock.audit_sealed_actions WHERE seal <= through;
    DELETE FROM penstock.audit_seals WHERE number < through;
    UPDATE penstock.audit_seals SET left_at = now() WHERE number = through;
    PERFORM set_config('penstock.audit_retention', 'off', true);
    RETURN dropped;
END
$function$;
COMMENT ON FUNCTION penstock.drop_sealed_actions(bigint, timestamptz) IS
    'Drops the actions of that seal and of those before it, all sealed before that instant; the seal itself stays.';

CREATE FUNCTION penstock.delete_ended_replays(before timestamptz, row_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    deleted integer;
BEGIN
    IF before IS NULL OR before > now() - INTERVAL '30 days' OR row_limit IS NULL OR row_limit < 1 THEN
        RAISE EXCEPTION 'replays that ended within the last 30 days stay' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM penstock.replays WHERE replay_id IN (
        SELECT replay_id FROM penstock.replays replay
         WHERE ended_at < before AND waiting = 0
           AND NOT EXISTS (SELECT FROM penstock.replay_items item WHERE item.replay_id = replay.replay_id)
         ORDER BY created_at LIMIT row_limit FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$function$;
COMMENT ON FUNCTION penstock.delete_ended_replays(timestamptz, integer) IS
    'Deletes replays that ended before that instant and whose letters are forgotten; returns how many.';

-- Takes ACCESS EXCLUSIVE on the table, its default partition and the one that leaves, for a moment.
CREATE FUNCTION penstock.detach_old_partition(parent text, keep_months integer) RETURNS text
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET lock_timeout = '1s'
AS $function$
DECLARE
    oldest CONSTANT text := to_char(date_trunc('month', now()) - make_interval(months => keep_months), 'YYYY"m"MM');
    partition_name text;
BEGIN
    IF parent IS NULL OR parent NOT IN ('submissions', 'publish_attempts') OR keep_months IS NULL OR keep_months < 12 THEN
        RAISE EXCEPTION 'parent must be submissions or publish_attempts, and keep_months at least 12'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT relname INTO partition_name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = format('penstock.%I', parent)::regclass
       AND relname ~ format('^%s_y[0-9]{4}m[0-9]{2}$', parent)
       AND substr(relname, length(parent) + 3) < oldest
       AND to_regclass(format('penstock.leaving_%s', relname)) IS NULL
     ORDER BY relname LIMIT 1;
    IF partition_name IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('LOCK TABLE ONLY penstock.%I IN ACCESS EXCLUSIVE MODE', parent);
    -- Somebody else was faster.
    IF pg_partition_root(to_regclass(format('penstock.%I', partition_name)))
       IS DISTINCT FROM format('penstock.%I', parent)::regclass THEN
        RETURN NULL;
    END IF;
    EXECUTE format('ALTER TABLE penstock.%I DETACH PARTITION penstock.%I', parent, partition_name);
    EXECUTE format('ALTER TABLE penstock.%I RENAME TO %I', partition_name, 'leaving_' || partition_name);
    RETURN 'leaving_' || partition_name;
END
$function$;
COMMENT ON FUNCTION penstock.detach_old_partition(text, integer) IS
    'Detaches the oldest partition of a month that ended over keep_months months ago and renames it to leaving_…, where'
    ' nobody writes to it; returns its name, or NULL where there is none. 55P03: try again.';

CREATE FUNCTION penstock.drop_leaving_partition(leaving text, archived_rows bigint) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '2s'
AS $function$
DECLARE
    found_rows bigint;
BEGIN
    IF leaving IS NULL OR leaving !~ '^leaving_(submissions|publish_attempts)_y[0-9]{4}m[0-9]{2}$' THEN
        RAISE EXCEPTION '% is no partition that leaves', coalesce(quote_literal(leaving), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Another scheduler may have dropped it.
    IF to_regclass(format('penstock.%I', leaving)) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE penstock.%I IN ACCESS EXCLUSIVE MODE', leaving);
    EXECUTE format('SELECT count(*) FROM penstock.%I', leaving) INTO found_rows;
    IF found_rows IS DISTINCT FROM archived_rows THEN
        RAISE EXCEPTION '% has % rows, of which % are archived', leaving, found_rows, archived_rows
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('DROP TABLE penstock.%I', leaving);
END
$function$;
COMMENT ON FUNCTION penstock.drop_leaving_partition(text, bigint) IS
    'Drops a detached partition that has as many rows as were archived; nothing where it is gone.';

GRANT EXECUTE ON FUNCTION
    penstock.drop_sealed_actions(bigint, timestamptz), penstock.delete_ended_replays(timestamptz, integer),
    penstock.detach_old_partition(text, integer), penstock.drop_leaving_partition(text, bigint)
    TO penstock_worker;
