-- The actions stay; their chain goes, and with it the proof that nobody changed them. Partitions that were about to
-- leave stay as tables of their own.
DROP FUNCTION penstock.drop_leaving_partition(text, bigint);
DROP FUNCTION penstock.detach_old_partition(text, integer);
DROP FUNCTION penstock.delete_ended_replays(timestamptz, integer);
DROP FUNCTION penstock.drop_sealed_actions(bigint, timestamptz);
DROP TRIGGER operator_actions_wait_for_their_seal ON penstock.operator_actions;
DROP FUNCTION penstock.note_unsealed_actions();
DROP TABLE penstock.audit_unsealed;
DROP TABLE penstock.audit_sealed_actions;
DROP TABLE penstock.audit_seals;

CREATE OR REPLACE FUNCTION penstock.refuse_operator_action_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION 'what operators did is recorded for ever: penstock.operator_actions takes no %', TG_OP
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$function$;
