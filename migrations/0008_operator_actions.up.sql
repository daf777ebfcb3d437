-- What operators did, for ever: rows are added and never changed, by whomever.

CREATE TABLE penstock.operator_actions (
    action_id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    reason text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN penstock.operator_actions.at IS 'When it was done, by the clock of the machine where it was done.';
COMMENT ON COLUMN penstock.operator_actions.recorded_at IS 'When it was written here.';

CREATE INDEX operator_actions_at_idx ON penstock.operator_actions (at DESC);

CREATE FUNCTION penstock.refuse_operator_action_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION 'what operators did is recorded for ever: penstock.operator_actions takes no %', TG_OP
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$function$;

CREATE TRIGGER operator_actions_are_for_ever
    BEFORE UPDATE OR DELETE OR TRUNCATE ON penstock.operator_actions
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.refuse_operator_action_change();
-- For sessions in replica mode too, which skip ordinary triggers.
ALTER TABLE penstock.operator_actions ENABLE ALWAYS TRIGGER operator_actions_are_for_ever;

GRANT INSERT ON penstock.operator_actions TO penstock_worker;
